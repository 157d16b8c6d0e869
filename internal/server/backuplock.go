package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A backup of a stopped server has the lock of the data directory. A server that starts
// asks the backup to give way with a file, which exists while the server waits.
const (
	yieldName         = "backup.yield"
	yieldTimeout      = 10 * time.Second
	yieldPollInterval = 50 * time.Millisecond

	// servedTimeout is longer than an answer on this machine takes.
	servedTimeout = time.Second
)

var errYield = errors.New("backup cancelled because a server is starting on the data directory: run the backup again when the server is ready; it works while the server runs")

// openUnlocked opens a store. If a backup or a server that is stopping has the lock, it waits
// until that has given way or ended. It does not wait for a server that keeps running.
func openUnlocked(ctx context.Context, dataDir string, open func() (*pebblestore.Store, error)) (*pebblestore.Store, error) {
	opened, err := open()
	if !errors.Is(err, pebblestore.ErrLocked) || isServed(ctx, dataDir) {
		return opened, err
	}
	ask := filepath.Join(dataDir, yieldName)
	defer func() { _ = os.Remove(ask) }() // a backup removes a file that remains
	for end := time.Now().Add(yieldTimeout); errors.Is(err, pebblestore.ErrLocked) && time.Now().Before(end); {
		if err := os.WriteFile(ask, nil, 0o600); err != nil { // again: a backup that begins removes it
			return nil, fmt.Errorf("ask the running backup to stop: %w", err)
		}
		time.Sleep(yieldPollInterval)
		opened, err = open()
	}
	return opened, err
}

// isServed reports whether a server has the data directory and is not stopping. One that does
// not answer in time may be starting, so it counts too.
func isServed(ctx context.Context, dataDir string) bool {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	_, err := postControl(ctx, dataDir, servedPath, nil)
	return err == nil || errors.Is(err, context.DeadlineExceeded)
}

// yielding derives a context that ends when a server asks for the directory.
func yielding(ctx context.Context, dataDir string) (context.Context, context.CancelCauseFunc) {
	ask := filepath.Join(dataDir, yieldName)
	_ = os.Remove(ask) // of a start that was killed; one that waits makes it again
	ctx, cancel := context.WithCancelCause(ctx)
	go every(ctx, yieldPollInterval, func() {
		if _, err := os.Stat(ask); !errors.Is(err, fs.ErrNotExist) {
			cancel(errYield)
		}
	})
	return ctx, cancel
}
