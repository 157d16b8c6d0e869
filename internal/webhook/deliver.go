package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tail"
)

// Errors of calls that concern one subscription.
var (
	// ErrNotDelivering: another node delivers, or this one has not begun.
	ErrNotDelivering = errors.New("this node does not deliver events at the moment")
	// ErrNoEndpoint: the subscription has no URL.
	ErrNoEndpoint = errors.New("the subscription has no endpoint")
	// ErrHasEndpoint: a client cannot take the events of a subscription with a URL.
	ErrHasEndpoint = errors.New("the subscription has an endpoint")
	// ErrDisabled: the subscription is disabled.
	ErrDisabled = errors.New("the subscription is disabled")
	// ErrPaused: somebody paused the subscription.
	ErrPaused = errors.New("the subscription is paused")
)

// unixZero is before any entry.
var unixZero = time.Unix(0, 0)

// DelivererOptions are what a Deliverer is made of.
type DelivererOptions struct {
	Catalog

	Store tail.Store
	// Subscriptions returns those of all accounts, which are shared and not modified,
	// and a channel that is closed when there are others.
	Subscriptions func() ([]*Subscription, <-chan struct{})
	// SetHealth stores what a validation found.
	SetHealth func(ctx context.Context, s *Subscription, h Health) error
	// SetReplay stores a requested replay, unless another one was requested since s was read.
	SetReplay func(ctx context.Context, s *Subscription, r ReplayRequest) error
	// Messenger reaches the other nodes that serve the store, which forward events to their
	// clients; nil: there are none.
	Messenger store.Messenger
	People    People
	Sender    Sender
	Clock     func() time.Time
	Log       *slog.Logger
}

// A Deliverer sends the events of all subscriptions. Its consumer decides which node
// does: the others' deliverers wait.
type Deliverer struct {
	DelivererOptions

	dispatch dispatcher
	count    counters
	logs     attemptLogSet
	working  chan struct{} // one element: held while a term runs
	inbox    string        // the topic of events for clients of this node

	mu        sync.Mutex                // guards the fields below
	term      context.Context           //nolint:containedctx // of the consumer; nil: none has begun
	begun     chan struct{}             // closed when another term begins
	workers   map[store.Key]*worker     // of this term; nil: this node does not deliver
	clients   map[store.Key]*Attachment // the clients that are connected, to any node
	delivered time.Time                 // when another node last reported that it delivers
}

// NewDeliverer is a deliverer that has yet to Run.
func NewDeliverer(o DelivererOptions) *Deliverer {
	return &Deliverer{
		DelivererOptions: o,
		logs:             attemptLogSet{added: make(chan struct{}, 1), logs: make(map[store.Key]*attemptLog)},
		working:          make(chan struct{}, 1),
		inbox:            newInbox(),
		begun:            make(chan struct{}),
		clients:          make(map[store.Key]*Attachment),
	}
}

// Consumer is the consumer of the log that feeds the subscriptions. It needs no older
// entries, because each subscription reads the log from its own position.
func (d *Deliverer) Consumer() tail.Consumer {
	return tail.Consumer{Name: "webhook", Handler: handler{d}, Begin: tail.Newest, Damaged: true}
}

type handler struct{ d *Deliverer }

// Start begins a term: Run delivers until ctx ends.
func (h handler) Start(ctx context.Context) error {
	d := h.d
	d.dispatch.reset()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.term = ctx
	close(d.begun)
	d.begun = make(chan struct{})
	return nil
}

// Handle queues the entries, and waits for no endpoint.
func (h handler) Handle(_ context.Context, entries []store.Entry) error {
	if damaged := h.d.dispatch.offer(entries, h.d.Clock()); damaged != nil {
		return damaged
	}
	return nil
}

// Stop waits until no attempt of the term is being made.
func (h handler) Stop(ctx context.Context) {
	select {
	case h.d.working <- struct{}{}:
		<-h.d.working
	case <-ctx.Done():
	}
}

// currentTerm returns the newest term, and a channel that is closed when another begins.
func (d *Deliverer) currentTerm() (context.Context, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.term, d.begun
}

// Run delivers whenever this node runs the consumer, until ctx ends. When it returns,
// no attempt is being made, and no client is attached.
func (d *Deliverer) Run(ctx context.Context) error {
	defer d.endClients()
	parts, running := errgroup.WithContext(ctx)
	if d.Messenger != nil {
		parts.Go(func() error { return d.shareClients(running) })
	}
	parts.Go(func() error { everySecond(running, d.checkClients); return nil })
	parts.Go(func() error { d.runTerms(running); return nil })
	// A node that does not deliver has attempts too: tests of endpoints.
	parts.Go(func() error { d.flushAttempts(running); return nil })
	err := parts.Wait()
	flushing, stop := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer stop()
	d.flushAll(flushing)
	return err
}

// endClients ends all attachments, so that the clients of this node connect to another one.
func (d *Deliverer) endClients() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.clients {
		a.cancel(ErrNotDelivering)
	}
}

func wakeUp(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // a wake-up is pending
	}
}

// runTerms runs one term after another until ctx ends.
func (d *Deliverer) runTerms(ctx context.Context) {
	for ctx.Err() == nil {
		term, next := d.currentTerm()
		if term != nil && term.Err() == nil {
			d.runTerm(ctx, term)
			continue
		}
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
}

// runTerm runs a worker for each subscription until the term or ctx ends.
func (d *Deliverer) runTerm(ctx, term context.Context) {
	d.working <- struct{}{}
	defer func() { <-d.working }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(term, cancel)()
	var running sync.WaitGroup
	d.mu.Lock()
	d.workers = make(map[store.Key]*worker)
	d.mu.Unlock()
	for ctx.Err() == nil {
		all, changed := d.Subscriptions()
		d.reconcile(ctx, &running, all)
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	running.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workers = nil
}

// reconcile starts, changes and ends workers, so that there is one for each subscription.
func (d *Deliverer) reconcile(ctx context.Context, running *sync.WaitGroup, all []*Subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	current := make(map[store.Key]bool, len(all))
	for _, s := range all {
		key := stateKey(s)
		current[key] = true
		if w := d.workers[key]; w != nil {
			w.change(s)
			continue
		}
		w, err := d.newWorker(s)
		if err != nil {
			d.Log.ErrorContext(ctx, "subscription not delivered", slog.String("subscription", s.ID), slog.Any("err", err))
			continue
		}
		w.ctx, w.cancel = context.WithCancel(ctx)
		d.workers[key] = w
		running.Go(w.run)
	}
	for key, w := range d.workers {
		if !current[key] {
			delete(d.workers, key)
			w.remove()
		}
	}
}

// worker returns the worker of a subscription.
func (d *Deliverer) worker(s *Subscription) (*worker, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.workers[stateKey(s)]
	if w == nil {
		return nil, ErrNotDelivering
	}
	return w, nil
}

// encode gives the events of an entry that a subscription is sent. A panic of the form is
// errUnwritable: one entry must not stop the server at every start.
func (d *Deliverer) encode(ctx context.Context, s *Subscription, form Form, e *store.Entry) (events []Event, err error) {
	who, actor, err := d.People.Of(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPeople, err)
	}
	if !s.Concerns(who) {
		return nil, nil
	}
	defer func() {
		if v := recover(); v != nil {
			d.Log.ErrorContext(ctx, "panic", slog.Any("value", v), slog.Uint64("position", uint64(e.At)), slog.String("stack", string(debug.Stack())))
			events, err = nil, errUnwritable
		}
	}()
	events = form.Encode(e, who, actor)
	for i := range events {
		events[i].At, events[i].Index, events[i].User = e.At, i, e.User.ID
	}
	return slices.DeleteFunc(events, func(ev Event) bool { return !s.Selects(ev.Type) }), nil
}

// counters count what happened on this node since it started.
type counters struct {
	accepted, failed, givenUp, overtaken, gaps atomic.Uint64
}

// Stats are the figures of all subscriptions on this node.
type Stats struct {
	// Since the node started: attempts that the endpoint accepted, and others; events
	// that were given up, or dropped because a newer one had been sent; gaps.
	Accepted, Failed, GivenUp, Overtaken, Gaps uint64
	// Now: subscriptions; those that read the log because they are behind, and whose
	// endpoint is down; those that are sent nothing, each by one reason: somebody paused
	// them, else they are suspended, else disabled because their endpoint failed; events that
	// wait for a retry; the age of the oldest event that was not attempted yet.
	Subscriptions, Behind, Down, Paused, Suspended, Disabled, Pending int

	Lag time.Duration
}

// Stats measures all subscriptions.
func (d *Deliverer) Stats() Stats {
	c := &d.count
	s := Stats{
		Accepted: c.accepted.Load(), Failed: c.failed.Load(), GivenUp: c.givenUp.Load(),
		Overtaken: c.overtaken.Load(), Gaps: c.gaps.Load(),
	}
	now := d.Clock()
	for _, st := range d.statuses() {
		s.Subscriptions++
		s.Pending += st.Pending
		s.Behind += one(st.Behind)
		s.Down += one(st.Down && !st.stopped())
		s.Paused += one(st.Paused)
		s.Suspended += one(st.Suspended && !st.Paused)
		s.Disabled += one(st.Disabled && !st.Suspended && !st.Paused)
		if !st.Oldest.IsZero() {
			s.Lag = max(s.Lag, now.Sub(st.Oldest))
		}
	}
	return s
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (d *Deliverer) statuses() []Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Status, 0, len(d.workers))
	for _, w := range d.workers {
		all = append(all, w.status())
	}
	return all
}

// Status is how far the delivery of one subscription is.
type Status struct {
	Position  store.Position // every event up to it was accepted, given up or is pending
	Pending   int            // events that wait for a retry
	Behind    bool           // it reads older events from the log
	Down      bool           // the endpoint is down, and is probed
	NextProbe time.Time
	Paused    bool // as in Subscription, like the next one
	Suspended bool
	Disabled  bool      // because the endpoint failed
	Attached  bool      // a client is connected
	Oldest    time.Time // of the oldest event that was not attempted yet; zero: none
	Replaying bool

	replays uint64 // the number of the last replay that was stored as begun
}

func (s *Status) stopped() bool { return s.Paused || s.Suspended || s.Disabled }

// Status returns how far a subscription is.
func (d *Deliverer) Status(s *Subscription) (Status, error) {
	w, err := d.worker(s)
	if err != nil {
		return Status{}, err
	}
	st := w.status()
	st.Replaying = st.Replaying || d.pendingReplay(s, st.replays)
	return st, nil
}
