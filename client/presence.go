package client

import (
	"context"
	"iter"
	"net/http"

	"porchlight.dev/porchlight/api"
)

// Presence reads the presence of a user, as far as the caller may see it. Here and
// below, a user is an id, an e-mail address or "me".
func (c *Client) Presence(ctx context.Context, user string, opts ...ReadOption) (api.Presence, error) {
	return ask[api.Presence](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user, "presence"), query: queryOf(opts)})
}

// Query reads the presence of up to api.MaxQueryUsers users.
func (c *Client) Query(ctx context.Context, users []string, opts ...ReadOption) (api.Presences, error) {
	return ask[api.Presences](ctx, c, call{method: http.MethodPost, path: "/v1/presence/query", query: queryOf(opts), body: api.PresenceQuery{Users: users}})
}

// ListOptions select users of a list. The zero value selects all active users.
type ListOptions struct {
	Status []api.Status // those who appear in one of these; none: any
	Group  string       // its members; "": any
}

// List lists the active users of the account, by id, and what the caller may see of their
// presence. To follow the changes of the same users, see StreamOptions.
func (c *Client) List(ctx context.Context, o ListOptions, opts ...ReadOption) iter.Seq2[api.UserPresence, error] {
	filter := queryOf(opts)
	for _, status := range o.Status {
		filter.Add("status", string(status))
	}
	if o.Group != "" {
		filter.Set("group", o.Group)
	}
	return pagesOf(ctx, c, "/v1/presence", filter, "page_token", func(p *api.PresencePage) ([]api.UserPresence, string) {
		return p.Presences, p.NextPageToken
	})
}

// Explain explains a user's presence. Only the user and administrators may call it.
func (c *Client) Explain(ctx context.Context, user string) (api.Explanation, error) {
	return ask[api.Explanation](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user, "presence", "explain")})
}

// Claims lists a user's claims, by id.
func (c *Client) Claims(ctx context.Context, user string) iter.Seq2[api.Claim, error] {
	return pages(ctx, c, path("v1", "users", user, "claims"), func(p *api.Claims) ([]api.Claim, string) { return p.Claims, p.Next })
}

// SetClaim makes a claim. The claim "manual" is the user's own choice.
func (c *Client) SetClaim(ctx context.Context, user, id string, claim api.SetClaim, opts ...Option) (api.ClaimResult, error) {
	return ask[api.ClaimResult](ctx, c, call{method: http.MethodPut, path: path("v1", "users", user, "claims", id), body: claim, opts: opts})
}

// EndClaim withdraws a claim.
func (c *Client) EndClaim(ctx context.Context, user, id string, opts ...Option) error {
	return c.remove(ctx, path("v1", "users", user, "claims", id), opts...)
}

// SetNote sets the user's own note.
func (c *Client) SetNote(ctx context.Context, user string, note api.SetNote, opts ...Option) (api.NoteResult, error) {
	return ask[api.NoteResult](ctx, c, call{method: http.MethodPut, path: path("v1", "users", user, "note"), body: note, opts: opts})
}

// EndNote removes the user's own note.
func (c *Client) EndNote(ctx context.Context, user string, opts ...Option) error {
	return c.remove(ctx, path("v1", "users", user, "note"), opts...)
}
