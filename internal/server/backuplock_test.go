package server_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A slowWriter signals the first write, which waits until a server asks the backup to
// give way. Later writes leave the backup time to notice.
type slowWriter struct {
	begun chan struct{}
	once  sync.Once
	ask   string // the file by which a server asks
}

func (w *slowWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.begun) })
	for end := time.Now().Add(waitLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(w.ask); err == nil {
			break
		}
	}
	time.Sleep(500 * time.Millisecond)
	return io.Discard.Write(p)
}

// TestServerStartCancelsBackup: an offline backup is cancelled by a server that starts,
// and reports it. Another server is refused without waiting.
func TestServerStartCancelsBackup(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	initLargeDataDir(t, cfg)
	w := &slowWriter{begun: make(chan struct{}), ask: filepath.Join(cfg.DataDir, "backup.yield")}
	ended := make(chan error, 1)
	go func() {
		_, err := server.Backup{DataDir: cfg.DataDir, To: w}.Run(context.Background())
		ended <- err
	}()
	<-w.begun
	srv, err := server.New(cfg, server.Options{})
	for end := time.Now().Add(waitLimit); errors.Is(err, pebblestore.ErrLocked) && time.Now().Before(end); {
		srv, err = server.New(cfg, server.Options{}) // it gave up after 10 s, in which the machine stood still
	}
	if err != nil {
		t.Fatalf("starting during a backup: %v", err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "backup cancelled") {
		t.Errorf("the backup returned %v", err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(server.ErrInterrupted)
	if err := srv.Run(ctx); err != nil {
		t.Error(err)
	}
	takeBackup(t, cfg.DataDir, false) // the directory is unlocked
}
