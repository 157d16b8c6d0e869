package client

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"porchlight.dev/porchlight/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeServer is scripted by each test: open and accept return the streams that
// clients open, and the test reads and writes their frames. All connections are pipes
// in memory, so that it works under synctest.
type fakeServer struct {
	t       *testing.T
	conns   chan net.Conn
	sockets chan *socket
	// answer refuses the next handshake; each handshake waits for it or for its turn.
	answer     chan func(http.ResponseWriter)
	handshakes chan struct{} // admits a handshake
	closed     chan struct{}
	once       sync.Once
}

func newFakeServer(t *testing.T) *fakeServer {
	t.Helper()
	f := &fakeServer{
		t: t, conns: make(chan net.Conn), sockets: make(chan *socket), answer: make(chan func(http.ResponseWriter), 10),
		handshakes: make(chan struct{}), closed: make(chan struct{}),
	}
	srv := &http.Server{Handler: f}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(f)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return f
}

// Accept, Close and Addr implement net.Listener.
func (f *fakeServer) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *fakeServer) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

func (f *fakeServer) Addr() net.Addr { return &net.TCPAddr{} }

func (f *fakeServer) client(tokens TokenSource) *Client {
	f.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case f.conns <- theirs:
			return ours, nil
		case <-f.closed:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	c, err := New("http://fake.test", tokens, &http.Client{Transport: transport})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/me" {
		_ = json.NewEncoder(w).Encode(api.Me{AccountLevel: strings.HasSuffix(r.Header.Get("Authorization"), " of the account")})
		return
	}
	select {
	case answer := <-f.answer:
		answer(w)
		return
	case <-f.handshakes:
	case <-f.closed:
		return
	}
	s := &socket{t: f.t, token: r.Header.Get("Authorization"), done: make(chan struct{})}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		OnPingReceived: func(context.Context, []byte) bool { return !s.ignorePings.Load() },
	})
	if err != nil {
		f.t.Errorf("accept: %v", err)
		return
	}
	s.ws = ws
	select {
	case f.sockets <- s:
		select {
		case <-s.done:
		case <-f.closed:
		}
	case <-f.closed:
	}
	_ = ws.CloseNow()
}

func (f *fakeServer) refuse(status int, header http.Header, body string) {
	f.answer <- func(w http.ResponseWriter) {
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// open waits for a stream.
func (f *fakeServer) open() *socket {
	f.handshakes <- struct{}{}
	return <-f.sockets
}

// acceptHello waits for a stream and sends hello.
func (f *fakeServer) acceptHello() *socket {
	f.t.Helper()
	s := f.open()
	s.send(`{"type":"hello","epoch":"e1","cursor":"hello","ping_seconds":20}`)
	return s
}

// A socket is the server's side of a stream.
type socket struct {
	t           *testing.T
	ws          *websocket.Conn
	token       string
	ignorePings atomic.Bool // answers no ping
	done        chan struct{}
}

func (s *socket) send(frame string) {
	s.t.Helper()
	if err := s.ws.Write(context.Background(), websocket.MessageText, []byte(frame)); err != nil {
		s.t.Fatalf("send %s: %v", frame, err)
	}
}

// wantFrame reads a frame, compares it without its id, and returns the id.
func (s *socket) wantFrame(frame string) (id string) {
	s.t.Helper()
	_, data, err := s.ws.Read(context.Background())
	if err != nil {
		s.t.Fatalf("want %s: %v", frame, err)
	}
	var got api.ClientFrame
	if err := json.Unmarshal(data, &got); err != nil {
		s.t.Fatal(err)
	}
	id, got.ID = got.ID, ""
	if text, _ := json.Marshal(got); string(text) != frame {
		s.t.Fatalf("the client sent %s\nwant            %s", text, frame)
	}
	return id
}

// sendReply sends a frame with an id in place of $.
func (s *socket) sendReply(id, frame string) {
	s.t.Helper()
	s.send(strings.Replace(frame, "$", id, 1))
}

func (s *socket) close(code int, reason string) {
	s.t.Helper()
	_ = s.ws.Close(websocket.StatusCode(code), reason)
	close(s.done)
}

// keepReading reads on, so that the client's pings and close are answered.
func (s *socket) keepReading() {
	go func() { _, _, _ = s.ws.Read(context.Background()) }()
}

// dropConn drops the connection without a close frame.
func (s *socket) dropConn() {
	_ = s.ws.CloseNow()
	close(s.done)
}

// startStream runs a stream until the test stops it; stop returns its error.
func startStream(t *testing.T, s *Stream) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// viewText is the content of a view as text.
func viewText(v *View) string {
	var b strings.Builder
	for _, p := range v.All() {
		b.WriteString(p.User + "=" + string(p.Status) + " ")
	}
	if !v.Complete() {
		b.WriteString("…")
	}
	return strings.TrimSpace(b.String())
}

const second = time.Second
