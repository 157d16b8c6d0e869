package webhook

import (
	"context"
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

// attachPatience is how long a client waits for a node that does not deliver, before it is to
// try another one. It is longer than a handover between nodes takes.
const attachPatience = 4 * time.Second

// An Attachment is a connected client that takes the events of a subscription without
// URL, from the subscription's position on.
type Attachment struct {
	d      *Deliverer
	key    store.Key
	send   func(context.Context, *Request) error
	ctx    context.Context //nolint:containedctx // of the connection
	cancel context.CancelCauseFunc
	sent   atomic.Uint64 // events that send has taken
	acked  atomic.Uint64 // of those, how many the client has
}

// Attach gives the events of a subscription to a client, until ctx or the attachment
// ends. send is called with one event at a time, in order, and may wait. An error of it
// ends the attachment. Events that were sent and not acknowledged are sent to the next
// client again. A subscription has one attachment: a new one ends the one before. On a
// node that does not deliver it soon ends with ErrNotDelivering.
func (d *Deliverer) Attach(ctx context.Context, s *Subscription, send func(context.Context, *Request) error) (*Attachment, error) {
	if s.URL != "" {
		return nil, ErrHasEndpoint
	}
	a := &Attachment{d: d, key: stateKey(s), send: send}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.clients[a.key]; old != nil {
		old.cancel(ErrReplaced)
	}
	d.clients[a.key] = a
	patience := time.AfterFunc(attachPatience, a.checkDelivery)
	context.AfterFunc(a.ctx, func() { //nolint:contextcheck // it inherits from ctx
		patience.Stop()
		a.detach()
	})
	d.notifyWorker(a.key)
	return a, nil
}

// notifyWorker wakes the loop of a subscription; the caller holds mu.
func (d *Deliverer) notifyWorker(key store.Key) {
	if w := d.workers[key]; w != nil {
		w.notify()
	}
}

// checkDelivery ends the attachment if another node delivers: the client has to connect
// to that.
func (a *Attachment) checkDelivery() {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if a.d.workers == nil {
		a.cancel(ErrNotDelivering)
	}
}

func (a *Attachment) detach() {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if a.d.clients[a.key] == a {
		delete(a.d.clients, a.key)
	}
	a.d.notifyWorker(a.key)
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
	defer a.d.mu.Unlock()
	a.d.notifyWorker(a.key)
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
// more.
func (w *worker) endClient() {
	a := w.d.client(w.key)
	switch {
	case a == nil:
	case w.isRemoved():
		a.cancel(ErrRemoved)
	case w.ctx.Err() != nil:
		a.cancel(ErrNotDelivering)
	default:
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
	if w.firsts > 0 {
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

func (w *worker) sendGap(a *Attachment, n *notice) {
	w.firsts++
	sub, form, gap := w.sub, w.form, n.Gap
	go func() {
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
