package server

import (
	"context"
	"fmt"
	"os"
	"time"

	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/store"
)

// isShared reports whether several nodes may serve the store at once. Then the record alone
// decides when a session ends, and a run of a node ends only its own sessions. It is the one
// place that decides: the embedded engine is this process's alone, and so is a store on
// NATS under its exclusive lease.
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
	return s.members.Join(context.Background())
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
// that one.
func (s *Server) rejoin(id string) {
	s.publisher.HoldAs(id)
	s.hub.Resume()
	s.webhooks.sockets.Resume()
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
