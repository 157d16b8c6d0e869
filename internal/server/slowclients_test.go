package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// request returns a request with a token.
func (r *running) request(method, target, body string, fields ...string) string {
	if method == http.MethodPut || body != "" {
		fields = append(fields, "Content-Type: application/json", "Content-Length: "+strconv.Itoa(len(body)))
	}
	fields = append([]string{method + " " + target + " HTTP/1.1", "Host: porchlight.example", "Authorization: Bearer " + r.made.AccessToken}, fields...)
	return strings.Join(fields, "\r\n") + "\r\n\r\n" + body
}

// hotPut returns a PUT of a status by Zoom's word.
func (r *running) hotPut(user, word string, fields ...string) string {
	return r.request(http.MethodPut, hotTarget(user), `{"status":"`+word+`"}`, fields...)
}

// hotGet returns a GET of a status.
func (r *running) hotGet(user string) string {
	return r.request(http.MethodGet, hotTarget(user), "")
}

func hotTarget(user string) string { return "/v2/users/" + user + "/presence_status" }

// roundTrip sends a request and reads the response.
func (e *exchange) roundTrip(request string) (*http.Response, string, error) {
	if err := e.conn.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(e.conn, request); err != nil {
		return nil, "", err
	}
	return e.read()
}

// expect sends a request and checks the response.
func (e *exchange) expect(t *testing.T, request string, status int, body string) {
	t.Helper()
	resp, got, err := e.roundTrip(request)
	if err != nil {
		t.Fatalf("%v, want %d", err, status)
	}
	if resp.StatusCode != status || !strings.Contains(got, body) {
		t.Fatalf("%d %s, want %d %s", resp.StatusCode, got, status, body)
	}
}

// waitForEnd reads until the server closes the connection.
func (e *exchange) waitForEnd() error {
	if _, err := io.Copy(io.Discard, e.in); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server does not close the connection")
	}
	return nil
}

// Limits that a test awaits. They hold for its good client too, and for the TLS handshakes of all
// at once, which a busy machine delays.
const (
	slowHead = 8 * time.Second
	slowBody = 9 * time.Second
	slowIdle = 10 * time.Second
)

func shortTimeouts(_ *config.Config, opts *server.Options) {
	opts.Timeouts = server.Timeouts{ReadHeader: slowHead, Read: slowBody, Idle: slowIdle}
}

// TestSlowSenders: a client that sends nothing, or a request too slowly, is disconnected
// at the time limit and not before, and other clients are served meanwhile.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	forEachMode(t, shortTimeouts, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		hot, native, unknown := hotTarget(user), "/v1/users/"+user+"/note", "/v1/nothing"
		long := func(target string) string {
			head, _, _ := strings.Cut(r.request(http.MethodPut, target, ""), "Content-Length")
			return head
		}
		var slow sync.WaitGroup
		for name, c := range map[string]struct {
			first, drip string // drip is sent again and again
			after       time.Duration
		}{
			"nothing":                      {"", "", slowHead},
			"nothing after a request":      {r.hotGet(user), "", slowIdle},
			"nothing after another":        {r.request(http.MethodGet, "/v1/me", ""), "", slowIdle},
			"request line":                 {"PUT /v2/users/", "x", slowHead},
			"fields":                       {"PUT " + hot + " HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", slowHead},
			"head after a request":         {r.hotGet(user) + "PUT " + hot + " HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", slowHead},
			"body, hot":                    {long(hot) + "Content-Length: 4000\r\n\r\n", " ", slowHead},
			"body, native":                 {long(native) + "Content-Length: 4000\r\n\r\n", " ", slowHead},
			"body, unknown":                {long(unknown) + "Content-Length: 4000\r\n\r\n", " ", 0},
			"body that never comes":        {long(hot) + "Content-Length: 4000\r\n\r\n", "", slowHead},
			"chunks, hot":                  {long(hot) + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", slowHead},
			"chunks, native":               {long(native) + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", slowHead},
			"chunk size":                   {long(hot) + "Transfer-Encoding: chunked\r\n\r\n", "0", 0},
			"trailers":                     {long(hot) + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", "X: y\r\n", 0},
			"body after 100":               {long(hot) + "Expect: 100-continue\r\nContent-Length: 4000\r\n\r\n", " ", slowHead},
			"half of a head, then nothing": {"PUT " + hot + " HT", "", slowHead},
		} {
			slow.Go(func() {
				began := time.Now()
				if err := r.drip(t, c.first, c.drip); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if took := time.Since(began); took < c.after {
					t.Errorf("%s: the connection was closed after %v", name, took)
				}
			})
		}
		done := make(chan struct{})
		go func() { slow.Wait(); close(done) }()
		e := r.exchange(t)
		defer e.close()
		for served := 0; ; served++ {
			e.expect(t, r.hotPut(user, []string{"Away", "Available"}[served%2]), http.StatusNoContent, "")
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
}

// drip sends first, and then more a little at a time, until the server closes the
// connection.
func (r *running) drip(t *testing.T, first, more string) error {
	t.Helper()
	e := r.exchange(t)
	defer e.close()
	if _, err := io.WriteString(e.conn, first); err != nil {
		return err
	}
	ended := make(chan struct{})
	var sending sync.WaitGroup
	defer sending.Wait()
	defer close(ended)
	sending.Go(func() {
		for more != "" {
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := io.WriteString(e.conn, more); err != nil {
				return
			}
		}
	})
	return e.waitForEnd()
}

// TestSlowRequestIsServed: a request that arrives slowly, but within the limits, is served.
func TestSlowRequestIsServed(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		e := r.exchange(t)
		defer e.close()
		for piece := range strings.SplitSeq(r.hotPut(user, "Away"), "e") {
			time.Sleep(10 * time.Millisecond)
			if _, err := io.WriteString(e.conn, piece+"e"); err != nil {
				t.Fatal(err)
			}
		}
		// What follows the body is the piece's "e", which begins an invalid request.
		resp, body, err := e.read()
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Errorf("%v %s, %v", resp, body, err)
		}
	})
}

// TestHalfClose: a client that ends its side after the request gets the response, and then
// the end. Without the fast path it cannot be told from one that is gone, so the response
// may be that the request was cancelled.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		for name, c := range map[string]struct {
			request string
			status  int
		}{
			"hot PUT": {r.hotPut(user, "Away"), http.StatusNoContent}, "hot GET": {r.hotGet(user), http.StatusOK},
			"native":  {r.request(http.MethodGet, "/v1/users/"+user+"/presence", ""), http.StatusOK},
			"unknown": {r.request(http.MethodGet, "/v1/nothing", ""), http.StatusNotFound},
			"two":     {r.hotGet(user) + r.hotGet(user), http.StatusOK},
		} {
			for range 20 {
				e := r.exchange(t)
				e.fin, e.method = true, http.MethodGet
				if err := e.send(c.request, 0); err != nil {
					t.Fatal(err)
				}
				for range strings.Count(c.request, "HTTP/1.1") {
					resp, body, err := e.read()
					cancelled := err == nil && resp.StatusCode == http.StatusServiceUnavailable && (!r.config.FastPath || !strings.HasPrefix(name, "hot"))
					if err != nil || resp.StatusCode != c.status && !cancelled {
						t.Fatalf("%s: %v %s, %v", name, resp, body, err)
					}
				}
				if rest, err := io.ReadAll(e.in); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: after the response %q, %v", name, rest, err)
				}
				e.close()
			}
		}
	})
}

// TestPipelining: any number of requests in a row get their responses in order.
func TestPipelining(t *testing.T) {
	t.Parallel()
	const rounds = 250
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		ids := r.createUsers(t, 2)
		var all strings.Builder
		words := []string{"Away", "Available", "Do_Not_Disturb"}
		for i := range rounds {
			all.WriteString(r.hotPut(ids[0], words[i%len(words)]))
			all.WriteString(r.hotGet(ids[0]))
			all.WriteString(r.request(http.MethodGet, "/v1/users/"+ids[i%2]+"/presence", ""))
			all.WriteString(r.request(http.MethodPut, "/v1/nothing", `{"a":"GET / HTTP/1.1"}`))
		}
		for name, piece := range map[string]int{"at once": 0, "in pieces": 777} {
			e := r.exchange(t)
			sent := make(chan error, 1)
			go func() { sent <- e.send(all.String(), piece) }()
			for i := range rounds {
				for n, want := range []struct {
					status int
					body   string
				}{
					{http.StatusNoContent, ""},
					{http.StatusOK, `"status":"` + words[i%len(words)] + `"`},
					{http.StatusOK, ids[i%2]},
					{http.StatusNotFound, "404"},
				} {
					resp, body, err := e.read()
					if err != nil || resp.StatusCode != want.status || !strings.Contains(body, want.body) {
						t.Fatalf("%s: response %d of round %d: %+v %s, %v; want %+v", name, n, i, resp, body, err, want)
					}
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			e.expect(t, r.hotGet(ids[0]), http.StatusOK, "") // nothing comes before its response
			e.close()
		}
	})
}

// TestNeverReads: clients that send requests without end, and read no response, are
// disconnected at the write limit. The server stops reading them, so that they cost little
// memory, and others do not notice.
func TestNeverReads(t *testing.T) {
	t.Parallel()
	const mostSent = 16 << 20
	short := func(cfg *config.Config, opts *server.Options) {
		shortTimeouts(cfg, opts)
		opts.Timeouts.Write = 5 * time.Second // of a whole request, also of the good client
	}
	forEachMode(t, short, func(t *testing.T, r *running) {
		t.Helper()
		if strings.HasPrefix(r.URL(), "https") && !r.config.FastPath {
			return // it takes crypto/tls five seconds to give up a connection; once is enough
		}
		user := r.createUsers(t, 1)[0]
		r.closeClient(t)
		var sent []*atomic.Int64
		for _, requests := range []string{
			strings.Repeat(r.hotGet(user), 255) + r.hotPut(user, "Away"), r.request(http.MethodGet, "/v1/users/"+user+"/presence", ""),
		} {
			sent = append(sent, r.neverRead(t, requests))
		}
		e := r.exchange(t)
		defer func() { e.close() }()
		eventually(t, "the connections are closed", func() bool {
			began := time.Now()
			resp, body, err := e.roundTrip(r.hotPut(user, "Available"))
			switch {
			case err != nil && time.Since(began) > 4*time.Second: // the limit holds for this client too
				e.close()
				e = r.exchange(t)
			case err != nil || resp.StatusCode != http.StatusNoContent:
				t.Fatalf("%v %s, %v", resp, body, err)
			}
			return r.metric(t, "porchlight_connections_open") == "1"
		})
		for _, sent := range sent {
			if n := sent.Load(); n > mostSent {
				t.Errorf("the server has read about %d KiB of a client that reads nothing", n>>10)
			}
		}
	})
}

// neverRead sends requests again and again, until the test ends or the server closes the
// connection. It counts the bytes that the connection takes.
func (r *running) neverRead(t *testing.T, requests string) *atomic.Int64 {
	t.Helper()
	conn := r.dial(t)
	setBuffers(t, conn)
	sent := new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for burst := []byte(strings.Repeat(requests, 16)); ; {
			n, err := conn.Write(burst)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = tcpOf(t, conn).Close() // the kernel may not tell the client that the server closed it
		<-done
	})
	return sent
}

// setBuffers makes the kernel buffer little for a connection.
func setBuffers(t *testing.T, conn net.Conn) {
	t.Helper()
	tcp := tcpOf(t, conn)
	if err := errors.Join(tcp.SetReadBuffer(4<<10), tcp.SetWriteBuffer(64<<10)); err != nil {
		t.Fatal(err)
	}
}

func tcpOf(t *testing.T, conn net.Conn) *net.TCPConn {
	t.Helper()
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T", conn)
	}
	return tcp
}

// TestReset: connections that are reset during a request leave nothing behind.
func TestReset(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		ids := r.createUsers(t, 4)
		var all sync.WaitGroup
		for i, user := range ids {
			all.Go(func() {
				for n := range 50 {
					e := r.exchange(t)
					request := r.hotPut(user, []string{"Away", "Available"}[n%2])
					if i%2 == 1 {
						request = strings.Repeat(request, 20)
					}
					if _, err := io.WriteString(e.conn, request); err != nil {
						t.Error(err)
					}
					if err := tcpOf(t, e.conn).SetLinger(0); err != nil {
						t.Error(err)
					}
					_ = tcpOf(t, e.conn).Close()
				}
			})
		}
		all.Wait()
		r.closeClient(t) // until then, the server may execute what came before a reset
		for _, user := range ids {
			e := r.exchange(t)
			e.expect(t, r.hotPut(user, "Do_Not_Disturb"), http.StatusNoContent, "")
			e.expect(t, r.hotGet(user), http.StatusOK, "Do_Not_Disturb")
			e.close()
		}
		if log := r.log.String(); strings.Contains(log, "panic") {
			t.Errorf("the log: %s", log)
		}
	})
}

// TestEvictionOfHotConnections: the hot routes mark their connections as authenticated,
// and as idle after the response. The server may mark them later than the client reads
// the response, so one of several attempts must show the order.
func TestEvictionOfHotConnections(t *testing.T) {
	t.Parallel()
	full := func(cfg *config.Config, _ *server.Options) { cfg.MaxConnections, cfg.MaxConnectionsPerAddress = 3, 3 }
	forEachMode(t, full, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		const attempts = 5
		want := []bool{false, false, true, true, true}
		for attempt := 1; ; attempt++ {
			r.closeClient(t)
			open := r.evictHot(t, user)
			if slices.Equal(open, want) {
				return
			}
			if attempt == attempts {
				t.Fatalf("the connections that are open are %v, want %v", open, want)
			}
		}
	})
}

// evictHot opens five connections one after the other, of which the second has no valid
// token, and reports which of them are open at the end.
func (r *running) evictHot(t *testing.T, user string) (open []bool) {
	t.Helper()
	stranger := strings.Replace(r.hotGet(user), r.made.AccessToken, "guess", 1)
	var conns []*exchange
	for n, request := range []string{r.hotPut(user, "Away"), stranger, r.hotGet(user), r.hotGet(user), r.hotGet(user)} {
		e, resp, body, err := r.firstRequest(t, request)
		defer e.close()
		if unknown := resp != nil && resp.StatusCode == http.StatusUnauthorized; err != nil || unknown != (n == 1) {
			t.Fatalf("%v %s, %v", resp, body, err)
		}
		conns = append(conns, e)
	}
	for _, e := range conns {
		resp, _, err := e.roundTrip(r.hotGet(user))
		open = append(open, err == nil && resp.StatusCode == http.StatusOK)
	}
	return open
}

// firstRequest makes a request on a new connection, and again while the server refuses it because
// all others were in use just now.
func (r *running) firstRequest(t *testing.T, request string) (e *exchange, resp *http.Response, body string, err error) {
	t.Helper()
	eventually(t, "a connection is not refused", func() bool {
		e = r.exchange(t)
		resp, body, err = e.roundTrip(request)
		refused := resp != nil && resp.StatusCode == http.StatusTooManyRequests
		if refused {
			e.close()
		}
		return !refused
	})
	return e, resp, body, err
}

// closeClient closes the connections of the test's own client.
func (r *running) closeClient(t *testing.T) {
	t.Helper()
	r.http.CloseIdleConnections()
	eventually(t, "no connection is open", func() bool { return r.metric(t, "porchlight_connections_open") == "0" })
}

// TestBusyHotConnectionIsNotEvicted: a connection in the middle of a hot request is not
// idle.
func TestBusyHotConnectionIsNotEvicted(t *testing.T) {
	t.Parallel()
	const most = 8
	full := func(cfg *config.Config, _ *server.Options) {
		cfg.MaxConnections, cfg.MaxConnectionsPerAddress = most, most
	}
	forEachMode(t, full, func(t *testing.T, r *running) {
		t.Helper()
		user := r.createUsers(t, 1)[0]
		request := r.hotPut(user, "Away")
		busy := r.exchange(t)
		defer busy.close()
		busy.expect(t, r.hotGet(user), http.StatusOK, "")
		if _, err := io.WriteString(busy.conn, request[:len(request)-5]); err != nil {
			t.Fatal(err)
		}
		for range 2 * most { // the first make the server full, and the server receives the head meanwhile
			e, resp, _, err := r.firstRequest(t, r.hotGet(user))
			defer e.close()
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", resp, err)
			}
		}
		busy.expect(t, request[len(request)-5:], http.StatusNoContent, "")
	})
}

// TestRefusedConnection: a hot request on a connection past a limit is refused and not
// executed, and the connection ends.
func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		proxies string
		status  int
	}{"total": {"127.0.0.1", http.StatusServiceUnavailable}, "of the address": {"", http.StatusTooManyRequests}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			full := func(cfg *config.Config, _ *server.Options) {
				cfg.MaxConnections, cfg.MaxConnectionsPerAddress, cfg.TrustedProxies = 3, 3, c.proxies
				cfg.StreamLimits = quotas(t, "user=none,app=none,account=none,address=none")
			}
			forEachMode(t, full, func(t *testing.T, r *running) {
				t.Helper()
				testRefusedConnection(t, r, c.status)
			})
		})
	}
}

func testRefusedConnection(t *testing.T, r *running, status int) {
	t.Helper()
	user := r.createUsers(t, 1)[0]
	before := r.stateOf(t, user)
	r.closeClient(t)
	var last *rawSocket
	for range 3 {
		last = r.open(t, r.made.AccessToken, "")
	}
	for _, request := range []string{r.hotPut(user, "Away"), r.hotGet(user), r.request(http.MethodGet, "/v1/me", "")} {
		e := r.exchange(t)
		resp, body, err := e.roundTrip(request + request)
		if err != nil || resp.StatusCode != status || !resp.Close {
			t.Errorf("%v %s, %v", resp, body, err)
		}
		if rest, err := io.ReadAll(e.in); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the refusal %q, %v", rest, err)
		}
		e.close()
	}
	_ = last.Close()
	var after userState
	eventually(t, "served again", func() bool {
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		p, err := r.client.Presence(ctx, user)
		after = userState{p.Status, p.Note}
		return err == nil
	})
	if after != before {
		t.Errorf("the user is %+v, and was %+v", after, before)
	}
}
