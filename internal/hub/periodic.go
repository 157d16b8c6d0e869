package hub

import (
	"context"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

func userOf(account presence.AccountID, id presence.UserID) store.User {
	return store.User{Account: account, ID: id}
}

// sweepAll replaces timers of each stream. Work that may wait for the store has a
// goroutine of its own, so that keepalives are sent in time.
func (h *Hub) sweepAll(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { every(ctx, sweepEvery, func() { h.advanceFresh(ctx) }) })
	var pinged, checked streamBuffer
	parts.Go(func() { every(ctx, sweepEvery, func() { h.keepaliveAll(&pinged) }) })
	parts.Go(func() { every(ctx, checkEvery, func() { h.checkAll(ctx, &checked) }) })
	parts.Go(func() { h.keepMembers(ctx) })
	h.keepContacts(ctx)
}

// every calls do at an interval until ctx ends.
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

// A streamBuffer lists all streams, and is reused from one round to the next.
type streamBuffer struct {
	streams []*Stream
	viewers []view.Viewer
}

func (b *streamBuffer) forEach(h *Hub, do func(*Stream)) {
	b.streams = h.appendAll(b.streams[:0])
	defer clear(b.streams)
	for _, s := range b.streams {
		do(s)
	}
}

// checkAll ends the streams whose viewers have lost access.
func (h *Hub) checkAll(ctx context.Context, b *streamBuffer) {
	b.streams = h.appendAll(b.streams[:0])
	defer clear(b.streams)
	h.check(ctx, b)
}

// Recheck is checkAll for some viewers, before its next round.
func (h *Hub) Recheck(ctx context.Context, covered func(view.Viewer) bool) {
	streams := slices.DeleteFunc(h.all(), func(s *Stream) bool { return !covered(s.viewer) })
	if len(streams) > 0 {
		h.check(ctx, &streamBuffer{streams: streams})
	}
}

func (h *Hub) check(ctx context.Context, b *streamBuffer) {
	b.viewers = b.viewers[:0]
	defer func() { clear(b.viewers) }()
	for _, s := range b.streams {
		b.viewers = append(b.viewers, s.viewer)
	}
	for i, why := range h.opts.Access.Revoked(ctx, b.viewers) {
		if why.Revoked() {
			b.streams[i].End(why, 0)
		}
	}
}

// EndRevoked ends the streams whose viewers were revoked just now.
func (h *Hub) EndRevoked(why Close, revoked func(view.Viewer) bool) {
	for _, s := range h.all() {
		if revoked(s.viewer) {
			s.End(why, 0)
		}
	}
}

// quietAfter is how many rounds of advanceFresh in a row the store must be healthy and
// deliver nothing before the hub assumes that there is nothing: after a lost connection
// the store takes some time to deliver what was missed.
const quietAfter = 3

// advanceFresh advances fresh by the time that has passed since the newest commit. This
// node's clock may be wrong, so it counts only seconds.
func (h *Hub) advanceFresh(ctx context.Context) {
	if h.fresh.Load() == 0 {
		return // nothing was delivered yet
	}
	now := h.opts.Clock().Unix() + h.ahead.Load()
	quiet := !h.delivered.Swap(false) || now-h.fresh.Load() <= quietAfter
	if !quiet || h.opts.Store.Check(ctx) != nil {
		h.quietRounds = 0
		return
	}
	h.quietRounds++
	if h.quietRounds >= quietAfter {
		h.fresh.Store(max(h.fresh.Load(), now-quietAfter))
	}
}

func (h *Hub) keepaliveAll(b *streamBuffer) {
	now := h.opts.Clock()
	b.forEach(h, func(s *Stream) { s.keepalive(now) })
}

// keepalive pings, or ends a stream whose client is silent. A client that can answer is
// pinged even while much is sent to it: a client that only reads sends nothing by itself.
func (s *Stream) keepalive(now time.Time) {
	if now.UnixNano()-s.lastPing.Load() < int64(PingEvery) && now.UnixNano()-s.lastReceived.Load() <= int64(silentFor) {
		return // nothing is due
	}
	last := &s.lastSent
	if s.sink.AnswersPings() {
		if now.UnixNano()-s.lastReceived.Load() > int64(silentFor) {
			s.End(CloseSilent, 0)
			return
		}
		last = &s.lastPing
	}
	if now.UnixNano()-last.Load() < int64(PingEvery) {
		return
	}
	s.lastPing.Store(now.UnixNano())
	s.mu.Lock()
	idle := !s.writing || s.sink.AnswersPings() // a stream being written to needs no keepalive
	s.mu.Unlock()
	if idle {
		s.Send(Message{Event: Ping{}})
	}
}
