package httpapi

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
	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// A peer is the client of a WebSocket. Its frames are dealt with one after another,
// on the goroutine that reads, and answered in order. Activity alone is published
// beside: of several that come while one is held back by damping, the last counts.
type peer struct {
	streams   *streams
	principal *auth.Principal
	stream    *notify.Stream
	socket    *socket
	reader    reader
	meter     meter
	address   netip.Prefix // of the client, as limits count it

	mu      sync.Mutex // guards the fields below
	session *publish.Binding
	said    []saying      // activity that waits while one is published
	saying  chan struct{} // closed when none waits any more; nil: none does
}

// A saying is what an activity frame said.
type saying struct {
	id      string
	active  presence.Activity
	session *publish.Binding
}

// frameTimeout bounds what one frame may take.
const frameTimeout = 30 * time.Second

// start deals with what net/http had read of the client's first frames.
func (p *peer) start(early []byte) {
	if p.take(early) {
		go p.await()
		return
	}
	p.gone()
}

// gone is the end of the connection.
func (p *peer) gone() {
	p.stream.End(notify.CloseGone, 0)
	p.streams.guard(p.stream, p.leave)
}

// await reads once, deals with what came, and leaves the waiting for more to another
// goroutine: a stack that has grown for a message would not shrink to that of one
// that waits, of which there are thousands.
func (p *peer) await() {
	if p.socket.read(&p.streams.rooms, p.take) {
		go p.await()
		return
	}
	p.gone()
}

// take deals with bytes from the client, and reports whether more may come.
func (p *peer) take(b []byte) (open bool) {
	if !p.meter.takeBytes(len(b), time.Now()) {
		p.stream.End(notify.CloseTooFast, 0)
		return false
	}
	p.streams.guard(p.stream, func() {
		var batch []message
		err := p.reader.take(b, func(kind ws.OpCode, payload []byte) bool {
			batch = append(batch, p.message(kind, payload))
			return kind != ws.OpClose
		})
		for i := range batch {
			if !p.deal(&batch[i]) {
				return
			}
		}
		if broken, ok := errors.AsType[*breach](err); ok {
			p.socket.sayGoodbye(closeFrame(broken.code), true)
			return
		}
		open = true
	})
	return open
}

// A message is a control frame, or a whole message and what it says.
type message struct {
	kind    ws.OpCode
	payload []byte
	frame   api.ClientFrame
	err     error // why it says nothing
}

// message reads a message. Those that came together are all read before the first is
// dealt with: the answer to a follow must not have a cursor when another is there.
func (p *peer) message(kind ws.OpCode, payload []byte) message {
	m := message{kind: kind, payload: payload}
	if kind == ws.OpText || kind == ws.OpBinary {
		m.frame, m.err = clientFrame(payload)
	}
	if m.frame.Type == api.FrameFollow {
		p.stream.Expect()
	}
	return m
}

// deal deals with a message, and reports whether more may come.
func (p *peer) deal(m *message) bool {
	if !p.heard() {
		return false
	}
	switch m.kind {
	case ws.OpPing:
		p.stream.Send(notify.Frame{Kind: controlPong, Body: bytes.Clone(m.payload)})
	case ws.OpPong:
		p.stream.Answered()
	case ws.OpClose:
		p.socket.sayGoodbye(goodbye(m.payload), false)
		return false
	case ws.OpText, ws.OpBinary:
		p.receive(&m.frame, m.err)
	default: // a part of a message
	}
	return true
}

// heard notes a sign of life, and reports whether it is of a stream that goes on, and
// there are not too many.
func (p *peer) heard() bool {
	p.stream.Heard()
	if !p.stream.AwaitRoom() {
		return false // it was ended by somebody else: what comes after is not done
	}
	if p.meter.takeFrame(time.Now()) {
		return true
	}
	p.stream.End(notify.CloseTooFast, 0)
	return false
}

// clientFrame reads one frame. Of one that cannot be read it has the id.
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

// receive deals with one frame, unless err says why it cannot be read.
func (p *peer) receive(f *api.ClientFrame, err error) {
	if f.Type != api.FrameActivity {
		p.awaitActivity() // answers come in the order of frames
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), frameTimeout)
		defer cancel()
		err = p.serve(ctx, f)
	}
	if err != nil {
		p.awaitActivity()
		p.streams.refuse(p.stream, f, err)
	}
}

const maxFrameID = 64

// frameID is the id of a frame that is refused, however little of the frame can
// be read: text, or a number as it is written. It is "" if there is none before
// the mistake, or if it is too long.
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
		return required("type")
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
		pong := frame(api.FramePong, &api.ServerFrame{ID: f.ID})
		pong.Mark = p.stream.Cursor()
		p.stream.Send(pong)
		return nil
	default:
		return &presence.FieldError{Field: "type", Reason: "must be follow, unfollow, sign_in, activity, claim, end_claim, sign_out or ping"}
	}
}

func (p *peer) done(f *api.ClientFrame, session string) {
	p.stream.Send(frame(api.FrameDone, &api.ServerFrame{ID: f.ID, Session: session}))
}

func (p *peer) named(ctx context.Context, f *api.ClientFrame) (*notify.Follow, error) {
	if len(f.Users) > api.MaxFollowFrame {
		return nil, &presence.FieldError{Field: "users", Reason: "must have at most 1000 items"}
	}
	if len(f.Users) == 0 && !f.Contacts {
		return nil, &presence.FieldError{Field: "users", Reason: "must have 1 to 1000 items, or contacts be true"}
	}
	if f.Contacts {
		if err := plain(auth.ContactRead).check(p.principal); err != nil {
			return nil, err
		}
	}
	return p.streams.asked(ctx, p.principal, f.Users)
}

func (p *peer) follow(ctx context.Context, f *api.ClientFrame) error {
	follow, err := p.named(ctx, f)
	if err != nil {
		return err
	}
	follow.ID, follow.Contacts, follow.Cursor, follow.Expected = f.ID, f.Contacts, f.Cursor, true
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

// mayAct refuses who has no user of its own, or not the scope.
func (p *peer) mayAct(ctx context.Context, s auth.Scope) error {
	if err := plain(s).check(p.principal); err != nil {
		return err
	}
	_, err := p.streams.resolve(ctx, p.principal, "me")
	return err
}

func (p *peer) signIn(ctx context.Context, f *api.ClientFrame) error {
	event := presence.SignIn{
		Client: presence.ClientType(f.ClientType), Version: f.ClientVersion, Activity: activity(f.Active),
	}
	event.App, event.Via = origin(p.principal)
	var err error
	if event.Session, event.Was, err = sessionAsked(p.principal, f.Session); err != nil {
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
	b, err := p.streams.api.Publisher.SignIn(ctx, p.user(), p.principal.Actor(), event, p.lost)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.session = b
	p.mu.Unlock()
	if b.Ended() { // before anybody could be told
		p.unbind()
		return presence.ErrSessionReplaced
	}
	p.done(f, sessionRef(p.principal.User, b.Session()))
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

// activity publishes what the client says last. What it said before, and was held
// back, is done with it: it would have been damped anyway.
func (p *peer) activity(f *api.ClientFrame) error {
	if f.Active == nil {
		return required("active")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return presence.ErrUnknownSession
	}
	p.said = append(p.said, saying{f.ID, activity(f.Active), p.session})
	if p.saying == nil {
		p.saying = make(chan struct{})
		go p.sayAll()
	}
	return nil
}

// awaitActivity waits until all activity frames are answered. Damping holds them back
// for a second or two.
func (p *peer) awaitActivity() {
	p.mu.Lock()
	saying := p.saying
	p.mu.Unlock()
	if saying != nil {
		<-saying
	}
}

// sayAll publishes until nothing more was said, or the stream ends over it.
func (p *peer) sayAll() {
	for {
		p.streams.guard(p.stream, p.say)
		p.mu.Lock()
		if len(p.said) == 0 || p.stream.Ended() {
			close(p.saying)
			p.saying = nil
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// say publishes the last of what was said, and answers all.
func (p *peer) say() {
	p.mu.Lock()
	said, current := p.said, p.session
	p.said = nil
	p.mu.Unlock()
	last := said[len(said)-1]
	err := presence.ErrUnknownSession
	if last.session == current { // else it was signed out meanwhile
		ctx, cancel := context.WithTimeout(context.Background(), frameTimeout)
		err = last.session.Say(ctx, last.active)
		cancel()
	}
	for _, s := range said {
		if err != nil {
			p.streams.refuse(p.stream, &api.ClientFrame{ID: s.id}, err)
			continue
		}
		p.done(&api.ClientFrame{ID: s.id}, "")
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

// lost is for a session that has ended though its connection is open. If a newer
// one replaced it, the client is told so and the stream goes on without a session.
// Otherwise it could not be kept live in time, or somebody else signed it out: the
// client comes back, and begins another.
func (p *peer) lost(why error) {
	p.unbind()
	if errors.Is(why, presence.ErrSessionReplaced) {
		p.streams.refuse(p.stream, new(api.ClientFrame), why)
		return
	}
	p.stream.End(notify.CloseUnavailable, time.Second)
}

func (p *peer) claim(ctx context.Context, f *api.ClientFrame) error {
	event, err := claimEvent(presence.ClaimID(f.Claim), &api.SetClaim{
		Source: f.Source, Status: f.Status, Note: f.Note, Since: f.Since, Until: f.Until, DurationSeconds: f.DurationSeconds,
	})
	if err != nil {
		return err
	}
	event.App, event.Via = origin(p.principal)
	return p.publish(ctx, f, event)
}

// endClaim succeeds also if the claim has ended: a client that was cut off before the
// answer asks again.
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
	if _, err := p.streams.api.Publisher.Publish(ctx, p.user(), p.principal.Actor(), e); err != nil {
		return err
	}
	p.done(f, "")
	return nil
}

// leave gives the session its grace. When the server stops, it keeps its lease:
// nobody is to go offline for a restart.
func (p *peer) leave() {
	b := p.unbind()
	if b == nil {
		return
	}
	if p.streams.api.Hub.Draining() {
		b.Leave()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), frameTimeout)
	defer cancel()
	if err := b.Release(ctx); err != nil {
		p.streams.api.Log.WarnContext(ctx, "a session could not be given its grace: it ends with its lease", slog.Any("err", err))
	}
}
