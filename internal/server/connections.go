package server

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

const (
	// storeFiles is what Pebble keeps open when it may, and the least that it
	// works with.
	storeFiles      = 1000
	leastStoreFiles = 64
	// otherFiles is what is open beside connections and the store's tables: its
	// log and directories, listeners, the access log, certificates while they are
	// read, and connections past the limit, until they are answered.
	otherFiles = 64
	// maxRefused is how many of those there are at a time.
	maxRefused = 16
	// adminConnections is how many the second listener takes.
	adminConnections = 32
)

// A descriptorPlan shares out the descriptors that the process may have, so that
// connections never take those that the store needs to go on.
type descriptorPlan struct{ connections, store int }

// planDescriptors shares out limit, zero for none. Half of a small one is the
// store's. asked is the setting, zero for as many connections as the limit allows.
func planDescriptors(limit uint64, asked int) descriptorPlan {
	const most = 1 << 20
	if limit == 0 || limit > most {
		limit = most
	}
	store := min(storeFiles, max(leastStoreFiles, int(limit)/2-otherFiles-adminConnections))
	connections := max(1, int(limit)-store-otherFiles-adminConnections)
	if asked > 0 {
		connections = min(connections, asked)
	}
	return descriptorPlan{connections: connections, store: store}
}

// refusedRetry is when a client may try again that got no connection.
const refusedRetry = 5 * time.Second

// connections are those of one listener. When there are as many as there may be,
// in all or of one address, an idle one is closed for a new one: first those on
// which no request had a token, then the others, the oldest first; and if none is
// idle, one on which a request without a token takes long. If there is none either,
// the new one is refused: it is accepted, answered with the limit, and closed.
type connections struct {
	total   *quota.Limit
	each    *quota.Limit // of one address
	trusted func(netip.Addr) bool

	mu        sync.Mutex // guards the fields below, and the places of connections
	counted   connectionStats
	all       idlers
	addresses map[netip.Prefix]*addressConnections
	refused   list.List
}

// addressConnections are the connections of one address.
type addressConnections struct {
	open int
	idlers
}

// idlers are connections that may be idle, the oldest first. Each has *connection.
type idlers struct{ anonymous, known list.List }

func connectionAt(e *list.Element) *connection {
	c, _ := e.Value.(*connection) // there is nothing else in the lists
	return c
}

func newConnections(total, each *quota.Limit, trusted func(netip.Addr) bool) *connections {
	return &connections{total: total, each: each, trusted: trusted, addresses: make(map[netip.Prefix]*addressConnections)}
}

// admit takes a connection in, or notes why it is refused.
func (t *connections) admit(c net.Conn) *connection {
	conn := &connection{Conn: c, table: t, address: t.addressOf(c)}
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.addresses[conn.address]
	switch {
	case of != nil && conn.address.IsValid() && t.each.Most > 0 && of.open >= t.each.Most && !t.closeIdle(&of.idlers):
		t.refuse(conn, t.each)
		return conn
	case t.counted.open >= t.total.Most && !t.closeIdle(&t.all):
		t.refuse(conn, t.total)
		return conn
	}
	if of = t.addresses[conn.address]; of == nil { // the last one of it may just have been closed
		of = new(addressConnections)
		t.addresses[conn.address] = of
	}
	t.counted.open++
	of.open++
	conn.of = of
	conn.places = [2]*list.Element{t.all.anonymous.PushBack(conn), of.anonymous.PushBack(conn)}
	return conn
}

// addressOf is what a connection is counted by: nothing for those of trusted
// proxies, which are many people's.
func (t *connections) addressOf(c net.Conn) netip.Prefix {
	at, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr := wire.PlainAddr(at.AddrPort().Addr())
	if t.trusted != nil && t.trusted(addr) {
		return netip.Prefix{}
	}
	return wire.Client{Addr: addr}.LimitKey()
}

// refuse keeps a few connections until they have been answered. t.mu is held.
func (t *connections) refuse(c *connection, limit *quota.Limit) {
	c.refusal = limit.Reached(refusedRetry)
	c.places[0] = t.refused.PushBack(c)
	if t.refused.Len() > maxRefused {
		t.closeNow(connectionAt(t.refused.Front()))
	}
}

// maxScanned is how many connections are searched for one that is idle. Those that
// are not go to the end of their list, so that the next search goes on after them.
const maxScanned = 1000

// closeIdle closes an idle connection, if there is one. t.mu is held.
func (t *connections) closeIdle(of *idlers) bool {
	switch {
	case t.closeFirst(&of.anonymous, (*connection).idle):
		t.counted.closedAnonymous++
	case t.closeFirst(&of.known, (*connection).idle):
		t.counted.closedIdle++
	case t.closeFirst(&of.anonymous, (*connection).stalled):
		t.counted.closedAnonymous++
	default:
		return false
	}
	return true
}

func (t *connections) closeFirst(of *list.List, may func(*connection) bool) bool {
	for range min(of.Len(), maxScanned) {
		first := of.Front()
		c := connectionAt(first)
		if may(c) {
			t.closeNow(c)
			return true
		}
		of.MoveToBack(first)
	}
	return false
}

// closeNow closes a connection without waiting for who serves it. t.mu is held.
func (t *connections) closeNow(c *connection) {
	t.remove(c)
	_ = c.Conn.Close() // nobody is there to tell
}

// remove ends the counting of a connection, once. t.mu is held.
func (t *connections) remove(c *connection) {
	t.unlist(c)
	if c.of == nil {
		return
	}
	t.counted.open--
	if c.of.open--; c.of.open == 0 {
		delete(t.addresses, c.address)
	}
	c.of = nil
}

// unlist takes a connection out of the lists: it is not closed for others any
// more. t.mu is held.
func (t *connections) unlist(c *connection) {
	if c.places[0] == nil {
		return
	}
	switch {
	case c.refusal != nil:
		t.refused.Remove(c.places[0])
	case c.known.Load():
		t.all.known.Remove(c.places[0])
		c.of.known.Remove(c.places[1])
	default:
		t.all.anonymous.Remove(c.places[0])
		c.of.anonymous.Remove(c.places[1])
	}
	c.places = [2]*list.Element{}
}

// full says why a new connection would be refused, or is nil.
func (t *connections) full() *quota.Limit {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counted.open < t.total.Most {
		return nil
	}
	for _, of := range []*list.List{&t.all.anonymous, &t.all.known} {
		for e := of.Front(); e != nil; e = e.Next() {
			if c := connectionAt(e); c.idle() || c.stalled() {
				return nil
			}
		}
	}
	return t.total
}

// connectionStats are the counters of connections.
type connectionStats struct {
	open                        int
	closedAnonymous, closedIdle uint64
}

func (t *connections) stats() connectionStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counted
}

// on has a server say when its connections are idle.
func (t *connections) on(srv *http.Server) {
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if own, ok := wire.ConnAs[*connection](c); ok {
			own.enter(state)
		}
	}
}

// A connection is one of a listener that counts them.
type connection struct {
	net.Conn

	table   *connections
	address netip.Prefix
	refusal *quota.Error // why it is not served; nil
	active  atomic.Int64 // since when a request is served, in nanoseconds; 0: none is
	known   atomic.Bool  // a request had a token

	// Guarded by table.mu.

	of     *addressConnections // nil: not counted, or not any more
	places [2]*list.Element    // in the lists of all and of its address
}

var _ wire.Connection = (*connection)(nil)

// enter notes what net/http says of the connection.
func (c *connection) enter(state http.ConnState) {
	switch state {
	case http.StateActive:
		c.active.Store(time.Now().UnixNano())
	case http.StateIdle:
		c.active.Store(0)
	case http.StateHijacked:
		c.table.mu.Lock()
		defer c.table.mu.Unlock()
		c.table.unlist(c)
	default: // new, and closed, which Close sees
	}
}

func (c *connection) idle() bool { return c.active.Load() == 0 }

// anonymousTimeout is how long a request without a token may take when connections
// are short: one that sends its body slowly holds a connection like an idle one.
const anonymousTimeout = 5 * time.Second

// stalled reports whether such a request takes longer.
func (c *connection) stalled() bool {
	since := c.active.Load()
	return since != 0 && !c.known.Load() && time.Now().UnixNano()-since > int64(anonymousTimeout)
}

// Authenticated implements wire.Connection.
func (c *connection) Authenticated() {
	if c.known.Load() {
		return
	}
	t := c.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.places[0] == nil || c.known.Load() {
		return
	}
	t.unlist(c)
	c.known.Store(true)
	c.places = [2]*list.Element{t.all.known.PushBack(c), c.of.known.PushBack(c)}
}

// Refused implements wire.Connection.
func (c *connection) Refused() error {
	if c.refusal == nil {
		return nil
	}
	return c.refusal
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.table.mu.Lock()
	c.table.remove(c)
	c.table.mu.Unlock()
	return c.Conn.Close()
}

// NetConn is the connection itself, for who writes to it without waiting.
func (c *connection) NetConn() net.Conn { return c.Conn }

// A countingListener has its connections counted and limited.
type countingListener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener.
func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.admit(c), nil
}
