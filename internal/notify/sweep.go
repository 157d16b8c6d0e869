package notify

import (
	"context"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func userOf(account presence.AccountID, id presence.UserID) store.User {
	return store.User{Account: account, ID: id}
}

// sweepAll does once a second what would otherwise be a timer of each stream.
func (h *Hub) sweepAll(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	contacts := time.NewTicker(contactsEvery)
	defer contacts.Stop()
	for {
		select {
		case <-sweep.C:
			h.sweep(ctx)
		case <-contacts.C:
			h.refreshAllContacts(ctx)
		case u := <-h.moved:
			h.refreshContacts(ctx, u.Account, map[presence.UserID][]*Stream{u.ID: h.ofContacts(u.Account, u.ID)})
		case <-ctx.Done():
			return
		}
	}
}

// calmAfter is for how many sweeps the store must have been well, and given nothing,
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

// sweep ends the streams that may not go on, and gives signs of life.
func (h *Hub) sweep(ctx context.Context) {
	h.freshen(ctx)
	h.swept = h.appendAll(h.swept[:0])
	defer clear(h.swept)
	for _, s := range h.swept {
		if ctx.Err() != nil {
			return
		}
		if err := h.opts.Valid(ctx, s.looker); err != nil && h.opts.Forbidden(err) {
			s.End(CloseUnauthorized, 0)
			continue
		}
		s.beat(h.opts.Clock())
	}
}

// beat gives a sign of life, or ends a stream that gives none. Who can answer is
// asked however much it is sent: one that only reads says nothing of itself.
func (s *Stream) beat(now time.Time) {
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
