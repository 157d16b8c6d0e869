package streamapi

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
)

// A poll is the sink of a long poll: it holds the answer to its Follow and the first
// changes after it.
type poll struct {
	news chan struct{} // one element: there is something new

	mu       sync.Mutex // guards the fields below
	answered bool       // snapshot is complete
	snapshot hub.Snapshot
	reset    bool
	later    []view.View
	gone     []presence.UserID
	cursor   string
	// setChanged: contacts or members were added or removed. This ends the poll. Its cursor
	// is before that change, so the next poll returns it.
	setChanged bool
	ended      bool
	refused    error // why the token is not valid any more
}

var _ hub.Sink = (*poll)(nil)

func (p *poll) Append(b []byte, d hub.Delivery) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := d.Event.(type) {
	case *hub.Reset:
		p.reset = true
	case *hub.Snapshot:
		p.add(e)
	case *hub.Presence:
		p.later = append(p.later, view.View{User: e.User, Presence: e.Presence})
	case *hub.Gone:
		p.gone = append(p.gone, e.User)
	default:
		return b
	}
	if d.Cursor != "" && !p.setChanged {
		p.cursor = d.Cursor
	}
	return append(b, ' ')
}

// add adds a part of the answer. A part that follows the answer is about contacts or members.
func (p *poll) add(part *hub.Snapshot) {
	if p.answered {
		p.setChanged = true
		return
	}
	views := append(p.snapshot.Views, part.Views...)
	p.snapshot, p.answered = *part, !part.More
	p.snapshot.Views = views
}

func (p *poll) TryWrite(b []byte) (int, error) {
	if len(b) > 0 {
		p.signal()
	}
	return len(b), nil
}

func (p *poll) signal() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *poll) Write([]byte, *hub.Pace) error { return nil }
func (p *poll) AnswersPings() bool            { return false }
func (p *poll) TakesBroadcasts() bool         { return false }

func (p *poll) End(why hub.Close, _ time.Duration) {
	p.mu.Lock()
	p.ended = true
	switch why {
	case hub.CloseUnauthorized:
		p.refused = auth.ErrInvalidToken
	case hub.CloseSuspended:
		p.refused = auth.ErrSuspended
	default: // it has what came before
	}
	p.mu.Unlock()
	p.signal()
}

// Finish implements hub.Sink: the request ends by itself.
func (*poll) Finish(_ bool, done func()) { done() }

// await waits until the poll is ready, or its stream or ctx has ended.
func (p *poll) await(ctx context.Context, ready func() bool) {
	for {
		p.mu.Lock()
		done := p.ended || ready()
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-p.news:
		case <-ctx.Done():
			return
		}
	}
}

// hasLater reports whether the poll has events after the answer.
func (p *poll) hasLater() bool { return len(p.later) > 0 || len(p.gone) > 0 || p.setChanged }

// changes serves GET /v1/presence/changes.
func (a *API) changes(w http.ResponseWriter, r *http.Request, p *auth.Principal) error {
	c := &call{w, r, p}
	q, err := httpapi.Query(r, "users", "contacts", "everyone", "group", "cursor", "wait")
	if err != nil {
		return err
	}
	ask, err := openingOf(q, "")
	if err != nil {
		return err
	}
	if err := mayStream(c.p, ask); err != nil {
		return err
	}
	wait, err := waitOf(q.Get("wait"))
	if err != nil {
		return err
	}
	if ask.empty() {
		ask.users = []string{"me"}
	}
	follow, err := a.follow(c, ask)
	if err != nil {
		return err
	}
	of, err := a.openSlot(c)
	if err != nil {
		return err
	}
	defer of.free()
	rc := http.NewResponseController(c.w)
	_ = rc.SetReadDeadline(time.Time{})                           // without it the wait would end early,
	_ = rc.SetWriteDeadline(time.Now().Add(wait + hub.SlowAfter)) // and be no worse
	return a.await(c, of, follow, wait)
}

func waitOf(text string) (time.Duration, error) {
	if text == "" {
		return api.DefaultWaitSeconds * time.Second, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > api.MaxWaitSeconds {
		return 0, &presence.FieldError{Field: "wait", Reason: "must be a number of seconds from 0 to 60"}
	}
	return time.Duration(n) * time.Second, nil
}

// repeatDelay is how long a poll waits if it could only repeat a change that may have
// been answered before. A change is repeated for a minute, and a client must not poll in
// a tight loop meanwhile.
const repeatDelay = time.Second

// await answers with what has changed, or else with the first change.
func (a *API) await(c *call, of *slot, follow *hub.Follow, wait time.Duration) error {
	request := c.r.Context()
	// The cursor that was sent stays valid if the members change before the answer has one.
	sink := &poll{news: make(chan struct{}, 1), cursor: follow.Cursor}
	stream, err := a.open(request, c, of, sink)
	if err != nil {
		return err
	}
	defer stream.End(hub.CloseGone, 0)
	if err := stream.Follow(request, *follow); err != nil {
		return err
	}
	sink.await(request, func() bool { return sink.answered })
	ctx, cancel := context.WithTimeout(request, sink.waitAtMost(wait))
	defer cancel()
	sink.await(ctx, sink.hasLater)
	if err := request.Err(); err != nil {
		return err
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	switch {
	case sink.refused != nil:
		return sink.refused
	case !sink.answered:
		return hub.ErrEnded
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, sink.appendChanges())
}

// waitAtMost is how long to wait for events after the answer: not at all if the answer
// has a change.
func (p *poll) waitAtMost(wait time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s := &p.snapshot; {
	case !s.Partial || s.Changed || len(s.Gone) > 0:
		return 0
	case len(s.Views) > 0:
		return min(wait, repeatDelay)
	default:
		return wait
	}
}

// appendChanges writes an api.Changes.
func (p *poll) appendChanges() []byte {
	b := append(make([]byte, 0, 256+200*(len(p.snapshot.Views)+len(p.later))), `{"cursor":"`...)
	b = append(b, p.cursor...)
	b = append(b, `","reset":`...)
	b = strconv.AppendBool(b, p.reset)
	b = appendViews(append(b, `,"presences":[`...), p.snapshot.Views, p.snapshot.Names)
	b = append(appendViews(b, p.later, nil), ']')
	b = wire.AppendStrings(append(b, `,"gone":`...), append(p.snapshot.Gone, p.gone...))
	b = wire.AppendStrings(append(b, `,"unknown":`...), p.snapshot.Unknown)
	return append(b, '}')
}
