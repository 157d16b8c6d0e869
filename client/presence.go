package client

import (
	"context"
	"iter"
	"net/http"

	"porchlight.dev/porchlight/api"
)

// Presence is what the caller may see of a user. A user is an id, an e-mail or
// "me", here and below.
func (c *Client) Presence(ctx context.Context, user string) (api.Presence, error) {
	var p api.Presence
	_, err := c.do(ctx, call{method: http.MethodGet, path: path("v1", "users", user, "presence"), into: &p})
	return p, err
}

// Query is what the caller may see of many users, at most api.MaxQueryUsers.
func (c *Client) Query(ctx context.Context, users []string) (api.Presences, error) {
	var found api.Presences
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/v1/presence/query", body: api.PresenceQuery{Users: users}, into: &found})
	return found, err
}

// Explain says why a user's presence is what it is, to the user and
// administrators.
func (c *Client) Explain(ctx context.Context, user string) (api.Explanation, error) {
	var x api.Explanation
	_, err := c.do(ctx, call{method: http.MethodGet, path: path("v1", "users", user, "presence", "explain"), into: &x})
	return x, err
}

// Claims are a user's claims, by id.
func (c *Client) Claims(ctx context.Context, user string) iter.Seq2[api.Claim, error] {
	return pages(ctx, c, path("v1", "users", user, "claims"), func(p *api.Claims) ([]api.Claim, string) { return p.Claims, p.Next })
}

// SetClaim states a claim. The claim "manual" is what the user chose.
func (c *Client) SetClaim(ctx context.Context, user, id string, claim api.SetClaim, opts ...Option) (api.ClaimResult, error) {
	var result api.ClaimResult
	_, err := c.do(ctx, call{method: http.MethodPut, path: path("v1", "users", user, "claims", id), body: claim, into: &result, opts: opts})
	return result, err
}

// EndClaim ends a claim.
func (c *Client) EndClaim(ctx context.Context, user, id string, opts ...Option) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: path("v1", "users", user, "claims", id), opts: opts})
	return err
}

// SetNote sets the user's own note.
func (c *Client) SetNote(ctx context.Context, user string, note api.SetNote, opts ...Option) (api.NoteResult, error) {
	var result api.NoteResult
	_, err := c.do(ctx, call{method: http.MethodPut, path: path("v1", "users", user, "note"), body: note, into: &result, opts: opts})
	return result, err
}

// EndNote removes the user's own note.
func (c *Client) EndNote(ctx context.Context, user string, opts ...Option) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: path("v1", "users", user, "note"), opts: opts})
	return err
}
