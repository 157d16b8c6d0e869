package webhook_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/webhook"
)

// An arrival is one request that an endpoint got.
type arrival struct {
	webhook.Request

	at       time.Time
	accepted bool
}

// An endpoint answers requests as a test says.
type endpoint struct {
	mu       sync.Mutex
	arrivals []arrival
	running  int
	most     int // requests at a time
	answer   func(n int, r *webhook.Request) reply
}

// A reply is what an endpoint answers after a time. A status of 0 is a failed connection.
type reply struct {
	status     int
	after      time.Duration
	when       <-chan struct{} // not before, even if the sender gives up; nil: at once
	retryAfter time.Duration
	failure    webhook.Failure
}

func (e *endpoint) set(answer func(n int, r *webhook.Request) reply) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

// always answers every request alike.
func always(status int) func(int, *webhook.Request) reply {
	return func(int, *webhook.Request) reply { return reply{status: status} }
}

func (e *endpoint) begin(r *webhook.Request) (n int, re reply) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n = len(e.arrivals)
	e.arrivals = append(e.arrivals, arrival{Request: *r, at: time.Now()})
	e.running++
	e.most = max(e.most, e.running)
	re.status = http.StatusOK
	if e.answer != nil {
		re = e.answer(n, r)
	}
	return n, re
}

func (e *endpoint) end(n int, accepted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running--
	e.arrivals[n].accepted = accepted
}

func (e *endpoint) all() []arrival {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.arrivals)
}

func (e *endpoint) count() int { return len(e.all()) }

// network is a Sender with an endpoint for each URL.
type network struct {
	mu        sync.Mutex
	endpoints map[string]*endpoint
	valid     error // of Validate
	validated int
	answer    string // the body of all answers, if not empty
}

func (n *network) endpoint(url string) *endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.endpoints == nil {
		n.endpoints = make(map[string]*endpoint)
	}
	if n.endpoints[url] == nil {
		n.endpoints[url] = new(endpoint)
	}
	return n.endpoints[url]
}

const sendTimeout = 15 * time.Second

func (n *network) Send(ctx context.Context, r *webhook.Request) webhook.Attempt {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	a := webhook.Attempt{Started: time.Now()}
	e := n.endpoint(r.Subscription.URL)
	i, answer := e.begin(r)
	if answer.when != nil {
		<-answer.when
	}
	// A timer of no time crashes the race detector within synctest.
	var answered <-chan time.Time
	if answer.after > 0 {
		answered = time.After(answer.after)
	} else {
		closed := make(chan time.Time)
		close(closed)
		answered = closed
	}
	select {
	case <-answered:
		a.Status, a.RetryAfter, a.Answer = answer.status, answer.retryAfter, []byte(cmp.Or(n.answer, "an answer"))
	case <-ctx.Done():
	}
	if a.Status/100 != 2 {
		a.Failure, a.Reason = answer.failure, fmt.Sprintf("the endpoint answered %d", a.Status)
	}
	a.Duration = time.Since(a.Started)
	e.end(i, a.Reason == "")
	return a
}

func (n *network) Validate(context.Context, *webhook.Subscription) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.validated++
	return n.valid
}

// noteForm has one event for each entry, and another for notes that begin with "two". It
// panics because of the note "poison".
type noteForm struct{ webhook.Form }

func (noteForm) Name() string    { return "plain" }
func (noteForm) Types() []string { return []string{"changed", "second"} }

func (noteForm) Encode(e *store.Entry, who, _ *webhook.Person) []webhook.Event {
	if e.UserAfter.Note == "poison" {
		panic("poison")
	}
	events := []webhook.Event{{Type: "changed", Revision: e.Revision, Time: e.Time, Body: []byte(e.UserAfter.Note)}}
	if strings.HasPrefix(e.UserAfter.Note, "two") {
		events = append(events, webhook.Event{Type: "second", Body: []byte(who.ID)})
	}
	return events
}

func (noteForm) Gap(_ presence.AccountID, subscription string, g *webhook.Gap) webhook.Event {
	return webhook.Event{Type: "gap", Body: fmt.Appendf(nil, "%s %d-%d: %s", subscription, g.From, g.To, g.Reason)}
}

func (noteForm) Sample(_ presence.AccountID, eventType string, who *webhook.Person, _ time.Time) (webhook.Event, bool) {
	return webhook.Event{Type: eventType, User: who.ID, Body: []byte("sample")}, eventType == "changed"
}

// nobody knows no users, but their groups.
type nobody struct {
	groups map[presence.UserID][]string
	fail   func(e *store.Entry) bool // whether they cannot be read; nil: they can
}

func (n nobody) Of(_ context.Context, e *store.Entry) (who, actor *webhook.Person, err error) {
	if n.fail != nil && n.fail(e) {
		return nil, nil, errors.New("the directory is unavailable")
	}
	return &webhook.Person{ID: e.User.ID, Groups: n.groups[e.User.ID]}, nil, nil
}

// subscriptions are what a registry has.
type subscriptions struct {
	mu      sync.Mutex
	all     []*webhook.Subscription
	changed chan struct{}
}

func (s *subscriptions) get() ([]*webhook.Subscription, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all), s.changed
}

func (s *subscriptions) set(all ...*webhook.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
	close(s.changed)
	s.changed = make(chan struct{})
}

// update replaces a subscription by a changed copy.
func (s *subscriptions) update(id string, change func(*webhook.Subscription)) {
	all, _ := s.get()
	for i := range all {
		if all[i].ID == id {
			next := *all[i]
			change(&next)
			all[i] = &next
		}
	}
	s.set(all...)
}

func (s *subscriptions) setHealth(_ context.Context, sub *webhook.Subscription, h webhook.Health) error {
	s.update(sub.ID, func(n *webhook.Subscription) { n.Health = h })
	return nil
}

func (s *subscriptions) setReplay(_ context.Context, sub *webhook.Subscription, r webhook.ReplayRequest) error {
	s.update(sub.ID, func(n *webhook.Subscription) { n.Replay = r })
	return nil
}

// current is a subscription as it is now.
func (s *subscriptions) current(id string) *webhook.Subscription {
	all, _ := s.get()
	return all[slices.IndexFunc(all, func(sub *webhook.Subscription) bool { return sub.ID == id })]
}

// A fixture is a deliverer on a store, with endpoints.
type fixture struct {
	*testing.T

	store     store.Store
	use       tail.Store // the store, with faults
	network   *network
	subs      *subscriptions
	people    nobody
	profiles  []webhook.Profile
	forms     []webhook.Form // beside noteForm
	d         *webhook.Deliverer
	messenger store.Messenger // nil: no other node
	nodes     tail.Nodes      // nil: no other node has the store open
	ahead     time.Duration   // of the deliverer's clock
	log       *slog.Logger
	stop      func()
}

func newFixture(t *testing.T, st store.Store, subs ...*webhook.Subscription) *fixture {
	t.Helper()
	f := &fixture{
		T: t, store: st, use: st, network: new(network), subs: &subscriptions{changed: make(chan struct{})},
		profiles: []webhook.Profile{webhook.Durable(), strict(), often("quick", 20*time.Millisecond), often("patient", 20*time.Second)}, log: slog.New(slog.DiscardHandler), stop: func() {},
	}
	f.subs.set(subs...)
	return f
}

// strict is a profile that retries no refusals.
func strict() webhook.Profile {
	return webhook.Profile{Name: "strict", Timeout: 3 * time.Second, Delays: []time.Duration{5 * time.Minute, 20 * time.Minute, time.Hour}}
}

// often is a profile that retries often, and soon.
func often(name string, delay time.Duration) webhook.Profile {
	delays := make([]time.Duration, 40)
	for i := range delays {
		delays[i] = delay
	}
	return webhook.Profile{Name: name, Timeout: 3 * time.Second, Delays: delays, RetryClientErrors: true}
}

// start begins to deliver. It may be called again after stop.
func (f *fixture) start() {
	ahead := f.ahead
	f.d = webhook.NewDeliverer(webhook.DelivererOptions{
		Store: f.use, Subscriptions: f.subs.get, SetHealth: f.subs.setHealth, SetReplay: f.subs.setReplay, Messenger: f.messenger, People: f.people,
		Catalog: webhook.Catalog{Forms: append([]webhook.Form{noteForm{}}, f.forms...), Profiles: f.profiles}, Sender: f.network, Log: f.log,
		Clock: func() time.Time { return time.Now().Add(ahead) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	consumers := tail.New(tail.Options{Store: f.use, Nodes: f.nodes, Clock: time.Now, Log: f.d.Log}, f.d.Consumer())
	go func() { ended <- f.d.Run(ctx) }()
	go func() { ended <- consumers.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil && !errors.Is(err, errCrash) {
			f.Error(err)
		}
	})
	f.Cleanup(f.stop)
}

// subscription is one of account a.
func subscription(id string) *webhook.Subscription {
	return &webhook.Subscription{
		ID: id, Account: "a", URL: "https://" + id + ".example", Form: "plain", Profile: "durable",
		Created: time.Now(), Health: webhook.Health{Validated: time.Now()},
	}
}

var notes atomic.Uint64

// change commits a change of a user and returns its position.
func (f *fixture) change(user presence.UserID) store.Position {
	f.Helper()
	return f.note(user, fmt.Sprint("note ", notes.Add(1)))
}

func (f *fixture) note(user presence.UserID, text string) store.Position {
	f.Helper()
	r, err := f.store.Update(context.Background(), store.User{Account: "a", ID: user},
		storetest.Apply(presence.SetNote{Text: text}, presence.Policy{}, presence.InstantOf(time.Now())))
	if err != nil {
		f.Fatal(err)
	}
	return r.At
}

// bubble runs a test on a store in memory, in fake time.
func bubble(t *testing.T, test func(t *testing.T, st *pebblestore.Store)) {
	t.Helper()
	bubbleWith(t, pebblestore.Options{}, test)
}

func bubbleWith(t *testing.T, o pebblestore.Options, test func(t *testing.T, st *pebblestore.Store)) {
	t.Helper()
	enginetest.Embedded(t)
	synctest.Test(t, func(t *testing.T) {
		o.FS, o.MinFreeBytes = vfs.NewMem(), -1
		st, err := pebblestore.Open("data", o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Millisecond) // subscriptions are made after the store
		test(t, st)
	})
}

func advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func synctestWait() { synctest.Wait() }

// entries reads the whole log.
func (f *fixture) entries() (all []store.Entry) {
	f.Helper()
	for after := store.Position(0); ; {
		page, err := f.store.Log(context.Background(), after, store.MaxFeedGroup)
		if err != nil {
			f.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all, after = append(all, page...), page[len(page)-1].At
	}
}

// missing lists the entries of the log that an endpoint has not accepted.
func (f *fixture) missing(e *endpoint) (lost []store.Position) {
	f.Helper()
	got := make(map[store.Position]bool)
	for _, a := range e.all() {
		if a.Event.Type != "gap" && a.accepted {
			got[a.Event.At] = true
		}
	}
	for _, entry := range f.entries() {
		if !entry.Erased && !got[entry.At] {
			lost = append(lost, entry.At)
		}
	}
	return lost
}

// inOrder fails the test if first attempts with a user's events were not in the order of
// commits.
func (f *fixture) inOrder(e *endpoint) {
	f.Helper()
	last := make(map[presence.UserID]store.Position)
	for _, a := range e.all() {
		if a.Number != 1 || a.Replayed || a.Event.Type == "gap" {
			continue
		}
		if a.Event.At < last[a.Event.User] {
			f.Errorf("the event of %s at %d was sent after that at %d", a.Event.User, a.Event.At, last[a.Event.User])
		}
		last[a.Event.User] = max(last[a.Event.User], a.Event.At)
	}
}

var errCrash = errors.New("crashed")
