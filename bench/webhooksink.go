package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A sink is an endpoint of a subscription that takes very little CPU time: it reads
// requests by hand and accepts all of them.
type sink struct {
	receipts
	listener net.Listener
	address  string
	accepted atomic.Int64
	// note, if not nil, gets each request.
	note func(request []byte, at time.Time)

	conns sync.Map // of net.Conn, to close them
}

// newSink listens on a free port.
func newSink() (*sink, error) {
	s := &sink{address: "127.0.0.1:0"}
	return s, s.open()
}

// open listens, on the same address as before.
func (s *sink) open() error {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.listener, s.address = listener, listener.Addr().String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.conns.Store(conn, nil)
			go s.serve(conn)
		}
	}()
	return nil
}

// close refuses new connections and ends the others.
func (s *sink) close() {
	_ = s.listener.Close()
	s.conns.Range(func(conn, _ any) bool {
		if conn, ok := conn.(net.Conn); ok { // the map has nothing else
			_ = conn.Close() // it may be closed
		}
		return true
	})
}

// serve accepts the requests of a connection until it ends.
func (s *sink) serve(conn net.Conn) {
	defer s.conns.Delete(conn)
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 16<<10)
	for {
		request, err := readRequest(in)
		if err != nil {
			return
		}
		if s.note != nil {
			s.note(request, time.Now())
		}
		s.accepted.Add(1)
		if _, err := conn.Write(accepts204); err != nil {
			return
		}
		_, _ = in.Discard(len(request))
	}
}

var accepts204 = []byte("HTTP/1.1 204 No Content\r\n\r\n")

// readRequest returns the next request, which stays in the buffer.
func readRequest(in *bufio.Reader) ([]byte, error) {
	for have := 1; ; have++ {
		text, err := in.Peek(max(have, in.Buffered()))
		if err != nil {
			return nil, err
		}
		have = len(text)
		head := bytes.Index(text, []byte("\r\n\r\n"))
		if head < 0 {
			continue
		}
		length := 0
		if _, after, ok := bytes.Cut(text[:head], []byte("\r\nContent-Length: ")); ok {
			digits, _, _ := bytes.Cut(after, []byte("\r\n"))
			if length, err = strconv.Atoi(string(digits)); err != nil {
				return nil, err
			}
		}
		return in.Peek(head + 4 + length)
	}
}

// recordInto makes the sink record the changes of c that it receives.
func (s *sink) recordInto(c *changer, index map[string]int32) {
	s.all = nil
	s.note = func(request []byte, at time.Time) {
		revision, _ := numberAfter(request, "Porchlight-Revision: ")
		user, ok := index[string(textAfter(request, `"user":"`))]
		if !ok || revision == 0 {
			return // not about a change
		}
		s.mu.Lock()
		s.all = append(s.all, receipt{user, revision, at.Sub(c.begun)})
		s.mu.Unlock()
	}
}

// await waits until the sink has accepted n requests.
func (s *sink) await(n int64, limit time.Duration) error {
	for begun := time.Now(); s.accepted.Load() < n; time.Sleep(time.Millisecond) {
		if time.Since(begun) > limit {
			return fmt.Errorf("%d of %d events arrived within %v", s.accepted.Load(), n, limit)
		}
	}
	return nil
}

// A deadEndpoint fails every request in one way.
type deadEndpoint struct {
	name string
	// answer handles a connection after its first request; nil: connections are refused.
	answer func(net.Conn)
}

// deadEndpoints are the ways in which endpoints fail.
func deadEndpoints() []deadEndpoint {
	return []deadEndpoint{
		{name: "refuses connections"},
		{name: "never answers", answer: func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }},
		{name: "answers 503", answer: func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
		}},
		{name: "closes connections", answer: func(net.Conn) {}},
		{name: "answers without end", answer: func(conn net.Conn) {
			_, err := io.WriteString(conn, "HTTP/1.1 500 Internal Server Error\r\n\r\n")
			for chunk := make([]byte, 4096); err == nil; time.Sleep(10 * time.Millisecond) {
				_, err = conn.Write(chunk)
			}
		}},
	}
}

// open listens on an address until close is called.
func (d *deadEndpoint) open(address string) (closeIt func(), err error) {
	if d.answer == nil {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := readRequest(bufio.NewReaderSize(conn, 16<<10)); err == nil {
					d.answer(conn)
				}
			}()
		}
	}()
	return func() { _ = listener.Close() }, nil
}

var errIncomplete = errors.New("events are missing")
