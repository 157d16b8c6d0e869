package streamapi

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gobwas/ws"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/form"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// A peer is the client of a WebSocket. Its frames are handled one after another on the
// reading goroutine and answered in order. Only activity is published concurrently: of the reports that arrive while damping holds one back, only the last
// is published.
type peer struct {
	api       *API
	principal *auth.Principal
	stream    *hub.Stream
	socket    *socket
	reader    reader
	meter     meter
	address   netip.Prefix // of the client, as limits count it

	mu      sync.Mutex // guards the fields below
	session *publish.Binding
	reports []report      // of activity, queued while one is published
	idle    chan struct{} // closed when reports is empty; nil: it is
}

// A report is the content of an activity frame.
type report struct {
	id      string
	active  presence.Activity
	session *publish.Binding
}

// frameTimeout bounds what one frame may take.
const frameTimeout = 30 * time.Second

// start handles the bytes of the client that net/http has already read.
func (p *peer) start(early []byte) {
	if p.receiveBytes(early) {
		go p.receiveNext()
		return
	}
	p.close()
}

// close cleans up at the end of the connection.
func (p *peer) close() {
	p.stream.End(hub.CloseGone, 0)
	p.api.guard(p.stream, p.releaseSession)
}

// receiveNext reads once, handles the bytes, and continues on a new goroutine: the stack
// that has grown for a message would not shrink, and thousands of connections wait.
func (p *peer) receiveNext() {
	if p.socket.read(&p.api.buffers, p.receiveBytes) {
		go p.receiveNext()
		return
	}
	p.close()
}

// receiveBytes handles bytes from the client, and reports whether to read on.
func (p *peer) receiveBytes(b []byte) (open bool) {
	if !p.meter.takeBytes(len(b), time.Now()) {
		p.stream.End(hub.CloseTooFast, 0)
		return false
	}
	p.api.guard(p.stream, func() {
		var batch []incoming
		err := p.reader.read(b, func(kind ws.OpCode, payload []byte) bool {
			batch = append(batch, p.read(kind, payload))
			return kind != ws.OpClose
		})
		for i := range batch {
			if !p.handle(&batch[i]) {
				return
			}
		}
		if broken, ok := errors.AsType[*breach](err); ok {
			p.socket.closeWith(closeFrame(broken.code), true)
			return
		}
		open = true
	})
	return open
}

// An incoming is a control frame, or a whole message and the frame in it.
type incoming struct {
	kind    ws.OpCode
	payload []byte
	frame   api.ClientFrame
	err     error // why it cannot be read
}

// read decodes a message. Messages that arrive together are all decoded before the first
// is handled: the answer to a follow must not have a cursor if another follow is queued.
func (p *peer) read(kind ws.OpCode, payload []byte) incoming {
	m := incoming{kind: kind, payload: payload}
	if kind == ws.OpText || kind == ws.OpBinary {
		m.frame, m.err = clientFrame(payload)
	}
	if m.frame.Type == api.FrameFollow {
		p.stream.Expect()
	}
	return m
}

// handle handles a message, and reports whether to read on.
func (p *peer) handle(m *incoming) bool {
	if !p.admitFrame() {
		return false
	}
	switch m.kind {
	case ws.OpPing:
		p.stream.Send(hub.Message{Event: controlPong(bytes.Clone(m.payload))})
	case ws.OpPong:
		p.stream.Acknowledge()
	case ws.OpClose:
		p.socket.closeWith(closeAnswer(m.payload), false)
		return false
	case ws.OpText, ws.OpBinary:
		p.receive(&m.frame, m.err)
	default: // a part of a message
	}
	return true
}

// admitFrame records that a frame was received and reports whether the stream is open and
// the client within its rate limit.
func (p *peer) admitFrame() bool {
	p.stream.NoteReceived()
	if !p.stream.AwaitCapacity() {
		return false // the stream has ended: later frames are ignored
	}
	if p.meter.takeFrame(time.Now()) {
		return true
	}
	p.stream.End(hub.CloseTooFast, 0)
	return false
}

// clientFrame decodes one frame. If that fails, the result has only the id.
func clientFrame(text []byte) (f api.ClientFrame, err error) {
	err = wire.DecodeJSON(text, &f)
	if err == nil && len(f.ID) > maxFrameID {
		err = &presence.FieldError{Field: "id", Reason: "must be at most 64 bytes"}
	}
	if err != nil {
		f.ID = frameID(text)
	}
	return f, err
}

// receive handles one frame, unless err is why it cannot be read.
func (p *peer) receive(f *api.ClientFrame, err error) {
	if f.Type != api.FrameActivity {
		p.awaitActivity() // answers are in the order of frames
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), frameTimeout)
		defer cancel()
		err = p.serve(ctx, f)
	}
	if err != nil {
		p.awaitActivity()
		refuse(p.stream, f, err)
	}
}

const maxFrameID = 64

// frameID is the id of a malformed frame, as far as it can be decoded: text, or a number
// as it is written. It is "" if no id precedes the mistake, or if it is too long.
func frameID(text []byte) string {
	dec := jsontext.NewDecoder(bytes.NewBuffer(form.WithoutMark(text)), jsontext.AllowDuplicateNames(true))
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return ""
	}
	for {
		name, err := dec.ReadToken()
		if err != nil || name.Kind() != '"' {
			return ""
		}
		if name.String() != "id" {
			if dec.SkipValue() != nil {
				return ""
			}
			continue
		}
		id, err := dec.ReadToken()
		if err != nil || id.Kind() != '"' && id.Kind() != '0' || len(id.String()) > maxFrameID {
			return ""
		}
		return id.String()
	}
}

func (p *peer) serve(ctx context.Context, f *api.ClientFrame) error {
	if err := p.countWrite(f.Type); err != nil {
		return err
	}
	switch f.Type {
	case "":
		return httpapi.Required("type")
	case api.FrameFollow:
		return p.follow(ctx, f)
	case api.FrameUnfollow:
		return p.unfollow(ctx, f)
	case api.FrameSignIn:
		return p.signIn(ctx, f)
	case api.FrameActivity:
		return p.activity(f)
	case api.FrameClaim:
		return p.claim(ctx, f)
	case api.FrameEndClaim:
		return p.endClaim(ctx, f)
	case api.FrameSignOut:
		return p.signOut(ctx, f)
	case api.FramePing:
		pong := message(api.ServerFrame{Type: api.FramePong, ID: f.ID})
		pong.Mark = p.stream.Cursor()
		p.stream.Send(pong)
		return nil
	default:
		return &presence.FieldError{Field: "type", Reason: "must be follow, unfollow, sign_in, activity, claim, end_claim, sign_out or ping"}
	}
}

func (p *peer) done(f *api.ClientFrame, session string) {
	p.stream.Send(message(api.ServerFrame{Type: api.FrameDone, ID: f.ID, Session: session}))
}

func (p *peer) named(ctx context.Context, f *api.ClientFrame) (*hub.Follow, error) {
	if len(f.Users) > api.MaxFollowFrame {
		return nil, &presence.FieldError{Field: "users", Reason: "must have at most 1000 items"}
	}
	if len(f.Users) == 0 && !f.Contacts && !f.Everyone && f.Group == "" {
		return nil, &presence.FieldError{Field: "users", Reason: "must have 1 to 1000 items, unless contacts or everyone is true or group is set"}
	}
	if f.Contacts {
		if err := httpapi.RequireScope(p.principal, auth.ContactRead); err != nil {
			return nil, err
		}
	}
	var group *string
	if f.Group != "" {
		group = &f.Group
	}
	audiences, err := audiencesOf(f.Everyone, group)
	if err != nil {
		return nil, err
	}
	follow, err := p.api.resolveUsers(ctx, p.principal, f.Users)
	follow.Contacts, follow.Audiences = f.Contacts, audiences
	return follow, err
}

func (p *peer) follow(ctx context.Context, f *api.ClientFrame) error {
	follow, err := p.named(ctx, f)
	if err != nil {
		return err
	}
	follow.ID, follow.Cursor, follow.Expected = f.ID, f.Cursor, true
	return p.stream.Follow(ctx, *follow)
}

func (p *peer) unfollow(ctx context.Context, f *api.ClientFrame) error {
	follow, err := p.named(ctx, f)
	if err != nil {
		return err
	}
	if f.Contacts {
		p.stream.UnfollowContacts()
	}
	p.stream.UnfollowAudiences(follow.Audiences)
	ids := make([]presence.UserID, len(follow.Users))
	for i := range follow.Users {
		ids[i] = follow.Users[i].ID
	}
	p.stream.Unfollow(ids)
	p.done(f, "")
	return nil
}

func (p *peer) user() store.User {
	return store.User{Account: p.principal.Account, ID: p.principal.User}
}

// mayAct refuses principals without a user of their own, or without the scope.
func (p *peer) mayAct(ctx context.Context, s auth.Scope) error {
	if err := httpapi.RequireScope(p.principal, s); err != nil {
		return err
	}
	_, err := p.api.Native.Resolve(ctx, p.principal, "me")
	return err
}

func (p *peer) signIn(ctx context.Context, f *api.ClientFrame) error {
	event := presence.SignIn{
		Client: presence.ClientType(f.ClientType), Version: f.ClientVersion, Activity: httpapi.Activity(f.Active),
	}
	event.App, event.Via = p.principal.Origin()
	var err error
	if event.Session, event.Was, err = httpapi.RequestedSession(p.principal, f.Session); err != nil {
		return err
	}
	if err := presence.Check(event); err != nil {
		return err
	}
	if err := p.mayAct(ctx, auth.SessionWrite); err != nil {
		return err
	}
	if p.bound() != nil {
		return &presence.LimitError{What: "sessions in one connection", Limit: 1}
	}
	b, err := p.api.Native.Publisher.SignIn(ctx, p.user(), p.principal.Actor(), event, p.sessionEnded)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.session = b
	p.mu.Unlock()
	if b.Ended() { // before the client knew of it
		p.unbind()
		return presence.ErrSessionReplaced
	}
	p.done(f, httpapi.SessionRef(p.principal.User, b.Session()))
	return nil
}

func (p *peer) bound() *publish.Binding {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

func (p *peer) unbind() *publish.Binding {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.session
	p.session = nil
	return b
}

// activity publishes the client's latest report, which also answers the earlier ones
// that damping delayed.
func (p *peer) activity(f *api.ClientFrame) error {
	if f.Active == nil {
		return httpapi.Required("active")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return presence.ErrUnknownSession
	}
	p.reports = append(p.reports, report{f.ID, httpapi.Activity(f.Active), p.session})
	if p.idle == nil {
		p.idle = make(chan struct{})
		go p.publishReports()
	}
	return nil
}

// awaitActivity waits until all activity frames are answered. Damping delays them for a
// second or two.
func (p *peer) awaitActivity() {
	p.mu.Lock()
	idle := p.idle
	p.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

// publishReports publishes until no report is queued or the stream ends.
func (p *peer) publishReports() {
	for {
		p.api.guard(p.stream, p.publishReport)
		p.mu.Lock()
		if len(p.reports) == 0 || p.stream.Ended() {
			close(p.idle)
			p.idle = nil
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// publishReport publishes the latest report and answers all.
func (p *peer) publishReport() {
	p.mu.Lock()
	reports, current := p.reports, p.session
	p.reports = nil
	p.mu.Unlock()
	last := reports[len(reports)-1]
	err := presence.ErrUnknownSession
	if last.session == current { // otherwise it was signed out meanwhile
		ctx, cancel := context.WithTimeout(context.Background(), frameTimeout)
		err = last.session.ReportActivity(ctx, last.active)
		cancel()
	}
	for _, r := range reports {
		if err != nil {
			refuse(p.stream, &api.ClientFrame{ID: r.id}, err)
			continue
		}
		p.done(&api.ClientFrame{ID: r.id}, "")
	}
}

func (p *peer) signOut(ctx context.Context, f *api.ClientFrame) error {
	b := p.bound()
	if b == nil {
		return presence.ErrUnknownSession
	}
	if err := b.End(ctx); err != nil && !errors.Is(err, presence.ErrUnknownSession) {
		return err
	}
	p.unbind()
	p.done(f, "")
	return nil
}

// sessionEnded handles a session that has ended while its connection is open. If a newer
// session replaced it, the client gets an error and the stream continues without a
// session. Otherwise it could not be renewed in time, or was signed out elsewhere: the
// stream ends, and the client reconnects and begins another session.
func (p *peer) sessionEnded(why error) {
	p.unbind()
	if errors.Is(why, presence.ErrSessionReplaced) {
		refuse(p.stream, new(api.ClientFrame), why)
		return
	}
	p.stream.End(hub.CloseUnavailable, time.Second)
}

func (p *peer) claim(ctx context.Context, f *api.ClientFrame) error {
	event, err := httpapi.ClaimEvent(presence.ClaimID(f.Claim), &api.SetClaim{
		Source: f.Source, Status: f.Status, Note: f.Note, Since: f.Since, Until: f.Until, DurationSeconds: f.DurationSeconds,
	})
	if err != nil {
		return err
	}
	event.App, event.Via = p.principal.Origin()
	return p.publish(ctx, f, event)
}

// endClaim also succeeds if the claim has ended: a client that was disconnected before
// the answer retries.
func (p *peer) endClaim(ctx context.Context, f *api.ClientFrame) error {
	err := p.publish(ctx, f, presence.EndClaim{ID: presence.ClaimID(f.Claim)})
	if errors.Is(err, presence.ErrUnknownClaim) {
		p.done(f, "")
		return nil
	}
	return err
}

func (p *peer) publish(ctx context.Context, f *api.ClientFrame, e presence.Event) error {
	if err := p.mayAct(ctx, auth.ClaimWrite); err != nil {
		return err
	}
	if _, err := p.api.Native.Publisher.Publish(ctx, p.user(), p.principal.Actor(), e); err != nil {
		return err
	}
	p.done(f, "")
	return nil
}

// releaseSession starts the grace period of the session. When the server shuts down,
// the session keeps its lease: no user goes offline because of a restart.
func (p *peer) releaseSession() {
	b := p.unbind()
	if b == nil {
		return
	}
	if p.api.Hub.Draining() {
		b.Detach()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), frameTimeout)
	defer cancel()
	if err := b.Release(ctx); err != nil {
		p.api.Native.Log.WarnContext(ctx, "grace period could not be started; session expires with its lease", slog.Any("err", err))
	}
}
