// Package membership knows which nodes serve a store: every run of a process is an
// incarnation, which renews its document in the store (a beat, or heartbeat) as long as it lives, and whose end is
// decided there, once, for everybody.
//
// It is separate from the parts that depend on the verdict, such as sessions that are bound
// to a node, so that there is one. It guarantees that Dead is true only after a tombstone was
// stored in place of the last beat that anybody has seen. The store compares and swaps, so
// exactly one of a beat and a tombstone wins, and an incarnation that lost never beats again.
// No clock of another machine takes part, and elapsed time counts only while the node that
// counts it gets its own beats acknowledged: neither an election nor an outage of the store
// nor a pause of the observer declares anybody dead. It must not know what an incarnation
// holds, nor end anything itself.
package membership

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	// Interval is how often a node beats and reads the beats of all nodes.
	Interval = time.Second
	// DeadAfter is the shortest time after its end at which a node is declared dead.
	DeadAfter = 30 * time.Second
	// IsolatedAfter is how long the beats of a node may lack an acknowledgement before it
	// sends its clients elsewhere. It is well above the duration of an election, and leaves
	// clients the rest of DeadAfter to come back.
	IsolatedAfter = 15 * time.Second
	// TombstoneFor is how long a tombstone is kept.
	TombstoneFor = 24 * time.Hour

	// aloneInterval is how often a node without others looks at what earlier runs left.
	aloneInterval = 10 * time.Second
	// callTimeout bounds a call to the store. An election takes four to nine seconds.
	callTimeout = 5 * time.Second
	// joinTimeout bounds how long a start waits for the store.
	joinTimeout = 30 * time.Second
	joinRetry   = time.Second // between attempts while the store has no leader
	// joinSpread is how long a node waits at most that lost against one that joined too.
	joinSpread = 200 * time.Millisecond
)

// A Store is what Members needs of a store. A call of List must give nothing older than
// what earlier calls of the same node returned or were acknowledged.
type Store interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
}

// Facts are what a node says of itself, which does not change while it runs.
type Facts struct {
	Version string // of the program
	Host    string
	Address string // of the API
	Reads   Levels
}

// Usage is what a node has open.
type Usage struct{ Streams, Consumers int }

// Options are what Members is made of.
type Options struct {
	Store Store
	Facts Facts
	// Exclusive says that only this process can have the store open: it registers its
	// incarnation and does not beat, because a beat costs a sync of the disk.
	Exclusive bool
	Usage     func() Usage // nil: none
	Clock     func() time.Time
	// Asleep is how long the machine was suspended in all, which Go's elapsed time leaves
	// out; nil: never.
	Asleep func() time.Duration
	Log    *slog.Logger // nil: discards
	Times  Times
}

// Times are how long things take; zero: the constants above. They must be the same on all
// nodes. Tests shorten them.
type Times struct{ Interval, IsolatedAfter, DeadAfter time.Duration }

func (t Times) withDefaults() Times {
	return Times{cmp.Or(t.Interval, Interval), cmp.Or(t.IsolatedAfter, IsolatedAfter), cmp.Or(t.DeadAfter, DeadAfter)}
}

// verdictAfter is the silence after which a node is declared dead. A node may end just before
// it would have beaten again: an interval after its last beat, or a little more if the store was
// slower to answer it than before.
func (t Times) verdictAfter() time.Duration { return t.DeadAfter + t.Interval*5/4 }

// suspectAfter is the silence after which a node is shown as suspected.
func (t Times) suspectAfter() time.Duration { return t.DeadAfter / 2 }

// Members is this node among those that serve the store. Set the callbacks before Run.
type Members struct {
	opts Options

	// OnDead is called once for each incarnation that has a tombstone, those of earlier
	// days included. It must return at once.
	OnDead func(id string)
	// OnIsolated is called when this node must send its clients elsewhere, because its beats
	// are not acknowledged or it was declared dead. Its incarnation is given up.
	OnIsolated func()
	// OnRejoined is called when the node serves again after OnIsolated, as a new incarnation.
	// Whatever was bound to the earlier one ends with it.
	OnRejoined func(id string)

	changed chan struct{} // one element: something for the loop of Run to do at once

	// Taken in this order, before mu. They are held while the store or a callback is called.
	rounds    chanLock // from a reading to the last write that depends on it
	switching chanLock // while the incarnation changes: OnRejoined comes after OnIsolated

	mu       sync.Mutex // guards the fields below
	self     incarnation
	isolated bool             // since self was given up, until OnRejoined has returned
	peers    map[string]*peer // every other document, by incarnation
	dead     map[string]bool  // that were reported
	asked    map[string]bool  // unknown incarnations that somebody asked for
	level    levelState
	counted  time.Time // when silence was counted last; zero: interrupted since
	leaving  bool
	left     chan struct{}       // closed when a beat with leaving was acknowledged
	logged   map[string]struct{} // documents that cannot be read, which were logged
}

// An incarnation is what this node knows of itself.
type incarnation struct {
	id        string
	replaces  string // the earlier incarnation of the same process; "": none
	since     time.Time
	version   string // of its document, as read last
	beat      uint64 // of the last attempt
	attempted moment
	acked     bool   // the last attempt
	ackedAt   moment // when the last acknowledged attempt began
	givenUp   bool   // it never beats again
}

// A chanLock is a lock. Tests in fake time can wait for it, unlike for a mutex.
type chanLock chan struct{}

func newChanLock() chanLock { return make(chanLock, 1) }

func (l chanLock) lock()   { l <- struct{}{} }
func (l chanLock) unlock() { <-l }

// A moment is an instant of this machine.
type moment struct {
	at     time.Time     // with its monotonic reading, which stops while the machine is suspended
	asleep time.Duration // how long it was suspended before
}

func (m *Members) now() moment { return moment{time.Now(), m.opts.Asleep()} }

func (m *Members) since(then moment) time.Duration {
	return time.Since(then.at) + m.opts.Asleep() - then.asleep
}

// A peer is what this node knows of another incarnation.
type peer struct {
	value   nodeValue
	version string        // of its document
	moved   time.Time     // when version changed last, or was first seen
	first   bool          // no change was seen yet
	silent  time.Duration // counted silence
}

// New is a node that has not joined.
func New(o Options) *Members {
	if o.Usage == nil {
		o.Usage = func() Usage { return Usage{} }
	}
	if o.Asleep == nil {
		o.Asleep = func() time.Duration { return 0 }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Times = o.Times.withDefaults()
	return &Members{
		opts: o, OnDead: func(string) {}, OnIsolated: func() {}, OnRejoined: func(string) {},
		changed: make(chan struct{}, 1), left: make(chan struct{}), rounds: newChanLock(), switching: newChanLock(),
		peers: make(map[string]*peer), dead: make(map[string]bool), asked: make(map[string]bool), logged: make(map[string]struct{}),
	}
}

// Join registers this run, before the node serves anybody. It returns a LevelError, and
// changes nothing, if the node cannot read what others write.
func (m *Members) Join(ctx context.Context) error {
	m.rounds.lock()
	defer m.rounds.unlock()
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	id := cryptorand.Text()
	err := m.registerAs(ctx, id)
	if mayPass(err) {
		m.opts.Log.WarnContext(ctx, "cannot register this node in the store yet; retrying", slog.Any("err", err))
	}
	for mayPass(err) && sleep(ctx, joinRetry) {
		if next := m.registerAs(ctx, id); next == nil || ctx.Err() == nil { // a timeout would hide the reason
			err = next
		}
	}
	if err != nil {
		return fmt.Errorf("register this node in the store: %w", err)
	}
	return nil
}

// mayPass reports whether an error can pass by itself, such as while the store elects a leader.
func mayPass(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) || errors.Is(err, context.DeadlineExceeded)
}

// sleep reports whether it slept for d: false means that ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// registerAgain registers as a new incarnation.
func (m *Members) registerAgain(ctx context.Context) error {
	return m.registerAs(ctx, cryptorand.Text())
}

// registerAs registers until no other node that joins is quicker.
func (m *Members) registerAs(ctx context.Context, id string) error {
	for {
		err := m.register(ctx, id)
		if !conflict(err) {
			return err
		}
		if !sleep(ctx, randomUpTo(joinSpread)) {
			return err
		}
	}
}

// register makes a new incarnation of this node. An earlier attempt with the same id may have been
// stored.
func (m *Members) register(ctx context.Context, id string) error {
	read, err := m.read(ctx)
	if err != nil {
		return err
	}
	if err := m.observe(read); err != nil {
		return err
	}
	next := incarnation{id: id, replaces: m.Self(), since: m.opts.Clock().UTC(), beat: 1, attempted: m.now()}
	if m.isUnregistered() {
		next.id, next.replaces = m.Self(), ""
	}
	m.mu.Lock()
	if p := m.peers[next.id]; p != nil && !p.value.dead() {
		next.version = p.version
	}
	m.mu.Unlock()
	// The level document is written again: its rise is then decided after this node was seen.
	docs := []store.Doc{m.beatDoc(&next), m.levelDoc(read)}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch err := m.opts.Store.Write(ctx, account, docs...); {
	case m.opts.Exclusive && errors.Is(err, store.ErrFull):
		// Reads work on a full disk. The node registers when there is space.
	case err != nil:
		return err
	default:
		next.acked, next.ackedAt = true, next.attempted
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.peers, next.id)
	m.self = next
	return nil
}

// isUnregistered reports whether this node serves a full disk, which had no space for its
// document.
func (m *Members) isUnregistered() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opts.Exclusive && m.self.id != "" && !m.self.acked && !m.self.givenUp
}

// Self is the incarnation of this node. It changes when the node was isolated.
func (m *Members) Self() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self.id
}

// Live is every incarnation without a tombstone, this one included, in order.
func (m *Members) Live() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var live []string
	if !m.self.givenUp {
		live = append(live, m.self.id)
	}
	for id, p := range m.peers {
		if !p.value.dead() {
			live = append(live, id)
		}
	}
	slices.Sort(live)
	return live
}

// Dead reports whether an incarnation has a tombstone, or had one that has expired. For an
// incarnation without a document the first answer is false; OnDead follows after the node
// has read all documents again.
func (m *Members) Dead(id string) bool {
	if id == "" {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead[id] {
		return true
	}
	if _, known := m.peers[id]; !known && id != m.self.id && !m.asked[id] {
		m.asked[id] = true
		m.wake()
	}
	return false
}

// Isolated is the time since the last acknowledged beat began, while the node is isolated or
// OnRejoined is still running; otherwise zero.
func (m *Members) Isolated() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.sinceAck()
	if m.opts.Exclusive || !m.isolated && since < m.opts.Times.IsolatedAfter {
		return 0
	}
	return max(since, 1)
}

// sinceAck counts time during which the machine was suspended too: others counted it.
func (m *Members) sinceAck() time.Duration { return m.since(m.self.ackedAt) }

// Leave announces that the node is draining, and waits until the beat was acknowledged or
// ctx ends. The node beats until Run ends; what is bound to it ends DeadAfter later.
func (m *Members) Leave(ctx context.Context) {
	m.mu.Lock()
	m.leaving = true
	waits := !m.opts.Exclusive && !m.self.givenUp
	m.mu.Unlock()
	if !waits {
		return
	}
	m.wake()
	select {
	case <-m.left:
	case <-ctx.Done():
	}
}

func (m *Members) wake() {
	select {
	case m.changed <- struct{}{}:
	default: // it is awake
	}
}

// State is the state of a node as this node sees it.
type State string

// The states.
const (
	Live      State = "live"
	Leaving   State = "leaving" // it drains
	Suspected State = "suspected"
	Dead      State = "dead" // it has a tombstone
)

// States are all states.
func States() []State { return []State{Live, Leaving, Suspected, Dead} }

// A Node describes one incarnation.
type Node struct {
	ID   string
	Self bool
	Facts
	Usage

	Since time.Time
	State State
	Beat  time.Duration // age of the last beat
}

// Nodes describes every incarnation that has a document, in the order of their starts.
func (m *Members) Nodes() []Node {
	usage := m.opts.Usage()
	m.mu.Lock()
	defer m.mu.Unlock()
	nodes := []Node{m.selfNode(usage)}
	for id, p := range m.peers {
		if id != m.self.id {
			nodes = append(nodes, m.nodeOf(id, p))
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
	})
	return nodes
}

func (m *Members) selfNode(usage Usage) Node {
	n := Node{ID: m.self.id, Self: true, Facts: m.opts.Facts, Usage: usage, Since: m.self.since, State: Live, Beat: m.sinceAck()}
	switch {
	case m.opts.Exclusive:
		n.Beat = 0 // it lives: it answers
	case m.self.givenUp || n.Beat >= m.opts.Times.suspectAfter():
		n.State = Suspected
	}
	if m.leaving && n.State == Live {
		n.State = Leaving
	}
	return n
}

func (m *Members) nodeOf(id string, p *peer) Node {
	v := &p.value
	n := Node{ID: id, Facts: v.facts(), Usage: v.usage(), Since: v.Since, State: Live, Beat: time.Since(p.moved)}
	if p.first || v.dead() { // only its own clock says when it beat
		n.Beat = max(n.Beat, m.opts.Clock().Sub(v.At))
	}
	switch {
	case v.dead():
		n.State = Dead
	case p.silent >= m.opts.Times.suspectAfter():
		n.State = Suspected
	case v.Leaving:
		n.State = Leaving
	}
	return n
}

// Run beats, observes the other nodes and calls the callbacks until ctx ends or the store
// fails or closes. Join must have succeeded.
func (m *Members) Run(ctx context.Context) error {
	interval := m.opts.Times.Interval
	var watching sync.WaitGroup
	defer watching.Wait()
	work, stop := context.WithCancel(ctx)
	defer stop()
	if m.opts.Exclusive {
		interval = aloneInterval
	} else {
		watching.Go(func() { m.watchIsolation(work) })
	}
	m.reportDead() // that Join has read
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var failing bool
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-m.changed:
		}
		if m.opts.Exclusive && !m.pending() {
			continue
		}
		err := m.round(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, store.ErrClosed):
			return nil
		case errors.Is(err, store.ErrFailed) || errors.Is(err, ErrLevel):
			return err
		case err != nil && !failing:
			m.opts.Log.WarnContext(ctx, "heartbeat of this node failed; will retry", slog.Any("err", err))
		}
		failing = err != nil
	}
}

// watchIsolation gives the incarnation up when its beats are not acknowledged.
func (m *Members) watchIsolation(ctx context.Context) {
	ticker := time.NewTicker(m.opts.Times.Interval / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m.mu.Lock()
		isolated := !m.self.givenUp && m.sinceAck() >= m.opts.Times.IsolatedAfter
		m.mu.Unlock()
		if isolated {
			m.giveUp(ctx, "its heartbeats were not acknowledged")
		}
	}
}

// giveUp ends the present incarnation of this node: sessions bound to it can be bound anew
// elsewhere, and those that are not end when it is declared dead.
func (m *Members) giveUp(ctx context.Context, why string) {
	m.switching.lock()
	defer m.switching.unlock()
	m.mu.Lock()
	if m.self.givenUp {
		m.mu.Unlock()
		return
	}
	m.self.givenUp, m.isolated = true, true
	id, since := m.self.id, m.sinceAck()
	m.mu.Unlock()
	m.opts.Log.WarnContext(ctx, "this node is isolated; its clients are sent to other nodes", slog.String("node", id), slog.String("reason", why), slog.Duration("since", since.Round(time.Millisecond)))
	m.OnIsolated()
}

// pending reports whether a node without others has something to observe.
func (m *Members) pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if !p.value.dead() {
			return true
		}
	}
	return !m.self.acked || len(m.asked) > 0 || m.level.value.Level < m.opts.Facts.Reads.Newest
}

// reportDead calls OnDead for the tombstones that were not reported yet.
func (m *Members) reportDead() {
	m.mu.Lock()
	var found []string
	for id, p := range m.peers {
		if p.value.dead() && !m.dead[id] {
			found = append(found, id)
		}
	}
	m.mu.Unlock()
	for _, id := range slices.Sorted(slices.Values(found)) {
		m.report(id)
	}
}

func (m *Members) report(id string) {
	m.mu.Lock()
	m.dead[id] = true
	m.mu.Unlock()
	m.OnDead(id)
}

// unknown are the incarnations that somebody asked for before now.
func (m *Members) unknown() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.asked))
}

func randomUpTo(d time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(d))) } //nolint:gosec // no secret
