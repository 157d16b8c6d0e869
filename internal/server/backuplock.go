package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
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
)

var errYield = errors.New("backup cancelled because a server is starting on the data directory: run the backup again when the server is ready; it works while the server runs")

// openUnlocked opens a store. If a backup has the lock, it waits until the backup has
// given way. Another server never does, so it is not waited for.
func openUnlocked(dataDir string, open func() (*pebblestore.Store, error)) (*pebblestore.Store, error) {
	opened, err := open()
	if !errors.Is(err, pebblestore.ErrLocked) || isServed(dataDir) {
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

// isServed reports whether a server answers on the directory's control socket.
func isServed(dataDir string) bool {
	address, dir, err := socketAddress(dataDir)
	if err != nil {
		return false
	}
	defer dir.Close()                      // also if it is nil
	conn, err := net.Dial("unix", address) //nolint:noctx // it is on this machine, and answers at once or not at all
	if err != nil {
		return false
	}
	conn.Close()
	return true
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
