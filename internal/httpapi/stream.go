package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// streams serves GET /v1/stream, the long poll and tickets.
type streams struct {
	api     *API
	rooms   sync.Pool    // of *room
	opening atomic.Int64 // streams that have not got their first snapshot
}

// maxOpening is how many streams may be at their beginning. More at once would
// only wait for each other: they are told to come back.
const maxOpening = 512

func newStreams(a *API) *streams {
	return &streams{api: a, rooms: sync.Pool{New: func() any { return new(room) }}}
}

// mount adds the routes. Pages of other origins get nothing of them: what is
// wrong with an origin or a host is said before anything else, so that a ticket is
// not used up.
func (s *streams) mount(rt *wire.Router) {
	a, may := s.api, plain(auth.PresenceRead)
	poll := route{http.MethodGet, "/v1/presence/changes", may, s.changes}
	ticket := route{http.MethodPost, "/v1/tickets", may, s.makeTicket}
	rt.Handle(poll.method, poll.pattern, a, a.Site.OwnOrigin(a.guarded(poll)))
	rt.Handle(ticket.method, ticket.pattern, a, a.Site.OwnHost(a.Site.OwnOrigin(a.guarded(ticket))))
	rt.Handle(http.MethodGet, "/v1/stream", a, a.Site.OwnOrigin(s.serve)) // a ticket may stand for the token
}

// errBusy: too many streams begin at once.
type errBusy struct{ wait time.Duration }

func (e *errBusy) Error() string { return "too many streams begin at once" }

// An opening is what the parameters of a stream ask for.
type opening struct {
	users    []string
	contacts bool
	watches  bool
	cursor   string
}

// serve serves GET /v1/stream.
func (s *streams) serve(w http.ResponseWriter, r *http.Request) error {
	p, err := s.principal(w, r)
	if err != nil {
		return err
	}
	c := &call{w, r, p}
	q, err := c.query("users", "contacts", "watches", "cursor", "ticket")
	if err != nil {
		return err
	}
	ask, err := openingOf(q, r.Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	if err := mayStream(c.p, ask); err != nil {
		return err
	}
	of, err := s.openSlot(c)
	if err != nil {
		return err
	}
	defer of.free()
	if s.opening.Add(1) > maxOpening {
		s.opening.Add(-1)
		return &errBusy{wait: time.Second + time.Duration(rand.Int64N(int64(4*time.Second)))} //nolint:gosec // no secret
	}
	defer s.opening.Add(-1)
	switch {
	case isUpgrade(r):
		return s.webSocket(c, of, ask)
	case r.ProtoMajor == 1:
		return s.events(c, of, ask)
	default:
		return s.eventsOver2(c, of, ask)
	}
}

// principal is whom the stream acts for: by its token, or by a ticket.
func (s *streams) principal(w http.ResponseWriter, r *http.Request) (p *auth.Principal, err error) {
	q, err := wire.Query(r)
	if err != nil {
		return nil, err
	}
	ticket := q.Get("ticket")
	if ticket == "" {
		return wire.Principal(w, r, s.api.Authority)
	}
	redeem := s.api.Site.OwnHost(func(w http.ResponseWriter, r *http.Request) error {
		if p, err = s.api.Authority.Redeem(r.Context(), ticket); err == nil {
			wire.Note(w, p)
		}
		return err
	})
	return p, redeem(w, r)
}

func openingOf(q url.Values, lastEvent string) (opening, error) {
	ask := opening{cursor: q.Get("cursor")}
	if lastEvent != "" {
		ask.cursor = lastEvent
	}
	var err error
	if ask.contacts, err = boolOf(q, "contacts"); err != nil {
		return ask, err
	}
	if ask.watches, err = boolOf(q, "watches"); err != nil {
		return ask, err
	}
	if text := q.Get("users"); text != "" {
		ask.users = strings.Split(text, ",")
	}
	if len(ask.users) > api.MaxStreamUsers {
		return ask, &presence.FieldError{Field: "users", Reason: "must have at most 100 users; for more use contacts=true, several streams or polls, or follow frames on a WebSocket"}
	}
	return ask, nil
}

func boolOf(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, &presence.FieldError{Field: name, Reason: "must be true or false"}
	}
}

func mayStream(p *auth.Principal, ask opening) error {
	if err := plain(auth.PresenceRead).check(p); err != nil {
		return err
	}
	if ask.contacts {
		return plain(auth.ContactRead).check(p)
	}
	return nil
}

func isUpgrade(r *http.Request) bool {
	return r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// keyLength is of 16 bytes in Base64.
const keyLength = 24

// checkHandshake refuses before the connection is taken over, while a problem can
// still be told.
func checkHandshake(r *http.Request) error {
	upgrades := false
	for token := range strings.SplitSeq(r.Header.Get("Connection"), ",") {
		upgrades = upgrades || strings.EqualFold(strings.TrimSpace(token), "upgrade")
	}
	if !upgrades || !r.ProtoAtLeast(1, 1) || r.Host == "" || r.Header.Get("Sec-WebSocket-Version") != "13" || len(r.Header.Get("Sec-WebSocket-Key")) != keyLength {
		return &wire.SyntaxError{Reason: "the WebSocket handshake needs HTTP/1.1 with a Host, Connection: Upgrade, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key of 16 bytes in Base64"}
	}
	return nil
}

func (s *streams) webSocket(c *call, of *slot, ask opening) error {
	if err := checkHandshake(c.r); err != nil {
		return err
	}
	follow, err := s.follow(c, ask)
	if err != nil {
		return err
	}
	conn, rw, _, err := ws.HTTPUpgrader{Timeout: notify.SlowAfter}.Upgrade(c.r, upgraded{c.w})
	if err != nil {
		if conn != nil {
			_ = conn.Close() // it has been answered
		}
		return nil
	}
	p := &peer{streams: s, principal: c.p, address: wire.ClientOf(c.w).LimitKey(), socket: newSocket(conn, false, ask.watches), reader: newReader()}
	ctx := context.WithoutCancel(c.r.Context())
	if p.stream, err = s.open(ctx, c, of, p.socket, s.hello()); err != nil {
		p.socket.refuse(notify.CloseDraining, time.Second)
		return nil //nolint:nilerr // it has been told
	}
	s.guard(p.stream, func() { s.begin(ctx, c.p, p.stream, follow) })
	early, _ := rw.Reader.Peek(rw.Reader.Buffered()) // what is buffered is there
	go p.start(bytes.Clone(early))
	return nil
}

// upgraded is a response of which the connection is taken over for a WebSocket.
type upgraded struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (u upgraded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return wire.Hijack(u.ResponseWriter, http.StatusSwitchingProtocols)
}

// follow is what a stream follows from the start; nil for nobody.
func (s *streams) follow(c *call, ask opening) (*notify.Follow, error) {
	if len(ask.users) == 0 && !ask.contacts {
		return nil, nil //nolint:nilnil // nobody is an answer
	}
	f, err := s.asked(c.r.Context(), c.p, ask.users)
	f.Contacts, f.Cursor = ask.contacts, ask.cursor
	return f, err
}

// asked finds the users that a client names.
func (s *streams) asked(ctx context.Context, p *auth.Principal, refs []string) (*notify.Follow, error) {
	f := &notify.Follow{Users: make([]notify.Asked, 0, len(refs))}
	for _, ref := range refs {
		id, err := s.resolve(ctx, p, ref)
		switch {
		case err == nil:
			f.Users = append(f.Users, notify.Asked{ID: id, Ref: ref})
		case errors.Is(err, directory.ErrNoUser):
			f.Unknown = append(f.Unknown, ref)
		default:
			return f, err
		}
	}
	return f, nil
}

func (s *streams) resolve(ctx context.Context, p *auth.Principal, ref string) (presence.UserID, error) {
	if ref != "me" {
		return s.api.Directory.Resolve(ctx, p.Account, ref)
	}
	if p.User == "" {
		return "", directory.ErrNoUser
	}
	return p.User, nil
}

// hello is the first frame of a stream.
func (s *streams) hello() notify.Frame {
	return frame(api.FrameHello, &api.ServerFrame{Epoch: s.api.Hub.Epoch(), PingSeconds: int(notify.PingEvery / time.Second)})
}

// guard ends a stream for which f panics, and not the process.
func (s *streams) guard(stream *notify.Stream, f func()) {
	defer func() {
		if v := recover(); v != nil {
			s.api.Log.Error("panic", slog.Any("value", v), slog.String("stack", string(debug.Stack())))
			stream.End(notify.CloseUnavailable, time.Second)
		}
	}()
	f()
}

// begin tells what is there.
func (s *streams) begin(ctx context.Context, p *auth.Principal, stream *notify.Stream, follow *notify.Follow) {
	stream.Send() // the hello
	if stream.Hears() {
		s.tellWatches(ctx, stream, p)
	}
	if follow == nil {
		return
	}
	if err := stream.Follow(ctx, *follow); err != nil {
		s.refuse(stream, &api.ClientFrame{Type: api.FrameFollow}, err)
		if _, passing := retryable(err); passing {
			stream.End(notify.CloseUnavailable, time.Second)
		}
	}
}

// refuse answers a frame with an error.
func (s *streams) refuse(stream *notify.Stream, f *api.ClientFrame, err error) {
	p := problem(err)
	answer := frame(api.FrameError, &api.ServerFrame{ID: f.ID, Code: strings.TrimPrefix(p.Type, api.ProblemBase), Detail: p.Detail})
	answer.Answers = f.Type == api.FrameFollow
	stream.Send(answer)
}

func retryable(err error) (*api.Problem, bool) {
	p := problem(err)
	return p, p.Status >= http.StatusInternalServerError
}

// events serves SSE over HTTP/1.1: the connection is taken over, so that an idle
// one costs little, and its end is the end of the body.
func (s *streams) events(c *call, of *slot, ask opening) error {
	follow, err := s.follow(c, ask)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		setEventsHeaders(c)
		return nil
	}
	head := eventsHead(c)
	conn, _, err := wire.Hijack(c.w, http.StatusOK)
	if err != nil {
		return err
	}
	sink := newSocket(conn, true, ask.watches)
	ctx := context.WithoutCancel(c.r.Context())
	if err := sink.Write(head, notify.NewPace()); err != nil {
		_ = conn.Close()
		return nil //nolint:nilerr // the client has gone
	}
	stream, err := s.open(ctx, c, of, sink, s.hello())
	if err != nil {
		sink.refuse(notify.CloseDraining, time.Second)
		return nil //nolint:nilerr // it has been told
	}
	s.guard(stream, func() { s.begin(ctx, c.p, stream, follow) })
	go awaitEnd(conn, stream)
	return nil
}

func setEventsHeaders(c *call) {
	header(c.w, "Content-Type", "text/event-stream")
	header(c.w, "X-Accel-Buffering", "no")
	c.seal()
}

// eventsHead is the head of an answer whose connection is taken over.
func eventsHead(c *call) []byte {
	setEventsHeaders(c)
	header(c.w, "Connection", "close")
	head := bytes.NewBufferString("HTTP/1.1 200 OK\r\n")
	_ = c.w.Header().Write(head) // a buffer takes everything
	head.WriteString("\r\n")
	return head.Bytes()
}

// awaitEnd reads until the client goes: it has nothing more to say.
func awaitEnd(conn net.Conn, stream *notify.Stream) {
	var room [64]byte
	for {
		if _, err := conn.Read(room[:]); err != nil {
			stream.End(notify.CloseGone, 0)
			return
		}
	}
}

// eventsOver2 serves SSE over HTTP/2.
func (s *streams) eventsOver2(c *call, of *slot, ask opening) error {
	follow, err := s.follow(c, ask)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		setEventsHeaders(c)
		return nil
	}
	limitSendBuffer(wire.Conn(c.r))
	f := newFlow(ask.watches)
	stream, err := s.open(c.r.Context(), c, of, f, s.hello())
	if err != nil {
		return err
	}
	defer stream.End(notify.CloseGone, 0)
	setEventsHeaders(c)
	c.w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(c.w)
	if err := rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	s.opening.Add(-1) // for the whole time of the stream: serve takes it off again
	defer s.opening.Add(1)
	go s.guard(stream, func() { s.begin(c.r.Context(), c.p, stream, follow) })
	f.serve(c.w, c.r)
	return nil
}

// makeTicket serves POST /v1/tickets.
func (s *streams) makeTicket(c *call) error {
	if c.r.ContentLength != 0 {
		if err := c.read(wire.MaxBody, new(struct{})); err != nil {
			return err
		}
	}
	ticket, expires, err := s.api.Authority.NewTicket(c.r.Context(), c.p)
	if err != nil {
		return err
	}
	return c.answer(http.StatusCreated, &api.Ticket{Ticket: ticket, Expires: api.At(expires)})
}

// A meter is what a client has sent: it ends the connection of one who sends more
// than anybody needs to, in whatever form.
type meter struct{ bytes, frames quota.Bucket }

const (
	bytesAtOnce  = 1 << 20
	framesAtOnce = 500
	// What is sent at once is paid for in this time: 64 KiB a second.
	bytesWithin  = 16 * time.Second
	framesWithin = 10 * time.Second
)

// takeBytes and takeFrame report whether the client may go on.
func (m *meter) takeBytes(n int, now time.Time) bool {
	_, wait := m.bytes.Take(n, bytesAtOnce, bytesWithin, now)
	return wait == 0
}

func (m *meter) takeFrame(now time.Time) bool {
	_, wait := m.frames.Take(1, framesAtOnce, framesWithin, now)
	return wait == 0
}
