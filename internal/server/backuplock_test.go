package server_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/server"
)

// A slowWriter takes what it is given slowly, and says when it begins.
type slowWriter struct {
	begun chan struct{}
	once  sync.Once
}

func (w *slowWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.begun) })
	time.Sleep(100 * time.Millisecond)
	return io.Discard.Write(p)
}

// TestBackupGivesWay: a backup that began while the server was down gives way to a
// server that starts, and says so; another server does not, and is not waited for.
func TestBackupGivesWay(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	heavy(t, cfg)
	w := &slowWriter{begun: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		_, err := server.Backup{DataDir: cfg.DataDir, To: w}.Run(context.Background())
		ended <- err
	}()
	<-w.begun
	srv, err := server.New(cfg, server.Options{})
	if err != nil {
		t.Fatalf("a start beside a backup: %v", err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "backup cancelled") {
		t.Errorf("the backup ended with %v", err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(server.ErrInterrupted)
	if err := srv.Run(ctx); err != nil {
		t.Error(err)
	}
	takeBackup(t, cfg.DataDir, false) // the directory is free, and nothing of the start is left
}
