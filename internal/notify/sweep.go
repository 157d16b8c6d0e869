package notify

import (
	"context"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

func userOf(account presence.AccountID, id presence.UserID) store.User {
	return store.User{Account: account, ID: id}
}

// sweepAll does what would otherwise be a timer of each stream. What may wait for the
// store has a goroutine of its own, so that keepalives come in time.
func (h *Hub) sweepAll(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { every(ctx, sweepEvery, func() { h.freshen(ctx) }) })
	var beaten, checked roster
	parts.Go(func() { every(ctx, sweepEvery, func() { h.beatAll(&beaten) }) })
	parts.Go(func() { every(ctx, checkEvery, func() { h.checkAll(ctx, &checked) }) })
	h.keepContacts(ctx)
}

// every does something at an interval until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// A roster is space for all streams, which is used again each second.
type roster struct {
	streams []*Stream
	viewers []view.Viewer
}

func (r *roster) each(h *Hub, do func(*Stream)) {
	r.streams = h.appendAll(r.streams[:0])
	defer clear(r.streams)
	for _, s := range r.streams {
		do(s)
	}
}

// checkAll ends the streams whose viewers may look no more.
func (h *Hub) checkAll(ctx context.Context, r *roster) {
	r.viewers = r.viewers[:0]
	defer func() { clear(r.viewers) }()
	r.streams = h.appendAll(r.streams[:0])
	defer clear(r.streams)
	for _, s := range r.streams {
		r.viewers = append(r.viewers, s.viewer)
	}
	for i, err := range h.opts.Valid(ctx, r.viewers) {
		if err != nil && h.opts.Forbidden(err) {
			r.streams[i].End(CloseUnauthorized, 0)
		}
	}
}

// EndRevoked ends the streams whose viewers were revoked just now.
func (h *Hub) EndRevoked(revoked func(view.Viewer) bool) {
	for _, s := range h.all() {
		if revoked(s.viewer) {
			s.End(CloseUnauthorized, 0)
		}
	}
}

// calmAfter is for how many rounds of freshen the store must have been well, and given nothing,
// until it is believed that there is nothing: after a lost connection it has
// something to give.
const calmAfter = 3

// freshen moves on the time of which nothing is missing.
func (h *Hub) freshen(ctx context.Context) {
	now := h.opts.Clock().Unix()
	quiet := !h.delivered.Swap(false) || now-h.fresh.Load() <= calmAfter
	if !quiet || h.opts.Store.Check(ctx) != nil {
		h.calm = 0
		return
	}
	h.calm++
	if h.calm >= calmAfter {
		h.fresh.Store(max(h.fresh.Load(), now-calmAfter))
	}
}

func (h *Hub) beatAll(r *roster) {
	now := h.opts.Clock()
	r.each(h, func(s *Stream) { s.beat(now) })
}

// beat gives a sign of life, or ends a stream that gives none. Who can answer is
// asked however much it is sent: one that only reads says nothing of itself.
func (s *Stream) beat(now time.Time) {
	if now.UnixNano()-s.pinged.Load() < int64(PingEvery) && now.UnixNano()-s.heard.Load() <= int64(silentFor) {
		return // nothing else of the stream needs to be looked at
	}
	last := &s.sent
	if s.sink.Answers() {
		if now.UnixNano()-s.heard.Load() > int64(silentFor) {
			s.End(CloseSilent, 0)
			return
		}
		last = &s.pinged
	}
	if now.UnixNano()-last.Load() < int64(PingEvery) {
		return
	}
	s.pinged.Store(now.UnixNano())
	s.mu.Lock()
	quiet := !s.busy || s.sink.Answers() // who is written to has a sign of life
	s.mu.Unlock()
	if quiet {
		s.Send(Frame{Kind: Ping})
	}
}
