package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"
)

// connections measures the memory of an idle connection that has made one PUT, which the
// fast path answers, and one native GET, which net/http answers.
func (r *run) connections(b *binary) error {
	s, err := r.seed(r.users[0])
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		server, name, budget string
		flags                []string
	}{{fast, "", "4", nil}, {slow, ", fast path off", "-", []string{"--fast-path=false"}}} {
		if !r.wantsServer(kind.server) {
			continue
		}
		p, err := b.serve(s.dir, append(kind.flags, noDrainDelay)...)
		if isMissing(err) {
			fmt.Println(err)
			continue
		}
		if err != nil {
			return err
		}
		each, err := r.idleConnections(p, s)
		if err := errors.Join(err, p.stop(syscall.SIGTERM)); err != nil {
			return err
		}
		report(fmt.Sprintf("RSS of an idle connection of %d%s", r.idleConns, kind.name), kind.budget, "KiB", []float64{each})
	}
	return nil
}

// idleConnections returns the memory of each in KiB.
func (r *run) idleConnections(p *process, s *seeded) (float64, error) {
	// The caches and the heap grow with the first requests.
	warm := load{address: p.address, conns: 64, duration: r.seconds, status: http.StatusNoContent, request: s.put}
	if _, err := warm.run(); err != nil {
		return 0, err
	}
	before, err := p.collected()
	if err != nil {
		return 0, err
	}
	if err := p.reportHeap("no connection"); err != nil {
		return 0, err
	}
	conns := make([]net.Conn, r.idleConns)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range conns {
		if conns[i], err = s.openIdle(p.address, random); err != nil {
			return 0, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	time.Sleep(r.idleFor)
	after, err := p.collected()
	if err != nil {
		return 0, err
	}
	if err := p.reportHeap("idle connections"); err != nil {
		return 0, err
	}
	if err := p.save("/debug/pprof/heap", filepath.Join(r.dir, "connections-heap.prof")); err != nil {
		return 0, err
	}
	for i, conn := range conns { // the last byte was read: what comes is the end
		if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			return 0, err
		}
		if _, err := conn.Read(make([]byte, 1)); !isTimeout(err) {
			return 0, fmt.Errorf("connection %d did not stay open: %w", i, err)
		}
	}
	return (after - before) * 1024 / float64(r.idleConns), nil
}

// collected is the RSS after two collections, because what a pool holds survives one. The
// runtime collects every two minutes.
func (p *process) collected() (rss float64, err error) {
	for range 2 {
		if rss, err = p.settled(10 * time.Second); err != nil {
			return 0, err
		}
	}
	return rss, nil
}

func isTimeout(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

// openIdle opens a connection, makes both requests and leaves it open.
func (s *seeded) openIdle(address string, random *rand.Rand) (net.Conn, error) {
	conn, err := dialFromMany(address)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	for _, exchange := range []load{
		{status: http.StatusNoContent, request: s.put},
		{status: http.StatusOK, request: s.getNative},
	} {
		if _, err = conn.Write(exchange.request(nil, random)); err == nil {
			err = exchange.answer(in)
		}
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// getNative is a request of the native API.
func (s *seeded) getNative(b []byte, random *rand.Rand) []byte {
	return fmt.Appendf(b, "GET /v1/users/%s/presence HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n\r\n",
		s.IDs[random.IntN(len(s.IDs))], s.Token)
}
