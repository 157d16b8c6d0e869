package natsstore_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy forwards between a store and its server. It can cut connections, and drop
// responses of the server.
type proxy struct {
	tb     testing.TB
	listen net.Listener
	server func() string // its current address
	// dropResponses drops everything that the server sends.
	dropResponses atomic.Bool
	// dropAfterWrite sets dropResponses when a write is sent, so that it is stored but
	// not acknowledged.
	dropAfterWrite atomic.Bool
	// closed refuses new connections.
	closed  atomic.Bool
	dropped atomic.Int64 // bytes
	cuts    atomic.Int64

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
	group sync.WaitGroup
}

func startProxy(tb testing.TB, server func() string) *proxy {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{tb: tb, listen: l, server: server, conns: make(map[net.Conn]bool)}
	p.group.Go(p.accept)
	tb.Cleanup(func() {
		p.closed.Store(true)
		l.Close()
		p.cut()
		p.group.Wait()
	})
	return p
}

func (p *proxy) url() string {
	return "nats://" + user + ":" + password + "@" + p.listen.Addr().String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		if p.closed.Load() {
			client.Close()
			continue
		}
		server, err := new(net.Dialer).DialContext(p.tb.Context(), "tcp", p.server())
		if err != nil {
			client.Close()
			continue
		}
		p.track(client, server)
		p.group.Go(func() { forward(server, client, p.watchForWrite) })
		p.group.Go(func() { forward(client, server, p.drop) })
	}
}

func (p *proxy) track(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	if p.closed.Load() {
		for _, c := range conns {
			c.Close()
		}
	}
}

// watchForWrite sets dropResponses if dropAfterWrite is set and data contains a write.
func (p *proxy) watchForWrite(data []byte) (drop bool) {
	if bytes.Contains(data, []byte("Nats-Expected-Last-Subject-Sequence")) && p.dropAfterWrite.CompareAndSwap(true, false) {
		p.dropResponses.Store(true)
	}
	return false
}

func (p *proxy) drop(data []byte) (drop bool) {
	if !p.dropResponses.Load() {
		return false
	}
	p.dropped.Add(int64(len(data)))
	return true
}

// forward copies until one of the connections is closed.
func forward(to, from net.Conn, drop func(data []byte) bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !drop(buf[:n]) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// connected reports whether there is a connection to cut.
func (p *proxy) connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) > 0
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
		p.cuts.Add(1)
	}
}

// restore forwards responses again, on new connections: dropped bytes cannot be replaced.
func (p *proxy) restore() {
	p.cut()
	p.dropResponses.Store(false)
}
