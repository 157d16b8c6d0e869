package client

import (
	"context"
	"iter"
	"net/http"

	"porchlight.dev/porchlight/api"
)

// SignIn starts a session of a user. "me" is the token's own user.
func (c *Client) SignIn(ctx context.Context, user string, as api.SignIn, opts ...Option) (api.Session, error) {
	at := path("v1", "users", user, "sessions")
	if user == "me" {
		at = "/v1/sessions"
	}
	return ask[api.Session](ctx, c, call{method: http.MethodPost, path: at, body: as, opts: opts})
}

// Sessions lists a user's live sessions.
func (c *Client) Sessions(ctx context.Context, user string) iter.Seq2[api.Session, error] {
	return pages(ctx, c, path("v1", "users", user, "sessions"), func(p *api.Sessions) ([]api.Session, string) { return p.Sessions, p.Next })
}

// Session reads one session.
func (c *Client) Session(ctx context.Context, id string) (api.Session, error) {
	return ask[api.Session](ctx, c, call{method: http.MethodGet, path: path("v1", "sessions", id)})
}

// Refresh renews a session, and can report whether its user is active.
func (c *Client) Refresh(ctx context.Context, session string, update api.SessionUpdate, opts ...Option) (api.Session, error) {
	return ask[api.Session](ctx, c, call{method: http.MethodPatch, path: path("v1", "sessions", session), body: update, opts: opts})
}

// RefreshAll renews up to api.MaxRefreshItems sessions. Each succeeds or fails
// independently.
func (c *Client) RefreshAll(ctx context.Context, items []api.RefreshItem) (api.RefreshResults, error) {
	return ask[api.RefreshResults](ctx, c, call{method: http.MethodPost, path: "/v1/sessions/refresh", body: api.SessionRefresh{Sessions: items}})
}

// SignOut ends a session.
func (c *Client) SignOut(ctx context.Context, session string, opts ...Option) error {
	return c.remove(ctx, path("v1", "sessions", session), opts...)
}
