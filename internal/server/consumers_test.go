package server_test

import (
	"context"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
)

// A guestStore is a store that another node closes, and whose expiries it publishes.
type guestStore struct{ sharedStore }

func (*guestStore) Close() error { return nil }

func (*guestStore) Due(ctx context.Context, _ func([]store.User) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestConsumersOverNodes: the consumers spread over two nodes, and when one of them stops,
// the other one runs both.
func TestConsumersOverNodes(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	made, st := initStore(t, cfg)
	times := membership.Times{Interval: 50 * time.Millisecond, IsolatedAfter: 20 * time.Second, DeadAfter: 40 * time.Second}
	first := run(t, cfg, server.Options{Store: &sharedStore{Store: st}, NodeTimes: times}, made)
	second := run(t, cfg, server.Options{Store: &guestStore{sharedStore{Store: st}}, NodeTimes: times}, made)
	runs := func(r *running, consumer string) bool {
		return r.metric(t, `porchlight_consumer_lag_entries{consumer="`+consumer+`"}`) != ""
	}
	eventually(t, "the consumers spread", func() bool {
		return runs(first, "watch") != runs(second, "watch") && runs(first, "webhook") != runs(second, "webhook") &&
			runs(first, "watch") != runs(first, "webhook")
	})
	w, err := first.client.CreateWatch(t.Context(), api.CreateWatch{User: made.OwnerID, UntilStatus: api.Available})
	if err != nil {
		t.Fatal(err)
	}
	second.stop(server.ErrInterrupted)
	if err := second.wait(t); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other node runs both", func() bool { return runs(first, "watch") && runs(first, "webhook") })
	if _, err := first.client.SignIn(t.Context(), made.OwnerID, longSignIn("desktop")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch fires", func() bool {
		now, err := first.client.Watch(t.Context(), w.ID)
		return err == nil && !now.Fired.IsZero()
	})
}
