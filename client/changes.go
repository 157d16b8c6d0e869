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

// Ticket asks for a ticket, which opens one stream for who cannot send headers,
// such as a page in a browser: hand it over at once. A [Stream] needs none.
func (c *Client) Ticket(ctx context.Context) (api.Ticket, error) {
	var t api.Ticket
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/v1/tickets", into: &t})
	return t, err
}

// ChangesQuery says which changes are asked for.
type ChangesQuery struct {
	Users    []string // at most api.MaxStreamUsers
	Contacts bool     // the contacts of the token's user, too
	Cursor   string   // of the last answer, or of a stream; "": everything at once
	Wait     time.Duration
	AsOwner  bool // as in StreamOptions: with an app's credentials, Contacts are the owner's
}

// Changes is one long poll: the server answers as soon as something has changed
// after the cursor, and with nothing after Wait, of which only whole seconds
// count. The client's own timeout bounds it, too: it is 30 seconds unless New was
// given another client. Contacts with an app's credentials are ErrActsAsOwner.
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
	if q.Cursor != "" {
		query.Set("cursor", q.Cursor)
	}
	var changes api.Changes
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/presence/changes", query: query, into: &changes})
	return changes, err
}
