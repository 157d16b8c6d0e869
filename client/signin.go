package client

import (
	"context"
	"net/http"

	"porchlight.dev/porchlight/api"
)

// InviteUser makes a link with which a user chooses a password.
func (c *Client) InviteUser(ctx context.Context, user string) (api.Invitation, error) {
	return ask[api.Invitation](ctx, c, call{method: http.MethodPost, path: path("v1", "users", user, "invitation")})
}

// ResetPassword makes a link with which a user chooses another password. When it is used,
// all sign-ins and tokens of the user end.
func (c *Client) ResetPassword(ctx context.Context, user string) (api.Invitation, error) {
	return ask[api.Invitation](ctx, c, call{method: http.MethodPost, path: path("v1", "users", user, "password-reset")})
}

// SignIns lists the browsers in which a user is signed in.
func (c *Client) SignIns(ctx context.Context, user string) (api.BrowserSignIns, error) {
	return ask[api.BrowserSignIns](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user, "sign-ins")})
}

// EndSignIns signs a user out everywhere.
func (c *Client) EndSignIns(ctx context.Context, user string) error {
	return c.remove(ctx, path("v1", "users", user, "sign-ins"))
}
