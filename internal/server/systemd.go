package server

import (
	"log/slog"
	"net"
)

// notifySystemd sends one line of the sd_notify protocol, if anybody listens.
func (s *Server) notifySystemd(line string) {
	if s.opts.NotifySocket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.opts.NotifySocket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(line))
		_ = conn.Close() // it was a datagram
	}
	if err != nil {
		s.log.Warn("systemd notification failed", slog.String("line", line), slog.Any("err", err))
	}
}
