package natsstore_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

func soaking() bool { return os.Getenv("PORCHLIGHT_SOAK") != "" }

// A tally is updates of one user that each add one to a count in the record, and
// what was answered. Lost answers are counted apart.
type tally struct {
	user     store.User
	acked    int // answers that said it was done
	unknown  int
	refused  int
	lastSeen int
}

// count is an update that writes how many there were, and who made it.
func count(n *int) func(presence.State) (presence.State, error) {
	return func(s presence.State) (presence.State, error) {
		// The first has no count yet.
		was, _ := strconv.Atoi(s.Note.Text)
		s, err := touch(s)
		*n = was + 1
		s.Note.Text = strconv.Itoa(was + 1)
		return s, err
	}
}

// once updates, unless stop is closed. Each answer must be more than the last.
func (y *tally) once(t *testing.T, s *natsstore.Store, stop <-chan struct{}) (more bool) {
	t.Helper()
	select {
	case <-stop:
		return false
	default:
	}
	var n int
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	_, err := s.Update(ctx, y.user, storetest.UpdateFunc(store.By{}, count(&n)))
	cancel()
	switch {
	case err == nil:
		y.acked++
		// All that were acknowledged, and of the others some.
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

// check compares the record with what was answered.
func (y *tally) check(t *testing.T, s *natsstore.Store) {
	t.Helper()
	records, _, err := s.Read(t.Context(), []store.User{y.user})
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

// A follower reads the feed and holds every entry against the one before it.
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
			f.take(t, e)
		}
		return nil
	})
}

// take: an entry of the feed is one that came before, or its Before is the
// After of the last, unless it says that there is a gap.
func (f *follower) take(t *testing.T, e store.Entry) {
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
		t.Errorf("%s: the entry at %d goes from %+v, and the one before it, at %d, to %+v", e.User.ID, e.At, e.Before, last.At, last.After)
	}
	f.last[e.User] = e
}

// caughtUp reports whether it has seen the records of us.
func (f *follower) caughtUp(t *testing.T, s *natsstore.Store, us []store.User) bool {
	t.Helper()
	records, _, err := s.Read(t.Context(), us)
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

// A load is writers and a follower on one store.
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
	// One user changes all the time; the others as often as people might.
	const each = 40
	for w := range writers {
		turns := 1
		if w > 0 {
			turns = each
		}
		mine := make([]*tally, turns)
		for i := range mine {
			mine[i] = &tally{user: someone(w*each + i)}
		}
		l.tallies = append(l.tallies, mine...)
		l.writers.Go(func() {
			for i := 0; mine[i%turns].once(t, s, l.stop); i++ {
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.endFeed = cancel
	go func() { l.feed <- l.follower.run(ctx, t, s) }()
	return l
}

// acked is how many updates were acknowledged; only after end.
func (l *load) acked() (acked, unknown, refused int) {
	for _, y := range l.tallies {
		acked, unknown, refused = acked+y.acked, unknown+y.unknown, refused+y.refused
	}
	return acked, unknown, refused
}

// end stops the writers, waits for the feed to have everything, and checks all.
func (l *load) end(t *testing.T) {
	t.Helper()
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
	t.Logf("%d acknowledged, %d unknown, %d refused; %d entries fed, %d again, %d after a gap",
		acked, unknown, refused, l.follower.entries, l.follower.repeats, l.follower.gaps)
	if acked < 20 {
		t.Errorf("%d updates were acknowledged: the test showed nothing", acked)
	}
}

func processOptions(t *testing.T, p *process) natsstore.Options {
	t.Helper()
	return natsstore.Options{Replicas: 1, SystemURL: p.systemURL(), Timeout: patience}
}

// TestServerKilled kills the server under load and starts it on its folder:
// nothing acknowledged is lost, nothing is made twice, and the feed is complete.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	rounds := 4
	if soaking() {
		rounds = 60
	}
	p := startProcess(t)
	s, err := natsstore.Open(t.Context(), p.url(), processOptions(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, s)
	l := startLoad(t, s, 8)
	for range rounds {
		time.Sleep(time.Duration(50+rand.IntN(300)) * time.Millisecond)
		p.kill()
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		p.start(t)
		waitFor(t, "a store that is well", func() bool { return s.Check(t.Context()) == nil })
	}
	l.end(t)
}

// TestConnectionCut cuts the connection at random moments.
func TestConnectionCut(t *testing.T) {
	t.Parallel()
	rounds := 15
	if soaking() {
		rounds = 300
	}
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, patience)
	defer closed(t, s)
	l := startLoad(t, s, 8)
	for range rounds {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		p.cut()
		waitFor(t, "a store that is well", func() bool { return s.Check(t.Context()) == nil })
	}
	l.end(t)
	if p.cuts.Load() < int64(rounds)/2 {
		t.Errorf("%d connections were cut", p.cuts.Load())
	}
}

// TestAnswersLost drops what the server says, so that writes are made and nobody
// hears of it: none is made twice, and none is lost. That they are recognised shows
// in TestAnswerLostForEach: here, on a slow machine, some may stay unknown.
func TestAnswersLost(t *testing.T) {
	t.Parallel()
	rounds := 6
	if soaking() {
		rounds = 100
	}
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, patience)
	defer closed(t, s)
	l := startLoad(t, s, 8)
	for range rounds {
		time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond)
		p.deaf.Store(true)
		before := p.dropped.Load()
		waitFor(t, "a lost answer", func() bool { return p.dropped.Load() > before })
		time.Sleep(50 * time.Millisecond)
		p.hear()
		waitFor(t, "a store that is well", func() bool { return s.Check(t.Context()) == nil })
	}
	l.end(t)
}

// TestAnswerLostForEach loses the answer of one write of each kind, and says what
// came of it.
func TestAnswerLostForEach(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, patience)
	defer closed(t, s)
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
			_, err := s.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, plain))
			return err
		},
		"Update with a timer": func() error {
			_, err := s.Update(t.Context(), someone(2), storetest.UpdateFunc(store.By{}, timed))
			return err
		},
		"Write of one": func() error { return s.Write(t.Context(), "acme", doc) },
		"Write of two": func() error { return s.Write(t.Context(), "acme", pair...) },
	} {
		var answered atomic.Bool
		result := make(chan error, 1)
		before := a.messages("porchlight-state")
		p.trap.Store(true)
		go func() { result <- write(); answered.Store(true) }()
		waitFor(t, "the write of "+name, func() bool { return a.messages("porchlight-state") > before })
		if !p.deaf.Load() || answered.Load() {
			t.Fatalf("%s: it was answered", name)
		}
		p.hear()
		if err := <-result; err != nil {
			t.Errorf("%s, made and not answered: %v", name, err)
		}
	}
	if runs != 2 {
		// Once for each: that an answer was lost is no reason to decide again.
		t.Errorf("the functions ran %d times", runs)
	}
	docs, err := s.Load(t.Context(), "acme", doc.Key, pair[0].Key, pair[1].Key)
	if err != nil || len(docs) != 3 {
		t.Errorf("Load: %+v, %v", docs, err)
	}
}

// TestUnavailable: without a server, calls fail within a little more than two
// seconds and say so, and the store comes back by itself.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, natsstore.DefaultTimeout)
	defer closed(t, s)
	if _, err := s.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
		t.Fatal(err)
	}
	p.closed.Store(true)
	p.cut()
	waitFor(t, "a store that is not well", func() bool { return s.Check(t.Context()) != nil })
	began := time.Now()
	_, update := s.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch))
	_, _, read := s.Read(t.Context(), []store.User{someone(1)})
	for what, err := range map[string]error{
		"Update": update, "Read": read,
		"Write": s.Write(t.Context(), "acme", store.Doc{Key: store.Key{Collection: "c", Key: "k"}, Value: []byte("v")}),
		"Check": s.Check(t.Context()),
	} {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) || !strings.Contains(err.Error(), "NATS at nats://127.0.0.1") || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("four calls took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Check(ctx); err == nil {
		t.Error("Check with a short context says that all is well")
	}
	p.closed.Store(false)
	waitFor(t, "the store", func() bool { return s.Check(t.Context()) == nil })
	if _, err := s.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
		t.Error(err)
	}
	select {
	case <-s.Failed():
		t.Error("a lost connection ended the store")
	default:
	}
}

// TestReplaced: a store whose streams were replaced while it was not connected
// fails, and says so, before it writes into them.
func TestReplaced(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(a admin, servers *cluster){
		"lost": func(a admin, _ *cluster) { a.remove("porchlight-state") },
		"made anew": func(a admin, servers *cluster) {
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
			s, p := openThroughProxy(t, servers, patience)
			defer closed(t, s)
			if _, err := s.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
				t.Fatal(err)
			}
			p.closed.Store(true)
			p.cut()
			a := servers.admin(t)
			waitFor(t, "the history", func() bool { return a.messages("porchlight-history") > 0 })
			spoil(a, servers)
			p.closed.Store(false)
			select {
			case <-s.Failed():
			case <-time.After(patience):
				t.Fatal("the store did not fail")
			}
			_, err := s.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch))
			if !errors.Is(err, store.ErrFailed) || !errors.Is(s.Check(t.Context()), store.ErrFailed) {
				t.Errorf("Update: %v, Check: %v", err, s.Check(t.Context()))
			}
		})
	}
}

// TestDueOverRestarts: what is due while the server is away, or this node, comes
// afterwards; each once.
func TestDueOverRestarts(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	s, err := natsstore.Open(t.Context(), p.url(), processOptions(t, p))
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, s)
	const users = 20
	due := presence.InstantOf(time.Now().Add(2 * time.Second))
	var inTime int64
	for i := range users {
		r, err := s.Update(t.Context(), someone(i), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) {
			st, err := touch(st)
			st.Claims = []presence.Claim{{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice, Since: st.At, Until: due}}
			return st, err
		}))
		if err != nil {
			t.Fatal(err)
		}
		if r.State.At < due {
			inTime++ // on a slow machine, what is stored later has no end ahead
		}
	}
	if inTime == 0 {
		t.Fatal("nobody was stored in time: the test showed nothing")
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
	waitFor(t, "the ends", func() bool { return ended.Load() >= inTime })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Due ended with %v", err)
	}
	if ended.Load() != inTime {
		t.Errorf("%d ends of %d users", ended.Load(), inTime)
	}
}

func closed(t *testing.T, s *natsstore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// openThroughProxy opens a store that reaches its server only through a proxy.
func openThroughProxy(t *testing.T, servers *cluster, wait time.Duration) (*natsstore.Store, *proxy) {
	t.Helper()
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	o := servers.options()
	o.Timeout = wait
	s, err := natsstore.Open(t.Context(), p.url(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}
