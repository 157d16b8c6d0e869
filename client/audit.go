package client

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"

	"porchlight.dev/porchlight/api"
)

// AuditOptions select events of the audit log. Zero fields do not filter.
type AuditOptions struct {
	User     string // who acted, or was acted upon: an id or an e-mail address
	Action   string // such as "user.update"
	From, To string // RFC 3339
	Denied   bool   // refused ones alone
	Oldest   bool   // first
}

func (o *AuditOptions) query() url.Values {
	q := make(url.Values)
	for name, value := range map[string]string{"user": o.User, "action": o.Action, "from": o.From, "to": o.To} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if o.Denied {
		q.Set("denied", "true")
	}
	if o.Oldest {
		q.Set("order", "oldest")
	}
	return q
}

// AuditEvents reads the events of the audit log, page by page, as text: decode them into
// api.AuditEvent. An error comes last.
func (c *Client) AuditEvents(ctx context.Context, o AuditOptions) iter.Seq2[json.RawMessage, error] {
	return c.auditEvents(ctx, path("v1", "audit"), &o)
}

func (c *Client) auditEvents(ctx context.Context, path string, o *AuditOptions) iter.Seq2[json.RawMessage, error] {
	mark := "before"
	if o.Oldest {
		mark = "after"
	}
	return pagesOf(ctx, c, path, o.query(), mark, func(p *api.AuditEvents) ([]json.RawMessage, string) {
		if o.Oldest {
			return p.Events, p.Newer
		}
		return p.Events, p.Older
	})
}

// ExportAudit writes the whole audit log to w, a line for each event and each checkpoint.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer) error {
	_, err := c.do(ctx, call{method: http.MethodGet, path: path("v1", "audit", "export"), copyTo: w})
	return err
}
