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

// HistoryOptions select changes of a user. The zero value selects all changes of what was
// shown.
type HistoryOptions struct {
	From, To time.Time // from From on, before To; zero: no bound
	All      bool      // also changes of which nothing was shown, such as renewed sessions
	Limit    int       // of a page; 0: the server's default
	// Before and After are the Older and Newer of another page, to read on from it. At
	// most one is set.
	Before, After string
}

func (o *HistoryOptions) query() url.Values {
	q := make(url.Values)
	for name, t := range map[string]time.Time{"from": o.From, "to": o.To} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	for name, mark := range map[string]string{"before": o.Before, "after": o.After} {
		if mark != "" {
			q.Set(name, mark)
		}
	}
	if o.All {
		q.Set("changes", "all")
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	return q
}

// HistoryPage reads one page of a user's changes. Only the user and administrators may
// call it.
func (c *Client) HistoryPage(ctx context.Context, user string, o HistoryOptions) (api.History, error) {
	return ask[api.History](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user, "history"), query: o.query()})
}

// History reads a user's changes, newest first, page by page. An error comes last.
func (c *Client) History(ctx context.Context, user string, o HistoryOptions) iter.Seq2[api.HistoryEntry, error] {
	query := o.query()
	if o.Limit == 0 {
		query.Set("limit", strconv.Itoa(api.MaxPage))
	}
	return pagesOf(ctx, c, path("v1", "users", user, "history"), query, "before", func(p *api.History) ([]api.HistoryEntry, string) {
		return p.Entries, p.Older
	})
}

// SummaryOptions select the days of a summary.
type SummaryOptions struct {
	From, To string // first and last day, such as 2026-03-29; "": the last seven days
	Zone     string // of the days, by its name in the IANA database; "": UTC
	Spans    bool   // whether to list when which status was shown
}

// HistorySummary reads the time that a user spent in each status, by day. Only the user
// and administrators may call it.
func (c *Client) HistorySummary(ctx context.Context, user string, o SummaryOptions) (api.HistorySummary, error) {
	q := make(url.Values)
	for name, value := range map[string]string{"from": o.From, "to": o.To, "zone": o.Zone} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if o.Spans {
		q.Set("spans", "true")
	}
	return ask[api.HistorySummary](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user, "history", "summary"), query: q})
}

// ExplainAt says what was shown of a user at a time in the past, and by which change.
func (c *Client) ExplainAt(ctx context.Context, user string, at time.Time) (api.Explanation, error) {
	q := url.Values{"at": {at.UTC().Format(time.RFC3339Nano)}}
	return ask[api.Explanation](ctx, c, call{method: http.MethodGet, path: path("v1", "users", user, "presence", "explain"), query: q})
}
