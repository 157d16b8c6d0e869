package framer_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/framer"
)

// pipes is a listener of connections within the process, for tests with a clock of their
// own. Such a connection is served without non-blocking reads and writes, as over TLS.
type pipes struct {
	conns chan net.Conn
	ended chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.ended:
	default:
		close(p.ended)
	}
	return nil
}

func (*pipes) Addr() net.Addr { return new(net.UnixAddr) }

// A closingPipe is the server's end of a pipe, and an endingPipe is what the client reads
// of it. The server can close its sending side alone.
type (
	closingPipe struct {
		net.Conn
		client net.Conn
		ended  *atomic.Bool
	}
	endingPipe struct {
		net.Conn
		ended *atomic.Bool
	}
)

func (p *closingPipe) CloseWrite() error {
	p.ended.Store(true)
	return p.client.SetReadDeadline(time.Unix(1, 0))
}

func (p *endingPipe) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) && p.ended.Load() {
		err = io.EOF
	}
	return n, err
}

// timed runs a test with a framer, a clock of its own, and the timeouts that servers have.
func timed(t *testing.T, f framer.Fast, handler http.HandlerFunc, test func(t *testing.T, s *framer.Server, dial func() *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &framer.Server{HTTP1: newHTTP(handler), HTTP2: newHTTP(handler), Fast: f, Log: slog.New(slog.DiscardHandler)}
		s.HTTP1.Protocols.SetHTTP1(true)
		s.HTTP1.ReadHeaderTimeout, s.HTTP1.ReadTimeout, s.HTTP1.IdleTimeout = 5*time.Second, 30*time.Second, time.Minute
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		synctest.Wait()
		test(t, s, func() *client {
			here, there := net.Pipe()
			ended := new(atomic.Bool)
			l.conns <- &closingPipe{there, here, ended}
			return &client{here, t, bufio.NewReader(&endingPipe{here, ended})}
		})
		_ = s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
}

// ends returns how long the server leaves the connection open.
func (c *client) ends() time.Duration {
	c.t.Helper()
	start := time.Now()
	c.wantEnd()
	return time.Since(start)
}

// TestDeadlines: how long a connection that sends nothing, or not enough, is left open.
func TestDeadlines(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*client)
		want   time.Duration
	}{
		"no byte":       {func(*client) {}, 5 * time.Second},
		"a head":        {func(c *client) { c.send("GET /a HTTP/1.1\r\nHo") }, 5 * time.Second},
		"an empty line": {func(c *client) { c.send("\r\n") }, 5 * time.Second},
		"a body, fast":  {func(c *client) { c.send("PUT /fast HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab") }, 30 * time.Second},
		"a second head": {func(c *client) { c.send(get("/fast")); c.want("fast GET /fast "); c.send("GET") }, 5 * time.Second},
		"idle, fast":    {func(c *client) { c.send(get("/fast")); c.want("fast GET /fast ") }, time.Minute},
		"idle, slow":    {func(c *client) { c.send(get("/a")); c.want("slow GET /a ") }, time.Minute},
		"slow then fast": {func(c *client) {
			c.send(get("/a"))
			c.want("slow GET /a ")
			c.send(get("/fast"))
			c.want("fast GET /fast ")
		}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			timed(t, new(fast), slow, func(t *testing.T, _ *framer.Server, dial func() *client) {
				conn := dial()
				c.before(conn)
				if took := conn.ends(); took < c.want || took > c.want+2*time.Second {
					t.Errorf("the connection ended after %v, want %v", took, c.want)
				}
			})
		})
	}
}

// TestEndOfEarlyAnswer: a client that is sending a long body, which the handler does not read,
// sees at once that the answer ends the connection.
func TestEndOfEarlyAnswer(t *testing.T) {
	handler := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) }
	timed(t, nil, handler, func(t *testing.T, _ *framer.Server, dial func() *client) {
		conn := dial()
		conn.send("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nab")
		start := time.Now()
		answer, err := io.ReadAll(conn.r)
		if took := time.Since(start); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 413 ")) || took > 0 {
			t.Errorf("the answer ended after %v: %s, %v", took, answer, err)
		}
		time.Sleep(time.Second) // until net/http does not wait for the client any more
	})
}

// TestSlowHandler: a handler may take longer than a head, and longer than a message.
func TestSlowHandler(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusServiceUnavailable)
		case <-time.After(10 * time.Minute):
		}
	}
	timed(t, new(fast), handler, func(t *testing.T, s *framer.Server, dial func() *client) {
		s.HTTP1.WriteTimeout = 0
		conn := dial()
		for range 2 {
			conn.send(get("/a"))
			if got := conn.receive(http.MethodGet); got.status != http.StatusOK {
				t.Errorf("answer %+v", got)
			}
		}
	})
}

// TestDrip: bytes that come slowly do not extend the time for a head.
func TestDrip(t *testing.T) {
	timed(t, new(fast), slow, func(t *testing.T, _ *framer.Server, dial func() *client) {
		conn := dial()
		start := time.Now()
		for range 100 {
			if _, err := io.WriteString(conn.Conn, "G"); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took > 9*time.Second {
			t.Errorf("the head was accepted for %v", took)
		}
	})
}

// TestIdleParts: after a while of idleness, net/http has no part in a connection, which
// still serves messages of both paths.
func TestIdleParts(t *testing.T) {
	timed(t, new(fast), slow, func(t *testing.T, s *framer.Server, dial func() *client) {
		conn := dial()
		for range 3 {
			conn.send(get("/a"))
			conn.want("slow GET /a ")
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if n := framer.Virtuals(s); n != 0 {
				t.Errorf("net/http has %d connections", n)
			}
			conn.send(get("/fast"))
			conn.want("fast GET /fast ")
			time.Sleep(5 * time.Second)
		}
	})
}

// TestDrainTimes: a drain leaves connections that were just used for a second, closes
// others at once, and waits for what is in flight.
func TestDrainTimes(t *testing.T) {
	for _, target := range []string{"/fast", "/a", ""} {
		t.Run("after "+target, func(t *testing.T) {
			for idle, want := range map[time.Duration]time.Duration{10 * time.Second: 0, 0: time.Second} {
				if target == "" && idle > 5*time.Second {
					continue // it is closed before
				}
				timed(t, new(fast), slow, func(t *testing.T, s *framer.Server, dial func() *client) {
					conn := dial()
					if target != "" {
						conn.send(get(target))
						conn.receive(http.MethodGet)
					}
					time.Sleep(idle)
					synctest.Wait()
					start := time.Now()
					go func() { conn.wantEnd() }()
					if err := s.Shutdown(context.Background()); err != nil {
						t.Errorf("Shutdown: %v", err)
					}
					if took := time.Since(start); took < want || took > want+100*time.Millisecond {
						t.Errorf("idle for %v: the drain took %v, want %v", idle, took, want)
					}
				})
			}
		})
	}
}

// TestDrainLateAnswer: a request whose answer comes during the drain is waited for.
func TestDrainLateAnswer(t *testing.T) {
	f := new(fast)
	timed(t, f, slow, func(t *testing.T, s *framer.Server, dial func() *client) {
		f.replies = make(chan func(), 1) // of this test's clock
		conn := dial()
		conn.send(get("/fast"))
		answer := <-f.replies
		ended := make(chan error, 1)
		go func() { ended <- s.Shutdown(context.Background()) }()
		time.Sleep(20 * time.Second)
		go answer()
		if got := conn.receive(http.MethodGet); got.status != http.StatusOK || !got.closes {
			t.Errorf("answer %+v", got)
		}
		conn.wantEnd()
		_ = conn.Conn.Close()
		if err := <-ended; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// A deep Fast needs a large stack.
type deep struct{ fast }

func (f *deep) Serve(c *framer.Conn, r *framer.Request) {
	if grow(make([]byte, 1), 64) > 0 {
		f.fast.Serve(c, r)
	}
}

//go:noinline
func grow(b []byte, n int) int {
	var frame [1 << 10]byte
	copy(frame[:], b)
	if n == 0 {
		return len(frame)
	}
	return grow(frame[:1], n-1) + int(frame[n])
}

// TestIdleStack: an idle connection does not keep the stack that its last request needed.
func TestIdleStack(t *testing.T) {
	timed(t, new(deep), slow, func(t *testing.T, _ *framer.Server, dial func() *client) {
		stacks := func() int {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int(m.StackInuse)
		}
		before := stacks()
		conns := make([]*client, 100)
		for i := range conns {
			conns[i] = dial()
			conns[i].send(get("/fast"))
			conns[i].want("fast GET /fast ")
		}
		runtime.GC() // it finds that most stacks are hardly used
		time.Sleep(15 * time.Second)
		synctest.Wait()
		size := []metrics.Sample{{Name: "/gc/stack/starting-size:bytes"}}
		if metrics.Read(size); size[0].Value.Uint64() > 2<<10 { // as under the race detector
			t.Logf("nothing is to be seen: goroutines begin with %d bytes", size[0].Value.Uint64())
		} else if each := (stacks() - before) / len(conns); each > 8<<10 {
			t.Errorf("%d bytes of stacks for each", each)
		}
		for _, conn := range conns {
			conn.send(get("/fast"))
			conn.want("fast GET /fast ")
		}
	})
}

// A paused Fast pauses the connection of each request to /fast/pause.
type paused struct{ fast }

func (p *paused) Serve(c *framer.Conn, r *framer.Request) {
	if string(r.Target) == "/fast/pause" {
		c.Pause(3 * time.Second)
	}
	p.fast.Serve(c, r)
}

// TestPause: what comes after a request that pauses its connection is read later, and a
// server that drains does not wait for that.
func TestPause(t *testing.T) {
	timed(t, new(paused), slow, func(t *testing.T, s *framer.Server, dial func() *client) {
		conn := dial()
		for _, c := range []struct {
			target string
			after  time.Duration
		}{{"/fast/pause", 0}, {"/fast/a", 3 * time.Second}, {"/fast/b", 0}} {
			begun := time.Now()
			conn.send(get(c.target))
			conn.want("fast GET " + c.target + " ")
			if took := time.Since(begun); took != c.after {
				t.Errorf("%s took %v, want %v", c.target, took, c.after)
			}
		}
		conn.send(get("/fast/pause"))
		conn.want("fast GET /fast/pause ")
		begun := time.Now()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(begun) > 2*time.Second {
			t.Errorf("Shutdown returned %v after %v", err, time.Since(begun))
		}
	})
}
