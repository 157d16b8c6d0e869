package server

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tail"
)

// isShared reports whether several nodes may serve the store at once. Then the record alone
// decides when a session ends, and a run of a node ends only its own sessions. It is the one
// place that decides: the embedded engine is this process's alone.
func isShared(st store.Store) bool {
	s, ok := st.(interface{ Shared() bool })
	return ok && s.Shared()
}

// joinNodes registers this run of the process among the nodes of the store, and refuses to
// serve a store that it cannot read.
func (s *Server) joinNodes() error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	s.members = membership.New(membership.Options{
		Store: s.store, Exclusive: !isShared(s.store), Usage: s.usage, Clock: s.opts.Clock, Asleep: suspended, Log: s.log, Times: s.opts.NodeTimes,
		Facts: membership.Facts{Version: Version(), Host: host, Address: s.config.Listen, Reads: s.opts.Levels},
	})
	s.members.OnIsolated, s.members.OnRejoined = s.isolate, s.rejoin
	if isShared(s.store) { // otherwise the publisher ends what earlier runs held
		s.members.OnDead = s.deadNodes.add
	}
	return s.members.Join(context.Background())
}

// peers are the nodes among which consumers are divided; nil: there are no others.
func (s *Server) peers() tail.Nodes {
	if !isShared(s.store) {
		return nil
	}
	return s.members
}

// isPreferred reports whether this node is the one to do a piece of work that needs only one
// node. When that node dies or drains, another one is preferred. Two nodes may do the work while
// they disagree.
func (s *Server) isPreferred(work string) bool {
	return !isShared(s.store) || membership.Preferred(work, s.members.Serving()) == s.members.Self()
}

// usage is what the node has open. Before it is composed, that is nothing.
func (s *Server) usage() membership.Usage {
	if s.hub == nil {
		return membership.Usage{}
	}
	return membership.Usage{Streams: s.hub.Stats().Streams, Consumers: s.consumers.Running()}
}

// isolate sends the clients of streams to other nodes: this one cannot reach the store, or
// was declared dead, and their sessions end soon.
func (s *Server) isolate() {
	s.hub.Suspend()
	s.webhooks.sockets.Suspend()
}

// rejoin serves streams again. Whatever connections held as the earlier incarnation ends with
// that one. If that is dead already, a sign-in may have been stored after its sessions were
// looked for. Streams are accepted last: a sign-in on one holds its session as id.
func (s *Server) rejoin(id string) {
	before := s.publisher.Holder()
	s.publisher.HoldAs(id)
	if s.members.Dead(before) {
		s.deadNodes.add(before)
	}
	s.hub.Resume()
	s.webhooks.sockets.Resume()
}

// A deadQueue has the runs of nodes whose sessions are to be ended.
type deadQueue struct {
	mu   sync.Mutex
	ids  []string
	wake chan struct{}
}

func newDeadQueue() *deadQueue { return &deadQueue{wake: make(chan struct{}, 1)} }

func (q *deadQueue) add(id string) {
	q.mu.Lock()
	q.ids = append(q.ids, id)
	q.mu.Unlock()
	wakeUp(q.wake)
}

func (q *deadQueue) takeIDs() (ids []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids, q.ids = q.ids, nil
	return ids
}

// lateWrites is how long what a node sent before its death may be on its way to the store: a
// machine that was cut off sends it again for a minute or two, even after the process ended.
const lateWrites = 5 * time.Minute

// follow calls end with the runs that were added, when there are more, and once more later: a
// sign-in may be stored after end has looked at its user, and nobody else would end that
// session. It returns when end fails or ctx ends.
func (q *deadQueue) follow(ctx context.Context, end func([]string) error) {
	var ids []string
	var later <-chan time.Time
	for {
		if more := q.takeIDs(); len(more) > 0 {
			ids, later = append(ids, more...), time.After(lateWrites)
			if end(ids) != nil {
				return
			}
		}
		select {
		case <-q.wake:
		case <-later:
			if end(ids) != nil {
				return
			}
			ids, later = nil, nil
		case <-ctx.Done():
			return
		}
	}
}

// endHeld ends the sessions that connections to dead nodes held. Each node begins with its
// share of the users.
func (s *Server) endHeld(ctx context.Context) error {
	s.deadNodes.follow(ctx, func(ids []string) error { // which fails only because ctx ended
		return s.publisher.EndHolders(ctx, ids, shareOf(s.members.Self(), s.members.Live()))
	})
	return nil
}

// shareOf reports which users fall to a node.
func shareOf(self string, live []string) func(store.User) bool {
	nodes := append(slices.Clone(live), self) // which may have been given up
	return func(u store.User) bool {
		return membership.Preferred(string(u.Account)+"/"+string(u.ID), nodes) == self
	}
}

// leaveTimeout bounds how long a drain waits for the beat that announces it.
const leaveTimeout = time.Second

func (s *Server) leaveNodes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	s.members.Leave(ctx)
}

// isolation is why the node is isolated; "": it is not.
func (s *Server) isolation() string {
	since := s.members.Isolated()
	if since == 0 {
		return ""
	}
	return fmt.Sprintf("this node is isolated: the store has not acknowledged its beats for %s; its clients were sent to other nodes; check the connection to %s", since.Round(time.Second), s.storeLocation())
}

// A nodesView is how the nodes look from this one.
type nodesView struct {
	states   map[string]float64
	isolated time.Duration
	level    int
}

// viewNodes looks at the nodes.
func (s *Server) viewNodes() nodesView {
	v := nodesView{states: make(map[string]float64), isolated: s.members.Isolated(), level: s.members.Level()}
	for _, state := range membership.States() {
		v.states[string(state)] = 0
	}
	for _, n := range s.members.Nodes() {
		v.states[string(n.State)]++
	}
	return v
}

func newNodesCollector(from func() nodesView) *collector[nodesView] {
	c := collect("porchlight_", from)
	c.gaugeBy("nodes", "state", "Runs of nodes that serve the store, as this node sees them: live, leaving (it drains), suspected (it was silent for 15 s) or dead (in the last day).", func(v *nodesView) map[string]float64 { return v.states })
	c.gauge("node_isolated_seconds", "How long the store has not acknowledged the heartbeats of this node, once that is 15 s and the node has sent its clients elsewhere; otherwise 0.", func(v *nodesView) float64 { return v.isolated.Seconds() })
	c.gauge("format_level", "The level of formats that nodes may write.", func(v *nodesView) float64 { return float64(v.level) })
	return c
}
