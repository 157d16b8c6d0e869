package publish_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

// endsAt is when the session expires in s, as a duration since begun.
func endsAt(t *testing.T, s *presence.State, id presence.SessionID, begun time.Time) time.Duration {
	t.Helper()
	for _, session := range s.Sessions {
		if session.ID == id {
			return session.EndsAt.Sub(presence.InstantOf(begun))
		}
	}
	t.Fatalf("no session %s in %+v", id, s.Sessions)
	return 0
}

// wantSoftState checks when sessions expire according to soft state, in the order of
// their refreshes.
func wantSoftState(n *node, begun time.Time, want ...time.Duration) {
	n.Helper()
	seen := n.Remembered(alice)
	if len(seen) != len(want) {
		n.Errorf("%d sessions in soft state, want %d: %+v", len(seen), len(want), seen)
		return
	}
	for i, seen := range seen {
		if ends := seen.EndsAt.Sub(presence.InstantOf(begun)); ends != want[i] {
			n.Errorf("%s expires after %v in soft state, want %v", seen.Session, ends, want[i])
		}
	}
}

// TestCommitsWriteSoftState: every commit writes soft state. Otherwise a refreshed
// session would expire at its recorded instant, which is half a minute ago here.
func TestCommitsWriteSoftState(t *testing.T) {
	for _, row := range []struct {
		name string
		e    presence.Event
		ends time.Duration
	}{
		{"a note", presence.SetNote{Text: "n"}, 170 * time.Second},
		{"a claim", doNotDisturb(time.Hour), 170 * time.Second}, // signed in, because it is an API update
		{"another session", signIn("t", time.Hour), 170 * time.Second},
		{"its own refresh", presence.Refresh{Session: "s"}, 270 * time.Second},
		{"the edge to idle", presence.Refresh{Session: "s", Activity: presence.ActivityIdle}, 270 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := open(t, vfs.NewMem())
				defer n.stop()
				begun := time.Now()
				n.must(signIn("s", 2*time.Minute))
				advanceTime(50 * time.Second)
				n.must(presence.Refresh{Session: "s", Activity: presence.ActivityActive})
				wantSoftState(n, begun, 170*time.Second)
				advanceTime(100 * time.Second)
				n.must(row.e)
				if ends := endsAt(t, n.record(alice), "s", begun); ends != row.ends {
					t.Errorf("expires after %v, want %v", ends, row.ends)
				}
				wantSoftState(n, begun)
			})
		})
	}
}

func TestTicksWriteSoftState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		begun := time.Now()
		n.must(signIn("s", 2*time.Minute))
		advanceTime(50 * time.Second)
		n.must(presence.Refresh{Session: "s"})
		advanceTime(71 * time.Second)
		n.want(presence.Available)
		if ends := endsAt(t, n.record(alice), "s", begun); ends != 170*time.Second {
			t.Errorf("expires after %v", ends)
		}
		wantSoftState(n, begun)
		advanceTime(50 * time.Second)
		n.want(presence.Offline)
	})
}

func TestQueuedCommitsWriteSoftState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		begun := time.Now()
		n.must(signIn("s", 2*time.Minute))
		n.must(signIn("idle", 2*time.Minute))
		n.must(presence.Refresh{Session: "idle", Activity: presence.ActivityIdle})
		advanceTime(300 * time.Millisecond)
		n.must(presence.Refresh{Session: "idle"})
		ends := 2*time.Minute + 300*time.Millisecond
		wantSoftState(n, begun, ends)
		n.must(presence.Refresh{Session: "s", Activity: presence.ActivityIdle}) // queued
		if held := time.Since(begun); held < time.Second {
			t.Fatalf("committed after %v", held)
		}
		if got := endsAt(t, n.record(alice), "idle", begun); got != ends {
			t.Errorf("expires after %v, want %v", got, ends)
		}
		wantSoftState(n, begun)
	})
}

// TestLatestRefreshIsKept: soft state has one entry for each session, however often it
// is refreshed; a refresh without activity keeps the known activity.
func TestLatestRefreshIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		begun := time.Now()
		n.must(signIn("s", 2*time.Minute))
		n.must(signIn("t", time.Hour))
		advanceTime(time.Second)
		n.must(active)
		idleAt := n.Remembered(alice)[0].IdleAt
		for range 5 {
			advanceTime(10 * time.Second)
			n.must(presence.Refresh{Session: "t"})
			n.must(presence.Refresh{Session: "s"})
		}
		wantSoftState(n, begun, time.Hour+51*time.Second, 171*time.Second)
		if got := n.Remembered(alice)[1].IdleAt; got != idleAt {
			t.Errorf("idle at %v, want %v", got.Time(), idleAt.Time())
		}
	})
}

func TestCommittedRefreshLeavesNoSoftState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", 2*time.Minute))
		stale := presence.Refresh{Session: "s", Request: presence.Request{IfMatch: []presence.Revision{1}}}
		for _, row := range []struct {
			e    presence.Refresh
			want error
		}{
			{stale, presence.ErrPrecondition},
			{presence.Refresh{Session: "none"}, presence.ErrUnknownSession},
		} {
			if _, err := n.publish(row.e); !errors.Is(err, row.want) {
				t.Errorf("%+v: %v", row.e, err)
			}
			wantSoftState(n, time.Now())
		}
	})
}

// A hookedStore calls functions before an update and after a read, once.
type hookedStore struct {
	store.Store
	beforeUpdate, afterRead func()
}

func (r *hookedStore) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	callOnce(&r.beforeUpdate)
	return r.Store.Update(ctx, u, fn)
}

func (r *hookedStore) Begin(u store.User, fn store.Decide, reply store.Reply) {
	callOnce(&r.beforeUpdate)
	r.Store.Begin(u, fn, reply)
}

func (r *hookedStore) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	records, cursor, err := r.Store.Read(ctx, us, fresh)
	callOnce(&r.afterRead)
	return records, cursor, err
}

func callOnce(f *func()) {
	if do := *f; do != nil {
		*f = nil
		do()
	}
}

// TestRefreshesDuringCommits: soft state has only what is newer than the record, and
// nothing of a session that has ended, whatever happens between a read and the commit.
func TestRefreshesDuringCommits(t *testing.T) {
	refresh := presence.Refresh{Session: "s"}
	for _, row := range []struct {
		name string
		play func(*node, *hookedStore)
		want []time.Duration
	}{
		{"a refresh while a note is written is not in that commit", func(n *node, r *hookedStore) {
			n.must(refresh)
			advanceTime(10 * time.Second)
			r.beforeUpdate = func() { n.must(refresh) }
			n.must(presence.SetNote{Text: "n"})
		}, []time.Duration{140 * time.Second}},
		{"a refresh while its session is signed out", func(n *node, r *hookedStore) {
			r.beforeUpdate = func() { n.must(refresh) }
			n.must(presence.SignOut{Session: "s"})
		}, nil},
		{"a sign-out while its session is refreshed", func(n *node, r *hookedStore) {
			r.afterRead = func() { n.must(presence.SignOut{Session: "s"}) }
			n.must(refresh)
		}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				race := &hookedStore{}
				n := open(t, vfs.NewMem(), func(o *publish.Options) {
					race.Store, o.Store = o.Store, race
				})
				defer n.stop()
				begun := time.Now()
				n.must(signIn("s", 2*time.Minute))
				advanceTime(10 * time.Second)
				row.play(n, race)
				wantSoftState(n, begun, row.want...)
				if race.beforeUpdate != nil || race.afterRead != nil {
					t.Error("INVALID: no function was called between")
				}
			})
		})
	}
}
