package webhook

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tail"
)

const (
	// maxQueue is how many entries wait in memory for one subscription.
	maxQueue = 1024
	// readPage is how many entries a subscription that is behind reads at a time.
	readPage = 500
)

// A dispatcher passes entries of the log to the subscriptions that keep up. It never
// waits for one: a subscription whose queue is full reads the log itself.
type dispatcher struct {
	// handled: every entry up to it was offered.
	handled atomic.Uint64

	mu   sync.Mutex                     // guards live; before flow.mu
	live map[presence.AccountID][]*flow // the flows that keep up
	all  int                            // number of those
}

// reset drops all flows: this node begins to run the consumer.
func (d *dispatcher) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, flows := range d.live {
		for _, f := range flows {
			f.leave(0)
		}
	}
	d.live, d.all = make(map[presence.AccountID][]*flow), 0
	d.handled.Store(0)
}

// offer passes entries, which were read now, to the flows that want them, and returns the first damaged one.
func (d *dispatcher) offer(entries []store.Entry, now time.Time) *tail.PermanentError {
	d.mu.Lock()
	defer d.mu.Unlock()
	handled := store.Position(d.handled.Load())
	var damaged *tail.PermanentError
	for i := range entries {
		e := &entries[i]
		if e.Damaged != nil && damaged == nil {
			damaged = &tail.PermanentError{At: e.At, Err: e.Damaged}
		}
		if d.all > 0 && e.At > handled {
			d.offerOne(e, now)
		}
	}
	if n := len(entries); n > 0 {
		d.handled.Store(uint64(max(handled, entries[n-1].At)))
	}
	return damaged
}

// offerOne copies an entry if a flow wants it. A damaged one does not name its account.
func (d *dispatcher) offerOne(e *store.Entry, now time.Time) {
	if e.Damaged != nil {
		for account := range d.live {
			d.push(account, e, now)
		}
		return
	}
	if !e.Erased && len(d.live[e.User.Account]) > 0 {
		d.push(e.User.Account, e, now)
	}
}

func (d *dispatcher) push(account presence.AccountID, e *store.Entry, now time.Time) {
	var shared *store.Entry
	d.live[account] = slices.DeleteFunc(d.live[account], func(f *flow) bool {
		if !f.wants(e) {
			return false
		}
		if shared == nil {
			copied := *e
			shared = &copied
		}
		kept := f.push(readEntry{shared, now})
		if !kept {
			d.all--
		}
		return !kept
	})
}

// join lets a flow that has read the log up to a position keep up from there on. It
// fails if newer entries were offered already.
func (d *dispatcher) join(f *flow, after store.Position) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if store.Position(d.handled.Load()) > after {
		return false
	}
	f.enter(after)
	d.live[f.account] = append(d.live[f.account], f)
	d.all++
	return true
}

// leave makes a flow read the log from a position on.
func (d *dispatcher) leave(f *flow, after store.Position) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.live[f.account], f); i >= 0 {
		d.live[f.account] = slices.Delete(d.live[f.account], i, i+1)
		d.all--
	}
	f.leave(after)
}

// A readEntry is an entry of the log, as it was at a time.
type readEntry struct {
	*store.Entry

	read time.Time
}

// A flow is the entries for one subscription, in order: from memory while it keeps up,
// and from the log otherwise.
type flow struct {
	account presence.AccountID
	ready   chan struct{} // there is something in the queue, or the flow fell behind

	mu    sync.Mutex
	users map[presence.UserID]bool // nil: all of the account
	queue []readEntry
	live  bool
	after store.Position // live: older entries were read already; otherwise: where to read
}

func newFlow(s *Subscription, after store.Position) *flow {
	f := &flow{account: s.Account, ready: make(chan struct{}, 1), after: after}
	f.filter(s)
	return f
}

// filter selects by user what the subscription is sent. Filters that need more than the
// entry are applied when it is encoded.
func (f *flow) filter(s *Subscription) {
	var users map[presence.UserID]bool
	if len(s.Users) > 0 && len(s.Groups) == 0 {
		users = make(map[presence.UserID]bool, len(s.Users))
		for _, u := range s.Users {
			users[u] = true
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users = users
}

func (f *flow) wants(e *store.Entry) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wantsLocked(e)
}

func (f *flow) wantsLocked(e *store.Entry) bool {
	switch {
	case e.Damaged != nil:
		return true
	case e.Erased || e.User.Account != f.account:
		return false
	default:
		return f.users == nil || f.users[e.User.ID]
	}
}

// push appends an entry. It returns false if there is no space: the flow is behind then.
func (f *flow) push(e readEntry) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.At <= f.after {
		return true
	}
	full := len(f.queue) >= maxQueue
	if full {
		f.live, f.after = false, e.At-1
	} else {
		f.queue = append(f.queue, e)
	}
	f.signal()
	return !full
}

func (f *flow) signal() { wakeUp(f.ready) }

func (f *flow) enter(after store.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live, f.after = true, after
}

func (f *flow) leave(after store.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live, f.after, f.queue = false, after, nil
	f.signal()
}

// takeEntries removes at most n entries from the queue. If it is empty then, scanned is the
// position up to which the flow has given everything, and behind says that what follows
// is in the log.
func (f *flow) takeEntries(n int, handled store.Position) (entries []readEntry, scanned store.Position, behind bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = min(n, len(f.queue))
	entries = slices.Clone(f.queue[:n])
	if f.queue = f.queue[n:]; len(f.queue) > 0 {
		return entries, 0, false
	}
	f.queue = nil
	if f.live {
		f.after = max(f.after, handled)
	}
	return entries, f.after, !f.live
}

// A page is what a flow that is behind read from the log.
type page struct {
	entries []readEntry    // those that the flow wants
	upTo    store.Position // the page has everything up to it
	gap     *Gap           // before the entries
	end     bool           // there were no more entries
	err     error
}

const reasonRetention = "the events are older than the retention of the log"

// readPage reads the log after a position, at most up to a limit (zero: none).
func (d *Deliverer) readPage(ctx context.Context, f *flow, after, limit store.Position) page {
	now := d.Clock()
	entries, err := d.Store.Log(ctx, after, readPage)
	if err != nil {
		return page{err: err}
	}
	p := page{upTo: after, end: len(entries) == 0}
	if len(entries) == 0 || entries[0].At > after+1 {
		// There is nothing to read at after+1: it may have been dropped.
		if p.gap, err = d.retentionGap(ctx, after, entries); err != nil {
			return page{err: err}
		}
		if p.gap != nil {
			p.upTo, p.end = p.gap.To, false
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range entries {
		if limit > 0 && entries[i].At > limit {
			p.end = true
			break
		}
		p.upTo = entries[i].At
		if f.wantsLocked(&entries[i]) {
			p.entries = append(p.entries, readEntry{&entries[i], now})
		}
	}
	return p
}

// retentionGap reports whether the log dropped entries after a position, of which it
// gave what follows. Reading comes first, so that nothing is dropped between the two.
func (d *Deliverer) retentionGap(ctx context.Context, after store.Position, follow []store.Entry) (*Gap, error) {
	oldest, err := d.Store.PositionAt(ctx, unixZero)
	if err != nil || oldest <= after {
		return nil, err
	}
	if len(follow) > 0 {
		oldest = follow[0].At - 1
	}
	return &Gap{From: after, To: oldest, Reason: reasonRetention, At: d.Clock()}, nil
}
