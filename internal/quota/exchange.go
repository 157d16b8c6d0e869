package quota

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// A Ledger has what accounts used of limits that hold over all nodes.
type Ledger interface {
	// Unsent returns amounts that were used here and not returned before, at most this many.
	Unsent(amounts int) []Used
	// Add adds what was used on another node.
	Add(used []Used)
	// Totals are what was used of daily limits today on all nodes, as far as this one knows.
	Totals() []Used
	// AddTotals raises the totals of this node to those of another one, where they are higher.
	AddTotals(totals []Used)
	// SetNodes sets the number of nodes.
	SetNodes(nodes int)
}

// Used is an amount that an account used. The Ledger defines the kinds.
type Used struct {
	Account string `json:"a"`
	Kind    uint8  `json:"k,omitempty"`
	Amount  int64  `json:"n"`
	// Day is that of a daily limit, in days since 1970 in UTC. 0: today, or the limit is
	// not a daily one.
	Day int64 `json:"d,omitempty"`
}

// A Messenger sends messages to the other nodes, and may lose some; store.Messenger is one.
type Messenger interface {
	Broadcast(topic string, payload []byte) error
	Subscribe(topic string, fn func(payload []byte)) (stop func(), err error)
}

const (
	usageTopic = "usage"
	// repeats is in how many messages each amount is sent: in all those of a second, so that
	// the next message makes up for a lost one.
	repeats = int(time.Second / broadcastEvery)
	// amountsAtOnce bounds a round: further amounts go into the next one. A message with all
	// rounds has at most 500 KB, which every store.Messenger accepts.
	amountsAtOnce = 800
	totalsAtOnce  = 2000
	countEvery    = 10 // rounds between two counts of the nodes
)

// A usageMessage is what a node broadcasts.
type usageMessage struct {
	Node   string       `json:"node"`
	Rounds []usageRound `json:"rounds,omitempty"`
	// Ask requests the Totals of other nodes, for a node that has just started.
	Ask    bool   `json:"ask,omitempty"`
	Totals []Used `json:"totals,omitempty"`
}

// A usageRound is what was used in one interval.
type usageRound struct {
	Number uint64 `json:"r"`
	Used   []Used `json:"u"`
}

// An Exchange broadcasts to other nodes what a Ledger counts here, and adds what they
// broadcast.
type Exchange struct {
	ledger    Ledger
	messenger Messenger
	nodes     func() int
	self      string // of this run
	number    uint64
	rounds    []usageRound // the latest ones, the newest last

	mu       sync.Mutex
	received map[string]uint64 // guarded by mu: the newest round by node
}

// NewExchange makes an exchange. nodes is how many there are.
func NewExchange(ledger Ledger, messenger Messenger, nodes func() int) *Exchange {
	return &Exchange{ledger: ledger, messenger: messenger, nodes: nodes, self: rand.Text(), received: make(map[string]uint64)}
}

// Run exchanges until ctx ends.
func (x *Exchange) Run(ctx context.Context) error {
	x.ledger.SetNodes(x.nodes())
	stop, err := x.messenger.Subscribe(usageTopic, x.receive)
	if err != nil {
		return err
	}
	defer stop()
	x.send(&usageMessage{Ask: true})
	ticker := time.NewTicker(broadcastEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			x.broadcast()
		case <-ctx.Done():
			return nil
		}
	}
}

// broadcast sends what was used in the latest rounds, if anything.
func (x *Exchange) broadcast() {
	x.number++
	if x.number%countEvery == 0 {
		x.ledger.SetNodes(x.nodes())
	}
	x.rounds = slices.DeleteFunc(x.rounds, func(r usageRound) bool { return r.Number+uint64(repeats) <= x.number })
	if used := x.ledger.Unsent(amountsAtOnce); len(used) > 0 {
		x.rounds = append(x.rounds, usageRound{x.number, used})
	}
	if len(x.rounds) > 0 {
		x.send(&usageMessage{Rounds: x.rounds})
	}
}

// send sends a message. One that cannot be sent is lost, as others may be.
func (x *Exchange) send(m *usageMessage) {
	m.Node = x.self
	if b, err := json.Marshal(m); err == nil {
		_ = x.messenger.Broadcast(usageTopic, b)
	}
}

func (x *Exchange) receive(b []byte) {
	var m usageMessage
	if json.Unmarshal(b, &m) != nil || m.Node == x.self {
		return // of a newer version
	}
	for _, r := range x.newRounds(&m) {
		x.ledger.Add(r.Used)
	}
	if len(m.Totals) > 0 {
		x.ledger.AddTotals(m.Totals)
	}
	if m.Ask {
		for part := range slices.Chunk(x.ledger.Totals(), totalsAtOnce) {
			x.send(&usageMessage{Totals: part})
		}
	}
}

// newRounds are the rounds of m that were in no earlier message.
func (x *Exchange) newRounds(m *usageMessage) (fresh []usageRound) {
	x.mu.Lock()
	defer x.mu.Unlock()
	newest := x.received[m.Node]
	for _, r := range m.Rounds {
		if r.Number > newest {
			fresh = append(fresh, r)
			x.received[m.Node] = max(x.received[m.Node], r.Number)
		}
	}
	return fresh
}
