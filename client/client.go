// Package client is a Go client for Porchlight. It covers the native API, with the
// types of package api, and the two calls of Zoom's API that set and read a status.
//
// It is separate from the internal packages and imports none of them, so that its
// users have exactly the public API. Our own commands use it too. It guarantees that
// each call makes one request, and another one only to renew a token (a [Stream] asks
// once whose token it has); that a call ends with its context; and that an error says
// whether a retry can succeed (see [Retry]).
//
// A call must not retry or wait, because only the caller knows whether a second
// attempt is safe. There are two exceptions, whose purpose it is: a [Stream], which stays
// connected, and [LoginApp.Await], which waits for a person.
// Nothing here logs.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client calls one server as one principal. It is safe for concurrent use.
type Client struct {
	base   string // without a slash at its end
	http   *http.Client
	tokens TokenSource
}

// timeout bounds a whole call, so that a hanging server cannot block a caller whose
// context has no deadline.
const timeout = 30 * time.Second

// New returns a client for the server at baseURL, such as
// "https://presence.example.com". If httpClient is nil, the client uses one with a
// timeout of 30 seconds. [NewHTTPClient] and [NewPinnedHTTPClient] return one for a server
// whose certificate the system does not trust.
func New(baseURL string, tokens TokenSource, httpClient *http.Client) (*Client, error) {
	base, err := checkBase(baseURL)
	if err != nil {
		return nil, err
	}
	if err := checkTokens(tokens); err != nil {
		return nil, err
	}
	return &Client{base: base, http: orDefault(httpClient), tokens: tokens}, nil
}

func checkTokens(tokens TokenSource) error {
	switch t := tokens.(type) {
	case nil:
	case *AccountCredentials:
		if t != nil {
			return nil
		}
	case StaticToken:
		if t != "" {
			return nil
		}
	default:
		return nil
	}
	return errors.New("no access token: use a non-empty client.StaticToken or client.NewAccountCredentials")
}

func checkBase(baseURL string) (string, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not the URL of a server: expected a form such as https://presence.example.com", baseURL)
	}
	return strings.TrimRight(baseURL, "/"), nil
}

func orDefault(c *http.Client) *http.Client {
	if c == nil {
		return &http.Client{Timeout: timeout}
	}
	return c
}

// An Option changes one call.
type Option func(*call)

func withHeader(name, value string) Option {
	return func(c *call) { c.header.Set(name, value) }
}

// IdempotencyKey makes a write safe to repeat. The server carries out one request
// with this key, and answers repeats with the same response.
func IdempotencyKey(key string) Option {
	return withHeader("Idempotency-Key", key)
}

// IfMatch makes a write fail, with the problem precondition-failed, unless the
// user's record has this revision.
func IfMatch(revision uint64) Option {
	return withHeader("If-Match", `"`+strconv.FormatUint(revision, 10)+`"`)
}

// IfAbsent makes a write fail, with the problem precondition-failed, if the object
// already exists.
func IfAbsent() Option {
	return withHeader("If-None-Match", "*")
}

// CursorOf stores the cursor of a write to a user's sessions, claims or note. With
// [AtLeast], a read by any node sees that write.
func CursorOf(cursor *string) Option {
	return func(c *call) { c.cursor = cursor }
}

// A ReadOption changes a read of presence.
type ReadOption func(url.Values)

// AtLeast makes a read see everything up to a cursor, of [CursorOf] or of an earlier read or
// stream, whichever node answers it.
func AtLeast(cursor string) ReadOption {
	return func(q url.Values) { q.Set("at_least", cursor) }
}

// Strong makes a read linearizable: it sees every write that was answered before it began.
// It fails while a majority of the servers that store the data cannot be reached.
func Strong() ReadOption {
	return func(q url.Values) { q.Set("consistency", "strong") }
}

func queryOf(opts []ReadOption) url.Values {
	q := make(url.Values)
	for _, opt := range opts {
		opt(q)
	}
	return q
}

// A call is one request.
type call struct {
	method string
	path   string // already escaped
	query  url.Values
	body   any       // nil means none
	into   any       // nil: ignore the response body
	copyTo io.Writer // nil: into has the response body
	opts   []Option

	header http.Header // that opts set
	cursor *string     // gets the cursor of a write; nil: nobody wants it
}

// path joins segments and escapes each.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// do makes the request and reads the response. If the server refuses the token, it
// repeats the request with a new one.
func (c *Client) do(ctx context.Context, call call) (http.Header, error) {
	var body []byte
	if call.body != nil {
		var err error
		if body, err = json.Marshal(call.body); err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
	}
	call.header = make(http.Header)
	for _, opt := range call.opts {
		opt(&call)
	}
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return nil, err
	}
	header, err := c.once(ctx, &call, body, token)
	if isUnauthorized(err) {
		other, ok, failed := renewed(ctx, c.tokens, token)
		if failed != nil {
			return nil, failed
		}
		if ok {
			header, err = c.once(ctx, &call, body, other)
		}
	}
	if err == nil && call.cursor != nil {
		*call.cursor = header.Get("Presence-Cursor")
	}
	return header, err
}

// ask makes a request and decodes the response.
func ask[T any](ctx context.Context, c *Client, call call) (T, error) {
	var answer T
	call.into = &answer
	_, err := c.do(ctx, call)
	return answer, err
}

// remove makes a DELETE request.
func (c *Client) remove(ctx context.Context, path string, opts ...Option) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: path, opts: opts})
	return err
}

func isUnauthorized(err error) bool {
	refused, ok := errors.AsType[*Error](err)
	return ok && refused.Status == http.StatusUnauthorized
}

func (c *Client) once(ctx context.Context, call *call, body []byte, token string) (http.Header, error) {
	target := c.base + call.path
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, call.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("create the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(req.Header, call.header)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &TransportError{Method: call.method, URL: target, Err: causeOf(err)}
	}
	defer resp.Body.Close()
	return resp.Header, readAnswer(call, resp)
}

// maxAnswer bounds the size of a response. The largest is that of a query of 10,000
// users.
const maxAnswer = 64 << 20

func readAnswer(call *call, resp *http.Response) error {
	if call.copyTo != nil && resp.StatusCode == http.StatusOK {
		if _, err := io.Copy(call.copyTo, resp.Body); err != nil {
			return &TransportError{Method: call.method, URL: resp.Request.URL.String(), Err: err}
		}
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &TransportError{Method: call.method, URL: resp.Request.URL.String(), Err: err}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return errorOf(call.method, resp, data)
	}
	if call.into == nil || len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, call.into); err != nil {
		return fmt.Errorf("%s %s: unexpected response: %w", call.method, call.path, err)
	}
	return nil
}

// revision is the revision in the ETag, or 0 if there is none.
func revision(h http.Header) uint64 {
	digits, _, _ := strings.Cut(strings.Trim(h.Get("ETag"), `"`), "-")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
