package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// The topics of messages between nodes. A message that is lost delays a change by up to 5 s:
// every node regularly reads again what it caches.
const (
	tokensTopic        = "tokens"        // an auth.Revocation
	contactsTopic      = "contacts"      // a contactsMessage
	watchesTopic       = "watches"       // watches were made, or fired
	subscriptionsTopic = "subscriptions" // subscriptions of events changed
)

// A contactsMessage says that a user's contacts changed.
type contactsMessage struct {
	Account presence.AccountID `json:"account"`
	User    presence.UserID    `json:"user"`
}

// nodeMessages broadcasts changes that make caches of other nodes stale, and evicts from the
// caches of this node what the changes of other nodes make stale.
type nodeMessages struct {
	messenger store.Messenger
	log       *slog.Logger
	authority *auth.Authority
	hub       *hub.Hub
	sockets   *eventsocket.Sockets // nil: none
	failing   atomic.Bool

	mu      sync.Mutex
	pending []*auth.Revocation // guarded by mu: whose streams are to be checked
	wake    chan struct{}
}

// connectNodes connects the parts of this node to those of the others.
func (s *Server) connectNodes(dir *directory.Directory, authority *auth.Authority) {
	messenger, ok := s.store.(store.Messenger)
	if !ok || !isShared(s.store) {
		return
	}
	m := newNodeMessages(messenger, dir, authority, s.hub, s.webhooks.sockets, s.log)
	s.watches.OnChange, s.watches.Wake = m.signals(watchesTopic)
	s.webhooks.subscriptions.OnChange, s.webhooks.subscriptions.Wake = m.signals(subscriptionsTopic)
	s.messages = m
}

// shareRates makes the account limits hold over all nodes.
func (s *Server) shareRates(rates *zoomapi.Limits) {
	if s.messages != nil {
		s.accountUsage = quota.NewExchange(rates, s.messages.messenger, func() int { return max(1, len(s.members.Live())) })
	}
}

// newNodeMessages broadcasts changes of tokens and contacts from now on. The streams of h and
// sockets follow the changes of other nodes while run runs.
func newNodeMessages(
	messenger store.Messenger, dir *directory.Directory, authority *auth.Authority, h *hub.Hub, sockets *eventsocket.Sockets, log *slog.Logger,
) *nodeMessages {
	m := &nodeMessages{messenger: messenger, log: log, authority: authority, hub: h, sockets: sockets, wake: make(chan struct{}, 1)}
	authority.OnChange(func(r *auth.Revocation) {
		m.send(tokensTopic, r)
		m.check(r)
	})
	dir.OnContactsChange(func(account presence.AccountID, user presence.UserID) {
		h.ContactsChanged(account, user)
		m.send(contactsTopic, contactsMessage{account, user})
	})
	m.subscribe(tokensTopic, m.tokensChanged)
	m.subscribe(contactsTopic, func(b []byte) {
		var c contactsMessage
		if m.decode(b, &c) {
			h.ContactsChanged(c.Account, c.User)
		}
	})
	return m
}

// signals returns a function that wakes the readers of other nodes, and a channel on which
// other nodes wake that of this one.
func (m *nodeMessages) signals(topic string) (notify func(), notified <-chan struct{}) {
	wake := make(chan struct{}, 1)
	m.subscribe(topic, func([]byte) { wakeUp(wake) })
	return func() { m.send(topic, nil) }, wake
}

func wakeUp(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default: // a wake-up is pending
	}
}

// subscribe lasts until the store is closed.
func (m *nodeMessages) subscribe(topic string, fn func([]byte)) {
	if _, err := m.messenger.Subscribe(topic, fn); err != nil {
		m.log.Warn("cannot receive messages of other nodes; their changes take effect here within 5 s", slog.String("topic", topic), slog.Any("err", err))
	}
}

func (m *nodeMessages) send(topic string, content any) {
	payload, err := json.Marshal(content)
	if err == nil {
		err = m.messenger.Broadcast(topic, payload)
	}
	if failed := err != nil; m.failing.Swap(failed) != failed && failed {
		m.log.Warn("cannot send messages to other nodes; changes take effect there within 5 s", slog.Any("err", err))
	}
}

func (m *nodeMessages) decode(b []byte, into any) bool {
	err := json.Unmarshal(b, into)
	if err != nil { // perhaps of a newer version; the next regular read finds the change
		m.log.Warn("message of another node is unreadable", slog.Any("err", err))
	}
	return err == nil
}

// tokensChanged evicts the tokens that a message covers, and checks their streams.
func (m *nodeMessages) tokensChanged(b []byte) {
	r := new(auth.Revocation)
	if !m.decode(b, r) {
		return
	}
	m.authority.Forget(r)
	m.check(r)
}

// check queues the streams of tokens that changed, for run to check.
func (m *nodeMessages) check(r *auth.Revocation) {
	if !r.CoversAny() {
		return
	}
	m.mu.Lock()
	m.pending = append(m.pending, r)
	m.mu.Unlock()
	wakeUp(m.wake)
}

const (
	// coalesceFor is how long changes are collected before streams are checked: each check
	// looks at all streams.
	coalesceFor = 50 * time.Millisecond
	// manyChanges is the number of changes above which all streams are checked.
	manyChanges = 100
)

// run checks the streams of tokens that changed until ctx ends.
func (m *nodeMessages) run(ctx context.Context) error {
	for {
		select {
		case <-m.wake:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(coalesceFor):
		case <-ctx.Done():
			return nil
		}
		m.mu.Lock()
		pending := m.pending
		m.pending = nil
		m.mu.Unlock()
		m.recheck(ctx, func(p *auth.Principal) bool {
			return len(pending) > manyChanges || slices.ContainsFunc(pending, func(r *auth.Revocation) bool { return r.Covers(p) })
		})
	}
}

func (m *nodeMessages) recheck(ctx context.Context, covered func(*auth.Principal) bool) {
	if m.sockets != nil {
		m.sockets.Recheck(covered)
	}
	m.hub.Recheck(ctx, func(v view.Viewer) bool {
		p, ok := v.(*auth.Principal)
		return ok && covered(p)
	})
}
