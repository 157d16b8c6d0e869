package server

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/netconn"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

const (
	// storeFiles is how many files Pebble may keep open, and minStoreFiles the fewest
	// that it works with.
	storeFiles    = 1000
	minStoreFiles = 64
	// otherFiles is for files other than connections and the store's tables: the
	// store's log and directories, listeners, the access log, certificates while they
	// are read, and refused connections until they are answered.
	otherFiles = 64
	// maxRefused bounds the refused connections that are open at a time.
	maxRefused = 16
	// adminConnections bounds the connections of the admin listener.
	adminConnections = 32
	// maxOutgoing bounds the connections to the endpoints of webhooks, and minOutgoing
	// is left of it under a small limit.
	maxOutgoing = 512
	minOutgoing = 8
)

// A descriptorPlan divides the file descriptors of the process, so that connections
// never use those that the store needs.
type descriptorPlan struct{ connections, store, outgoing int }

// planDescriptors divides a limit; zero: there is none. Half of a small limit is for
// the store. asked is the setting; zero: as many connections as the limit allows.
func planDescriptors(limit uint64, asked int) descriptorPlan {
	const most = 1 << 20
	if limit == 0 || limit > most {
		limit = most
	}
	store := min(storeFiles, max(minStoreFiles, int(limit)/2-otherFiles-adminConnections))
	outgoing := min(maxOutgoing, max(minOutgoing, int(limit)/16))
	connections := max(1, int(limit)-store-outgoing-otherFiles-adminConnections)
	if asked > 0 {
		connections = min(connections, asked)
	}
	return descriptorPlan{connections: connections, store: store, outgoing: outgoing}
}

// refusedRetry is when a client may try again after its connection was refused.
const refusedRetry = 5 * time.Second

// connections counts and limits the connections of one listener. At a limit, for all
// or for one address, it evicts a connection for each new one: the oldest idle one on
// which no request had a token, else the oldest other that has been idle for inUseFor, else one
// on which a request without a token takes long. If it can evict none, it refuses the new
// connection: it accepts it, answers with the limit, and closes it.
type connections struct {
	total   *quota.Limit
	each    *quota.Limit // of one address
	trusted func(netip.Addr) bool
	made    time.Time // the origin of the times of connections: only elapsed time counts

	mu        sync.Mutex // guards the fields below, and the elements of connections
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

// idlers are lists of connections that may be idle, the oldest first. The elements are
// of type *connection.
type idlers struct{ anonymous, known list.List }

func connectionAt(e *list.Element) *connection {
	c, _ := e.Value.(*connection) // the lists have no other type
	return c
}

func newConnections(total, each *quota.Limit, trusted func(netip.Addr) bool) *connections {
	return &connections{total: total, each: each, trusted: trusted, made: time.Now(), addresses: make(map[netip.Prefix]*addressConnections)}
}

// admit counts a connection, or records why it is refused.
func (t *connections) admit(c net.Conn) *connection {
	conn := &connection{Conn: c, table: t, address: t.addressOf(c)}
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.addresses[conn.address]
	switch {
	case of != nil && conn.address.IsValid() && t.each.Most > 0 && of.open >= t.each.Most && !t.evict(&of.idlers):
		t.refuse(conn, t.each)
		return conn
	case t.counted.open >= t.total.Most && !t.evict(&t.all):
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
	conn.elements = [2]*list.Element{t.all.anonymous.PushBack(conn), of.anonymous.PushBack(conn)}
	return conn
}

// now is the time since the table was made, in nanoseconds, and not 0.
func (t *connections) now() int64 { return int64(time.Since(t.made)) + 1 }

// addressOf is the address that a connection counts for. Connections of trusted proxies
// count for none, because many clients share them.
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

// refuse keeps a few connections open until they have been answered. t.mu is locked.
func (t *connections) refuse(c *connection, limit *quota.Limit) {
	c.refusal = limit.Reached(refusedRetry)
	c.elements[0] = t.refused.PushBack(c)
	if t.refused.Len() > maxRefused {
		t.closeNow(connectionAt(t.refused.Front()))
	}
}

// maxScanned bounds a search for an idle connection. Connections that are not idle move
// to the end of their list, so that the next search continues after them.
const maxScanned = 1000

// evict closes a connection to free its slot, if it can. t.mu is locked.
func (t *connections) evict(of *idlers) bool {
	switch {
	case t.closeFirst(&of.anonymous, (*connection).idle):
		t.counted.closedAnonymous++
	case t.closeFirst(&of.known, (*connection).unused):
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

// closeNow closes a connection without waiting for its handler. t.mu is locked.
func (t *connections) closeNow(c *connection) {
	t.remove(c)
	_ = c.Conn.Close() // nothing depends on it
}

// remove stops counting a connection, once. t.mu is locked.
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

// unlist removes a connection from the lists, so that it is no longer evicted. t.mu is
// locked.
func (t *connections) unlist(c *connection) {
	if c.elements[0] == nil {
		return
	}
	switch {
	case c.refusal != nil:
		t.refused.Remove(c.elements[0])
	case c.known.Load():
		t.all.known.Remove(c.elements[0])
		c.of.known.Remove(c.elements[1])
	default:
		t.all.anonymous.Remove(c.elements[0])
		c.of.anonymous.Remove(c.elements[1])
	}
	c.elements = [2]*list.Element{}
}

// full returns the limit that would refuse a new connection, or nil.
func (t *connections) full() *quota.Limit {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counted.open < t.total.Most {
		return nil
	}
	for _, of := range []*list.List{&t.all.anonymous, &t.all.known} {
		for e := of.Front(); e != nil; e = e.Next() {
			if connectionAt(e).evictable() {
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

// stateChanged is the hook by which a server reports when its connections are idle.
func (*connections) stateChanged(c net.Conn, state http.ConnState) {
	if own, ok := netconn.As[*connection](c); ok {
		own.setState(state)
	}
}

// isAdmitted reports whether a connection was admitted. A refused one never gets to the fast
// path: net/http answers it with the refusal.
func isAdmitted(c net.Conn) bool {
	own, ok := netconn.As[*connection](c)
	return ok && own.refusal == nil
}

// A connection is one that a countingListener accepted.
type connection struct {
	net.Conn

	table   *connections
	address netip.Prefix
	refusal *quota.Error // why it is not served, or nil
	active  atomic.Int64 // when the current request began, as of table.now; negative: when the last one ended; 0: there was none
	known   atomic.Bool  // a request had a token

	// Guarded by table.mu.

	of       *addressConnections // nil: not counted, or not any more
	elements [2]*list.Element    // in the lists of all and of its address
}

var _ wire.Connection = (*connection)(nil)

// setState records the state that the server reports.
func (c *connection) setState(state http.ConnState) {
	switch state {
	case http.StateActive:
		c.active.Store(c.table.now())
	case http.StateIdle:
		c.active.Store(-c.table.now())
	case http.StateHijacked:
		c.table.mu.Lock()
		defer c.table.mu.Unlock()
		c.table.unlist(c)
	default: // new; Close handles closed ones
	}
}

func (c *connection) idle() bool { return c.active.Load() <= 0 }

// inUseFor is how long after a request a connection is still in use: its client may be sending
// the next one, and would not know whether that one was executed.
const inUseFor = 250 * time.Millisecond

// unused reports whether the connection has been idle for that long.
func (c *connection) unused() bool {
	active := c.active.Load()
	return active == 0 || active < 0 && c.table.now()+active >= int64(inUseFor)
}

// evictable reports whether evict may close the connection.
func (c *connection) evictable() bool {
	return c.unused() || c.stalled() || c.idle() && !c.known.Load()
}

// anonymousTimeout is how long a request without a token may take when all connections
// are in use: one that sends its body slowly occupies a connection like an idle one.
const anonymousTimeout = 5 * time.Second

// stalled reports whether a request without a token takes longer than that.
func (c *connection) stalled() bool {
	since := c.active.Load()
	return since > 0 && !c.known.Load() && c.table.now()-since > int64(anonymousTimeout)
}

func (c *connection) Authenticated() {
	if c.known.Load() {
		return
	}
	t := c.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.elements[0] == nil || c.known.Load() {
		return
	}
	t.unlist(c)
	c.known.Store(true)
	c.elements = [2]*list.Element{t.all.known.PushBack(c), c.of.known.PushBack(c)}
}

func (c *connection) Refused() error {
	if c.refusal == nil {
		return nil
	}
	return c.refusal
}

func (c *connection) Close() error {
	c.table.mu.Lock()
	c.table.remove(c)
	c.table.mu.Unlock()
	return c.Conn.Close()
}

// NetConn is the underlying connection, for writes that must not block.
func (c *connection) NetConn() net.Conn { return c.Conn }

// A countingListener counts and limits its connections.
type countingListener struct {
	net.Listener
	connections *connections
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.admit(c), nil
}
