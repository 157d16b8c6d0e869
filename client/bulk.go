package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"porchlight.dev/porchlight/api"
)

// ImportOptions say how to import users. The zero value imports them.
type ImportOptions struct {
	DryRun    bool // changes nothing, and reports what an import would do
	AllErrors bool // reports more than the first 1,000 lines that are refused
}

// ImportUsers adds and changes the users of a list in CSV, as POST /v1/users/import
// describes it, and calls progress for each event but the last, which it returns. An import
// that was interrupted is completed by another one of the same list.
func (c *Client) ImportUsers(ctx context.Context, list io.Reader, options ImportOptions, progress func(*api.ImportEvent)) (*api.ImportEvent, error) {
	query := make(url.Values)
	if options.DryRun {
		query.Set("dry_run", "true")
	}
	if options.AllErrors {
		query.Set("all_errors", "true")
	}
	resp, err := c.stream(ctx, http.MethodPost, "/v1/users/import", query, list)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	events := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		event := new(api.ImportEvent)
		if err := events.Decode(event); err != nil {
			return nil, &TransportError{Method: http.MethodPost, URL: resp.Request.URL.String(), Err: lastOf(err)}
		}
		if event.Type == api.ImportResult {
			return event, nil
		}
		progress(event)
	}
}

// lastOf tells that a response ended early.
func lastOf(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ExportUsers writes the users of the account whom the filter selects, as CSV that can be
// imported again ("csv"), or as JSON lines ("jsonl").
func (c *Client) ExportUsers(ctx context.Context, format string, f UserFilter, to io.Writer) error {
	query := f.values()
	query.Set("format", format)
	resp, err := c.stream(ctx, http.MethodGet, "/v1/users/export", query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(to, resp.Body); err != nil {
		return &TransportError{Method: http.MethodGet, URL: resp.Request.URL.String(), Err: err}
	}
	return nil
}

// stream makes a request whose body or response is long, without a limit of time. list is
// the body; nil: none.
func (c *Client) stream(ctx context.Context, method, path string, query url.Values, list io.Reader) (*http.Response, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return nil, err
	}
	target := c.base + path + "?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target, list)
	if err != nil {
		return nil, fmt.Errorf("create the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if list != nil {
		req.Header.Set("Content-Type", "text/csv")
	}
	unlimited := *c.http
	unlimited.Timeout = 0
	resp, err := unlimited.Do(req)
	if err != nil {
		return nil, &TransportError{Method: method, URL: target, Err: causeOf(err)}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &TransportError{Method: method, URL: target, Err: err}
	}
	return nil, errorOf(method, resp, data)
}
