package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// Reasons for the end of an attachment.
var (
	// ErrReplaced: another client takes the events now.
	ErrReplaced = errors.New("another client has connected to the subscription")
	// ErrRemoved: the subscription was deleted.
	ErrRemoved = errors.New("the subscription was deleted")
)

// attachPatience is how long a client waits while no node delivers, before it has to connect
// again. It is longer than a takeover from a dead node.
const attachPatience = time.Minute

// An Attachment is a connected client that takes the events of a subscription without
// URL, from the subscription's position on.
type Attachment struct {
	d      *Deliverer
	key    store.Key
	id     string // of the client, over all nodes
	order  int64  // among the clients of the subscription: the greatest stays
	send   func(context.Context, *Request) error
	ctx    context.Context //nolint:containedctx // of the connection
	cancel context.CancelCauseFunc
	sent   atomic.Uint64 // events that send has taken
	acked  atomic.Uint64 // of those, how many the client has
	began  time.Time
	remote *remote // nil: the client is connected to this node

	// Guarded by mu of the deliverer. All but the feed are only of clients of this node.

	feed     feed
	patience *time.Timer
	sub      *Subscription
	known    bool // the snapshot has, or had, the subscription
	sending  bool // an event of another node is being sent
}

// Attach gives the events of a subscription to a client, until ctx or the attachment
// ends. send is called with one event at a time, in order, and may wait. An error of it
// ends the attachment. Events that were sent and not acknowledged are sent to the next
// client again. A subscription has one attachment over all nodes: a new one ends the one
// before. While no node delivers it waits, and ends after a minute with ErrNotDelivering. It also
// ends after ten seconds if this node has not read the subscription.
func (d *Deliverer) Attach(ctx context.Context, s *Subscription, send func(context.Context, *Request) error) (*Attachment, error) {
	if s.URL != "" {
		return nil, ErrHasEndpoint
	}
	known := d.knows(s)
	d.mu.Lock()
	a := d.newAttachment(ctx, &Attachment{key: stateKey(s), id: rand.Text(), send: send, sub: s, known: known, began: time.Now()})
	a.patience = time.AfterFunc(attachPatience, a.checkDelivery)
	a.order = d.Clock().UnixMicro()
	if old := d.clients[a.key]; old != nil {
		a.order = max(a.order, old.order+1)
	}
	d.put(a)
	report := a.report()
	d.mu.Unlock()
	d.broadcastReport(&report)
	return a, nil
}

// knows reports whether the snapshot has a subscription, without URL.
func (d *Deliverer) knows(s *Subscription) bool {
	all, _ := d.Subscriptions()
	return slices.ContainsFunc(all, func(x *Subscription) bool { return x.Account == s.Account && x.ID == s.ID && x.URL == "" })
}

// newAttachment completes an attachment, which ends with ctx; the caller holds mu, and calls
// put before it unlocks.
func (d *Deliverer) newAttachment(ctx context.Context, a *Attachment) *Attachment {
	a.d = d
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(a.ctx, a.detach) //nolint:contextcheck // it inherits from ctx
	return a
}

// put makes a the client of its subscription; the caller holds mu.
func (d *Deliverer) put(a *Attachment) {
	if old := d.clients[a.key]; old != nil {
		old.cancel(ErrReplaced)
	}
	d.clients[a.key] = a
	d.notifyWorker(a.key)
}

// notifyWorker wakes the loop of a subscription; the caller holds mu.
func (d *Deliverer) notifyWorker(key store.Key) {
	if w := d.workers[key]; w != nil {
		w.notify()
	}
}

// checkDelivery ends the attachment if no node has delivered lately.
func (a *Attachment) checkDelivery() {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if a.d.workers == nil && time.Since(a.d.delivered) > attachPatience {
		a.cancel(ErrNotDelivering)
	} else if a.ctx.Err() == nil {
		a.patience.Reset(attachPatience)
	}
}

func (a *Attachment) detach() {
	a.d.mu.Lock()
	if a.d.clients[a.key] == a {
		delete(a.d.clients, a.key)
	}
	a.d.notifyWorker(a.key)
	if a.patience != nil {
		a.patience.Stop()
	}
	report := a.report()
	a.d.mu.Unlock()
	if a.remote == nil {
		a.d.broadcastReport(&report)
	}
}

// Acknowledge reports that the client has the first n events that send took without an
// error. The position of the subscription follows.
func (a *Attachment) Acknowledge(n uint64) {
	for {
		old := a.acked.Load()
		if old >= n {
			return
		}
		if a.acked.CompareAndSwap(old, n) {
			break
		}
	}
	a.d.mu.Lock()
	a.d.notifyWorker(a.key)
	forwarded, report := a.feed.number != 0, a.report()
	a.d.mu.Unlock()
	if forwarded {
		a.d.broadcastReport(&report)
	}
}

// Done is closed when the attachment has ended.
func (a *Attachment) Done() <-chan struct{} { return a.ctx.Done() }

// Err is the reason for the end.
func (a *Attachment) Err() error { return context.Cause(a.ctx) }

// Close ends the attachment.
func (a *Attachment) Close() { a.cancel(context.Canceled) }

// client is the attachment of a subscription; nil: there is none.
func (d *Deliverer) client(key store.Key) *Attachment {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.clients[key]
}

// serveClients delivers to the clients that connect until ctx ends, or the subscription
// gets an endpoint.
func (w *worker) serveClients() {
	var current *Attachment
	for w.ctx.Err() == nil {
		w.adopt()
		if w.sub.URL != "" {
			break
		}
		now := w.d.Clock()
		if a := w.d.client(w.key); a != current {
			current = a
			w.restart()
			if a != nil {
				a.beginFeed()
			}
		}
		if current != nil && !w.sub.stopped() {
			w.acknowledged(current.acked.Load())
			w.fill(now)
			w.sendNext(current)
		}
		w.saveIfDue(now)
		w.publish(current != nil)
		w.await(w.untilWake(now))
	}
	w.endClient()
	w.restart()
}

// endClient ends the attachment when the subscription is not delivered to clients any
// more. If only this node's term ends, the node of the next term serves the client.
func (w *worker) endClient() {
	a := w.d.client(w.key)
	switch {
	case a == nil:
	case w.isRemoved():
		a.cancel(ErrRemoved)
	case w.ctx.Err() == nil:
		a.cancel(ErrHasEndpoint)
	}
}

// restart drops what was sent and not acknowledged, so that it is sent again.
func (w *worker) restart() {
	for _, t := range w.main.window {
		t.started = t.done
	}
	for _, n := range w.notices {
		n.inFlight, n.sent = false, 0
	}
	w.rewind()
}

// acknowledged applies that the client has the first n events of its attachment.
func (w *worker) acknowledged(n uint64) {
	for _, t := range w.main.window {
		if t.sent > 0 && t.sent <= n && !t.done {
			t.done, w.dirty = true, true
		}
	}
	for _, g := range slices.Clone(w.notices) {
		if g.sent > 0 && g.sent <= n {
			w.removeNotice(g)
			w.dirty = true
		}
	}
}

// sendNext begins to send what follows, if nothing is being sent.
func (w *worker) sendNext(a *Attachment) {
	if w.firsts > 0 || a.isSending() {
		return
	}
	for _, n := range w.notices {
		if !n.inFlight {
			n.inFlight = true
			w.sendGap(a, n)
			return
		}
	}
	for _, t := range w.main.window {
		if !t.started {
			t.started = true
			w.sendEntry(a, t)
			return
		}
	}
}

// whileSending ends the client if the term ends before done is called, so that a slow client
// does not delay a handover.
func (w *worker) whileSending(a *Attachment) (done func() bool) {
	return context.AfterFunc(w.sending, func() { a.cancel(ErrNotDelivering) })
}

func (w *worker) sendGap(a *Attachment, n *notice) {
	w.firsts++
	sub, form, gap := w.sub, w.form, n.Gap
	go func() {
		defer w.whileSending(a)()
		e, id := w.gapEvent(sub, form, &gap)
		made, ok := w.sendClient(a, &Request{Subscription: sub, Event: &e, ID: id, Number: n.number + 1})
		w.report(func() {
			w.firsts--
			w.log(&made)
			n.number += one(ok)
			if ok && a.ctx.Err() == nil {
				n.sent = a.sent.Load()
			}
		})
	}()
}

// sendEntry sends the events of an entry. An entry without events needs no
// acknowledgement.
func (w *worker) sendEntry(a *Attachment, t *task) {
	w.firsts++
	sub, form := w.sub, w.form
	go func() {
		defer w.whileSending(a)()
		events, err := w.prepare(a.ctx, sub, form, t.entry.Entry)
		var made []Attempt
		for i := range events {
			var remains bool
			if remains, err = w.d.remains(a.ctx, &t.entry); !remains || err != nil {
				break
			}
			e := &events[i]
			attempt, ok := w.sendClient(a, &Request{Subscription: sub, Event: e, ID: w.eventID(e), Number: 1})
			made = append(made, attempt)
			if !ok {
				break
			}
		}
		w.report(func() { w.finishEntry(a, t, made, err) })
	}()
}

func (w *worker) finishEntry(a *Attachment, t *task, made []Attempt, err error) {
	w.firsts--
	for i := range made {
		w.log(&made[i])
	}
	switch {
	case a.ctx.Err() != nil:
	case lossReason(err) != "":
		w.announceLost(t.entry.At, err)
		t.done = true
	case err != nil:
		w.logFailure("cannot prepare an event; will retry", err)
		t.started = false
		w.rewindAt(w.d.Clock().Add(unavailableBackoff))
	case len(made) == 0:
		t.done = true
	default:
		t.sent = a.sent.Load()
	}
}

// sendClient sends one event to a client. An error ends the attachment.
func (w *worker) sendClient(a *Attachment, r *Request) (Attempt, bool) {
	began := w.d.Clock()
	err := a.send(a.ctx, r)
	made := w.d.describe(r, Attempt{Started: began, Duration: w.d.Clock().Sub(began)})
	if err != nil {
		made.Reason = err.Error()
		w.d.count.failed.Add(1)
		a.cancel(err)
		return made, false
	}
	a.sent.Add(1)
	w.d.count.accepted.Add(1)
	return made, true
}
