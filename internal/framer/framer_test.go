package framer_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/framer"
	"porchlight.dev/porchlight/internal/netconn"
)

// patience bounds what a test waits for if the code is wrong.
const patience = time.Minute

// A fast answers GET and PUT of /fast, and declines those of /decline. With replies, it
// answers when the test says so.
type fast struct {
	replies chan func() // nil: at once
}

func (*fast) Wants(r *framer.Request) bool {
	if string(r.Target) == "/panic-wants" {
		panic("in Wants")
	}
	return bytes.HasPrefix(r.Target, []byte("/fast")) || string(r.Target) == "/decline" || string(r.Target) == "/panic"
}

func (f *fast) Serve(c *framer.Conn, r *framer.Request) {
	answer := func() {
		switch target := string(r.Target); target {
		case "/decline":
			c.Decline()
		case "/fast/abort":
			c.Abort()
		default:
			c.Reply(response(c.Closing(), "fast %s %s %s", r.Method, target, r.Body))
		}
	}
	switch {
	case string(r.Target) == "/panic":
		panic("in Serve")
	case f.replies != nil:
		f.replies <- answer
	default:
		answer()
	}
}

func response(closing bool, format string, args ...any) []byte {
	body := fmt.Sprintf(format, args...)
	closes := ""
	if closing {
		closes = "Connection: close\r\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", closes, len(body), body)
}

// slow answers with what it was asked.
func slow(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "cannot read: "+err.Error(), http.StatusUnprocessableEntity)
		return
	}
	_, _ = fmt.Fprintf(w, "slow %s %s %s", r.Method, r.URL, body)
}

// A harness is a framer that serves on this machine.
type harness struct {
	*framer.Server

	t      *testing.T
	at     string
	served chan error
	mu     sync.Mutex // guards log
	log    bytes.Buffer
}

func (h *harness) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(b)
}

func (h *harness) logged() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

// serve starts a framer. change, unless nil, changes it before.
func serve(t *testing.T, f framer.Fast, handler http.HandlerFunc, change func(*framer.Server)) *harness {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, at: l.Addr().String(), served: make(chan error, 1)}
	h.Server = &framer.Server{
		HTTP1: newHTTP(handler), HTTP2: newHTTP(handler), Fast: f, Log: slog.New(slog.NewTextHandler(h, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	h.HTTP1.Protocols.SetHTTP1(true)
	h.HTTP2.Protocols.SetHTTP2(true)
	if change != nil {
		change(h.Server)
	}
	go func() { h.served <- h.Serve(l) }()
	t.Cleanup(func() {
		_ = h.Close()
		select {
		case err := <-h.served:
			if !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("Serve returned %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve does not return after Close")
		}
	})
	return h
}

func newHTTP(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience,
		MaxHeaderBytes: 16 << 10, Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
}

// A client is a connection to a harness.
type client struct {
	net.Conn

	t *testing.T
	r *bufio.Reader
}

func (h *harness) dial() *client {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.at)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &client{conn, h.t, bufio.NewReader(conn)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// An answer is a response that was read whole.
type answer struct {
	status int
	body   string
	closes bool
	header http.Header
}

// receive reads a response to a request of a method.
func (c *client) receive(method string) answer {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("receive the body: %v", err)
	}
	_ = resp.Body.Close()
	return answer{resp.StatusCode, string(body), resp.Close, resp.Header}
}

// want receives the answer to a GET and compares its body.
func (c *client) want(body string) {
	c.t.Helper()
	if got := c.receive(http.MethodGet); got.body != body {
		c.t.Fatalf("answer %d %q, want %q", got.status, got.body, body)
	}
}

// wantEnd waits for the server to close the connection.
func (c *client) wantEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("at the end of the connection: %q, %v", rest, err)
	}
}

func get(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n" }

func put(target, body string) string {
	return fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body)
}

func chunked(target string, chunks ...string) string {
	text := "POST " + target + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range chunks {
		text += fmt.Sprintf("%x\r\n%s\r\n", len(c), c)
	}
	return text + "0\r\n\r\n"
}

// A step is a request and the answer that it gets.
type step struct{ request, answer string }

func steps() []step {
	long := strings.Repeat("x", 10_000)
	return []step{
		{get("/fast/1"), "fast GET /fast/1 "},
		{put("/fast/2", "hello"), "fast PUT /fast/2 hello"},
		{get("/a"), "slow GET /a "},
		{put("/a", "body"), "slow PUT /a body"},
		{put("/fast/3", long), "slow PUT /fast/3 " + long}, // too long for a Fast
		{put("/fast/4", long[:framer.MaxFastBody]), "fast PUT /fast/4 " + long[:framer.MaxFastBody]},
		{chunked("/fast/5", "one", "two"), "slow POST /fast/5 onetwo"},
		{chunked("/b", long, "three"), "slow POST /b " + long + "three"},
		{put("/decline", "again"), "slow PUT /decline again"},
		{"\r\n" + get("/fast/6"), "fast GET /fast/6 "},
		{"\r\n" + get("/c"), "slow GET /c "},
		{put("/empty", ""), "slow PUT /empty "},
		{get("/fast/7"), "fast GET /fast/7 "},
	}
}

// TestMessages sends messages for both paths on one connection, whole, all at once, and in
// pieces. The answers come in order.
func TestMessages(t *testing.T) {
	for name, size := range map[string]int{"one by one": 0, "pipelined": 1 << 20, "in bytes": 1, "in pieces of 7": 7, "in pieces of 1000": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, new(fast), slow, nil).dial()
			if size == 0 {
				for _, s := range steps() {
					c.send(s.request)
					c.want(s.answer)
				}
				return
			}
			var all string
			for _, s := range steps() {
				all += s.request
			}
			go func() {
				for piece := range strings.SplitSeq(pieces(all, size), "\x00") {
					_, _ = io.WriteString(c.Conn, piece)
				}
			}()
			for _, s := range steps() {
				c.want(s.answer)
			}
		})
	}
}

// pieces marks where text is cut.
func pieces(text string, size int) string {
	var b strings.Builder
	for i := range len(text) {
		if i > 0 && i%size == 0 {
			b.WriteByte(0)
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// TestLateReply: answers that come later, from another goroutine.
func TestLateReply(t *testing.T) {
	t.Parallel()
	f := &fast{make(chan func(), 1)}
	c := serve(t, f, slow, nil).dial()
	c.send(put("/fast/1", "x") + get("/decline") + get("/fast/3") + get("/d") + get("/fast/5"))
	for _, want := range []string{"fast PUT /fast/1 x", "slow GET /decline ", "fast GET /fast/3 ", "slow GET /d ", "fast GET /fast/5 "} {
		if strings.HasPrefix(want, "fast") || strings.Contains(want, "decline") {
			answer := <-f.replies
			select {
			case <-f.replies:
				t.Fatal("a second request is under way before the first is answered")
			default:
			}
			answer()
		}
		c.want(want)
	}
}

// TestHalfClose: a client that has shut down its sending side gets its answer, and the
// connection ends.
func TestHalfClose(t *testing.T) {
	for _, target := range []string{"/fast", "/a"} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(target, late), func(t *testing.T) {
				t.Parallel()
				f := new(fast)
				if late {
					f.replies = make(chan func(), 1)
				}
				c := serve(t, f, slow, nil).dial()
				c.send(put(target, "x"))
				if err := netconn.CloseWrite(c.Conn); err != nil {
					t.Fatal(err)
				}
				if late && target == "/fast" {
					(<-f.replies)()
				}
				if got := c.receive(http.MethodPut); got.status != http.StatusOK {
					t.Fatalf("answer %+v", got)
				}
				c.wantEnd()
			})
		}
	}
}

// TestContext: when the client disconnects, the context of its request ends, also if it
// has pipelined another.
func TestContext(t *testing.T) {
	for name, more := range map[string]string{"": "", "pipelined": get("/b")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, ended := make(chan struct{}), make(chan struct{})
			c := serve(t, nil, func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/a" {
					return
				}
				close(began)
				<-r.Context().Done()
				close(ended)
			}, nil).dial()
			c.send(get("/a") + more)
			<-began
			_ = c.Conn.Close()
			await(t, ended, "the context does not end")
		})
	}
}

func await(t *testing.T, done <-chan struct{}, failure string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal(failure)
	}
}

// TestExpect: the body is asked for when the handler reads it, and only then.
func TestExpect(t *testing.T) {
	t.Parallel()
	c := serve(t, new(fast), slow, nil).dial()
	c.send("PUT /fast HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if got := c.receive(http.MethodPut); got.status != http.StatusContinue {
		t.Fatalf("answer %+v", got)
	}
	c.send("hello" + get("/fast/2"))
	c.want("slow PUT /fast hello")
	c.want("fast GET /fast/2 ")
}

// TestHead: an answer to HEAD has no body, and the next message is read.
func TestHead(t *testing.T) {
	t.Parallel()
	c := serve(t, nil, slow, nil).dial()
	c.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := c.receive(http.MethodHead); got.status != http.StatusOK || got.body != "" {
		t.Fatalf("answer %+v", got)
	}
	c.send(get("/b"))
	c.want("slow GET /b ")
}

// TestClosing: when a request ends the connection, so does its answer.
func TestClosing(t *testing.T) {
	for _, target := range []string{"/fast", "/a"} {
		for name, c := range map[string]struct {
			head   string
			closes bool
		}{
			"close":               {"HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true},
			"close among options": {"HTTP/1.1\r\nHost: a\r\nConnection: x , CLOSE\r\n\r\n", true},
			"keep-alive":          {"HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", false},
			"1.0":                 {"HTTP/1.0\r\n\r\n", true},
			"1.0 with keep-alive": {"HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false},
			"close and pipelined": {"HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + get("/fast/2"), true},
		} {
			t.Run(target+" "+name, func(t *testing.T) {
				t.Parallel()
				conn := serve(t, new(fast), slow, nil).dial()
				conn.send("GET " + target + " " + c.head)
				got := conn.receive(http.MethodGet)
				if got.status != http.StatusOK || got.closes != c.closes {
					t.Fatalf("answer %+v, want close %v", got, c.closes)
				}
				if c.closes {
					conn.wantEnd()
					return
				}
				conn.send(get("/fast/2"))
				conn.want("fast GET /fast/2 ")
			})
		}
	}
}

// TestPanic: a panic of a Fast ends the connection, is logged, and ends nothing else.
func TestPanic(t *testing.T) {
	for _, target := range []string{"/panic", "/panic-wants"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			h := serve(t, new(fast), slow, nil)
			c := h.dial()
			c.send(get(target))
			c.wantEnd()
			if !strings.Contains(h.logged(), "goroutine") {
				t.Errorf("the log has no stack: %s", h.logged())
			}
			other := h.dial()
			other.send(get("/fast"))
			other.want("fast GET /fast ")
		})
	}
}

// TestAbort: a connection ends in place of a late answer, however it waits for that, and
// nothing of it remains.
func TestAbort(t *testing.T) {
	f := &fast{make(chan func(), 1)}
	plain, secured := serve(t, f, slow, nil), serveTLS(t, f)
	over := secured.dial()
	secure := tls.Client(over.Conn, &tls.Config{InsecureSkipVerify: true}) // the test's own certificate
	over.Conn, over.r = secure, bufio.NewReader(secure)
	for h, c := range map[*harness]*client{plain: plain.dial(), secured: over} {
		c.send(get("/fast/abort") + get("/fast"))
		(<-f.replies)()
		c.wantEnd()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
}

// TestHijack: a handler that takes the connection over gets the bytes that came early, and
// all that come later.
func TestHijack(t *testing.T) {
	for _, release := range []bool{false, true} {
		t.Run(fmt.Sprint(release), func(t *testing.T) {
			t.Parallel()
			c := serve(t, new(fast), func(w http.ResponseWriter, r *http.Request) {
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				early, _ := rw.Peek(rw.Reader.Buffered())
				early = bytes.Clone(early)
				if release {
					framed, ok := conn.(interface{ Release() (net.Conn, []byte) })
					if !ok {
						t.Errorf("%T cannot be released", conn)
						return
					}
					below, more := framed.Release()
					conn, early = below, append(early, more...)
				}
				go echo(conn, early)
			}, nil).dial()
			c.send(get("/fast")) // the second message is hijacked
			c.want("fast GET /fast ")
			c.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
			c.wantBytes("early")
			c.send("late")
			c.wantBytes("late")
		})
	}
}

func echo(conn net.Conn, early []byte) {
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write(early)
	_, _ = io.Copy(conn, conn)
}

func (c *client) wantBytes(text string) {
	c.t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c.r, b); err != nil || string(b) != text {
		c.t.Fatalf("received %q, %v; want %q", b, err, text)
	}
}

// begins answers a request for a fast, and reports whether an answer came before the connection
// ended.
func (c *client) begins(f *fast) bool {
	begun := make(chan error, 1)
	go func() {
		_, err := c.r.Peek(1)
		begun <- err
	}()
	select {
	case err := <-begun:
		return err == nil
	case reply := <-f.replies:
		reply()
		return <-begun == nil
	}
}

// TestShutdown: a drain lets requests in flight end, and those that a client sends right
// after it began, if the machine lets it; every answer then ends its connection.
func TestShutdown(t *testing.T) {
	for _, target := range []string{"/fast", "/a"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			f := &fast{make(chan func(), 1)}
			release := make(chan struct{})
			h := serve(t, f, func(w http.ResponseWriter, r *http.Request) {
				<-release
				slow(w, r)
			}, nil)
			flight, next := h.dial(), h.dial()
			began := time.Now()
			next.send(get("/fast/0"))
			(<-f.replies)()
			next.want("fast GET /fast/0 ")
			flight.send(get(target))
			var reply func()
			if target == "/fast" {
				reply = <-f.replies
			}
			ended := make(chan error, 1)
			go func() { ended <- h.Shutdown(t.Context()) }()
			h.refused()
			next.send(get("/fast/1"))
			if next.begins(f) {
				if got := next.receive(http.MethodGet); got.status != http.StatusOK || !got.closes {
					t.Errorf("the request after the drain began: %+v", got)
				}
				next.wantEnd()
			} else if took := time.Since(began); took < framer.PartAfter {
				t.Errorf("the request after the drain began, %v after the one before, was not answered", took)
			}
			select {
			case err := <-ended:
				t.Fatalf("the drain ended, %v, with a request in flight", err)
			default:
			}
			if close(release); reply != nil {
				reply()
			}
			if got := flight.receive(http.MethodGet); got.status != http.StatusOK || !got.closes {
				t.Errorf("the request in flight: %+v", got)
			}
			flight.wantEnd()
			if err := <-ended; err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}

// TestClosedAsIdle: net/http may close a connection as an idle one although a message has just
// come, or an answer is just being written. The client does not notice.
func TestClosedAsIdle(t *testing.T) {
	t.Parallel()
	type key struct{}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if conn, ok := r.Context().Value(key{}).(net.Conn); ok {
			_ = conn.Close()
		}
		slow(w, r)
	}
	c := serve(t, new(fast), handler, func(s *framer.Server) {
		s.HTTP1.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, key{}, conn)
		}
	}).dial()
	for range 3 {
		c.send(get("/a"))
		c.want("slow GET /a ")
		c.send(get("/fast"))
		c.want("fast GET /fast ")
	}
}

// refused waits until no connection is accepted.
func (h *harness) refused() {
	h.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		conn, err := net.Dial("tcp", h.at)
		if err != nil {
			return
		}
		_ = conn.Close()
	}
	h.t.Fatal("connections are accepted during the drain")
}

// TestShutdownEnds: a drain ends when its context does, and Close ends what is left.
func TestShutdownEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	began := make(chan struct{})
	h := serve(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	}, nil)
	h.dial().send(get("/a"))
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	_ = h.Close()
	await(t, ended, "the request goes on after Close")
}

// TestStates: the hook sees each message on both paths begin and end, in order.
func TestStates(t *testing.T) {
	t.Parallel()
	states := make(chan http.ConnState, 16)
	c := serve(t, new(fast), func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		_ = conn.Close()
	}, func(s *framer.Server) {
		s.State = func(_ net.Conn, state http.ConnState) { states <- state }
	}).dial()
	c.send(get("/fast"))
	c.want("fast GET /fast ")
	c.send(get("/a"))
	c.wantEnd()
	for i, want := range []http.ConnState{http.StateActive, http.StateIdle, http.StateActive, http.StateHijacked} {
		if got := <-states; got != want {
			t.Errorf("state %d is %v, want %v", i, got, want)
		}
	}
}

// TestEligible: a Fast answers nothing on a connection that is not eligible.
func TestEligible(t *testing.T) {
	t.Parallel()
	c := serve(t, new(fast), slow, func(s *framer.Server) {
		s.Eligible = func(net.Conn) bool { return false }
	}).dial()
	c.send(get("/fast"))
	c.want("slow GET /fast ")
}

// TestTimeouts: a connection that does not send what it should is closed.
func TestTimeouts(t *testing.T) {
	const short = 200 * time.Millisecond
	for name, c := range map[string]struct {
		change func(*http.Server)
		before func(*client)
	}{
		"no byte":      {func(s *http.Server) { s.ReadHeaderTimeout = short }, func(*client) {}},
		"head":         {func(s *http.Server) { s.ReadHeaderTimeout = short }, func(c *client) { c.send("GET /fast HTTP/1.1\r\n") }},
		"fast body":    {func(s *http.Server) { s.ReadTimeout = short }, func(c *client) { c.send("PUT /fast HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe") }},
		"idle":         {func(s *http.Server) { s.IdleTimeout = short }, func(c *client) { c.send(get("/fast")); c.want("fast GET /fast ") }},
		"idle, slow":   {func(s *http.Server) { s.IdleTimeout = short }, func(c *client) { c.send(get("/a")); c.want("slow GET /a ") }},
		"idle, parted": {func(s *http.Server) { s.IdleTimeout = 3 * time.Second }, func(c *client) { c.send(get("/a")); c.want("slow GET /a ") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := serve(t, new(fast), slow, func(s *framer.Server) { c.change(s.HTTP1) }).dial()
			c.before(conn)
			conn.wantEnd()
		})
	}
}

// TestCloseUnderLoad: Close returns while requests come in on many connections.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	for range 20 {
		h := serve(t, new(fast), slow, nil)
		var clients sync.WaitGroup
		for _, target := range []string{"/fast", "/a", "/fast", "/fast", "/fast", "/fast"} {
			c := h.dial()
			c.send(get(target))
			clients.Go(func() {
				for {
					if resp, err := http.ReadResponse(c.r, nil); err != nil || drain(resp.Body) != nil {
						return
					}
					if _, err := io.WriteString(c.Conn, get(target)); err != nil {
						return
					}
				}
			})
		}
		closed := make(chan struct{})
		go func() { _ = h.Close(); close(closed) }()
		await(t, closed, "Close does not return")
		clients.Wait()
	}
}

func drain(body io.ReadCloser) error {
	_, err := io.Copy(io.Discard, body)
	return errors.Join(err, body.Close())
}

// TestLongHandler: the limits of what a client takes to send its request do not limit its
// handler.
func TestLongHandler(t *testing.T) {
	t.Parallel()
	c := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			_, _ = io.WriteString(w, "canceled")
		case <-time.After(3 * time.Second): // several sweeps after the limit
			_, _ = io.WriteString(w, "done")
		}
	}, func(s *framer.Server) { s.HTTP1.ReadHeaderTimeout = time.Second }).dial()
	c.send(get("/a"))
	c.want("done")
}

// TestReplyWhileReading: the reply and bytes of the next message come at once.
func TestReplyWhileReading(t *testing.T) {
	t.Parallel()
	f := &fast{make(chan func(), 1)}
	c := serve(t, f, slow, nil).dial()
	for range 100 {
		c.send(get("/fast/1"))
		answer := <-f.replies
		sent := make(chan struct{})
		go func() {
			c.send("GET /fast/2 HTTP/1.1\r\n")
			close(sent)
		}()
		answer()
		c.want("fast GET /fast/1 ")
		<-sent
		c.send("Host: a\r\n\r\n")
		(<-f.replies)()
		c.want("fast GET /fast/2 ")
	}
}
