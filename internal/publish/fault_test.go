package publish_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestFailures: a store that fails changes nothing, and one whose answer is lost may
// have changed something: a repeat with the same key then gets the answer, and nothing
// happens twice.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		faulty := storetest.Fault(n.store)
		p := publish.New(publish.Options{
			Store: faulty, Policy: presence.DefaultPolicy(), Clock: time.Now, Log: slog.New(slog.DiscardHandler),
			Known: func(context.Context, store.User) error { return nil },
		})
		e := doNotDisturb(time.Hour)
		e.Key, e.Body = [16]byte{1}, [16]byte{1}
		before := n.record(alice).Revision

		faulty.Fail(storetest.Update, 1, store.ErrFull)
		if _, err := p.Publish(t.Context(), alice, store.Actor{}, e); !errors.Is(err, store.ErrFull) {
			t.Errorf("a full disk: %v", err)
		}
		if got := n.record(alice).Revision; got != before {
			t.Errorf("a refused update changed revision %d to %d", got, before)
		}

		faulty.LoseAnswer(storetest.Update, 1)
		if _, err := p.Publish(t.Context(), alice, store.Actor{}, e); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("a lost answer: %v", err)
		}
		applied := n.record(alice).Revision
		again, err := p.Publish(t.Context(), alice, store.Actor{}, e)
		if err != nil || again.Answer == nil || again.Revision() != applied {
			t.Errorf("the repeat: %+v, %v, want the answer of revision %d", again, err, applied)
		}
		if got := n.record(alice).Revision; got != applied || applied == before {
			t.Errorf("revisions %d, %d, %d", before, applied, got)
		}
		if faulty.Fired() != 2 {
			t.Errorf("%d faults fired", faulty.Fired())
		}
	})
}
