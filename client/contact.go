package client

import (
	"context"
	"iter"
	"net/http"

	"porchlight.dev/porchlight/api"
)

// Contacts lists the users whom a user follows, by id.
func (c *Client) Contacts(ctx context.Context, user string) iter.Seq2[api.Contact, error] {
	return pages(ctx, c, path("v1", "users", user, "contacts"), func(p *api.Contacts) ([]api.Contact, string) { return p.Contacts, p.Next })
}

// SetContact adds a contact of a user, or moves one to another group.
func (c *Client) SetContact(ctx context.Context, user, contact string, as api.SetContact, opts ...Option) (api.Contact, error) {
	return ask[api.Contact](ctx, c, call{method: http.MethodPut, path: path("v1", "users", user, "contacts", contact), body: as, opts: opts})
}

// RemoveContact removes a contact.
func (c *Client) RemoveContact(ctx context.Context, user, contact string, opts ...Option) error {
	return c.remove(ctx, path("v1", "users", user, "contacts", contact), opts...)
}

// Visibility reads a user's visibility rules.
func (c *Client) Visibility(ctx context.Context, user string) (api.Visibility, error) {
	return ask[api.Visibility](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user, "visibility")})
}

// SetVisibility replaces all visibility rules of a user.
func (c *Client) SetVisibility(ctx context.Context, user string, rules api.Visibility, opts ...Option) (api.Visibility, error) {
	return ask[api.Visibility](ctx, c, call{method: http.MethodPut, path: path("v1", "users", user, "visibility"), body: rules, opts: opts})
}

// EndVisibility removes a user's visibility rules, so that everyone sees everything.
func (c *Client) EndVisibility(ctx context.Context, user string, opts ...Option) error {
	return c.remove(ctx, path("v1", "users", user, "visibility"), opts...)
}

// CreateWatch creates a watch, which fires once when a user reaches a status and is
// delivered on a stream.
func (c *Client) CreateWatch(ctx context.Context, watch api.CreateWatch, opts ...Option) (api.Watch, error) {
	return ask[api.Watch](ctx, c, call{method: http.MethodPost, path: "/v1/watches", body: watch, opts: opts})
}

// Watches lists the caller's watches, by id.
func (c *Client) Watches(ctx context.Context) iter.Seq2[api.Watch, error] {
	return pages(ctx, c, "/v1/watches", func(p *api.Watches) ([]api.Watch, string) { return p.Watches, p.Next })
}

// Watch reads one watch.
func (c *Client) Watch(ctx context.Context, id string) (api.Watch, error) {
	return ask[api.Watch](ctx, c, call{method: http.MethodGet, path: path("v1", "watches", id)})
}

// DeleteWatch cancels a watch.
func (c *Client) DeleteWatch(ctx context.Context, id string) error {
	return c.remove(ctx, path("v1", "watches", id))
}
