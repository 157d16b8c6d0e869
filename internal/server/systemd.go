package server

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"time"
)

// A supervisor is the service manager that started the process. It gets the states of the
// server in the protocol of sd_notify(3).
type supervisor struct {
	socket string // "": there is none
	log    *slog.Logger
}

// notify sends one state, if a service manager expects it.
func (v supervisor) notify(state string) {
	if v.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: v.socket, Net: "unixgram"})
	if err == nil {
		err = write(conn, state)
		_ = conn.Close() // it was a datagram
	}
	if err != nil {
		v.log.Warn("systemd notification failed", slog.String("state", state), slog.Any("err", err))
	}
}

// write waits only for a moment if the socket is full: the server serves, reloads and stops also
// under a service manager that does not read.
func write(conn *net.UnixConn, state string) error {
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err := conn.Write([]byte(state))
	return err
}

// reloading sends that a reload begins. The time lets systemd match the READY=1 that ends it.
func (v supervisor) reloading() {
	v.notify("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic().Microseconds(), 10))
}

// feedWatchdog sends a keepalive twice in each interval until ctx ends. Each follows an
// answer of the store's check, whatever the answer is: a server that is deadlocked or gets no
// CPU time is restarted, and one that waits for a disk or for NATS is not.
func (s *Server) feedWatchdog(ctx context.Context) error {
	every(ctx, s.opts.Watchdog/2, func() {
		s.state(ctx)
		s.supervisor.notify("WATCHDOG=1")
	})
	return nil
}

// WatchdogInterval is what systemd asks the process pid for in WATCHDOG_USEC and
// WATCHDOG_PID; 0: nothing.
func WatchdogInterval(getenv func(string) string, pid int) time.Duration {
	if of := getenv("WATCHDOG_PID"); of != "" && of != strconv.Itoa(pid) {
		return 0
	}
	microseconds, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || microseconds < 0 {
		return 0
	}
	return time.Duration(microseconds) * time.Microsecond
}
