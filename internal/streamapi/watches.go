package streamapi

import (
	"context"
	"log/slog"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/watch"
)

// SendWatch sends a watch that fired to the streams of its owner. It always returns
// false, because delivery is known only when a client has acknowledged it. Until then
// the watch is sent to each stream that opens.
func (a *API) SendWatch(account presence.AccountID, owner presence.UserID, w watch.Watch) bool {
	a.Hub.Broadcast(account, owner, a.watchMessages(w)...)
	return false
}

// watchMessages are a watch that fired, and the ping whose pong acknowledges it.
func (a *API) watchMessages(w watch.Watch) []hub.Message {
	return []hub.Message{
		{Event: &watch.Fired{Watch: w}, OnDelivered: func() {
			ctx, cancel := context.WithTimeout(context.Background(), frameTimeout)
			defer cancel()
			if err := a.Native.Watches.Acknowledge(ctx, w); err != nil {
				a.Native.Log.WarnContext(ctx, "delivered watch could not be removed; will be sent again", slog.Any("err", err))
			}
		}},
		{Event: hub.Ping{}},
	}
}

// sendPendingWatches sends a new stream the watches that fired while its user had
// none.
func (a *API) sendPendingWatches(ctx context.Context, stream *hub.Stream, p *auth.Principal) {
	fired, err := a.Native.Watches.Pending(ctx, p.Account, p.User)
	if err != nil {
		a.Native.Log.WarnContext(ctx, "fired watches cannot be read; will retry", slog.Any("err", err))
	}
	for i := range fired {
		stream.Send(a.watchMessages(fired[i])...) //nolint:contextcheck // it is delivered when this has long ended
	}
}
