package server

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// TestDeadNodesAreLookedAtAgain: the sessions of a dead node are looked for once more after
// its last write can have been stored.
func TestDeadNodesAreLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var calls []string
		q, begun := newDeadQueue(), time.Now()
		go q.follow(ctx, func(ids []string) error {
			calls = append(calls, fmt.Sprintf("%v%v", time.Since(begun), ids))
			return nil
		})
		q.add("a")
		time.Sleep(4 * time.Minute)
		q.add("b")
		time.Sleep(time.Hour)
		q.add("c")
		synctest.Wait()
		stop()
		synctest.Wait()
		want := []string{"0s[a]", "4m0s[a b]", "9m0s[a b]", "1h4m0s[c]"}
		if !slices.Equal(calls, want) {
			t.Errorf("%q, want %q", calls, want)
		}
	})
}

// A sharedEngine is a store that several nodes may serve.
type sharedEngine struct{ store.Store }

func (sharedEngine) Shared() bool { return true }

// nodeOn is a node that has joined the others on a store, without an API.
func nodeOn(t *testing.T, st store.Store) *Server {
	t.Helper()
	s := &Server{store: st, opts: Options{Clock: time.Now}, log: slog.New(slog.DiscardHandler), deadNodes: newDeadQueue()}
	apptest.Check(t, s.joinNodes())
	s.publisher = publisherOn(st, s.members.Self())
	return s
}

func publisherOn(st store.Store, holder string) *publish.Publisher {
	policy := presence.DefaultPolicy()
	policy.Ahead = true
	return publish.New(publish.Options{
		Store: st, Policy: policy, Holder: holder, Clock: time.Now, Log: slog.New(slog.DiscardHandler),
		Known: func(context.Context, store.User) error { return nil },
	})
}

// TestHoldersWithoutDocument: after a start, the sessions end that were held by a run of which
// the store has no document any more, once clients had time to come back. Those of a live node
// do not.
func TestHoldersWithoutDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, err := pebblestore.Open("data", pebblestore.Options{FS: vfs.NewMem(), MinFreeBytes: -1})
		apptest.Check(t, err)
		st := sharedEngine{engine}
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		var running sync.WaitGroup
		defer func() {
			stop()
			running.Wait()
			apptest.Check(t, engine.Close())
		}()
		alice, bob := store.User{Account: "a", ID: "alice"}, store.User{Account: "a", ID: "bob"}
		other := nodeOn(t, st)
		running.Go(func() { apptest.Check(t, other.members.Run(ctx)) })
		for u, by := range map[store.User]*publish.Publisher{alice: publisherOn(st, "forgotten"), bob: other.publisher} {
			_, err := by.SignIn(ctx, u, store.Actor{}, presence.SignIn{Session: "s", Client: presence.Desktop}, func(error) {})
			apptest.Check(t, err)
		}

		s := nodeOn(t, st)
		for _, part := range []func(context.Context) error{s.members.Run, s.endEarlier, s.endHeld} {
			running.Go(func() { apptest.Check(t, part(ctx)) })
		}
		statuses := func() (shown []presence.Status) {
			records, _, err := st.Read(ctx, []store.User{alice, bob}, store.Freshness{})
			apptest.Check(t, err)
			for _, r := range records {
				shown = append(shown, presence.RecordedOf(*r.State).Shown.Status)
			}
			return shown
		}
		time.Sleep(publish.Grace - time.Second)
		if got := statuses(); !slices.Equal(got, []presence.Status{presence.Available, presence.Available}) {
			t.Errorf("before the end of the grace period: %v", got)
		}
		time.Sleep(5 * time.Second)
		if got := statuses(); !slices.Equal(got, []presence.Status{presence.Offline, presence.Available}) {
			t.Errorf("after the grace period: %v", got)
		}
	})
}

// TestStartOfOneOfSeveralNodes: a node that starts on a store that others serve, as in a
// rolling upgrade, gives recorded sessions no more time. On the embedded engine a start does.
func TestStartOfOneOfSeveralNodes(t *testing.T) {
	for name, shared := range map[string]bool{"shared": true, "embedded": false} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Config{DataDir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0"}
			_, err := Init(t.Context(), cfg, Founding{Account: "Test", OwnerEmail: "ada@example.com", AppName: "test"})
			apptest.Check(t, err)
			st, err := pebblestore.Open(filepath.Join(cfg.DataDir, "store"), pebblestore.Options{MustExist: true})
			apptest.Check(t, err)
			opts := Options{Store: st}
			if shared {
				opts.Store = sharedEngine{st}
			}
			s, err := New(cfg, opts)
			apptest.Check(t, err)
			defer s.close()
			if p := s.publisher.Policy(); p.Ahead != shared || (p.Ready == 0) != shared {
				t.Errorf("Ahead is %t, Ready %v", p.Ahead, p.Ready)
			}
		})
	}
}
