package httpapi

import (
	"context"
	"net/http"
	"net/netip"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// callerOf is whom a request counts for.
func callerOf(p *auth.Principal, address netip.Prefix) quota.Caller {
	c := quota.Caller{Account: string(p.Account), App: string(p.App), User: string(p.User), Address: address}
	if p.AccountLevel {
		c.User = ""
	}
	return c
}

// resourceOf is what a request takes of a route; ok is false for what only reads.
func resourceOf(method, pattern string) (r quota.Resource, ok bool) {
	switch method + " " + pattern {
	case "POST /v1/presence/query":
		return 0, false
	case "POST /v1/tickets":
		return quota.Tickets, true
	case "POST /v1/tokens":
		return quota.Tokens, true
	default:
		return quota.Writes, method != http.MethodGet
	}
}

// A slot is the place of a stream among those that are open.
type slot struct{ release func() }

// openSlot counts a stream that is to be opened, or refuses it.
func (s *streams) openSlot(c *call) (*slot, error) {
	release, err := s.api.Quotas.Open(callerOf(c.p, wire.ClientOf(c.w).LimitKey()))
	if err != nil {
		wire.CloseAfter(c.w, c.r) // what the stream would have had
		return nil, err
	}
	return &slot{release}, nil
}

// free gives the slot back, unless a stream has it.
func (s *slot) free() {
	if s.release != nil {
		s.release()
	}
}

// A slotSink gives the slot back when its stream has ended.
type slotSink struct {
	notify.Sink

	release func()
}

// Finish implements notify.Sink.
func (s *slotSink) Finish(whole bool, done func()) {
	s.Sink.Finish(whole, func() {
		s.release()
		done()
	})
}

// open opens a stream, which has the slot until it ends.
func (s *streams) open(ctx context.Context, c *call, of *slot, sink notify.Sink, first ...notify.Frame) (*notify.Stream, error) {
	stream, err := s.api.Hub.Open(ctx, c.p.Account, c.p.User, c.p, &slotSink{sink, of.release}, first...)
	if err == nil {
		of.release = nil
	}
	return stream, err
}

// countWrite counts the frames that change something, as the routes are that do the
// same.
func (p *peer) countWrite(frame string) error {
	switch frame {
	case api.FrameSignIn, api.FrameActivity, api.FrameClaim, api.FrameEndClaim, api.FrameSignOut:
		return p.streams.api.Quotas.Take(quota.Writes, callerOf(p.principal, p.address))
	default:
		return nil
	}
}
