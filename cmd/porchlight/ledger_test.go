package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// workers is the number of concurrent clients, and statuses the number of users whose
// status each of them sets.
const (
	workers  = 16
	statuses = 4
)

// A ledger is what the clients of a server know: for each thing that they change, the
// last acknowledged state, and the state that was requested without getting an answer.
// The clients are not killed, so the ledger is in memory.
type ledger struct {
	things [workers][]*thing // each belongs to one worker, so its changes are sequential
	seen   revisionHistory
	acked  atomic.Int64
	// doubtful counts changes without an answer, refused counts changes whose answer
	// said that nothing was changed.
	doubtful, refused atomic.Int64
	began             latest // when acknowledged changes were requested
}

// A thing has a state that its worker changes.
type thing struct {
	name  string
	acked string // the last state that was acknowledged, or found after a change without an answer
	doubt string // requested, without an answer; "" for none
	kind
}

// A kind defines how a thing is changed and read.
type kind interface {
	// next returns the next state.
	next(from string) string
	// put changes the state. The revision is 0 if the response has none.
	put(ctx context.Context, c *client.Client, state string) (revision uint64, err error)
	// get returns the state, and the revision if there is one.
	get(ctx context.Context, c *client.Client) (state string, revision uint64, err error)
}

// fill creates the things through the API.
func (l *ledger) fill(ctx context.Context, t *testing.T, p *process) {
	t.Helper()
	l.seen.of = make(map[string]*userRevisions)
	for w := range l.things {
		add := func(name, state string, k kind) {
			l.things[w] = append(l.things[w], &thing{name: fmt.Sprintf("%s %d", name, w), acked: state, kind: k})
		}
		l.addStatuses(ctx, t, p, w, 0, statuses)
		add("session of", string(api.Offline), session{newUser(ctx, t, p.Client, fmt.Sprintf("signs-in-and-out%d@example.com", w))})
		add("user", absent, account{fmt.Sprintf("created-and-deleted%d@example.com", w)})
		add("token", revoked, &token{url: p.url, http: p.http})
	}
}

// addStatuses creates users whose status a worker sets.
func (l *ledger) addStatuses(ctx context.Context, t *testing.T, p *process, worker, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		id := newUser(ctx, t, p.Client, fmt.Sprintf("user%d-%d@example.com", worker, i))
		if _, err := p.SignIn(ctx, id, desktop()); err != nil {
			t.Fatal(err)
		}
		l.things[worker] = append(l.things[worker], &thing{name: fmt.Sprintf("status %d of %d", i, worker), acked: string(api.Available), kind: status{id}})
	}
}

func newUser(ctx context.Context, t *testing.T, c *client.Client, email string) string {
	t.Helper()
	u, err := c.CreateUser(ctx, api.CreateUser{Email: email})
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

func desktop() api.SignIn {
	lease := 3600
	return api.SignIn{ClientType: "desktop", LeaseSeconds: &lease}
}

// workAll starts all workers and two watchers. The returned function waits for their
// end.
func (l *ledger) workAll(ctx context.Context, t *testing.T, p *process) (wait func()) {
	t.Helper()
	var all sync.WaitGroup
	run := func(f func() error) {
		all.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	for w := range workers {
		run(func() error { return l.work(ctx, p, w) })
	}
	for range 2 {
		run(func() error { return l.watch(ctx, p) })
	}
	return all.Wait
}

// awaitCount waits until something happened often enough for the test to be valid, or can
// happen no more.
func awaitCount(ctx context.Context, p *process, n *atomic.Int64, least int64) {
	for n.Load() < least && p.alive() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

// work changes this worker's things until the server has ended or all of them are in
// doubt. It returns other errors.
func (l *ledger) work(ctx context.Context, p *process, worker int) error {
	for ctx.Err() == nil && p.alive() {
		th := pick(l.things[worker])
		if th == nil {
			return nil
		}
		if err := l.change(ctx, p, th); err != nil {
			return err
		}
	}
	return nil
}

// pick chooses a thing that is not in doubt, most often a status.
func pick(all []*thing) *thing {
	from := all[:statuses]
	if rand.IntN(8) == 0 {
		from = all[statuses:]
	}
	for _, some := range [][]*thing{from, all} {
		for _, i := range rand.Perm(len(some)) {
			if some[i].doubt == "" {
				return some[i]
			}
		}
	}
	return nil
}

// change changes a thing to its next state.
func (l *ledger) change(ctx context.Context, p *process, th *thing) error {
	began := time.Now()
	state := th.next(th.acked)
	revision, err := th.put(ctx, p.Client, state)
	what := outcomeOf(err)
	if what == refused && th.needsSeveralWrites() {
		what = unknown // one of the writes may have been applied
	}
	switch what {
	case done:
		if revision != 0 {
			if err := l.seen.record(th.name, state, revision, true); err != nil {
				return err
			}
		}
		th.acked = state
		l.acked.Add(1)
		l.began.raise(began)
		return nil
	case refused:
		l.refused.Add(1)
		time.Sleep(time.Millisecond)
		return nil
	case unknown:
		th.doubt = state
		l.doubtful.Add(1)
		return nil
	default:
		return fmt.Errorf("%s, to %s: %w", th.name, state, err)
	}
}

// A latest is the maximum of some times.
type latest struct{ nanos atomic.Int64 }

func (l *latest) raise(at time.Time) {
	for n := at.UnixNano(); ; {
		was := l.nanos.Load()
		if was >= n || l.nanos.CompareAndSwap(was, n) {
			return
		}
	}
}

func (l *latest) time() time.Time { return time.Unix(0, l.nanos.Load()) }

// needsSeveralWrites reports whether the server changes the thing by more than one
// write.
func (th *thing) needsSeveralWrites() bool {
	switch th.kind.(type) {
	case account, *token:
		return true
	default:
		return false
	}
}

// watch reads statuses while they change: a revision that it read must exist after a
// restart, and revisions never decrease.
func (l *ledger) watch(ctx context.Context, p *process) error {
	for ctx.Err() == nil && p.alive() {
		th := l.things[rand.IntN(workers)][rand.IntN(statuses+1)]
		before := l.seen.newest(th.name)
		state, revision, err := th.get(ctx, p.Client)
		switch what := outcomeOf(err); {
		case what == wrong:
			return fmt.Errorf("%s: %w", th.name, err)
		case what != done:
			continue
		case revision < before:
			return fmt.Errorf("%s went BACK: revision %d after %d was read", th.name, revision, before)
		}
		if err := l.seen.record(th.name, state, revision, false); err != nil {
			return err
		}
	}
	return nil
}

// verify compares every thing with the server's state after a restart.
func (l *ledger) verify(ctx context.Context, p *process) error {
	var failed [workers]error
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for _, th := range l.things[w] {
				failed[w] = errors.Join(failed[w], l.verifyOne(ctx, p, th))
			}
		})
	}
	group.Wait()
	return errors.Join(failed[:]...)
}

func (l *ledger) verifyOne(ctx context.Context, p *process, th *thing) error {
	if tk, ok := th.kind.(*token); ok {
		tk.url, tk.http = p.url, p.http
	}
	state, revision, err := th.get(ctx, p.Client)
	if err != nil {
		return fmt.Errorf("%s: %w", th.name, err)
	}
	if newest := l.seen.newest(th.name); revision < newest {
		err = fmt.Errorf("%s has revision %d: LOST %d, which was acknowledged or shown", th.name, revision, newest)
	}
	if state != th.acked && (th.doubt == "" || state != th.doubt) {
		err = errors.Join(err, fmt.Errorf("%s is %s: %s was acknowledged, %q was in doubt", th.name, state, th.acked, th.doubt))
	}
	th.acked, th.doubt = state, ""
	if revision == 0 {
		return err
	}
	return errors.Join(err, l.seen.record(th.name, state, revision, false))
}

// revisionHistory has all revisions that were acknowledged or shown, with their states.
// A revision has one state forever.
type revisionHistory struct {
	mu sync.Mutex // guards of and all in it
	of map[string]*userRevisions
}

type userRevisions struct {
	states map[uint64]string
	newest uint64
}

// record adds a revision. A fresh revision must be higher than all earlier ones.
func (s *revisionHistory) record(name, state string, revision uint64, fresh bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of[name]
	if of == nil {
		of = &userRevisions{states: make(map[uint64]string)}
		s.of[name] = of
	}
	was, known := of.states[revision]
	if known && was != state {
		return fmt.Errorf("%s is %s with revision %d, which was of %s: REUSED", name, state, revision, was)
	}
	// A reader may see a change before its author gets the answer.
	if fresh && revision < of.newest {
		return fmt.Errorf("%s got revision %d after %d was read", name, revision, of.newest)
	}
	of.states[revision] = state
	of.newest = max(of.newest, revision)
	return nil
}

func (s *revisionHistory) newest(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of := s.of[name]; of != nil {
		return of.newest
	}
	return 0
}

// status is the status that a signed-in user set.
type status struct{ user string }

func (status) next(string) string { return string(words[rand.IntN(len(words))].read) }

func (s status) put(ctx context.Context, c *client.Client, state string) (uint64, error) {
	for _, w := range words {
		if string(w.read) == state {
			return c.SetZoomStatus(ctx, s.user, w.put, 0)
		}
	}
	return 0, errors.New("unknown status")
}

func (s status) get(ctx context.Context, c *client.Client) (string, uint64, error) {
	x, err := c.Explain(ctx, s.user)
	if err == nil && len(x.Sessions) != 1 {
		err = fmt.Errorf("%d sessions of a user with one session", len(x.Sessions))
	}
	return string(x.Status), x.Revision, err
}

// session is whether a user is signed in.
type session struct{ user string }

func (session) next(from string) string {
	if from == string(api.Offline) {
		return string(api.Available)
	}
	return string(api.Offline)
}

func (s session) put(ctx context.Context, c *client.Client, state string) (uint64, error) {
	if state != string(api.Offline) {
		_, err := c.SignIn(ctx, s.user, desktop())
		return 0, err
	}
	for live, err := range c.Sessions(ctx, s.user) {
		if err == nil {
			err = c.SignOut(ctx, live.ID)
		}
		return 0, err
	}
	return 0, errors.New("no session of a user who was signed in")
}

func (s session) get(ctx context.Context, c *client.Client) (string, uint64, error) {
	x, err := c.Explain(ctx, s.user)
	if err != nil {
		return "", 0, err
	}
	if (len(x.Sessions) == 1) != (x.Status == api.Available) || len(x.Sessions) > 1 {
		return "", 0, fmt.Errorf("%s with %d sessions", x.Status, len(x.Sessions))
	}
	return string(x.Status), x.Revision, nil
}

// account is whether a user with an e-mail address exists.
type account struct{ email string }

const (
	absent  = "absent"
	present = "present"
)

func (account) next(from string) string {
	if from == absent {
		return present
	}
	return absent
}

func (a account) put(ctx context.Context, c *client.Client, state string) (uint64, error) {
	if state == absent {
		return 0, c.DeleteUser(ctx, a.email)
	}
	_, err := c.CreateUser(ctx, api.CreateUser{Email: a.email})
	return 0, err
}

func (a account) get(ctx context.Context, c *client.Client) (string, uint64, error) {
	_, err := c.User(ctx, a.email)
	if client.Is(err, &api.NoUser) {
		return absent, 0, nil
	}
	return present, 0, err
}

// token is whether the last token that was created is valid.
type token struct {
	url        string
	http       *http.Client
	id, secret string
}

const (
	valid   = "valid"
	revoked = "revoked"
)

func (*token) next(from string) string {
	if from == revoked {
		return valid
	}
	return revoked
}

func (tk *token) put(ctx context.Context, c *client.Client, state string) (uint64, error) {
	if state == revoked {
		return 0, c.RevokeToken(ctx, tk.id)
	}
	made, err := c.CreateToken(ctx, api.CreateToken{Name: "test", Scopes: []string{"presence:read:admin"}})
	if err == nil {
		tk.id, tk.secret = made.ID, made.Secret
	}
	return 0, err
}

func (tk *token) get(ctx context.Context, _ *client.Client) (string, uint64, error) {
	if tk.secret == "" {
		return revoked, 0, nil
	}
	c, err := client.New(tk.url, client.StaticToken(tk.secret), tk.http)
	if err == nil {
		_, err = c.Me(ctx)
	}
	if client.Is(err, &api.InvalidToken) {
		return revoked, 0, nil
	}
	return valid, 0, err
}
