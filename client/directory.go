package client

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"porchlight.dev/porchlight/api"
)

// Me describes the caller.
func (c *Client) Me(ctx context.Context) (api.Me, error) {
	return ask[api.Me](ctx, c, call{method: http.MethodGet, path: "/v1/me"})
}

// Account reads the caller's account.
func (c *Client) Account(ctx context.Context) (api.Account, error) {
	return ask[api.Account](ctx, c, call{method: http.MethodGet, path: "/v1/account"})
}

// UpdateAccount changes the caller's account.
func (c *Client) UpdateAccount(ctx context.Context, change api.UpdateAccount) (api.Account, error) {
	return ask[api.Account](ctx, c, call{method: http.MethodPatch, path: "/v1/account", body: change})
}

// Users lists the account's users, by id.
func (c *Client) Users(ctx context.Context) iter.Seq2[api.User, error] {
	return c.FindUsers(ctx, UserFilter{})
}

// A UserFilter selects the users who have all that it names. The zero value selects
// everybody.
type UserFilter struct {
	Query  string // words, each a part of a name or of the e-mail address
	Email  string // the whole e-mail address
	Group  string // a group's name
	Role   string // "member" or "admin"
	Active *bool
}

func (f *UserFilter) values() url.Values {
	values := make(url.Values)
	for name, value := range map[string]string{"query": f.Query, "email": f.Email, "group": f.Group, "role": f.Role} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if f.Active != nil {
		values.Set("active", strconv.FormatBool(*f.Active))
	}
	return values
}

// FindUsers lists users, by id.
func (c *Client) FindUsers(ctx context.Context, f UserFilter) iter.Seq2[api.User, error] {
	return pagesOf(ctx, c, "/v1/users", f.values(), "after", func(p *api.Users) ([]api.User, string) { return p.Users, p.Next })
}

// User reads one user.
func (c *Client) User(ctx context.Context, user string) (api.User, error) {
	return ask[api.User](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user)})
}

// CreateUser adds a user.
func (c *Client) CreateUser(ctx context.Context, user api.CreateUser) (api.User, error) {
	return ask[api.User](ctx, c, call{method: http.MethodPost, path: "/v1/users", body: user})
}

// UpdateUser changes, activates or deactivates a user.
func (c *Client) UpdateUser(ctx context.Context, user string, change api.UpdateUser) (api.User, error) {
	return ask[api.User](ctx, c, call{method: http.MethodPatch, path: path("v1", "users", user), body: change})
}

// DeleteUser removes a user permanently.
func (c *Client) DeleteUser(ctx context.Context, user string) error {
	return c.remove(ctx, path("v1", "users", user))
}

// EraseUser removes a user permanently, and has the user's past changes erased. A user who
// was removed before is named by id. [Client.Erasure] says when it is done.
func (c *Client) EraseUser(ctx context.Context, user string) (api.Erasure, error) {
	query := url.Values{"erase": {"true"}}
	return ask[api.Erasure](ctx, c, call{method: http.MethodDelete, path: path("v1", "users", user), query: query})
}

// Erasure reads how far the erasure of a removed user is, by the user's id.
func (c *Client) Erasure(ctx context.Context, user string) (api.Erasure, error) {
	return ask[api.Erasure](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user, "erasure")})
}

// Groups lists the account's groups, by id.
func (c *Client) Groups(ctx context.Context) iter.Seq2[api.Group, error] {
	return pages(ctx, c, "/v1/groups", func(p *api.Groups) ([]api.Group, string) { return p.Groups, p.Next })
}

// GroupByName finds the group with a name, compared ignoring case; nil: there is none.
func (c *Client) GroupByName(ctx context.Context, name string) (*api.Group, error) {
	found, err := ask[api.Groups](ctx, c, call{method: http.MethodGet, path: "/v1/groups", query: url.Values{"name": {name}}})
	if err != nil || len(found.Groups) == 0 {
		return nil, err
	}
	return &found.Groups[0], nil
}

// CreateGroup adds a group without members.
func (c *Client) CreateGroup(ctx context.Context, group api.CreateGroup) (api.Group, error) {
	return ask[api.Group](ctx, c, call{method: http.MethodPost, path: "/v1/groups", body: group})
}

// UpdateGroup changes a group, by id. A new name is given to all members.
func (c *Client) UpdateGroup(ctx context.Context, id string, change api.UpdateGroup) (api.Group, error) {
	return ask[api.Group](ctx, c, call{method: http.MethodPatch, path: path("v1", "groups", id), body: change})
}

// DeleteGroup removes a group, by id, and the membership of its members.
func (c *Client) DeleteGroup(ctx context.Context, id string) error {
	return c.remove(ctx, path("v1", "groups", id))
}

// GroupMembers lists the members of a group, by their ids.
func (c *Client) GroupMembers(ctx context.Context, id string) iter.Seq2[api.User, error] {
	return pages(ctx, c, path("v1", "groups", id, "members"), func(p *api.Users) ([]api.User, string) { return p.Users, p.Next })
}

// AddToGroup makes a user a member of a group.
func (c *Client) AddToGroup(ctx context.Context, id, user string) error {
	_, err := c.do(ctx, call{method: http.MethodPut, path: path("v1", "groups", id, "members", user)})
	return err
}

// RemoveFromGroup ends a user's membership of a group.
func (c *Client) RemoveFromGroup(ctx context.Context, id, user string) error {
	return c.remove(ctx, path("v1", "groups", id, "members", user))
}

// Apps lists the account's apps, by id.
func (c *Client) Apps(ctx context.Context) iter.Seq2[api.App, error] {
	return pages(ctx, c, "/v1/apps", func(p *api.Apps) ([]api.App, string) { return p.Apps, p.Next })
}

// App reads one app.
func (c *Client) App(ctx context.Context, id string) (api.App, error) {
	return ask[api.App](ctx, c, call{method: http.MethodGet, path: path("v1", "apps", id)})
}

// CreateApp adds an app. Only this response has the secret.
func (c *Client) CreateApp(ctx context.Context, app api.CreateApp) (api.App, error) {
	return ask[api.App](ctx, c, call{method: http.MethodPost, path: "/v1/apps", body: app})
}

// UpdateApp changes an app. Tokens keep at most the app's scopes.
func (c *Client) UpdateApp(ctx context.Context, id string, change api.UpdateApp) (api.App, error) {
	return ask[api.App](ctx, c, call{method: http.MethodPatch, path: path("v1", "apps", id), body: change})
}

// RotateApp replaces an app's secret. Only this response has the new secret. The old
// secret stops working at once.
func (c *Client) RotateApp(ctx context.Context, id string) (api.App, error) {
	return ask[api.App](ctx, c, call{method: http.MethodPost, path: path("v1", "apps", id, "secret")})
}

// DeleteApp removes an app and its tokens.
func (c *Client) DeleteApp(ctx context.Context, id string) error {
	return c.remove(ctx, path("v1", "apps", id))
}

// Tokens lists tokens, by id.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[api.Token, error] {
	return c.FindTokens(ctx, TokenFilter{})
}

// A TokenFilter selects tokens of a user, of an app, or of an app for a user.
type TokenFilter struct {
	User string // id, e-mail address or "me"; "": any
	App  string // client id; "": any
}

func (f *TokenFilter) values() url.Values {
	values := make(url.Values)
	if f.User != "" {
		values.Set("user", f.User)
	}
	if f.App != "" {
		values.Set("app", f.App)
	}
	return values
}

// FindTokens lists tokens, by id.
func (c *Client) FindTokens(ctx context.Context, f TokenFilter) iter.Seq2[api.Token, error] {
	return pagesOf(ctx, c, "/v1/tokens", f.values(), "after", func(p *api.Tokens) ([]api.Token, string) { return p.Tokens, p.Next })
}

// CreateToken creates a token of the caller's app. Only this response has the secret.
func (c *Client) CreateToken(ctx context.Context, token api.CreateToken) (api.Token, error) {
	return ask[api.Token](ctx, c, call{method: http.MethodPost, path: "/v1/tokens", body: token})
}

// RevokeTokens revokes all tokens that f selects, with the sign-ins and the access of apps,
// and returns how many tokens there were.
func (c *Client) RevokeTokens(ctx context.Context, f TokenFilter) (int, error) {
	done, err := ask[api.RevokedTokens](ctx, c, call{method: http.MethodDelete, path: "/v1/tokens", query: f.values()})
	return done.Revoked, err
}

// RevokeToken revokes a token by its id.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.remove(ctx, path("v1", "tokens", id))
}

// pages iterates over all pages of a listing. An error comes last.
func pages[Page, Item any](ctx context.Context, c *Client, at string, open func(*Page) ([]Item, string)) iter.Seq2[Item, error] {
	return pagesOf(ctx, c, at, nil, "after", open)
}

// pagesOf is pages with other query parameters; mark names the one for the page token.
func pagesOf[Page, Item any](
	ctx context.Context, c *Client, at string, filter url.Values, mark string, open func(*Page) ([]Item, string),
) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		query := url.Values{"limit": {strconv.Itoa(api.MaxPage)}}
		maps.Copy(query, filter)
		for {
			page := new(Page)
			if _, err := c.do(ctx, call{method: http.MethodGet, path: at, query: query, into: page}); err != nil {
				var none Item
				yield(none, err)
				return
			}
			items, next := open(page)
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			query.Set(mark, next)
		}
	}
}
