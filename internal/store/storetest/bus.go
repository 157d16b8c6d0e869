package storetest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// A Bus carries messages between the nodes of a test, as a store.Messenger of each. Messages
// take a while, and may be lost or arrive twice or out of order. The zero Bus loses none.
type Bus struct {
	mu     sync.Mutex // guards the fields below
	faults Faults
	nodes  []*busNode
}

// Faults are what a Bus does to each message.
type Faults struct {
	Delay, Jitter time.Duration // with Jitter, messages overtake each other
	// Lose and Repeat say whether a message to a node is lost, or arrives twice; nil: none.
	Lose, Repeat func() bool
	Random       *rand.Rand // for Jitter, of this bus alone; nil: unseeded
}

func (f *Faults) delay() time.Duration {
	switch {
	case f.Jitter <= 0:
		return f.Delay
	case f.Random == nil:
		return f.Delay + rand.N(f.Jitter) //nolint:gosec // no secret
	default:
		return f.Delay + time.Duration(f.Random.Int64N(int64(f.Jitter)))
	}
}

// Sometimes is a fault that happens with a probability.
func Sometimes(p float64, random *rand.Rand) func() bool {
	return func() bool { return random.Float64() < p }
}

// SetFaults changes what happens to later messages.
func (b *Bus) SetFaults(f Faults) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = f
}

// Node is a further node.
func (b *Bus) Node() store.Messenger {
	n := &busNode{bus: b}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = append(b.nodes, n)
	return n
}

type busNode struct {
	bus *Bus
	// calling is locked while fn is called, which is never called concurrently.
	calling       sync.Mutex
	subscriptions []*busSubscription // guarded by bus.mu
}

type busSubscription struct {
	topic string
	fn    func([]byte)
}

// Broadcast implements store.Messenger.
func (n *busNode) Broadcast(topic string, payload []byte) error {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	for _, to := range n.bus.nodes {
		if to != n {
			n.bus.send(to, topic, slices.Clone(payload))
		}
	}
	return nil
}

// send begins to deliver a message. b.mu is locked.
func (b *Bus) send(to *busNode, topic string, payload []byte) {
	f := b.faults
	if f.Lose != nil && f.Lose() {
		return
	}
	times := 1
	if f.Repeat != nil && f.Repeat() {
		times = 2
	}
	for range times {
		time.AfterFunc(f.delay(), func() { to.deliver(topic, payload) })
	}
}

func (n *busNode) deliver(topic string, payload []byte) {
	n.bus.mu.Lock()
	all := slices.Clone(n.subscriptions)
	n.bus.mu.Unlock()
	n.calling.Lock()
	defer n.calling.Unlock()
	for _, s := range all {
		if s.topic == topic {
			s.fn(payload)
		}
	}
}

// Subscribe implements store.Messenger.
func (n *busNode) Subscribe(topic string, fn func([]byte)) (stop func(), err error) {
	s := &busSubscription{topic, fn}
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	n.subscriptions = append(n.subscriptions, s)
	return func() {
		n.bus.mu.Lock()
		defer n.bus.mu.Unlock()
		n.subscriptions = slices.DeleteFunc(slices.Clone(n.subscriptions), func(x *busSubscription) bool { return x == s })
	}, nil
}
