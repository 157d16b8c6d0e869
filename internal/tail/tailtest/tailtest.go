// Package tailtest has nodes for tests of consumers: what membership would say, without a
// store, while a test kills, pauses and drains them. It follows the times of membership.
package tailtest

import (
	"fmt"
	"sync"
	"time"
)

// Times of membership.
const (
	SuspectedAfter = 15 * time.Second
	IsolatedAfter  = 15 * time.Second
	DeadAfter      = 30 * time.Second
)

// A Cluster is the nodes of one store. The zero value has none.
type Cluster struct {
	mu   sync.Mutex
	runs []*run
}

// A run is an incarnation.
type run struct {
	id      string
	silent  time.Time // since when; zero: it beats
	leaving bool
}

func (r *run) isSilentFor(d time.Duration) bool {
	return !r.silent.IsZero() && time.Since(r.silent) >= d
}

// A Node is one process. It implements tail.Nodes.
type Node struct {
	c   *Cluster
	run *run // the present incarnation
}

// Join is a node that has just started.
func (c *Cluster) Join() *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Node{c, c.register()}
}

func (c *Cluster) register() *run {
	r := &run{id: fmt.Sprintf("run-%d", len(c.runs)+1)}
	c.runs = append(c.runs, r)
	return r
}

// Silence stops the beats of a node: it was killed, is paused or cut off.
func (n *Node) Silence() {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.run.silent = time.Now()
}

// Return lets a silent node beat again: as another incarnation if it was isolated.
func (n *Node) Return() {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.run.isSilentFor(IsolatedAfter) {
		n.run = n.c.register()
	}
	n.run.silent = time.Time{}
}

// Drain announces that the node ends.
func (n *Node) Drain() {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.run.leaving = true
}

// Self implements tail.Nodes.
func (n *Node) Self() string {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.run.id
}

// Isolated implements tail.Nodes.
func (n *Node) Isolated() time.Duration {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.run.isSilentFor(IsolatedAfter) {
		return time.Since(n.run.silent)
	}
	return 0
}

// Dead implements tail.Nodes.
func (n *Node) Dead(id string) bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for _, r := range n.c.runs {
		if r.id == id {
			return r.isSilentFor(DeadAfter)
		}
	}
	return true // of an earlier version, or long ago
}

// Serving implements tail.Nodes.
func (n *Node) Serving() (ids []string) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for _, r := range n.c.runs {
		if !r.leaving && !r.isSilentFor(SuspectedAfter) {
			ids = append(ids, r.id)
		}
	}
	if ids != nil {
		return ids
	}
	for _, r := range n.c.runs {
		if !r.isSilentFor(DeadAfter) {
			ids = append(ids, r.id)
		}
	}
	return ids
}
