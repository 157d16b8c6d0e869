package egress

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A receiver is a server that does with each connection what its script says, and counts
// what it can write.
type receiver struct {
	url     string
	written atomic.Int64
	conns   atomic.Int32
}

// newReceiver runs script for each connection, after the request's head was read if
// there is a first line to read.
func newReceiver(t *testing.T, script func(conn net.Conn, head string)) *receiver {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{url: "http://" + l.Addr().String() + "/"}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.conns.Add(1)
			wg.Go(func() {
				defer conn.Close()
				counted := &countingConn{Conn: conn, written: &r.written}
				br := bufio.NewReader(counted)
				script(&readerConn{counted, br}, readHead(br))
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return r
}

// readHead reads the head and the body "{}" of a request.
func readHead(br *bufio.Reader) string {
	req, err := http.ReadRequest(br)
	if err != nil {
		return ""
	}
	_, _ = io.Copy(io.Discard, req.Body)
	return req.Proto + " " + req.Header.Get("Accept-Encoding")
}

type countingConn struct {
	net.Conn
	written *atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

type readerConn struct {
	*countingConn
	br *bufio.Reader
}

func (c *readerConn) Read(b []byte) (int, error) { return c.br.Read(b) }

// say writes texts and then waits until the client closes the connection.
func say(texts ...string) func(net.Conn, string) {
	return func(conn net.Conn, _ string) {
		for _, text := range texts {
			_, _ = io.WriteString(conn, text)
		}
		_, _ = io.Copy(io.Discard, conn)
	}
}

// forever writes first, and then text until the client has had enough. With a pause, it
// drips.
func forever(first, text string, pause time.Duration) func(net.Conn, string) {
	return func(conn net.Conn, _ string) {
		_, err := io.WriteString(conn, first)
		for err == nil {
			_, err = io.WriteString(conn, text)
			time.Sleep(pause)
		}
	}
}

const ok = "HTTP/1.1 200 OK\r\n"

func zipped(n int) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(bytes.Repeat([]byte{'a'}, n))
	_ = w.Close()
	return b.String()
}

// loopbackClient may reach loopback, and has short limits.
func loopbackClient(t *testing.T, o Options) *Client {
	o.Allow = parsePrefixes("127.0.0.0/8")
	c := NewClient(o)
	t.Cleanup(c.Close)
	return c
}

func post(ctx context.Context, c *Client, url, body string, limit int) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return c.Do(req, limit)
}

// An expiring context is past its deadline once over is closed.
type expiring struct {
	context.Context

	over chan struct{}
}

func (e expiring) Done() <-chan struct{} { return e.over }

func (e expiring) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// overAt is a context whose deadline is when a request reaches a step. A deadline after a
// time could end it at an earlier step, of which the error says something else.
func overAt(ctx context.Context, step int32) context.Context {
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	trace := new(httptrace.ClientTrace)
	switch step {
	case sending:
		trace.GotConn = func(httptrace.GotConnInfo) { end() }
	case waiting:
		trace.WroteRequest = func(httptrace.WroteRequestInfo) { end() }
	case answering:
		trace.GotFirstResponseByte = end
	}
	return expiring{httptrace.WithClientTrace(ctx, trace), over}
}

// TestHostileReceivers: whatever an endpoint does, the request ends in time, reads little,
// and says what happened.
func TestHostileReceivers(t *testing.T) {
	const short = 400 * time.Millisecond
	bomb := zipped(4 << 20)
	for _, c := range []struct {
		name   string
		script func(net.Conn, string)
		body   string // of the request; default {}
		kind   Kind
		text   string // of the error
		status int
		answer string
		whole  bool
		slow   time.Duration // for the answer's body; default: more than it needs
		over   int32         // the step at which the caller's time is over; 0: only Options.Total bounds it
	}{
		{name: "nothing", script: func(net.Conn, string) {}, kind: Closed, text: "the endpoint closed the connection without an answer"},
		{name: "a reset", script: func(conn net.Conn, _ string) { reset(conn) }, kind: Closed, text: "the endpoint closed the connection without an answer"},
		{name: "a reset in the head", script: func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, ok); reset(conn) }, kind: Closed},
		{name: "an end in the head", script: func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, ok+"A: b\r\n") }, kind: Closed},
		{name: "silence", script: say(), kind: Timeout, text: "no answer within", over: waiting},
		{name: "silence to the end", script: say(), kind: Timeout},
		{name: "silence in the head", script: say(ok + "A: b\r\n"), kind: Timeout, text: "no end of the answer's head within", over: answering},
		{name: "a dripping head", script: forever(ok+"A: ", "a", 10*time.Millisecond), kind: Timeout, text: "no end of the answer's head within", over: answering},
		{name: "an endless header", script: forever(ok+"A: ", strings.Repeat("a", 1<<15), 0), kind: Protocol, text: "the answer is not valid HTTP: "},
		{name: "endless headers", script: forever(ok, strings.Repeat("A: b\r\n", 1000), 0), kind: Protocol},
		{name: "a huge header", script: say(ok + "A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), kind: Protocol},
		{name: "an endless status line", script: forever("HTTP/1.1 200 ", strings.Repeat("O", 1<<15), 0), kind: Protocol},
		{name: "a flood of 100", script: forever("", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), 0), kind: Protocol},
		{name: "a flood of 103", script: forever("", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 100), 0), kind: Protocol},
		{name: "a drip of 102", script: forever("", "HTTP/1.1 102 Processing\r\n\r\n", 20*time.Millisecond), kind: Timeout},
		{name: "not HTTP", script: say("SSH-2.0-OpenSSH_9.9\r\n\r\n"), kind: Protocol, text: "the answer is not valid HTTP: "},
		{name: "a status that is no number", script: say("HTTP/1.1 abc OK\r\n\r\n"), kind: Protocol},
		{name: "a negative length", script: say(ok + "Content-Length: -1\r\n\r\n"), kind: Protocol},
		{name: "two lengths", script: say(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), kind: Protocol},
		{name: "an unknown transfer coding", script: say(ok + "Transfer-Encoding: identity, gzip\r\n\r\nab"), kind: Protocol},
		{name: "control characters", script: say("\x00\x01\x02\xff\xfe\r\n\r\n"), kind: Protocol},
		{name: "a request that is not read", script: nil, body: strings.Repeat("x", 32<<20), kind: Timeout, text: "the endpoint did not read the request within", over: sending},
		{name: "a request that is not read in time", script: nil, body: strings.Repeat("x", 32<<20), kind: Timeout},

		{name: "an interim answer", script: say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nhi"), status: 200, answer: "hi", whole: true},
		{name: "HTTP/1.0", script: func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\nhi") }, status: 200, answer: "hi", whole: true},
		{name: "a large number for a status", script: say("HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), status: 999, whole: true},
		{name: "a switch of protocols", script: say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi"), status: 101},
		{name: "an endless body", script: forever(ok+"\r\n", strings.Repeat("b", 1<<15), 0), status: 200, answer: strings.Repeat("b", 8)},
		{name: "an endless chunked body", script: forever(ok+"Transfer-Encoding: chunked\r\n\r\n", "4\r\nbbbb\r\n", 0), status: 200, answer: strings.Repeat("b", 8)},
		{name: "an endless chunk extension", script: forever(ok+"Transfer-Encoding: chunked\r\n\r\n4;", strings.Repeat("x", 1<<15), 0), status: 200},
		{name: "endless trailers", script: forever(ok+"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", strings.Repeat("A: b\r\n", 1000), 0), status: 200, answer: "hi"},
		{name: "a dripping body", script: forever(ok+"\r\n", "b", 10*time.Millisecond), status: 200, slow: short},
		{name: "a body that does not come", script: say(ok + "Content-Length: 5\r\n\r\n"), status: 200, slow: short},
		{name: "a body that is cut off", script: func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, ok+"Content-Length: 5\r\n\r\nhi") }, status: 200, answer: "hi"},
		{name: "chunks that are none", script: say(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n"), status: 200},
		{name: "a huge chunk", script: say(ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhi\r\n"), status: 200, slow: short},
		{name: "a long body", script: say(ok + "Content-Length: 10\r\n\r\n0123456789"), status: 200, answer: "01234567"},
		{name: "a gzip bomb", script: say(ok + fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", len(bomb)) + bomb), status: 200, answer: bomb[:8]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			script := c.script
			var r *receiver
			if script == nil {
				r = stalledReceiver(t)
			} else {
				r = newReceiver(t, script)
			}
			o := Options{Connect: time.Minute, Total: 2 * time.Minute, Body: cmp.Or(c.slow, 2*time.Minute)}
			ctx := t.Context()
			switch {
			case c.over != 0:
				ctx = overAt(ctx, c.over)
			case c.kind == Timeout:
				o.Total = short
			}
			client := loopbackClient(t, o)
			began := time.Now()
			a, err := post(ctx, client, r.url, orText(c.body, "{}"), 8)
			if took := time.Since(began); took > time.Minute {
				t.Errorf("took %s", took)
			}
			if n := r.written.Load(); n > 16<<20 { // most of it in the kernel's buffers
				t.Errorf("the endpoint could write %d bytes", n)
			}
			if c.kind == "" {
				if err != nil || a.Status != c.status || a.Whole != c.whole || !strings.HasPrefix(string(a.Body), c.answer) || len(a.Body) > 8 {
					t.Errorf("%+v, %v", a, err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Text, c.text) || len(e.Text) > 300 {
				t.Errorf("%+v, %v, want %s: %s", a, err, c.kind, c.text)
			}
		})
	}
}

func orText(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func reset(conn net.Conn) {
	if c, ok := conn.(*readerConn); ok {
		if tcp, ok := c.Conn.(*net.TCPConn); ok && tcp.SetLinger(0) == nil {
			tcp.Close()
		}
	}
}

// stalledReceiver accepts connections and reads nothing.
func stalledReceiver(t *testing.T) *receiver {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, conn := range conns {
			conn.Close()
		}
	})
	return &receiver{url: "http://" + l.Addr().String() + "/"}
}

// TestNoConnection: a port where nobody listens, and a caller that gives up.
func TestNoConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	client := loopbackClient(t, Options{})
	var e *Error
	if _, err := post(t.Context(), client, "http://"+l.Addr().String(), "{}", 8); !errors.As(err, &e) || e.Kind != Connect || e.Text != "the connection was refused" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := newReceiver(t, func(conn net.Conn, head string) { cancel(); say()(conn, head) })
	if _, err := post(ctx, client, r.url, "{}", 8); !errors.As(err, &e) || e.Kind != Canceled {
		t.Error(err)
	}
}

// TestRequestHead: HTTP/1.1, and no compressed answers.
func TestRequestHead(t *testing.T) {
	heads := make(chan string, 1)
	r := newReceiver(t, func(conn net.Conn, head string) {
		heads <- head
		say(ok+"Content-Length: 0\r\n\r\n")(conn, head)
	})
	if _, err := post(t.Context(), loopbackClient(t, Options{}), r.url, "{}", 8); err != nil {
		t.Fatal(err)
	}
	if head := <-heads; head != "HTTP/1.1 " {
		t.Errorf("sent %q", head)
	}
}

// certificate makes a self-signed certificate.
func certificate(t *testing.T, name string, until time.Time) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, DNSNames: []string{name},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestTLS: certificates that are not valid, old versions, and handshakes that do not end.
func TestTLS(t *testing.T) {
	good := certificate(t, "endpoint.test", time.Now().Add(time.Hour))
	pool := x509.NewCertPool()
	pool.AddCert(parseCertificate(t, good))
	expired := certificate(t, "endpoint.test", time.Now().Add(-time.Hour))
	pool.AddCert(parseCertificate(t, expired))
	for _, c := range []struct {
		name   string
		host   string
		config *tls.Config
		text   string // of the error; empty: none
	}{
		{"good", "endpoint.test", &tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"h2", "http/1.1"}}, ""},
		{"another name", "other.test", &tls.Config{Certificates: []tls.Certificate{good}}, "the certificate cannot be verified: x509: certificate is valid for endpoint.test, not other.test"},
		{"unknown authority", "endpoint.test", &tls.Config{Certificates: []tls.Certificate{certificate(t, "endpoint.test", time.Now().Add(time.Hour))}}, "the certificate cannot be verified: x509: certificate signed by unknown authority"},
		{"expired", "endpoint.test", &tls.Config{Certificates: []tls.Certificate{expired}}, "expired"},
		{"TLS 1.1", "endpoint.test", &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, "the TLS handshake failed: "},
		{"a client's certificate", "endpoint.test", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, "certificate required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			protocol := make(chan string, 1)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { protocol <- r.Proto }))
			server.TLS, server.EnableHTTP2 = c.config, true
			server.Config.ErrorLog = discard()
			server.StartTLS()
			t.Cleanup(server.Close)
			names := &nameServer{names: map[string][]string{c.host: {"127.0.0.1"}}}
			client := loopbackClient(t, Options{RootCAs: pool, Resolver: names.resolver(t)})
			_, err := post(t.Context(), client, "https://"+c.host+":"+portOf(server)+"/", "{}", 8)
			if c.text == "" {
				if err != nil || <-protocol != "HTTP/1.1" {
					t.Errorf("HTTP/1.1 is not used: %v", err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Text, c.text) || e.Kind != TLS {
				t.Errorf("%v, want %q", err, c.text)
			}
		})
	}
}

func parseCertificate(t *testing.T, c tls.Certificate) *x509.Certificate {
	parsed, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestHostileTLS: what is not a handshake.
func TestHostileTLS(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(net.Conn, string)
		kind   Kind
		text   string
	}{
		{"silence", say(), Timeout, "no end of the TLS handshake within"},
		{"a drip of records", forever("\x16\x03\x03\x40\x00", "a", 10*time.Millisecond), Timeout, "no end of the TLS handshake within"},
		{"plain HTTP", say("HTTP/1.1 400 Bad Request\r\n\r\n"), TLS, "the endpoint does not speak TLS"},
		{"garbage", say(strings.Repeat("\xff", 100)), TLS, ""},
		{"an alert", say("\x15\x03\x03\x00\x02\x02\x28"), TLS, "handshake failure"},
		{"the end", func(net.Conn, string) {}, TLS, ""},
		{"a reset", func(conn net.Conn, _ string) { reset(conn) }, TLS, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, c.script)
			o := Options{Connect: time.Minute, TLS: 2 * time.Minute}
			if c.kind == Timeout {
				o.TLS = time.Second
			}
			client := loopbackClient(t, o)
			var e *Error
			began := time.Now()
			_, err := post(t.Context(), client, strings.Replace(r.url, "http:", "https:", 1), "{}", 8)
			if took := time.Since(began); took > time.Minute {
				t.Errorf("took %s", took)
			}
			if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Text, c.text) || strings.Contains(e.Text, "127.0.0.1") {
				t.Errorf("%v, want %s: %s", err, c.kind, c.text)
			}
		})
	}
}

// TestSlowNames: a name server that does not answer.
func TestSlowNames(t *testing.T) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	client := NewClient(Options{Resolver: resolver, Connect: 100 * time.Millisecond})
	defer client.Close()
	var e *Error
	if _, err := post(t.Context(), client, "http://slow.test:8080/", "{}", 8); !errors.As(err, &e) || e.Kind != Timeout && e.Kind != Unresolved {
		t.Error(err)
	}
}

// TestKeptConnectionClosed: a request that meets the end of a kept connection is sent
// again only if nothing of it was sent.
func TestKeptConnectionClosed(t *testing.T) {
	var requests atomic.Int32
	r := newReceiver(t, func(conn net.Conn, _ string) {
		requests.Add(1)
		_, _ = io.WriteString(conn, ok+"Content-Length: 2\r\n\r\nhi")
		if readHead(bufio.NewReader(conn)) != "" {
			requests.Add(1) // and no answer
		}
	})
	client := loopbackClient(t, Options{})
	if _, err := post(t.Context(), client, r.url, "{}", 8); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := post(t.Context(), client, r.url, "{}", 8); !errors.As(err, &e) || e.Kind != Closed || requests.Load() != 2 || r.conns.Load() != 1 {
		t.Errorf("%v, %d requests on %d connections", err, requests.Load(), r.conns.Load())
	}
}

// A deafConn answers one request. Then every write to it fails.
type deafConn struct {
	net.Conn
	writes atomic.Int32
}

func (c *deafConn) Write(b []byte) (int, error) {
	if c.writes.Add(1) > 1 {
		return 0, errors.New("the connection is closed")
	}
	return c.Conn.Write(b)
}

// TestNothingWritten: a request of which nothing was written is sent on a new connection.
func TestNothingWritten(t *testing.T) {
	r := newReceiver(t, func(conn net.Conn, head string) { say(ok+"Content-Length: 2\r\n\r\nhi")(conn, head) })
	client := loopbackClient(t, Options{})
	dial := client.transport.DialContext
	client.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &deafConn{Conn: conn}, err
	}
	for i := range 3 {
		if a, err := post(t.Context(), client, r.url, "{}", 8); err != nil || string(a.Body) != "hi" {
			t.Fatalf("request %d: %+v, %v", i+1, a, err)
		}
	}
	if n := r.conns.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

// TestBusy: endpoints that hang use no more connections than are permitted. Other requests
// wait, and say that they were never made if their time is over.
func TestBusy(t *testing.T) {
	const most = 6 // in addition to two idle ones
	arrived := make(chan struct{}, most)
	gate := make(chan struct{})
	var open, peak atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		peak.Store(max(peak.Load(), open.Add(1)))
		defer open.Add(-1)
		arrived <- struct{}{}
		<-gate
	}))
	t.Cleanup(server.Close)
	client := loopbackClient(t, Options{Connections: 8})
	var wg sync.WaitGroup
	for range most {
		wg.Go(func() {
			if _, err := post(t.Context(), client, server.URL, "{}", 8); err != nil {
				t.Error(err)
			}
		})
	}
	for range most {
		<-arrived
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var e *Error
	if _, err := post(ctx, client, server.URL, "{}", 8); !errors.As(err, &e) || e.Kind != Internal {
		t.Error(err)
	}
	close(gate)
	wg.Wait()
	if _, err := post(t.Context(), client, server.URL, "{}", 8); err != nil {
		t.Error("after others ended:", err)
	}
	if peak.Load() != most {
		t.Errorf("%d requests at a time", peak.Load())
	}
}

// TestCloseUnread: the client is closed at once, although endpoints do not read what TLS says at
// the end of their connections.
func TestCloseUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := certificate(t, "endpoint.test", time.Now().Add(time.Hour))
		pool := x509.NewCertPool()
		pool.AddCert(parseCertificate(t, own))
		client := NewClient(Options{RootCAs: pool})
		client.transport.IdleConnTimeout = 0 // only Close closes them
		const n = 3
		var arrived, posts sync.WaitGroup
		arrived.Add(n)
		client.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				conn := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{own}})
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					t.Error(err)
				}
				arrived.Done()
				arrived.Wait()                                                 // each has a connection
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n") // the client would say that it failed
			}()
			return near, nil
		}
		for range n {
			posts.Go(func() {
				if _, err := post(t.Context(), client, "https://endpoint.test/", "{}", 8); err != nil {
					t.Error(err)
				}
			})
		}
		posts.Wait()
		begun := time.Now()
		client.Close()
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %v to close the client", took)
		}
		time.Sleep(time.Minute) // until TLS gives up
	})
}

// TestIdleConnections: what is kept for one endpoint is bounded.
func TestIdleConnections(t *testing.T) {
	const n = 2 * maxHostIdle
	arrived := make(chan struct{}, n)
	gate := make(chan struct{})
	closed := make(chan struct{}, n)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-gate }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client := loopbackClient(t, Options{})
	client.transport.IdleConnTimeout = 0 // only the bound closes them
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := post(t.Context(), client, server.URL, "{}", 8); err != nil {
				t.Error(err)
			}
		})
	}
	for range n {
		<-arrived
	}
	close(gate)
	wg.Wait()
	for range n - maxHostIdle {
		select {
		case <-closed:
		case <-time.After(time.Minute):
			t.Fatal("more idle connections are kept than permitted")
		}
	}
}
