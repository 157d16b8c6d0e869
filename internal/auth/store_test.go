package auth_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// openStore is the embedded store in memory.
func openStore(tb testing.TB, clock func() time.Time) store.Store {
	tb.Helper()
	st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: clock, MinFreeBytes: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Error(err)
		}
	})
	return st
}
