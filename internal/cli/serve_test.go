package cli

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// TestSignalDuringStart: a start that waits for NATS ends at a signal.
func TestSignalDuringStart(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := config.Default()
	cfg.Store = "nats://" + silent.Addr().String()
	ctx, signal := context.WithCancelCause(t.Context())
	type result struct {
		started bool
		err     error
	}
	ended := make(chan result, 1)
	go func() {
		srv, err := (&shell{ctx: ctx}).newServer(cfg, server.Options{StoreTimeout: time.Hour})
		ended <- result{srv != nil, err}
	}()
	conn, err := silent.Accept() // it waits for the greeting of the server
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	signal(errTerminated)
	select {
	case r := <-ended:
		if r.started || r.err != nil {
			t.Errorf("started: %t, %v", r.started, r.err)
		}
	case <-time.After(time.Minute):
		t.Error("the start goes on")
	}
}

// TestReloadHangs: a reload that waits for a file for good does not keep the server from ending.
// One that takes a moment is completed.
func TestReloadHangs(t *testing.T) {
	for name, takes := range map[string]time.Duration{"a moment": reloadTimeout / 2, "for good": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hangups := make(chan os.Signal, 1)
				hangups <- syscall.SIGHUP
				over := make(chan struct{})
				stop := onHangup(hangups, func() {
					select {
					case <-time.After(takes):
					case <-over:
					}
				})
				synctest.Wait()
				begun := time.Now()
				stop()
				if took, want := time.Since(begun), min(takes, reloadTimeout); took != want {
					t.Errorf("it took %v to stop, want %v", took, want)
				}
				close(over)
			})
		})
	}
}
