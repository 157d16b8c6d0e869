package server_test

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/server"
)

// A hole is a network that loses everything from a moment on, and says so to
// nobody: both ends keep their connection.
type hole struct {
	address string
	open    atomic.Bool // bytes are lost
	ended   chan struct{}
}

// startHole carries one connection to the server.
func (r *running) startHole(t *testing.T) *hole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	h := &hole{address: l.Addr().String(), ended: make(chan struct{})}
	to := r.dial(t)
	t.Cleanup(func() { _ = to.Close() })
	go func() {
		from, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = from.Close() }()
		go h.carry(to, from)
		h.carry(from, to)
		close(h.ended) // by the server
	}()
	return h
}

func (h *hole) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (h *hole) carry(to io.Writer, from io.Reader) {
	b := make([]byte, 4<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if h.open.Load() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestHalfOpen: a client whose network is gone is noticed by its silence. Its session
// has the grace of a lost connection and then ends, while the stream of one that
// answers goes on. The clock is moved on by hand; what is paced by the machine's own
// time, such as the renewal of leases, does not follow it.
func TestHalfOpen(t *testing.T) {
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	r := start(t, settings(t), server.Options{Clock: clock})
	user := func(email string) string {
		u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: email})
		if err != nil {
			t.Fatal(err)
		}
		return u.ID
	}
	there, gone := user("there@example.com"), user("gone@example.com")
	status := func(id string) api.Status {
		p, err := r.client.Presence(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return p.Status
	}

	hole := r.startHole(t)
	var pings atomic.Int64
	signIn := func(s *rawSocket, id string, answers bool) {
		s.read(t, api.FrameHello)
		s.ask(t, api.ClientFrame{Type: api.FrameSignIn, ID: id, ClientType: "desktop"}, api.FrameDone)
		if !answers {
			return
		}
		go func() {
			for {
				first, payload, err := s.next()
				if err != nil {
					return
				}
				if first == final|opPing {
					pings.Add(1)
					_, _ = s.Write(rawFrame(final|opPong, payload)) // an error is that of next
				}
			}
		}()
	}
	for _, c := range []struct {
		id   string
		conn net.Conn
	}{{there, r.dial(t)}, {gone, hole.dial(t)}} {
		s, resp := askOver(t, c.conn, upgrade(r.token(t, c.id, "presence:read", "session:write").Secret, ""))
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("the handshake is answered with %d", resp.StatusCode)
		}
		if err := s.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		signIn(s, c.id, c.id == there)
	}

	hole.open.Store(true)
	began := clock()
	for asked := int64(1); ; asked++ {
		ahead.Add(int64(hub.PingEvery))
		eventually(t, 10*time.Second, "who answers is asked again", func() bool { return pings.Load() >= asked })
		if has(hole.ended) {
			break
		}
		passed := clock().Sub(began)
		if passed > 3*hub.PingEvery { // it is to be noticed at this time of the clock
			eventually(t, 10*time.Second, "the silence is noticed", func() bool { return has(hole.ended) })
			break
		}
		if s := status(gone); s != api.Available {
			t.Fatalf("before the loss was noticed it is %s", s)
		}
	}
	t.Logf("noticed after %v", clock().Sub(began).Round(time.Second))
	if s := status(gone); s != api.Available {
		t.Errorf("in the grace it is %s", s)
	}
	lost := clock()
	ends := func() (at time.Time) {
		for session, err := range r.client.Sessions(t.Context(), gone) {
			if err != nil {
				t.Fatal(err)
			}
			at = session.EndsAt.Time
		}
		return at
	}
	eventually(t, 10*time.Second, "the session has its grace", func() bool { return ends().Sub(lost) < publish.Grace+2*time.Second })
	if grace := ends().Sub(lost); grace < publish.Grace-3*time.Second {
		t.Errorf("it is to end %v after the loss was noticed", grace)
	}
	// The store's timer is of the machine's time too: what is due soon rouses it.
	soon := int64(2)
	if _, err := r.client.SetClaim(t.Context(), there, "call", api.SetClaim{Source: "app", Status: api.Busy, DurationSeconds: &soon}); err != nil {
		t.Fatal(err)
	}
	ahead.Add(int64(publish.Grace))
	eventually(t, 10*time.Second, "the session ends after its grace", func() bool { return status(gone) == api.Offline })
	ahead.Add(int64(hub.PingEvery))
	asked := pings.Load()
	eventually(t, 10*time.Second, "who answers is asked on", func() bool { return pings.Load() > asked })
}

// has reports whether c was closed.
func has(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
