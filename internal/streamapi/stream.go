// Package streamapi is the live part of the native API: WebSocket, server-sent events,
// the long poll, and the tickets that open streams from a browser.
//
// It is separate from httpapi, whose problems, scopes and limits it shares, because a
// stream outlives its request: what matters here are frames, slow readers and the end
// of a connection. It guarantees that frames are answered in their order, that an idle
// connection has no buffer, that a slow consumer delays no other, and that a client
// is sent the reason why its stream ends.
//
// It must not decide who sees what, and must not have a queue of its own.
package streamapi

import (
	"bytes"
	"context"
	"encoding/json"
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
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// API serves the streams of the native API, the long poll and tickets. Set the fields,
// then Mount.
type API struct {
	Native *httpapi.API // for principals, limits and problems
	Hub    *hub.Hub

	buffers sync.Pool    // of *readBuffer
	opening atomic.Int64 // streams without their first snapshot
}

// maxOpening is how many streams may be opening at once. More would only wait for each
// other, so they are refused and retry later.
const maxOpening = 512

// Mount adds the routes. Pages of other origins are refused: the origin and the
// host are checked first, so that a refusal does not consume a ticket.
func (a *API) Mount(rt *wire.Router) {
	const changes, tickets = "/v1/presence/changes", "/v1/tickets"
	site, guarded := a.Native.Site, a.Native.Guarded
	rt.Handle(http.MethodGet, changes, a.Native, site.OwnOrigin(guarded(http.MethodGet, changes, auth.PresenceRead, a.changes)))
	rt.Handle(http.MethodPost, tickets, a.Native, site.OwnHost(site.OwnOrigin(guarded(http.MethodPost, tickets, auth.PresenceRead, a.makeTicket))))
	rt.Handle(http.MethodGet, "/v1/stream", a.Native, site.OwnOrigin(a.serve)) // a ticket may stand for the token
}

// A call is one request by a known principal.
type call struct {
	w http.ResponseWriter
	r *http.Request
	p *auth.Principal
}

// An opening is the parsed parameters of a stream.
type opening struct {
	users    []string
	contacts bool
	everyone bool
	group    *string
	watches  bool
	cursor   string
}

// serve serves GET /v1/stream.
func (a *API) serve(w http.ResponseWriter, r *http.Request) error {
	p, err := a.principal(w, r)
	if err != nil {
		return err
	}
	c := &call{w, r, p}
	q, err := httpapi.Query(r, "users", "contacts", "everyone", "group", "watches", "cursor", "ticket")
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
	of, err := a.openSlot(c)
	if err != nil {
		return err
	}
	defer of.free()
	if a.opening.Add(1) > maxOpening {
		a.opening.Add(-1)
		wait := time.Second + time.Duration(rand.Int64N(int64(4*time.Second))) //nolint:gosec // no secret
		return &httpapi.BusyError{Reason: "too many streams begin at once", RetryAfter: wait}
	}
	defer a.opening.Add(-1)
	upgrade := wire.IsUpgrade(r)
	if upgrade {
		if err := wire.CheckHandshake(r); err != nil {
			return err
		}
	}
	follow, err := a.follow(c, ask)
	if err != nil {
		return err
	}
	switch {
	case upgrade:
		return a.webSocket(c, of, ask.watches, follow)
	case r.Method == http.MethodHead:
		setEventsHeaders(w)
		return nil
	case r.ProtoMajor == 1:
		return a.events(c, of, ask.watches, follow)
	default:
		return a.eventsOver2(c, of, ask.watches, follow)
	}
}

// principal authenticates the stream by a token or a ticket.
func (a *API) principal(w http.ResponseWriter, r *http.Request) (p *auth.Principal, err error) {
	q, err := wire.Query(r)
	if err != nil {
		return nil, err
	}
	ticket := q.Get("ticket")
	if ticket == "" {
		return wire.Principal(w, r, a.Native.Authority)
	}
	redeem := a.Native.Site.OwnHost(func(w http.ResponseWriter, r *http.Request) error {
		if p, err = a.Native.Authority.Redeem(r.Context(), ticket); err == nil {
			wire.RecordPrincipal(w, p)
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
	if ask.contacts, err = httpapi.Flag(q, "contacts"); err != nil {
		return ask, err
	}
	if ask.everyone, err = httpapi.Flag(q, "everyone"); err != nil {
		return ask, err
	}
	if q.Has("group") {
		group := q.Get("group")
		ask.group = &group
	}
	if ask.watches, err = httpapi.Flag(q, "watches"); err != nil {
		return ask, err
	}
	if text := q.Get("users"); text != "" {
		ask.users = strings.Split(text, ",")
	}
	if len(ask.users) > api.MaxStreamUsers {
		return ask, &presence.FieldError{Field: "users", Reason: "must have at most 100 users; for more use contacts=true, everyone=true, a group, several streams or polls, or follow frames on a WebSocket"}
	}
	return ask, nil
}

func mayStream(p *auth.Principal, ask opening) error {
	if err := httpapi.RequireScope(p, auth.PresenceRead); err != nil {
		return err
	}
	if ask.contacts {
		return httpapi.RequireScope(p, auth.ContactRead)
	}
	return nil
}

// refusalOf is why a stream cannot be opened on a connection that was taken over.
func refusalOf(err error) hub.Close {
	if errors.Is(err, hub.ErrSuspended) {
		return hub.CloseIsolated
	}
	return hub.CloseDraining
}

func (a *API) webSocket(c *call, of *slot, watches bool, follow *hub.Follow) error {
	header := http.Header{"X-Request-Id": {wire.RequestID(c.w)}} // the head is written without c.w's
	conn, rw, _, err := ws.HTTPUpgrader{Timeout: hub.SlowAfter, Header: header}.Upgrade(c.r, wire.Upgraded{ResponseWriter: c.w})
	if err != nil {
		if conn != nil {
			_ = conn.Close() // it has been answered
		}
		return nil
	}
	p := &peer{api: a, principal: c.p, address: wire.ClientOf(c.w).LimitKey(), socket: newSocket(conn, false, watches), reader: newReader()}
	ctx := context.WithoutCancel(c.r.Context())
	if p.stream, err = a.open(ctx, c, of, p.socket, a.hello()); err != nil {
		p.socket.refuse(refusalOf(err), time.Second)
		return nil
	}
	a.guard(p.stream, func() { a.begin(ctx, c.p, p.stream, follow) })
	early, _ := rw.Reader.Peek(rw.Reader.Buffered()) // buffered bytes do not block
	go p.start(bytes.Clone(early))
	return nil
}

// follow is what a stream follows from the start; nil for nothing.
func (a *API) follow(c *call, ask opening) (*hub.Follow, error) {
	if ask.empty() {
		return nil, nil //nolint:nilnil // nil is a valid answer
	}
	audiences, err := audiencesOf(ask.everyone, ask.group)
	if err != nil {
		return nil, err
	}
	f, err := a.resolveUsers(c.r.Context(), c.p, ask.users)
	f.Contacts, f.Audiences, f.Cursor = ask.contacts, audiences, ask.cursor
	return f, err
}

// empty reports whether the stream follows nobody from the start.
func (o *opening) empty() bool {
	return len(o.users) == 0 && !o.contacts && !o.everyone && o.group == nil
}

// audiencesOf are the audiences that a client names.
func audiencesOf(everyone bool, group *string) ([]hub.Audience, error) {
	var audiences []hub.Audience
	if everyone {
		audiences = append(audiences, hub.Audience{Everyone: true})
	}
	if group != nil {
		key, err := httpapi.GroupKey(*group)
		if err != nil {
			return nil, err
		}
		audiences = append(audiences, hub.Audience{Group: key})
	}
	return audiences, nil
}

// resolveUsers finds the users that a client names.
func (a *API) resolveUsers(ctx context.Context, p *auth.Principal, refs []string) (*hub.Follow, error) {
	f := &hub.Follow{Users: make([]hub.NamedUser, 0, len(refs))}
	for _, ref := range refs {
		id, err := a.Native.Resolve(ctx, p, ref)
		switch {
		case err == nil:
			f.Users = append(f.Users, hub.NamedUser{ID: id, Ref: ref})
		case errors.Is(err, directory.ErrNoUser):
			f.Unknown = append(f.Unknown, ref)
		default:
			return f, err
		}
	}
	return f, nil
}

// hello is the first message of a stream.
func (a *API) hello() hub.Message {
	return message(api.ServerFrame{Type: api.FrameHello, Epoch: a.Hub.Epoch(), PingSeconds: int(hub.PingEvery / time.Second)})
}

func message(f api.ServerFrame) hub.Message { return hub.Message{Event: &answer{f}} }

// guard recovers a panic of f and ends only the stream.
func (a *API) guard(stream *hub.Stream, f func()) {
	defer func() {
		if v := recover(); v != nil {
			a.Native.Log.Error("panic", slog.Any("value", v), slog.String("stack", string(debug.Stack())))
			stream.End(hub.CloseUnavailable, time.Second)
		}
	}()
	f()
}

// begin sends the hello and the first snapshot.
func (a *API) begin(ctx context.Context, p *auth.Principal, stream *hub.Stream, follow *hub.Follow) {
	stream.Send() // the hello
	if stream.TakesBroadcasts() {
		a.sendPendingWatches(ctx, stream, p)
	}
	if follow == nil {
		return
	}
	if err := stream.Follow(ctx, *follow); err != nil {
		refuse(stream, &api.ClientFrame{Type: api.FrameFollow}, err)
		if httpapi.Problem(err).Status >= http.StatusInternalServerError {
			stream.End(hub.CloseUnavailable, time.Second)
		}
	}
}

// refuse answers a frame with an error.
func refuse(stream *hub.Stream, f *api.ClientFrame, err error) {
	p := httpapi.Problem(err)
	m := message(api.ServerFrame{Type: api.FrameError, ID: f.ID, Code: strings.TrimPrefix(p.Type, api.ProblemBase), Detail: p.Detail})
	m.Answers = f.Type == api.FrameFollow
	stream.Send(m)
}

// events serves SSE over HTTP/1.1: the connection is taken over, so that an idle
// one costs little, and its end is the end of the body.
func (a *API) events(c *call, of *slot, watches bool, follow *hub.Follow) error {
	head := eventsHead(c.w)
	conn, _, err := wire.Hijack(c.w, http.StatusOK)
	if err != nil {
		return err
	}
	sink := newSocket(conn, true, watches)
	ctx := context.WithoutCancel(c.r.Context())
	if err := sink.Write(head, hub.NewPace()); err != nil {
		_ = conn.Close()
		return nil //nolint:nilerr // the client has disconnected
	}
	stream, err := a.open(ctx, c, of, sink, a.hello())
	if err != nil {
		sink.refuse(refusalOf(err), time.Second)
		return nil
	}
	a.guard(stream, func() { a.begin(ctx, c.p, stream, follow) })
	go awaitEnd(conn, stream)
	return nil
}

func setEventsHeaders(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	httpapi.SetPrivate(w)
}

// eventsHead is the head of an answer whose connection is taken over.
func eventsHead(w http.ResponseWriter) []byte {
	setEventsHeaders(w)
	w.Header().Set("Connection", "close")
	head := bytes.NewBufferString("HTTP/1.1 200 OK\r\n")
	_ = w.Header().Write(head) // a buffer does not fail
	head.WriteString("\r\n")
	return head.Bytes()
}

// awaitEnd reads until the client disconnects.
func awaitEnd(conn net.Conn, stream *hub.Stream) {
	var b [64]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			stream.End(hub.CloseGone, 0)
			return
		}
	}
}

// eventsOver2 serves SSE over HTTP/2.
func (a *API) eventsOver2(c *call, of *slot, watches bool, follow *hub.Follow) error {
	limitSendBuffer(wire.Conn(c.r))
	f := newFlow(watches)
	stream, err := a.open(c.r.Context(), c, of, f, a.hello())
	if err != nil {
		return err
	}
	defer stream.End(hub.CloseGone, 0)
	setEventsHeaders(c.w)
	c.w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(c.w)
	if err := rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	a.opening.Add(-1) // for the whole time of the stream: serve takes it off again
	defer a.opening.Add(1)
	go a.guard(stream, func() { a.begin(c.r.Context(), c.p, stream, follow) })
	f.serve(c.w, c.r)
	return nil
}

// makeTicket serves POST /v1/tickets.
func (a *API) makeTicket(w http.ResponseWriter, r *http.Request, p *auth.Principal) error {
	if r.ContentLength != 0 {
		if err := wire.ReadJSON(w, r, wire.MaxBody, new(struct{})); err != nil {
			return err
		}
	}
	ticket, expires, err := a.Native.Authority.NewTicket(r.Context(), p)
	if err != nil {
		return err
	}
	body, err := json.Marshal(&api.Ticket{Ticket: ticket, Expires: api.At(expires)})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, body)
}

// A meter limits the rate of what a client sends, in bytes and in frames. A client above
// the limit is disconnected.
type meter struct{ bytes, frames quota.Bucket }

const (
	bytesAtOnce  = 1 << 20
	framesAtOnce = 500
	// What is sent at once is paid for in this time: 64 KiB a second.
	bytesWithin  = 16 * time.Second
	framesWithin = 10 * time.Second
)

// takeBytes and takeFrame report whether the client is within its limits.
func (m *meter) takeBytes(n int, now time.Time) bool {
	_, wait := m.bytes.Take(n, bytesAtOnce, bytesWithin, now)
	return wait == 0
}

func (m *meter) takeFrame(now time.Time) bool {
	_, wait := m.frames.Take(1, framesAtOnce, framesWithin, now)
	return wait == 0
}
