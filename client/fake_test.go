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

// A fake is a server that each test plays: a stream that is opened comes out of
// accept, and the test reads and writes its frames. Everything goes through pipes
// in memory, so that it works under synctest, where no time passes.
type fakeServer struct {
	t       *testing.T
	conns   chan net.Conn
	sockets chan *socket
	// answer refuses the next handshake; each waits for that or its turn.
	answer     chan func(http.ResponseWriter)
	handshakes chan struct{} // lets a handshake pass
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

// Accept, Close and Addr make it a listener.
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

// accept waits for a stream and says hello.
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

// want reads a frame and compares it, without its id, which is the result.
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

// reply sends a frame with an id in place of $.
func (s *socket) sendReply(id, frame string) {
	s.t.Helper()
	s.send(strings.Replace(frame, "$", id, 1))
}

func (s *socket) close(code int, reason string) {
	s.t.Helper()
	_ = s.ws.Close(websocket.StatusCode(code), reason)
	close(s.done)
}

// listen reads on, so that the client's pings are answered and its close, too.
func (s *socket) keepReading() {
	go func() { _, _, _ = s.ws.Read(context.Background()) }()
}

// cut ends the connection without a word.
func (s *socket) dropConn() {
	_ = s.ws.CloseNow()
	close(s.done)
}

// run runs a stream until the test stops it, which says how it ended.
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

// presences is what a view has, as text.
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
