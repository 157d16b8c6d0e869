package publish_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

var errNoUser = errors.New("no such user")

// A node is a publisher on a store whose disk outlives it. Use it in a synctest bubble.
type node struct {
	endedSessions atomic.Int64 // bound sessions that ended though their connection was open

	*testing.T
	store *pebblestore.Store
	*publish.Publisher
	stop func()
}

// start opens a node that also publishes expiries.
func start(t *testing.T, disk vfs.FS) *node {
	t.Helper()
	n := open(t, disk)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := n.Publisher.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	closed := n.stop
	n.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		closed()
	})
	return n
}

// open opens a node that publishes no expiries.
func open(t *testing.T, disk vfs.FS, change ...func(*publish.Options)) *node {
	t.Helper()
	st, err := pebblestore.Open("data", pebblestore.Options{FS: disk, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	options := publish.Options{
		Store: st, Policy: presence.DefaultPolicy(), Clock: time.Now, Log: slog.New(slog.DiscardHandler),
		Known: func(_ context.Context, u store.User) error {
			if u.ID == "stranger" {
				return errNoUser
			}
			return nil
		},
	}
	for _, change := range change {
		change(&options)
	}
	return &node{T: t, store: st, Publisher: publish.New(options), stop: sync.OnceFunc(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})}
}

var alice = store.User{Account: "a", ID: "alice"}

func (n *node) must(e presence.Event) publish.Result {
	n.Helper()
	result, err := n.publish(e)
	if err != nil {
		n.Fatalf("%+v: %v", e, err)
	}
	return result
}

// try is must for goroutines other than the test's.
func (n *node) try(e presence.Event) publish.Result {
	n.Helper()
	result, err := n.publish(e)
	if err != nil {
		n.Errorf("%+v: %v", e, err)
	}
	return result
}

func (n *node) publish(e presence.Event) (publish.Result, error) {
	return n.Publish(n.Context(), alice, store.Actor{User: "alice"}, e)
}

func (n *node) record(u store.User) *presence.State {
	n.Helper()
	records, _, err := n.store.Read(n.Context(), []store.User{u}, store.Freshness{})
	if err != nil || len(records) != 1 {
		n.Fatalf("%d records, %v", len(records), err)
	}
	return records[0].State
}

func (n *node) want(status presence.Status) presence.Presence {
	n.Helper()
	p := presence.RecordedOf(*n.record(alice)).Shown
	if p.Status != status {
		n.Fatalf("%v, want %v", p.Status, status)
	}
	return p
}

func signIn(id presence.SessionID, lease time.Duration) presence.SignIn {
	return presence.SignIn{Session: id, Client: presence.Desktop, Lease: lease}
}

func doNotDisturb(lasts time.Duration) presence.SetClaim {
	return presence.SetClaim{
		Request: presence.Request{Update: true}, ID: presence.ManualClaim, Source: presence.Manual,
		Status: presence.DoNotDisturb, Lasts: lasts,
	}
}

// advanceTime advances the time and waits until everything is idle.
func advanceTime(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestExpiriesArePublishedOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		begun := time.Now()
		n.must(doNotDisturb(time.Minute))
		advanceTime(time.Minute - time.Millisecond)
		n.want(presence.DoNotDisturb)
		advanceTime(100 * time.Millisecond)
		if p := n.want(presence.Available); p.Since != presence.InstantOf(begun.Add(time.Minute)) {
			t.Errorf("since %v, want the expiry of the claim", p.Since.Time())
		}
	})
}

func TestExpiriesWhileDownArePublishedAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		n := start(t, disk)
		n.must(signIn("s", time.Hour))
		n.must(doNotDisturb(time.Minute))
		n.stop()
		time.Sleep(30 * time.Minute)
		n = start(t, disk)
		defer n.stop()
		advanceTime(time.Second)
		n.want(presence.Available) // not idle: clients could not report activity
		advanceTime(time.Hour)
		n.want(presence.Offline)
	})
}

// TestRefreshesAreSoft: refreshes are kept in memory and are not commits, and the
// session stays live.
func TestRefreshesAreSoft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", 2*time.Minute))
		signedIn := n.record(alice).Revision
		commits := 0
		last := signedIn
		for range 120 { // an hour, twice a minute
			advanceTime(30 * time.Second)
			n.must(presence.Refresh{Session: "s", Activity: presence.ActivityActive})
			n.want(presence.Available)
			if r := n.record(alice).Revision; r != last {
				commits, last = commits+1, r
			}
		}
		if p := n.want(presence.Available); p.Revision > signedIn {
			t.Errorf("a refresh changed the revision from %[2]d to %[1]d", p.Revision, signedIn)
		}
		if commits > 60 {
			t.Errorf("%d commits for 120 refreshes", commits)
		}
		t.Logf("%d commits for 120 refreshes", commits)
		advanceTime(119 * time.Second)
		n.want(presence.Available)
		advanceTime(2 * time.Second)
		n.want(presence.Offline)
	})
}

// TestSoftRefreshesShow: the answer to a refresh, and the list of sessions, include
// soft state.
func TestSoftRefreshesShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		signedIn := n.must(signIn("s", 2*time.Minute))
		advanceTime(30 * time.Second)
		refreshed := n.must(presence.Refresh{Session: "s", Activity: presence.ActivityActive})
		want := presence.InstantOf(time.Now().Add(2 * time.Minute))
		if refreshed.Revision() != signedIn.Revision() {
			t.Error("the refresh was a commit")
		}
		if got := refreshed.Record.State.Sessions[0].EndsAt; got != want {
			t.Errorf("the answer has the expiry %v, want %v", got.Time(), want.Time())
		}
		if got := n.WithSoftState(alice, n.record(alice)).Sessions[0].EndsAt; got != want {
			t.Errorf("a reader gets the expiry %v, want %v", got.Time(), want.Time())
		}
		if got := n.record(alice).Sessions[0].EndsAt; got == want {
			t.Error("the shared record was modified")
		}
	})
}

// TestFlappingIsDamped: two devices that disagree at 20 Hz change the status at most
// once a second. The first change is immediate, and the last state is right.
func TestFlappingIsDamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		begun := time.Now()
		n.must(signIn("s", time.Hour))
		if time.Since(begun) > 100*time.Millisecond {
			t.Error("the first change was queued")
		}
		var group sync.WaitGroup
		for i := range 100 { // 5 s; the last reports idle
			advanceTime(50 * time.Millisecond)
			activity := presence.ActivityActive
			if i%2 == 1 {
				activity = presence.ActivityIdle
			}
			group.Go(func() { n.try(presence.Refresh{Session: "s", Activity: activity}) })
		}
		group.Wait()
		synctest.Wait()
		n.want(presence.Away)
		changes := countChanges(n, alice)
		if changes > 7 {
			t.Errorf("%d changes in 5 s", changes)
		}
	})
}

// countChanges counts the log entries that changed u's status.
func countChanges(n *node, u store.User) int {
	n.Helper()
	changes := 0
	for _, e := range entries(n, u) {
		if e.Before.Status != e.After.Status {
			changes++
		}
	}
	return changes
}

// entries are the log entries of u.
func entries(n *node, u store.User) []store.Entry {
	n.Helper()
	ctx, cancel := context.WithCancel(n.Context())
	defer cancel()
	var all []store.Entry
	done := n.record(u).Revision
	_ = n.store.Feed(ctx, 0, func(entries []store.Entry) error {
		for _, e := range entries {
			if e.User == u {
				all = append(all, e)
			}
			if e.User == u && e.Revision == done {
				cancel()
			}
		}
		return nil
	})
	return all
}

// TestQueuedEventsAreAnsweredOneByOne: a refused event among queued ones does not
// affect the others.
func TestQueuedEventsAreAnsweredOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		var group sync.WaitGroup
		group.Go(func() { n.try(presence.SignOut{Session: "s"}) })
		synctest.Wait()
		group.Go(func() {
			_, err := n.Publish(t.Context(), alice, store.Actor{}, presence.SignOut{Session: "s"})
			if !errors.Is(err, presence.ErrUnknownSession) {
				t.Errorf("the second sign-out: %v", err)
			}
		})
		synctest.Wait()
		group.Go(func() { n.try(signIn("t", time.Hour)) })
		group.Wait()
		if s := n.record(alice); len(s.Sessions) != 1 || s.Sessions[0].ID != "t" {
			t.Errorf("sessions %+v", s.Sessions)
		}
		if changes := countChanges(n, alice); changes != 1 {
			t.Errorf("%d changes, want none for signing out and in within a second", changes)
		}
	})
}

// TestUpdateIntervalUnderConcurrency: of a hundred concurrent updates in one minute
// exactly one is accepted.
func TestUpdateIntervalUnderConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		var group sync.WaitGroup
		var mu sync.Mutex
		accepted := 0
		for range 100 {
			group.Go(func() {
				_, err := n.Publish(t.Context(), alice, store.Actor{}, doNotDisturb(time.Hour))
				var soon *presence.RateLimitedError
				switch {
				case err == nil:
					mu.Lock()
					accepted++
					mu.Unlock()
				case !errors.As(err, &soon):
					t.Error(err)
				}
			})
		}
		group.Wait()
		if accepted != 1 {
			t.Errorf("%d accepted", accepted)
		}
	})
}

func TestUnknownUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		stranger := store.User{Account: "a", ID: "stranger"}
		if _, err := n.Publish(t.Context(), stranger, store.Actor{}, signIn("s", time.Hour)); !errors.Is(err, errNoUser) {
			t.Errorf("got %v", err)
		}
		records, _, err := n.store.Read(t.Context(), []store.User{stranger}, store.Freshness{})
		if err != nil || len(records) != 0 {
			t.Errorf("%d records of an unknown user, %v", len(records), err)
		}
		n.must(signIn("s", time.Hour)) // in the directory, nothing recorded yet
		n.want(presence.Available)
	})
}

func TestRepeatsGetTheSameAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		e := doNotDisturb(time.Hour)
		e.Key, e.Body, e.Result = [16]byte{1}, [16]byte{1}, "made"
		first := n.must(e)
		advanceTime(time.Second)
		again := n.must(e)
		if again.Answer == nil || again.Answer.Result != "made" || again.Revision() != first.Revision() {
			t.Errorf("%+v, then %+v", first, again)
		}
	})
}
