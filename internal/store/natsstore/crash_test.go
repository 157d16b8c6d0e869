package natsstore_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// A tally counts the updates of one user by result. Each update adds one to a count in
// the record.
type tally struct {
	user     store.User
	acked    int // acknowledged updates
	unknown  int
	refused  int
	lastSeen int
}

// count makes an update that increments the count in the record and returns it in n.
func count(n *int) func(presence.State) (presence.State, error) {
	return func(s presence.State) (presence.State, error) {
		// The first update finds no count.
		was, _ := strconv.Atoi(s.Note.Text)
		s, err := touch(s)
		*n = was + 1
		s.Note.Text = strconv.Itoa(was + 1)
		return s, err
	}
}

// updateOnce updates the record, unless stop is closed. The count must rise.
func (y *tally) updateOnce(t *testing.T, s *natsstore.Store, stop <-chan struct{}) (more bool) {
	t.Helper()
	select {
	case <-stop:
		return false
	default:
	}
	var n int
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	_, err := s.Update(ctx, y.user, storetest.UpdateFunc(store.By{}, count(&n)))
	cancel()
	switch {
	case err == nil:
		y.acked++
		// The count includes all acknowledged updates, and some of the unknown ones.
		if n < y.lastSeen+1 || n < y.acked || n > y.acked+y.unknown {
			t.Errorf("%s: the count is %d after %d; %d acknowledged, %d unknown", y.user.ID, n, y.lastSeen, y.acked, y.unknown)
		}
		y.lastSeen = n
	case errors.Is(err, store.ErrUnknown):
		y.unknown++
	case errors.Is(err, store.ErrUnavailable):
		y.refused++
	default:
		t.Errorf("Update: %v", err)
		return false
	}
	return true
}

// check compares the count in the record with the tally.
func (y *tally) check(t *testing.T, s *natsstore.Store) {
	t.Helper()
	records, _, err := s.Read(t.Context(), []store.User{y.user}, store.Freshness{})
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	n := 0
	for _, r := range records {
		n, _ = strconv.Atoi(r.State.Note.Text)
	}
	if n < y.acked || n > y.acked+y.unknown {
		t.Errorf("%s: the count is %d; %d acknowledged, %d unknown", y.user.ID, n, y.acked, y.unknown)
	}
}

// A follower reads the feed, and compares each entry with the user's previous one.
type follower struct {
	mu      sync.Mutex
	last    map[store.User]store.Entry
	entries int
	repeats int
	gaps    int
}

func (f *follower) run(ctx context.Context, t *testing.T, s *natsstore.Store) error {
	t.Helper()
	return s.Feed(ctx, 0, func(group []store.Entry) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range group {
			f.check(t, e)
		}
		return nil
	})
}

// check requires that an entry is a repetition, that its Before is the After of the
// previous one, or that it has a Gap.
func (f *follower) check(t *testing.T, e store.Entry) {
	t.Helper()
	f.entries++
	last, ok := f.last[e.User]
	switch {
	case ok && e.At <= last.At:
		f.repeats++
		return
	case e.Gap:
		f.gaps++
	case ok && e.Before != last.After, !ok && e.Before.Revision != 0:
		t.Errorf("%s: the entry at %d has Before %+v, but the previous one, at %d, has After %+v", e.User.ID, e.At, e.Before, last.At, last.After)
	}
	f.last[e.User] = e
}

// caughtUp reports whether the follower has the newest entries of us.
func (f *follower) caughtUp(t *testing.T, s *natsstore.Store, us []store.User) bool {
	t.Helper()
	records, _, err := s.Read(t.Context(), us, store.Freshness{})
	if err != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range records {
		if f.last[r.User].At != r.At {
			return false
		}
	}
	return len(records) == len(us)
}

// A load is concurrent writers and a follower on one store.
type load struct {
	s        *natsstore.Store
	tallies  []*tally
	follower *follower
	stop     chan struct{}
	writers  sync.WaitGroup
	feed     chan error
	endFeed  context.CancelFunc
}

func startLoad(t *testing.T, s *natsstore.Store, writers int) *load {
	t.Helper()
	l := &load{s: s, stop: make(chan struct{}), feed: make(chan error, 1), follower: &follower{last: make(map[store.User]store.Entry)}}
	// One user changes all the time, the others at a realistic rate.
	const each = 40
	for w := range writers {
		turns := 1
		if w > 0 {
			turns = each
		}
		mine := make([]*tally, turns)
		for i := range mine {
			mine[i] = &tally{user: userNumber(w*each + i)}
		}
		l.tallies = append(l.tallies, mine...)
		l.writers.Go(func() {
			for i := 0; mine[i%turns].updateOnce(t, s, l.stop); i++ {
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.endFeed = cancel
	go func() { l.feed <- l.follower.run(ctx, t, s) }()
	return l
}

// acked sums the results. It must be called after end.
func (l *load) acked() (acked, unknown, refused int) {
	for _, y := range l.tallies {
		acked, unknown, refused = acked+y.acked, unknown+y.unknown, refused+y.refused
	}
	return acked, unknown, refused
}

// end stops the writers, waits until the follower has caught up, and checks all results.
func (l *load) end(t *testing.T) {
	t.Helper()
	waitFor(t, "updates", func() bool {
		l.follower.mu.Lock()
		defer l.follower.mu.Unlock()
		return l.follower.entries >= 100
	})
	close(l.stop)
	l.writers.Wait()
	var us []store.User
	for _, y := range l.tallies {
		y.check(t, l.s)
		if y.acked > 0 {
			us = append(us, y.user)
		}
	}
	waitFor(t, "the end of the feed", func() bool { return l.follower.caughtUp(t, l.s, us) })
	l.endFeed()
	if err := <-l.feed; !errors.Is(err, context.Canceled) {
		t.Errorf("Feed ended with %v", err)
	}
	acked, unknown, refused := l.acked()
	t.Logf("%d acknowledged, %d unknown, %d refused; %d entries, %d repetitions, %d gaps",
		acked, unknown, refused, l.follower.entries, l.follower.repeats, l.follower.gaps)
	if acked < 20 {
		t.Errorf("%d updates were acknowledged: too few to test anything", acked)
	}
}

func processOptions(t *testing.T, p *process) natsstore.Options {
	t.Helper()
	return natsstore.Options{Replicas: 1, SystemURL: p.systemURL(), Timeout: storeTimeout}
}

// TestServerKilled kills the server under load and restarts it on its data: no
// acknowledged write is lost, none is stored twice, and the feed is complete.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	rounds := leveltest.Count(t, "kills of the NATS server", 3, 4, 60)
	p := startProcess(t)
	s, err := natsstore.Open(t.Context(), p.url(), processOptions(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	l := startLoad(t, s, 8)
	for range rounds {
		time.Sleep(time.Duration(50+rand.IntN(300)) * time.Millisecond)
		p.kill()
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		p.start(t)
		waitFor(t, "a healthy store", func() bool { return s.Check(t.Context()) == nil })
	}
	l.end(t)
}

// TestConnectionCut cuts the connection at random moments.
func TestConnectionCut(t *testing.T) {
	t.Parallel()
	rounds := leveltest.Count(t, "connections to NATS that are cut", 8, 15, 300)
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, storeTimeout)
	defer closeStore(t, s)
	l := startLoad(t, s, 8)
	for range rounds {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		waitFor(t, "a connection", p.connected)
		p.cut()
		waitFor(t, "a healthy store", func() bool { return s.Check(t.Context()) == nil })
	}
	l.end(t)
	if p.cuts.Load() < int64(rounds)/2 {
		t.Errorf("%d connections were cut", p.cuts.Load())
	}
}

// TestAnswersLost drops the responses of the server, so that writes are stored but not
// acknowledged: none is stored twice, and none is lost. On a slow machine some may stay
// unknown; TestAnswerLostForEach requires that they are recognised.
func TestAnswersLost(t *testing.T) {
	t.Parallel()
	rounds := leveltest.Count(t, "times that responses of NATS are lost", 4, 6, 100)
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, storeTimeout)
	defer closeStore(t, s)
	l := startLoad(t, s, 8)
	for range rounds {
		time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond)
		p.dropResponses.Store(true)
		before := p.dropped.Load()
		waitFor(t, "a lost answer", func() bool { return p.dropped.Load() > before })
		time.Sleep(50 * time.Millisecond)
		p.restore()
		waitFor(t, "a healthy store", func() bool { return s.Check(t.Context()) == nil })
	}
	l.end(t)
}

// TestAnswerLostForEach drops the acknowledgement of one write of each kind: the call
// still succeeds.
func TestAnswerLostForEach(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, storeTimeout)
	defer closeStore(t, s)
	a := servers.admin(t)
	runs := 0
	doc := store.Doc{Key: store.Key{Collection: "c", Key: "k"}, Value: []byte("v")}
	pair := []store.Doc{doc, doc}
	pair[0].Key.Key, pair[1].Key.Key = "a", "b"
	timed := func(st presence.State) (presence.State, error) {
		st, err := touch(st)
		runs++
		st.Claims = []presence.Claim{{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice, Since: st.At, Until: st.At.Add(time.Hour)}}
		return st, err
	}
	plain := func(st presence.State) (presence.State, error) {
		runs++
		return touch(st)
	}
	for name, write := range map[string]func() error{
		"Update": func() error {
			_, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, plain))
			return err
		},
		"Update with a timer": func() error {
			_, err := s.Update(t.Context(), userNumber(2), storetest.UpdateFunc(store.By{}, timed))
			return err
		},
		"Write of one": func() error { return s.Write(t.Context(), "acme", doc) },
		"Write of two": func() error { return s.Write(t.Context(), "acme", pair...) },
	} {
		var answered atomic.Bool
		result := make(chan error, 1)
		before := a.messages("porchlight-state")
		p.dropAfterWrite.Store(true)
		go func() { result <- write(); answered.Store(true) }()
		waitFor(t, "the write of "+name, func() bool { return a.messages("porchlight-state") > before })
		if !p.dropResponses.Load() || answered.Load() {
			t.Fatalf("%s: it was acknowledged", name)
		}
		p.restore()
		if err := <-result; err != nil {
			t.Errorf("%s, stored but not acknowledged: %v", name, err)
		}
	}
	if runs != 2 {
		// A lost acknowledgement must not run the update function again.
		t.Errorf("the functions ran %d times", runs)
	}
	docs, err := s.Load(t.Context(), "acme", doc.Key, pair[0].Key, pair[1].Key)
	if err != nil || len(docs) != 3 {
		t.Errorf("Load: %+v, %v", docs, err)
	}
}

// TestUnavailable: without a server, calls fail with ErrUnavailable after little more
// than two seconds, and the store recovers by itself.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, natsstore.DefaultTimeout)
	defer closeStore(t, s)
	updated := func() bool {
		_, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch))
		return err == nil
	}
	waitFor(t, "an update", updated)
	p.closed.Store(true)
	p.cut()
	waitFor(t, "an unhealthy store", func() bool { return s.Check(t.Context()) != nil })
	began := time.Now()
	_, update := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch))
	_, _, read := s.Read(t.Context(), []store.User{userNumber(1)}, store.Freshness{})
	for what, err := range map[string]error{
		"Update": update, "Read": read,
		"Write": s.Write(t.Context(), "acme", store.Doc{Key: store.Key{Collection: "c", Key: "k"}, Value: []byte("v")}),
		"Check": s.Check(t.Context()),
	} {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) || !strings.Contains(err.Error(), "NATS at nats://127.0.0.1") || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if took := time.Since(began); took > waitLimit {
		t.Errorf("four calls took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Check(ctx); err == nil {
		t.Error("Check with a short context succeeded")
	}
	p.closed.Store(false)
	waitFor(t, "the store", func() bool { return s.Check(t.Context()) == nil })
	waitFor(t, "an update afterwards", updated)
	select {
	case <-s.Failed():
		t.Error("a lost connection ended the store")
	default:
	}
}

// TestReplaced: a store whose streams were replaced during a disconnection fails before
// it writes to them.
func TestReplaced(t *testing.T) {
	t.Parallel()
	for name, corrupt := range map[string]func(a admin, servers *cluster){
		"lost": func(a admin, _ *cluster) { a.remove("porchlight-state") },
		"recreated": func(a admin, servers *cluster) {
			a.remove("porchlight-state")
			a.remove("porchlight-history")
			if err := servers.open(a, servers.options()).Close(); err != nil {
				a.Error(err)
			}
		},
		"settings": func(a admin, _ *cluster) {
			config := a.config("porchlight-state")
			config.MaxMsgsPerSubject = 1
			if _, err := a.UpdateStream(a.Context(), config); err != nil {
				a.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := startServers(t, 1)
			s, p := openThroughProxy(t, servers, storeTimeout)
			defer closeStore(t, s)
			if _, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
				t.Fatal(err)
			}
			p.closed.Store(true)
			p.cut()
			a := servers.admin(t)
			waitFor(t, "the history", func() bool { return a.messages("porchlight-history") > 0 })
			corrupt(a, servers)
			p.closed.Store(false)
			select {
			case <-s.Failed():
			case <-time.After(waitLimit):
				t.Fatal("the store did not fail")
			}
			_, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch))
			if !errors.Is(err, store.ErrFailed) || !errors.Is(s.Check(t.Context()), store.ErrFailed) {
				t.Errorf("Update: %v, Check: %v", err, s.Check(t.Context()))
			}
		})
	}
}

// TestRolledBack: a store fails whose stream ends before what was stored.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := servers.open(t, natsstore.WithInterval(servers.options(), 50*time.Millisecond))
	defer closeStore(t, s)
	if err := s.VerifyOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	last, err := s.LastSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Note(last + 3)
	select {
	case <-s.Failed():
	case <-time.After(waitLimit):
		t.Fatal("the store did not fail")
	}
	if err := s.Check(t.Context()); !errors.Is(err, natsstore.ErrLost) {
		t.Errorf("Check: %v, want ErrLost", err)
	}
}

// TestDueOverRestarts: Due reports each user once who is due while the server is down.
func TestDueOverRestarts(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	s, err := natsstore.Open(t.Context(), p.url(), processOptions(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	const users = 20
	due := presence.InstantOf(time.Now().Add(8 * time.Second))
	var inTime int64
	for i := range users {
		r, err := s.Update(t.Context(), userNumber(i), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) {
			st, err := touch(st)
			st.Claims = []presence.Claim{{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice, Since: st.At, Until: due}}
			return st, err
		}))
		if err != nil {
			t.Fatal(err)
		}
		if r.State.At < due {
			inTime++ // on a slow machine, later updates are past their expiry
		}
	}
	if inTime == 0 {
		t.Fatal("no user was stored before the expiry")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ended atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- s.Due(ctx, func(us []store.User) error {
			for _, u := range us {
				_, err := s.Update(ctx, u, storetest.UpdateFunc(store.By{Cause: store.CauseTime}, func(st presence.State) (presence.State, error) {
					if len(st.Claims) == 0 || st.Claims[0].Until > presence.InstantOf(time.Now()) {
						return st, presence.ErrNoChange
					}
					st, err := touch(st)
					st.Claims = nil
					return st, err
				}))
				if err == nil {
					ended.Add(1)
				}
			}
			return nil
		})
	}()
	p.kill()
	time.Sleep(time.Until(due.Time()))
	p.start(t)
	waitFor(t, "the expiries", func() bool { return ended.Load() >= inTime })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Due ended with %v", err)
	}
	if ended.Load() != inTime {
		t.Errorf("%d expiries of %d users", ended.Load(), inTime)
	}
}

func closeStore(t *testing.T, s *natsstore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// openThroughProxy opens a store that is connected through a proxy.
func openThroughProxy(t *testing.T, servers *cluster, wait time.Duration) (*natsstore.Store, *proxy) {
	t.Helper()
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	o := servers.options()
	o.Timeout = wait
	return openSoon(t, p.url(), o), p
}

// openSoon opens a store whose Timeout may be too short for that on a busy machine.
func openSoon(t *testing.T, url string, o natsstore.Options) (s *natsstore.Store) {
	t.Helper()
	waitFor(t, "an open store", func() bool {
		var err error
		s, err = natsstore.Open(t.Context(), url, o)
		return err == nil
	})
	return s
}
