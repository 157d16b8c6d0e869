package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"porchlight.dev/porchlight/api"
)

// CreateSubscription subscribes an endpoint to events. Only this response, and that of
// [Client.RotateSubscriptionSecret], has the secret.
func (c *Client) CreateSubscription(ctx context.Context, subscription api.CreateSubscription, opts ...Option) (api.Subscription, error) {
	return ask[api.Subscription](ctx, c, call{method: http.MethodPost, path: "/v1/subscriptions", body: subscription, opts: opts})
}

// Subscriptions lists subscriptions, by id.
func (c *Client) Subscriptions(ctx context.Context) iter.Seq2[api.Subscription, error] {
	return pages(ctx, c, "/v1/subscriptions", func(p *api.Subscriptions) ([]api.Subscription, string) { return p.Subscriptions, p.Next })
}

// Subscription reads one subscription.
func (c *Client) Subscription(ctx context.Context, id string) (api.Subscription, error) {
	return ask[api.Subscription](ctx, c, call{method: http.MethodGet, path: path("v1", "subscriptions", id)})
}

// UpdateSubscription changes a subscription.
func (c *Client) UpdateSubscription(ctx context.Context, id string, change api.UpdateSubscription) (api.Subscription, error) {
	return ask[api.Subscription](ctx, c, call{method: http.MethodPatch, path: path("v1", "subscriptions", id), body: change})
}

// DeleteSubscription removes a subscription. Events that were not delivered are not sent
// any more.
func (c *Client) DeleteSubscription(ctx context.Context, id string) error {
	return c.remove(ctx, path("v1", "subscriptions", id))
}

// RotateSubscriptionSecret replaces the secret of a subscription. The old one signs beside
// the new one for the overlap, at most 7 days.
func (c *Client) RotateSubscriptionSecret(ctx context.Context, id string, overlap time.Duration) (api.Subscription, error) {
	seconds := int(overlap / time.Second)
	return ask[api.Subscription](ctx, c, call{
		method: http.MethodPost, path: path("v1", "subscriptions", id, "secret"), body: api.RotateSecret{OverlapSeconds: &seconds},
	})
}

// PauseSubscription stops the delivery until [Client.ResumeSubscription], which continues where
// it stopped.
func (c *Client) PauseSubscription(ctx context.Context, id string) (api.Subscription, error) {
	return c.UpdateSubscription(ctx, id, api.UpdateSubscription{Paused: new(true)})
}

// ResumeSubscription delivers what happened since [Client.PauseSubscription], as far as the
// log reaches back, and what happens from now on.
func (c *Client) ResumeSubscription(ctx context.Context, id string) (api.Subscription, error) {
	return c.UpdateSubscription(ctx, id, api.UpdateSubscription{Paused: new(false)})
}

// EnableSubscription validates the endpoint again, and lets a subscription that was
// disabled go on where it stopped.
func (c *Client) EnableSubscription(ctx context.Context, id string) (api.Subscription, error) {
	return ask[api.Subscription](ctx, c, call{method: http.MethodPost, path: path("v1", "subscriptions", id, "enable")})
}

// TestSubscription sends a sample of an event once, and returns the attempt. An empty type
// is the first that the subscription has.
func (c *Client) TestSubscription(ctx context.Context, id, eventType string) (api.Delivery, error) {
	return ask[api.Delivery](ctx, c, call{
		method: http.MethodPost, path: path("v1", "subscriptions", id, "test"), body: api.TestSubscription{Event: eventType},
	})
}

// Deliveries lists the attempts to deliver events, the newest first: all of them, or those
// that failed.
func (c *Client) Deliveries(ctx context.Context, id string, failed bool) iter.Seq2[api.Delivery, error] {
	filter := url.Values{"failed": {strconv.FormatBool(failed)}}
	return pagesOf(ctx, c, path("v1", "subscriptions", id, "deliveries"), filter, "after",
		func(p *api.Deliveries) ([]api.Delivery, string) { return p.Deliveries, p.Next })
}

// DeliveryState reads how far the delivery is. It is nil if another server delivers the
// events.
func (c *Client) DeliveryState(ctx context.Context, id string) (*api.DeliveryState, error) {
	page, err := ask[api.Deliveries](ctx, c, call{
		method: http.MethodGet, path: path("v1", "subscriptions", id, "deliveries"), query: url.Values{"limit": {"1"}},
	})
	return page.State, err
}

// ReplaySubscription delivers events again: those since a time in RFC 3339 format, after
// the position of a delivery, or after a cursor.
func (c *Client) ReplaySubscription(ctx context.Context, id, from string) (api.Replay, error) {
	return ask[api.Replay](ctx, c, call{
		method: http.MethodPost, path: path("v1", "subscriptions", id, "replay"), body: api.ReplayRequest{From: from},
	})
}

// RotateWebhookSecret replaces the secret that signs the webhooks of an app, for
// subscriptions without one of their own, and returns the new one. The old one signs
// beside it for the overlap, at most 7 days.
func (c *Client) RotateWebhookSecret(ctx context.Context, app string, overlap time.Duration) (string, error) {
	seconds := int(overlap / time.Second)
	made, err := ask[api.WebhookSecret](ctx, c, call{
		method: http.MethodPost, path: path("v1", "apps", app, "webhook-secret"), body: api.RotateWebhookSecret{OverlapSeconds: &seconds},
	})
	return made.WebhookSecret, err
}
