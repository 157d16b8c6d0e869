package streamapi

import (
	"context"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// A slot is one of the streams that the limits allow to be open.
type slot struct{ release func() }

// openSlot reserves a slot for a stream, or refuses it.
func (a *API) openSlot(c *call) (*slot, error) {
	release, err := a.Native.Quotas.Open(c.p.Caller(wire.ClientOf(c.w).LimitKey()))
	if err != nil {
		wire.CloseAfter(c.w, c.r) // what the stream would have had
		return nil, err
	}
	return &slot{release}, nil
}

// free releases the slot unless a stream has it.
func (s *slot) free() {
	if s.release != nil {
		s.release()
	}
}

// A slotSink releases the slot when its stream has ended.
type slotSink struct {
	hub.Sink

	release func()
}

func (s *slotSink) Finish(whole bool, done func()) {
	s.Sink.Finish(whole, func() {
		s.release()
		done()
	})
}

// open opens a stream, which owns the slot until it ends.
func (a *API) open(ctx context.Context, c *call, of *slot, sink hub.Sink, first ...hub.Message) (*hub.Stream, error) {
	stream, err := a.Hub.Open(ctx, c.p.Account, c.p.User, c.p, &slotSink{sink, of.release}, first...)
	if err == nil {
		of.release = nil
	}
	return stream, err
}

// countWrite applies the rate limit of the corresponding routes to frames that change
// something.
func (p *peer) countWrite(frame string) error {
	switch frame {
	case api.FrameSignIn, api.FrameActivity, api.FrameClaim, api.FrameEndClaim, api.FrameSignOut:
		_, err := p.api.Native.Quotas.Take(quota.Writes, p.principal.Caller(p.address))
		return err
	default:
		return nil
	}
}
