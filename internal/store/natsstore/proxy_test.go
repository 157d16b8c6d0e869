package natsstore_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy stands between a store and its server. It can cut connections, and
// drop what the server answers.
type proxy struct {
	tb     testing.TB
	listen net.Listener
	server func() string // its address now
	// deaf drops what the server says, so that answers are lost.
	deaf atomic.Bool
	// trap makes it deaf as soon as a write is sent, so that this is made and its
	// answer is lost.
	trap atomic.Bool
	// closed refuses connections.
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
		p.keep(client, server)
		p.group.Go(func() { pass(server, client, p.spring) })
		p.group.Go(func() { pass(client, server, p.drop) })
	}
}

func (p *proxy) keep(conns ...net.Conn) {
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

// spring sets the proxy deaf if data has a write in it.
func (p *proxy) spring(data []byte) (drop bool) {
	if bytes.Contains(data, []byte("Nats-Expected-Last-Subject-Sequence")) && p.trap.CompareAndSwap(true, false) {
		p.deaf.Store(true)
	}
	return false
}

func (p *proxy) drop(data []byte) (drop bool) {
	if !p.deaf.Load() {
		return false
	}
	p.dropped.Add(int64(len(data)))
	return true
}

// pass copies until an end is closed.
func pass(to, from net.Conn, drop func(data []byte) bool) {
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

// cut ends every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
		p.cuts.Add(1)
	}
}

// hear lets answers through again, on a new connection: what was dropped cannot
// be made up for.
func (p *proxy) hear() {
	p.cut()
	p.deaf.Store(false)
}
