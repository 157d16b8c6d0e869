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

// A blackhole is a network that silently loses all traffic from some time on: both ends
// keep their connection.
type blackhole struct {
	address string
	open    atomic.Bool // traffic is lost
	ended   chan struct{}
}

// startBlackhole forwards one connection to the server.
func (r *running) startBlackhole(t *testing.T) *blackhole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	h := &blackhole{address: l.Addr().String(), ended: make(chan struct{})}
	to := r.dial(t)
	t.Cleanup(func() { _ = to.Close() })
	go func() {
		from, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = from.Close() }()
		go h.forward(to, from)
		h.forward(from, to)
		close(h.ended) // the server closed it
	}()
	return h
}

func (h *blackhole) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (h *blackhole) forward(to io.Writer, from io.Reader) {
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

// TestHalfOpen: the server detects a lost client by missing pongs. Its session expires
// after the grace period of a lost connection, while the stream of a client that
// answers stays open. The test advances the server's clock by hand; timers on the
// machine's own clock, such as the renewal of leases, do not follow it.
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

	blackhole := r.startBlackhole(t)
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
					_, _ = s.Write(rawFrame(final|opPong, payload)) // next reports the error
				}
			}
		}()
	}
	for _, c := range []struct {
		id   string
		conn net.Conn
	}{{there, r.dial(t)}, {gone, blackhole.dial(t)}} {
		s, resp := sendRawOver(t, c.conn, upgrade(r.createToken(t, c.id, "presence:read", "session:write").Secret, ""))
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("the handshake failed with status %d", resp.StatusCode)
		}
		if err := s.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		signIn(s, c.id, c.id == there)
	}

	blackhole.open.Store(true)
	began := clock()
	var soonest time.Time // of the detection
	for asked := int64(1); ; asked++ {
		soonest = clock().Add(hub.PingEvery)
		ahead.Add(int64(hub.PingEvery))
		eventually(t, "the responsive client gets another ping", func() bool { return pings.Load() >= asked })
		if isClosed(blackhole.ended) {
			break
		}
		passed := clock().Sub(began)
		if passed > 3*hub.PingEvery { // the loss is to be detected by now
			eventually(t, "the loss is detected", func() bool { return isClosed(blackhole.ended) })
			break
		}
		if s := status(gone); s != api.Available {
			t.Fatalf("before the loss was detected the status is %s", s)
		}
	}
	t.Logf("detected after %v", clock().Sub(began).Round(time.Second))
	if s := status(gone); s != api.Available {
		t.Errorf("during the grace period the status is %s", s)
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
	eventually(t, "the session is in its grace period", func() bool { return !ends().IsZero() && ends().Sub(lost) < publish.Grace+waitLimit })
	if grace := ends().Sub(soonest); grace < publish.Grace-3*time.Second {
		t.Errorf("the session expires %v after the loss could be detected", grace)
	}
	// The store's timer follows the machine's clock too; an expiry that is soon due
	// wakes it.
	soon := int64(2)
	if _, err := r.client.SetClaim(t.Context(), there, "call", api.SetClaim{Source: "app", Status: api.Busy, DurationSeconds: &soon}); err != nil {
		t.Fatal(err)
	}
	ahead.Add(int64(publish.Grace))
	eventually(t, "the session expires after its grace period", func() bool { return status(gone) == api.Offline })
	ahead.Add(int64(hub.PingEvery))
	asked := pings.Load()
	eventually(t, "the responsive client still gets pings", func() bool { return pings.Load() > asked })
}

// isClosed reports whether c is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
