package webhook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

const (
	// clientsTopic is that of the messages in which nodes announce their clients.
	clientsTopic = "eventclients"
	// announceEvery is how often a node announces its clients, and after what time an event is
	// sent again if its message or the answer was lost.
	announceEvery = time.Second
	// clientTimeout is how long a client of another node is kept after its last report.
	clientTimeout = 5 * time.Second
	// unknownTimeout is how long a client stays whose subscription is not in the snapshot yet, or
	// still has a URL there.
	unknownTimeout = 10 * time.Second
	// clientsAtOnce bounds a message.
	clientsAtOnce = 1000
)

// errAway: the client of another node has disconnected, or its node is silent.
var errAway = errors.New("the client has disconnected, or its node is silent")

// A nodeMessage is what a node broadcasts. It is repeated, so that one may be lost.
type nodeMessage struct {
	Delivering bool           `json:"delivering,omitempty"` // the node runs the consumer
	Clients    []clientReport `json:"clients,omitempty"`
}

// A clientReport is all that other nodes know of a client.
type clientReport struct {
	Subscription string `json:"subscription"` // the key of its state
	Client       string `json:"client"`
	Inbox        string `json:"inbox,omitempty"` // the topic on which its node takes events
	Order        int64  `json:"order,omitempty"`
	Ended        bool   `json:"ended,omitempty"`
	// Of the feed with this number, how many events were sent to the client, and how many it has
	// acknowledged.
	Feed  int64  `json:"feed,omitempty"`
	Taken uint64 `json:"taken,omitempty"`
	Acked uint64 `json:"acked,omitempty"`
}

// An eventMessage is one event for a client of another node. It is repeated until a report
// says that it was sent to the client.
type eventMessage struct {
	Subscription string `json:"subscription"`
	Client       string `json:"client"`
	Feed         int64  `json:"feed"`
	Number       uint64 `json:"number"` // in the feed; 1 is the first

	Form     string `json:"form"`
	Event    *Event `json:"event"`
	ID       string `json:"id"`
	Attempt  int    `json:"attempt"`
	Stale    bool   `json:"stale,omitempty"`
	Replayed bool   `json:"replayed,omitempty"`
}

// A feed is the events that the deliverer of one node sends to a client of another one.
// The feeds of a client have increasing numbers: a later one replaces the earlier one, and may
// repeat events of it.
type feed struct {
	number int64 // 0: none
	taken  uint64
	base   uint64 // events that were sent to the client before, by other feeds
}

// A remote is what an attachment has if the client is connected to another node.
type remote struct {
	inbox string
	heard time.Time     // when its node announced it last
	seen  int64         // the greatest feed that its node has reported
	taken chan struct{} // signals that feed.taken may have changed
}

// newInbox returns a topic that no other node has, of lower-case letters only.
func newInbox() string {
	letters := strings.Map(func(r rune) rune {
		if r < 'A' {
			return r - '2' + 'a'
		}
		return r - 'A' + 'a'
	}, rand.Text())
	return "events" + letters
}

// shareClients makes the clients of this node known to the others, and theirs to this one,
// until ctx ends.
func (d *Deliverer) shareClients(ctx context.Context) error {
	stopReports, err := d.Messenger.Subscribe(clientsTopic, d.receiveReports)
	if err != nil {
		return err
	}
	defer stopReports()
	stopEvents, err := d.Messenger.Subscribe(d.inbox, d.receiveEvent)
	if err != nil {
		return err
	}
	defer stopEvents()
	everySecond(ctx, d.announce)
	return nil
}

// everySecond calls f each announceEvery until ctx ends.
func everySecond(ctx context.Context, f func()) {
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// checkClients ends clients of deleted subscriptions, and those of silent nodes. A worker does the
// former too, but only on the node that delivers, and after it has loaded its state.
func (d *Deliverer) checkClients() {
	all, _ := d.Subscriptions()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.clients) == 0 {
		return
	}
	found := make(map[store.Key]*Subscription)
	for _, s := range all {
		if key := stateKey(s); d.clients[key] != nil {
			found[key] = s
		}
	}
	for key, a := range d.clients {
		if a.remote == nil {
			a.follow(found[key])
		} else if time.Since(a.remote.heard) > clientTimeout {
			a.cancel(errAway)
		}
	}
}

// follow adopts the subscription as the snapshot has it, which may learn a little later that the
// subscription exists, or has no URL any more; the caller holds mu.
func (a *Attachment) follow(s *Subscription) {
	late := a.known || time.Since(a.began) > unknownTimeout
	switch {
	case s != nil && s.URL == "":
		a.sub, a.known = s, true
	case s != nil && late:
		a.cancel(ErrHasEndpoint)
	case a.known:
		a.cancel(ErrRemoved)
	case late:
		a.cancel(ErrNotDelivering) // if it is deleted, its client learns that when it connects again
	}
}

// announce broadcasts the clients of this node, and whether it delivers.
func (d *Deliverer) announce() {
	d.mu.Lock()
	delivering := d.workers != nil
	var reports []clientReport
	for _, a := range d.clients {
		if a.remote == nil && a.ctx.Err() == nil {
			reports = append(reports, a.report())
		}
	}
	d.mu.Unlock()
	if delivering && len(reports) == 0 {
		d.broadcast(clientsTopic, &nodeMessage{Delivering: true})
	}
	for part := range slices.Chunk(reports, clientsAtOnce) {
		d.broadcast(clientsTopic, &nodeMessage{delivering, part})
	}
}

// report describes a client of this node; the caller holds mu.
func (a *Attachment) report() clientReport {
	return clientReport{
		Subscription: a.key.Key, Client: a.id, Inbox: a.d.inbox, Order: a.order, Ended: a.ctx.Err() != nil,
		Feed: a.feed.number, Taken: a.feed.taken, Acked: max(a.acked.Load(), a.feed.base) - a.feed.base,
	}
}

// broadcastReport broadcasts a report if there are other nodes.
func (d *Deliverer) broadcastReport(r *clientReport) {
	if d.Messenger != nil {
		d.broadcast(clientsTopic, &nodeMessage{Clients: []clientReport{*r}})
	}
}

// broadcast sends a message, which is lost after an error: it will be repeated.
func (d *Deliverer) broadcast(topic string, message any) {
	payload, err := json.Marshal(message)
	if err == nil {
		err = d.Messenger.Broadcast(topic, payload)
	}
	if err != nil {
		d.Log.Debug("message about event sockets not sent; will retry", slog.Any("err", err))
	}
}

// receiveReports applies what another node reports of its clients.
func (d *Deliverer) receiveReports(b []byte) {
	var m nodeMessage
	if json.Unmarshal(b, &m) != nil {
		return // of a newer version
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.Delivering {
		d.delivered = time.Now()
	}
	for i := range m.Clients {
		d.trackClient(&m.Clients[i])
	}
}

// trackClient applies a report about a client of another node. Of two clients of a subscription
// the later one stays: the node of the other one ends it. The caller holds mu.
func (d *Deliverer) trackClient(r *clientReport) {
	key := store.Key{Collection: deliveryStates, Key: r.Subscription}
	a := d.clients[key]
	if a != nil && a.ctx.Err() != nil {
		a = nil // it is about to be removed
	}
	switch {
	case a != nil && a.id == r.Client:
	case r.Ended || a != nil && (a.order > r.Order || a.order == r.Order && a.id > r.Client):
		return
	default:
		a = d.newAttachment(context.Background(), &Attachment{ // it ends when its node is silent
			key: key, id: r.Client, order: r.Order, remote: &remote{inbox: r.Inbox, taken: make(chan struct{}, 1)},
		})
		a.send = a.forward
		d.put(a)
	}
	if a.remote != nil {
		a.applyReport(r)
	}
}

// applyReport applies what the node of a client reports; the caller holds mu.
func (a *Attachment) applyReport(r *clientReport) {
	a.remote.heard, a.remote.seen = time.Now(), max(a.remote.seen, r.Feed)
	switch {
	case r.Ended, a.feed.number != 0 && r.Feed > a.feed.number: // another node delivers to it, or did
		a.cancel(errAway) // if it is still there, the next report finds it again
	case r.Feed == a.feed.number:
		a.feed.taken = max(a.feed.taken, r.Taken)
		a.acked.Store(max(a.acked.Load(), r.Acked))
		wakeUp(a.remote.taken)
		a.d.notifyWorker(a.key)
	}
}

// beginFeed prepares an attachment for a worker that sends to it from now on.
func (a *Attachment) beginFeed() {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if a.remote != nil {
		// Another node that knows no newer feed, and whose clock is behind too, must not choose
		// the same number.
		next := a.remote.seen + 1 + mathrand.Int64N(time.Second.Microseconds()) //nolint:gosec // no secret
		a.feed = feed{number: max(a.d.Clock().UnixMicro(), next)}
		a.sent.Store(0)
		a.acked.Store(0)
	}
}

// forward sends an event to the node of a client until that node has sent it to the client.
func (a *Attachment) forward(ctx context.Context, r *Request) error {
	m := eventMessage{
		Subscription: a.key.Key, Client: a.id, Feed: a.feedNumber(), Number: a.sent.Load() + 1,
		Form: r.Subscription.Form, Event: r.Event, ID: r.ID, Attempt: r.Number, Stale: r.Stale, Replayed: r.Replayed,
	}
	again := time.NewTicker(announceEvery)
	defer again.Stop()
	a.d.broadcast(a.remote.inbox, &m)
	for !a.hasTaken(m.Number) {
		select {
		case <-a.remote.taken:
		case <-again.C:
			a.d.broadcast(a.remote.inbox, &m)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (a *Attachment) feedNumber() int64 {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	return a.feed.number
}

func (a *Attachment) hasTaken(n uint64) bool {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	return a.feed.taken >= n
}

// receiveEvent sends an event of another node to a client of this one, and answers with a
// report.
func (d *Deliverer) receiveEvent(b []byte) {
	var m eventMessage
	if json.Unmarshal(b, &m) != nil || m.Event == nil {
		return // of a newer version
	}
	if report := d.accept(&m); report != nil {
		d.broadcastReport(report)
	}
}

// accept begins to send an event to a client. It returns a report if the event was sent already
// or cannot be sent.
func (d *Deliverer) accept(m *eventMessage) *clientReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.clients[store.Key{Collection: deliveryStates, Key: m.Subscription}]
	switch {
	case a == nil || a.id != m.Client || a.ctx.Err() != nil:
		return &clientReport{Subscription: m.Subscription, Client: m.Client, Feed: m.Feed, Ended: true}
	case a.sending || d.workers != nil: // a repetition, or from a node that does not know yet that it no longer delivers
		return nil
	case m.Feed > a.feed.number:
		a.feed = feed{number: m.Feed, base: a.sent.Load()}
	}
	if m.Feed == a.feed.number && m.Number == a.feed.taken+1 {
		a.sending = true
		go a.deliver(m, a.sub)
		return nil
	}
	report := a.report()
	return &report
}

// isSending reports whether an event of another node is being sent to the client.
func (a *Attachment) isSending() bool {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	return a.sending
}

// deliver sends an event of another node to the client.
func (a *Attachment) deliver(m *eventMessage, current *Subscription) {
	s := *current
	s.Form = m.Form // that of the event
	err := a.send(a.ctx, &Request{Subscription: &s, Event: m.Event, ID: m.ID, Number: m.Attempt, Stale: m.Stale, Replayed: m.Replayed})
	if err != nil {
		a.cancel(err)
		return
	}
	a.sent.Add(1)
	a.d.mu.Lock()
	a.sending, a.feed.taken = false, m.Number
	a.d.notifyWorker(a.key) // if this node delivers now
	report := a.report()
	a.d.mu.Unlock()
	a.d.broadcastReport(&report)
}
