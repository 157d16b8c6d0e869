package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// listDeliveries serves GET /v1/subscriptions/{subscription}/deliveries: all attempts, or
// those that failed.
func (a *API) listDeliveries(c *call) error {
	q, err := c.query("limit", "after", "failed")
	if err != nil {
		return err
	}
	pg, err := PageOf(q, "after")
	if err != nil {
		return err
	}
	failed, err := flag("failed", q.Get("failed"))
	if err != nil {
		return err
	}
	s, err := a.subscription(c, auth.SubscriptionRead)
	if err != nil {
		return err
	}
	list, err := a.deliveries(c.r.Context(), s, pg, failed)
	if err != nil {
		return err
	}
	if status, err := a.Deliverer.Status(s); err == nil {
		list.State = asDeliveryState(&status)
	}
	return c.writeDigested(list)
}

func flag(field, text string) (bool, error) {
	switch text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, &presence.FieldError{Field: field, Reason: "must be true or false"}
	}
}

// deliveries reads a page. If it is to have attempts that failed alone, it reads as many
// as needed, of those that are kept.
func (a *API) deliveries(ctx context.Context, s *webhook.Subscription, pg Page, failed bool) (*api.Deliveries, error) {
	list := &api.Deliveries{Deliveries: []api.Delivery{}, Next: pg.After}
	for {
		attempts, next, err := a.Deliverer.Deliveries(ctx, s, list.Next, pg.Limit-len(list.Deliveries))
		if err != nil {
			return nil, err
		}
		for i := range attempts {
			if !failed || attempts[i].Reason != "" {
				list.Deliveries = append(list.Deliveries, *asDelivery(&attempts[i]))
			}
		}
		list.Next = next
		if next == "" || len(list.Deliveries) == pg.Limit {
			return list, nil
		}
	}
}

func asDelivery(t *webhook.Attempt) *api.Delivery {
	return &api.Delivery{
		Event: t.Event, Type: t.Type, User: string(t.User), Position: uint64(t.At), Attempt: t.Number,
		Started: api.At(t.Started), DurationMS: int(t.Duration.Milliseconds()), Status: t.Status, Answer: string(t.Answer),
		Reason: t.Reason, Failure: string(t.Failure), Stale: t.Stale, Replayed: t.Replayed, Next: api.At(t.Next),
	}
}

func asDeliveryState(s *webhook.Status) *api.DeliveryState {
	return &api.DeliveryState{
		Position: uint64(s.Position), Pending: s.Pending, Behind: s.Behind, Down: s.Down, NextProbe: api.At(s.NextProbe),
		Attached: s.Attached, Oldest: api.At(s.Oldest), Replaying: s.Replaying,
	}
}

// testSubscription serves POST /v1/subscriptions/{subscription}/test. The sample is about
// a user whom the subscription concerns.
func (a *API) testSubscription(c *call, body *api.TestSubscription) error {
	s, err := a.subscription(c, auth.SubscriptionWrite)
	if err != nil {
		return err
	}
	if err := c.checkConditions("", true); err != nil {
		return err
	}
	who, err := a.sampleUser(c, s)
	if err != nil {
		return err
	}
	eventType := body.Event
	if form, ok := a.Subscriptions.Form(s.Form); ok && eventType == "" {
		eventType = slices.Concat(s.Events, form.Types())[0]
	}
	attempt, err := a.Deliverer.Test(c.r.Context(), s, eventType, who)
	if errors.Is(err, webhook.ErrEventType) {
		err = &presence.FieldError{Field: "event", Reason: fmt.Sprintf("is not an event of the form %q of the subscription", s.Form)}
	}
	if err == nil {
		err = a.record(c, "subscription.test", "subscription/"+s.ID, nil, nil)
	}
	if err != nil {
		return err
	}
	return c.writeBody(http.StatusOK, asDelivery(&attempt))
}

// sampleUser is the user that a sample is about.
func (a *API) sampleUser(c *call, s *webhook.Subscription) (*webhook.Person, error) {
	id := c.p.User
	if len(s.Users) > 0 {
		id = s.Users[0]
	}
	u, err := a.Directory.User(c.r.Context(), s.Account, id)
	if errors.Is(err, directory.ErrNoUser) {
		return &webhook.Person{ID: id}, nil // deleted since
	}
	return webhook.PersonOf(&u), err
}

// replaySubscription serves POST /v1/subscriptions/{subscription}/replay.
func (a *API) replaySubscription(c *call, body *api.ReplayRequest) error {
	if body.From == "" {
		return Required("from")
	}
	s, err := a.subscription(c, auth.SubscriptionWrite)
	if err != nil {
		return err
	}
	if err := c.checkConditions("", true); err != nil {
		return err
	}
	from, err := a.replayFrom(c.r.Context(), body.From)
	if err != nil {
		return err
	}
	to, err := a.Deliverer.Replay(c.r.Context(), s, from)
	if errors.Is(err, webhook.ErrReplayTooLong) {
		err = &presence.FieldError{Field: "from", Reason: "is too long ago: a replay covers at most " + strconv.Itoa(webhook.MaxReplay) + " entries of the log"}
	}
	if err == nil {
		err = a.record(c, "subscription.replay", "subscription/"+s.ID, nil, nil)
	}
	if err != nil {
		return err
	}
	return c.writeBody(http.StatusAccepted, &api.Replay{From: uint64(min(from, to)), To: uint64(to)})
}

// replayFrom reads where a replay begins: after the position that it returns.
func (a *API) replayFrom(ctx context.Context, text string) (store.Position, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return a.Deliverer.Store.PositionAt(ctx, at)
	}
	if at, err := strconv.ParseUint(text, 10, 64); err == nil {
		return store.Position(max(at, 1) - 1), nil // with the event at the position
	}
	at, err := a.Cursors.ParseCursor(ctx, text)
	if errors.Is(err, hub.ErrCursor) || errors.Is(err, store.ErrEpoch) {
		err = &presence.FieldError{Field: "from", Reason: "must be a time such as 2026-03-01T10:00:00Z, the position of a delivery, or a cursor of this server"}
	}
	return at, err
}
