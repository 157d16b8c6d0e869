package hub

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// TestOpenEndsOnDrain: Open, which waits for the first changes, returns if the hub
// stops meanwhile.
func TestOpenEndsOnDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := pebblestore.Open("data", pebblestore.Options{FS: vfs.NewMem(), MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = st.Close() }()
		h := New(Options{Store: st, Clock: time.Now})
		opened := make(chan error, 1)
		go func() {
			_, err := h.Open(context.WithoutCancel(t.Context()), "a", "bob", nil, nil)
			opened <- err
		}()
		synctest.Wait()
		h.Drain(t.Context())
		synctest.Wait()
		select {
		case err := <-opened:
			if !errors.Is(err, ErrDraining) {
				t.Error(err)
			}
		default:
			t.Fatal("Open waits on")
		}
	})
}
