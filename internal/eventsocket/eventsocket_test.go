package eventsocket_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/internal/auth"
	. "porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// A fixture is a server in a bubble of synctest, whose connections are pipes without a
// buffer: what a client does not read blocks at once.
type fixture struct {
	*testing.T
	Sockets
	http        *http.Client
	attachments chan *attachment
	attached    func() // called after each attach, if not nil

	mu      sync.Mutex
	revoked error
	refused error // of the last request
	format  format
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, attachments: make(chan *attachment, 10)}
	f.Access, f.Clock, f.Log = f, time.Now, slog.New(slog.DiscardHandler)
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(f.handle)}
	go func() { _ = server.Serve(l) }()
	f.http = &http.Client{Transport: &http.Transport{DialContext: l.dial}}
	t.Cleanup(func() {
		f.Drain(context.Background())
		_ = server.Close()
		f.http.CloseIdleConnections()
	})
	return f
}

func (f *fixture) handle(w http.ResponseWriter, r *http.Request) {
	err := f.Check(r)
	if err == nil {
		p := &auth.Principal{Account: "account", App: "app", AccountLevel: true}
		err = f.Serve(w, r, p, f.format, f.attach)
	}
	if err != nil {
		f.mu.Lock()
		f.refused = err
		f.mu.Unlock()
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (f *fixture) attach(ctx context.Context, send Send) (Attachment, error) {
	a := &attachment{send: send}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	f.attachments <- a
	if f.attached != nil {
		f.attached()
	}
	return a, nil
}

func (f *fixture) Recheck(context.Context, []*auth.Principal) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []error{f.revoked}
}

func (f *fixture) revoke(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = err
}

// connect opens a connection and waits for its attachment.
func (f *fixture) connect() (*websocket.Conn, *attachment) {
	f.Helper()
	ws, _, err := websocket.Dial(f.Context(), "ws://server/", &websocket.DialOptions{HTTPClient: f.http})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = ws.CloseNow() })
	if got := f.read(ws); got != "opened" {
		f.Fatalf("the first frame is %q", got)
	}
	return ws, <-f.attachments
}

func (f *fixture) read(ws *websocket.Conn) string {
	f.Helper()
	_, frame, err := ws.Read(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return string(frame)
}

// wantEnd reads until the connection ends, which must be with a code (-1: without one)
// within a time.
func (f *fixture) wantEnd(ws *websocket.Conn, code websocket.StatusCode, within time.Duration) {
	f.Helper()
	began := time.Now()
	for {
		_, _, err := ws.Read(f.Context())
		if err == nil {
			continue
		}
		if got := websocket.CloseStatus(err); got != code {
			f.Errorf("the connection ended with %v (%v), want %v", got, err, code)
		}
		if took := time.Since(began); took > within {
			f.Errorf("the connection ended after %v, want %v at most", took, within)
		}
		return
	}
}

// pipes is a listener of pipes.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// An attachment is one whose events the test sends.
type attachment struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	send   Send

	mu    sync.Mutex
	acked uint64
}

func (a *attachment) Acknowledge(n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acked = max(a.acked, n)
}

func (a *attachment) Done() <-chan struct{} { return a.ctx.Done() }
func (a *attachment) Err() error            { return context.Cause(a.ctx) }
func (a *attachment) Close()                { a.cancel(context.Canceled) }

func (a *attachment) give(at store.Position) error {
	return a.send(a.ctx, &webhook.Request{Event: &webhook.Event{At: at}})
}

func (a *attachment) wantAcked(t *testing.T, want uint64) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.acked != want {
		t.Errorf("acknowledged %d events, want %d", a.acked, want)
	}
}

// format is plain text. Its close codes are 4000 and the place in codes.
type format struct{ silence time.Duration }

var codes = []Reason{Draining, Slow, Unavailable, Silent, Gone, Replaced, Ended, Unauthorized, TooFast, Suspended, Isolated}

func codeOf(why Reason) websocket.StatusCode {
	return websocket.StatusCode(4000 + slices.Index(codes, why))
}

func (format) Opened() []byte { return []byte("opened") }

func (format) Event(_ context.Context, r *webhook.Request) ([]byte, error) {
	return fmt.Appendf(nil, "event %d", r.Event.At), nil
}

func (format) Receive(frame []byte) ([]byte, bool) {
	if strings.HasPrefix(string(frame), "heartbeat") {
		return append([]byte("answer to "), frame...), true
	}
	return nil, false
}

func (f format) Silence() time.Duration       { return f.silence }
func (format) Close(why Reason) (int, string) { return int(codeOf(why)), string(why) }

// TestAcknowledge: an event counts as delivered when the client has read it, not when it
// was written.
func TestAcknowledge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ws, a := f.connect()
		go func() { _ = a.give(7) }()
		if got := f.read(ws); got != "event 7" {
			t.Fatalf("received %q", got)
		}
		a.wantAcked(t, 0) // it has not answered the ping
		received := make(chan string)
		read := func() {
			_, frame, _ := ws.Read(t.Context())
			received <- string(frame)
		}
		go read()
		a.wantAcked(t, 1)
		go func() { _ = a.give(9) }()
		if got := <-received; got != "event 9" {
			t.Fatalf("received %q", got)
		}
		a.wantAcked(t, 1)
		go read()
		a.wantAcked(t, 2)
		_ = ws.CloseNow()
		<-received
	})
}

// TestUnreadIsNotAcknowledged: what was in a connection that broke is not delivered.
func TestUnreadIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ws, a := f.connect()
		go func() { _ = a.give(7) }()
		f.read(ws)
		_ = ws.CloseNow()
		<-a.Done()
		a.wantAcked(t, 0)
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.format = format{silence: 90 * time.Second}
		ws, a := f.connect()
		answers := make(chan string)
		go func() {
			defer close(answers)
			for {
				_, frame, err := ws.Read(t.Context())
				if err != nil {
					answers <- websocket.CloseStatus(err).String()
					return
				}
				answers <- string(frame)
			}
		}()
		for range 10 {
			time.Sleep(31 * time.Second) // never with a ping: without a buffer, both would wait
			if err := ws.Write(t.Context(), websocket.MessageText, []byte("heartbeat")); err != nil {
				t.Fatal(err)
			}
			if got := <-answers; got != "answer to heartbeat" {
				t.Errorf("received %q", got)
			}
		}
		began := time.Now()
		if err := ws.Write(t.Context(), websocket.MessageText, []byte("anything else")); err != nil {
			t.Fatal(err)
		}
		if got := <-answers; got != codeOf(Silent).String() || time.Since(began) < 90*time.Second || time.Since(began) > 95*time.Second {
			t.Errorf("ended with %s after %v", got, time.Since(began))
		}
		<-a.Done()
	})
}

// TestQuiet: a client that need not send heartbeats stays for as long as it answers pings.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ws, a := f.connect()
		ended := make(chan struct{})
		go func() {
			f.wantEnd(ws, codeOf(Replaced), 25*time.Hour)
			close(ended)
		}()
		time.Sleep(24 * time.Hour)
		if f.Open() != 1 {
			t.Fatal("the connection ended")
		}
		a.cancel(webhook.ErrReplaced)
		<-ended
	})
}

// TestSlowReader: a client that does not read is cut off, and what waits for it fails.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		_, a := f.connect()
		began := time.Now()
		if err := a.give(1); !errors.Is(err, Slow) {
			t.Errorf("the event failed with %v, want %v", err, Slow)
		}
		<-a.Done()
		time.Sleep(2 * time.Second) // for the close frame, which is not read either
		synctest.Wait()
		if f.Open() != 0 || time.Since(began) > 15*time.Second {
			t.Errorf("%d connections are open after %v", f.Open(), time.Since(began))
		}
		a.wantAcked(t, 0)
	})
}

// TestEndings: every reason reaches the client, soon.
func TestEndings(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(f *fixture, ws *websocket.Conn, a *attachment)
		want   Reason
		within time.Duration
	}{
		"the server stops":           {func(f *fixture, _ *websocket.Conn, _ *attachment) { go f.Drain(f.Context()) }, Draining, time.Second},
		"the server isolated":        {func(f *fixture, _ *websocket.Conn, _ *attachment) { f.Suspend() }, Isolated, time.Second},
		"a newer connection":         {func(_ *fixture, _ *websocket.Conn, a *attachment) { a.cancel(webhook.ErrReplaced) }, Replaced, time.Second},
		"the subscription deleted":   {func(_ *fixture, _ *websocket.Conn, a *attachment) { a.cancel(webhook.ErrRemoved) }, Ended, time.Second},
		"the subscription has a URL": {func(_ *fixture, _ *websocket.Conn, a *attachment) { a.cancel(webhook.ErrHasEndpoint) }, Ended, time.Second},
		"another node delivers":      {func(_ *fixture, _ *websocket.Conn, a *attachment) { a.cancel(webhook.ErrNotDelivering) }, Unavailable, time.Second},
		"an unknown error":           {func(_ *fixture, _ *websocket.Conn, a *attachment) { a.cancel(errors.New("unknown")) }, Unavailable, time.Second},
		"the token revoked":          {func(f *fixture, _ *websocket.Conn, _ *attachment) { f.revoke(auth.ErrInvalidToken) }, Unauthorized, 5 * time.Second},
		"the token expired":          {func(f *fixture, _ *websocket.Conn, _ *attachment) { f.revoke(auth.ErrExpiredToken) }, Unauthorized, 5 * time.Second},
		"the account suspended":      {func(f *fixture, _ *websocket.Conn, _ *attachment) { f.revoke(auth.ErrSuspended) }, Suspended, 5 * time.Second},
		"too many frames": {func(f *fixture, ws *websocket.Conn, _ *attachment) {
			go func() {
				for range 200 {
					_ = ws.Write(f.Context(), websocket.MessageText, []byte("x"))
				}
			}()
		}, TooFast, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				ws, a := f.connect()
				c.end(f, ws, a)
				f.wantEnd(ws, codeOf(c.want), c.within)
				<-a.Done()
				_ = ws.CloseNow()
				time.Sleep(2 * time.Second)
				if f.Open() != 0 {
					t.Error("the connection is still open")
				}
			})
		})
	}
}

// TestStoreFails: a token that cannot be checked is still valid.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ws, a := f.connect()
		f.revoke(errors.New("the store is unavailable"))
		go func() { _, _, _ = ws.Read(t.Context()) }()
		time.Sleep(time.Minute)
		if f.Open() != 1 || a.ctx.Err() != nil {
			t.Error("the connection ended")
		}
	})
}

// TestDrainUnread: a client that does not read delays the shutdown little.
func TestDrainUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		_, a := f.connect()
		go func() { _ = a.give(1) }()
		synctest.Wait()
		began := time.Now()
		f.Drain(t.Context())
		if took := time.Since(began); took > 3*time.Second || f.Open() != 0 {
			t.Errorf("the drain took %v and left %d connections", took, f.Open())
		}
		if _, _, err := websocket.Dial(t.Context(), "ws://server/", &websocket.DialOptions{HTTPClient: f.http}); err == nil {
			t.Error("a connection was opened after the drain")
		}
	})
}

// TestLimit: a connection counts as a stream, for as long as it is open.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.Quotas = quota.NewGuard(map[quota.Resource]quota.Amounts{quota.Streams: {quota.App: 1}}, time.Now)
		ws, a := f.connect()
		if _, _, err := websocket.Dial(t.Context(), "ws://server/", &websocket.DialOptions{HTTPClient: f.http}); err == nil {
			t.Fatal("a second connection was opened")
		}
		f.mu.Lock()
		if _, ok := errors.AsType[*quota.Error](f.refused); !ok {
			t.Errorf("refused with %v", f.refused)
		}
		f.mu.Unlock()
		_ = ws.CloseNow()
		<-a.Done()
		synctest.Wait()
		f.connect()
	})
}

// TestHandshakes: what is not a handshake gets an error of the dialect.
func TestHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for name, header := range map[string]http.Header{
			"a plain request": {},
			"no version":      {"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}},
			"an invalid key": {
				"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {"not base64, 24 letters.."},
			},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = header
			resp, err := f.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			f.mu.Lock()
			if resp.StatusCode != http.StatusBadRequest || f.refused == nil || !strings.Contains(f.refused.Error(), "WebSocket") {
				t.Errorf("%s: %d, %v", name, resp.StatusCode, f.refused)
			}
			f.refused = nil
			f.mu.Unlock()
		}
	})
}

// TestSuspendedWhileOpening: a connection that opens when the server finds that it cannot reach
// its store ends with that reason.
func TestSuspendedWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.attached = f.Suspend
		ws, _, err := websocket.Dial(t.Context(), "ws://server/", &websocket.DialOptions{HTTPClient: f.http})
		if err != nil {
			t.Fatal(err)
		}
		f.wantEnd(ws, codeOf(Isolated), time.Second)
	})
}

// TestSuspended: a server that cannot reach its store opens no connections until it can.
func TestSuspended(t *testing.T) {
	f := newFixture(t)
	handshake := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		handshake.Header.Set(name, value)
	}
	f.Suspend()
	if err := f.Check(handshake); !errors.Is(err, wire.ErrIsolated) {
		t.Errorf("suspended: %v", err)
	}
	f.Resume()
	if err := f.Check(handshake); err != nil {
		t.Errorf("resumed: %v", err)
	}
}
