package cluster

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// A proxy forwards connections on loopback until it is cut.
type proxy struct {
	net.Listener
	target func() string // of a new connection; "": refuse it

	mu    sync.Mutex // guards the fields below
	isCut bool
	conns map[net.Conn]struct{}
}

func startProxy(tb testing.TB, target func() string) *proxy {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{Listener: l, target: target, conns: make(map[net.Conn]struct{})}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.forward(conn) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		p.cut()
		serving.Wait()
	})
	return p
}

// forward forwards one connection.
func (p *proxy) forward(from net.Conn) {
	defer p.end(from)
	if !p.keep(from) {
		return
	}
	at := p.target()
	if at == "" {
		return
	}
	to, err := new(net.Dialer).DialContext(context.Background(), "tcp", at)
	if err != nil {
		return
	}
	defer p.end(to)
	if !p.keep(to) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { copyAll(from, to) })
	copyAll(to, from)
	back.Wait()
}

// copyAll copies what one side sends, and passes on that it sends no more.
func copyAll(to, from net.Conn) {
	_, _ = io.Copy(to, from) // either side may end at any time
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

func (p *proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isCut {
		p.conns[conn] = struct{}{}
	}
	return !p.isCut
}

func (p *proxy) end(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	_ = conn.Close()
}

// cut ends all connections and refuses new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut = true
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// heal forwards connections again.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut = false
}
