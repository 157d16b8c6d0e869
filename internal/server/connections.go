package server

import (
	"net"
	"sync"
)

const (
	// storeFiles is what Pebble keeps open when it may, and the least that it
	// works with.
	storeFiles      = 1000
	leastStoreFiles = 64
	// otherFiles is what is open beside connections and the store's tables: its
	// log and directories, listeners, the access log, certificates while they are
	// read.
	otherFiles = 64
	// adminConnections is how many the second listener takes.
	adminConnections = 32
)

// A descriptorPlan shares out the descriptors that the process may have, so that
// connections never take those that the store needs to go on.
type descriptorPlan struct{ connections, store int }

// planDescriptors shares out limit, zero for none. Half of a small one is the
// store's. asked is the setting, zero for as many connections as there is room for.
func planDescriptors(limit uint64, asked int) descriptorPlan {
	const most = 1 << 20
	if limit == 0 || limit > most {
		limit = most
	}
	store := min(storeFiles, max(leastStoreFiles, int(limit)/2-otherFiles-adminConnections))
	room := max(1, int(limit)-store-otherFiles-adminConnections)
	if asked > 0 {
		room = min(room, asked)
	}
	return descriptorPlan{connections: room, store: store}
}

// A limitedListener has at most a number of connections open at a time. Those that
// come while there are as many wait in the system's queue.
type limitedListener struct {
	net.Listener
	slots  chan struct{} // one element for each that is open
	closed chan struct{}
	once   sync.Once
}

func limitConnections(l net.Listener, most int) *limitedListener {
	return &limitedListener{Listener: l, slots: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close implements net.Listener.
func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// NetConn is the connection itself, for who writes to it without waiting.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }
