package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
)

// Ticket gets a ticket, which opens one stream for a client that cannot send headers,
// such as a page in a browser. Use it within 30 seconds. A [Stream] needs none.
func (c *Client) Ticket(ctx context.Context) (api.Ticket, error) {
	return ask[api.Ticket](ctx, c, call{method: http.MethodPost, path: "/v1/tickets"})
}

// ChangesQuery selects changes.
type ChangesQuery struct {
	Users    []string // at most api.MaxStreamUsers
	Contacts bool     // also the contacts of the token's user
	Everyone bool     // also all active users of the account
	Group    string   // also the active members of this group
	Cursor   string   // from the last response or from a stream; "" means the current state, at once
	Wait     time.Duration
	AsOwner  bool // as in StreamOptions: with an app's credentials, Contacts are the owner's
}

// Changes makes one long poll. The server responds as soon as something has changed
// after the cursor, or without changes after Wait, in whole seconds. The HTTP client's
// timeout applies too; the default is 30 seconds. Contacts with an app's credentials
// give ErrActsAsOwner unless AsOwner is set.
func (c *Client) Changes(ctx context.Context, q ChangesQuery) (api.Changes, error) {
	if _, app := c.tokens.(*AccountCredentials); app && q.Contacts && !q.AsOwner {
		return api.Changes{}, ErrActsAsOwner
	}
	query := url.Values{"wait": {strconv.FormatInt(int64(q.Wait/time.Second), 10)}}
	if len(q.Users) > 0 {
		query.Set("users", strings.Join(q.Users, ","))
	}
	if q.Contacts {
		query.Set("contacts", "true")
	}
	if q.Everyone {
		query.Set("everyone", "true")
	}
	if q.Group != "" {
		query.Set("group", q.Group)
	}
	if q.Cursor != "" {
		query.Set("cursor", q.Cursor)
	}
	return ask[api.Changes](ctx, c, call{method: http.MethodGet, path: "/v1/presence/changes", query: query})
}
