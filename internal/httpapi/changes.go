package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
)

// A poll is the sink of a long poll: it keeps what comes first.
type poll struct {
	came chan struct{} // one element: something is there

	mu        sync.Mutex // guards the fields below
	presences [][]byte   // as in frames
	gone      []presence.UserID
	cursor    string
	// moved: the contacts did, and the next poll tells how. Until then the cursor
	// stays where it is, before that.
	moved bool
}

var _ notify.Sink = (*poll)(nil)

// presenceHead is what a presence frame has before the members of a presence.
const presenceHead = `{"type":"presence",`

// Append implements notify.Sink.
func (p *poll) Append(b []byte, f *notify.Frame) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch f.Kind {
	case api.FramePresence:
		p.presences = append(p.presences, f.Body[len(presenceHead):])
	case api.FrameGone:
		p.gone = append(p.gone, presence.UserID(goneUser(f.Body)))
	case api.FrameSnapshot:
		p.moved = true // that of the Follow itself does not come here
	default:
		return b
	}
	if f.Cursor != "" && !p.moved {
		p.cursor = f.Cursor
	}
	return append(b, ' ')
}

// goneUser reads the user of a frame that AppendGone wrote.
func goneUser(body []byte) string {
	var gone api.ServerFrame
	_ = json.Unmarshal(append(body[:len(body):len(body)], '}'), &gone) // it is ours
	return gone.User
}

// TryWrite implements notify.Sink.
func (p *poll) TryWrite(b []byte) (int, error) {
	if len(b) > 0 {
		select {
		case p.came <- struct{}{}:
		default:
		}
	}
	return len(b), nil
}

// Write implements notify.Sink.
func (p *poll) Write([]byte, *notify.Pace) error { return nil }

// Answers implements notify.Sink.
func (p *poll) Answers() bool { return false }

// Hears implements notify.Sink.
func (p *poll) Hears() bool { return false }

// End implements notify.Sink.
func (p *poll) End(notify.Close, time.Duration) {
	select {
	case p.came <- struct{}{}:
	default:
	}
}

// Finish implements notify.Sink: the request ends by itself.
func (*poll) Finish(_ bool, done func()) { done() }

// changes serves GET /v1/presence/changes.
func (s *streams) changes(c *call) error {
	q, err := c.query("users", "contacts", "cursor", "wait")
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
	if len(ask.users) == 0 && !ask.contacts {
		ask.users = []string{"me"}
	}
	follow, err := s.follow(c, ask)
	if err != nil {
		return err
	}
	of, err := s.openSlot(c)
	if err != nil {
		return err
	}
	defer of.free()
	rc := http.NewResponseController(c.w)
	_ = rc.SetReadDeadline(time.Time{})                              // without it the wait would end early,
	_ = rc.SetWriteDeadline(time.Now().Add(wait + notify.SlowAfter)) // and be no worse
	return s.await(c, of, follow, wait)
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

// againAfter is how long a poll waits that has nothing to tell but what may have
// been told before: it is told again for a minute, which must not be as often as
// the client can ask.
const againAfter = time.Second

// await answers what has changed, or what changes first.
func (s *streams) await(c *call, of *slot, follow *notify.Follow, wait time.Duration) error {
	sink := &poll{came: make(chan struct{}, 1)}
	stream, err := s.open(c.r.Context(), c, of, sink)
	if err != nil {
		return err
	}
	defer stream.End(notify.CloseGone, 0)
	var now notify.Snapshot
	var cursor string
	follow.Into = func(snapshot *notify.Snapshot) { now = *snapshot; cursor = snapshot.Cursor }
	if err := stream.Follow(c.r.Context(), *follow); err != nil {
		return err
	}
	switch {
	case !now.Partial || now.Changed || len(now.Gone) > 0:
		return c.write(http.StatusOK, appendChanges(&now, nil, nil, cursor))
	case len(now.Views) > 0:
		wait = min(wait, againAfter)
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), wait)
	defer cancel()
	select {
	case <-sink.came:
	case <-ctx.Done():
		if err := c.r.Context().Err(); err != nil {
			return err
		}
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	if sink.cursor != "" {
		cursor = sink.cursor
	}
	return c.write(http.StatusOK, appendChanges(&now, sink.presences, sink.gone, cursor))
}

// appendChanges writes an api.Changes.
func appendChanges(now *notify.Snapshot, later [][]byte, gone []presence.UserID, cursor string) []byte {
	b := append(make([]byte, 0, 256+200*(len(now.Views)+len(later))), `{"cursor":"`...)
	b = append(b, cursor...)
	b = append(b, `","reset":`...)
	b = strconv.AppendBool(b, now.Reset != "")
	b = appendViews(b, now.Views, now.Asked)
	b = b[:len(b)-1]
	for i, members := range later {
		if i > 0 || len(now.Views) > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '{'), members...), '}')
	}
	b = append(b, ']')
	b = appendTexts(append(b, `,"gone":`...), append(now.Gone, gone...))
	b = appendTexts(append(b, `,"unknown":`...), now.Unknown)
	return append(b, '}')
}
