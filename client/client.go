// Package client is a Go client of Porchlight: the native API with the types of
// package api, and the two calls of Zoom's that set and read a status.
//
// It is separate from everything inside, and imports nothing of it, so that
// whoever uses it has exactly what the public API has; our own commands are such
// users. It guarantees that each call makes one request, and one more only when a
// token has to be renewed (a [Stream] asks once whose token it has); that a call
// ends with its context; and that an error says whether it is worth trying again
// (see [Retry]).
//
// A call must not retry or wait by itself: only the caller knows what a second
// attempt would mean. The one thing that does is a [Stream], which is there to stay
// connected. Nothing here logs.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// timeout bounds a whole call, so that a server that hangs cannot hold a caller
// whose context has no end.
const timeout = 30 * time.Second

// New is a client of the server at baseURL, such as "https://presence.example.com".
// A nil httpClient is one with a timeout of 30 seconds.
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
	return errors.New("no access token: give a client.StaticToken with text, or what client.NewAccountCredentials makes")
}

func checkBase(baseURL string) (string, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not the URL of a server: write it like https://presence.example.com", baseURL)
	}
	return strings.TrimRight(baseURL, "/"), nil
}

func orDefault(c *http.Client) *http.Client {
	if c == nil {
		return &http.Client{Timeout: timeout}
	}
	return c
}

// An Option says more about one call.
type Option func(http.Header)

// IdempotencyKey makes a write safe to repeat: the server carries out one request
// with this key, and answers repeats as it answered that.
func IdempotencyKey(key string) Option {
	return func(h http.Header) { h.Set("Idempotency-Key", key) }
}

// IfMatch makes a write fail, with the problem precondition-failed, unless the
// user's record has this revision.
func IfMatch(revision uint64) Option {
	return func(h http.Header) { h.Set("If-Match", `"`+strconv.FormatUint(revision, 10)+`"`) }
}

// IfAbsent makes a write fail, with the problem precondition-failed, if what it
// would make is there: it never replaces.
func IfAbsent() Option {
	return func(h http.Header) { h.Set("If-None-Match", "*") }
}

// A call is one request to make.
type call struct {
	method string
	path   string // already escaped
	query  url.Values
	body   any // nil: none
	into   any // nil: the answer's body does not matter
	opts   []Option
}

// path joins segments, escaping each.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// do makes the request, with a new token if the server no longer takes the old
// one, and reads the answer.
func (c *Client) do(ctx context.Context, call call) (http.Header, error) {
	var body []byte
	if call.body != nil {
		var err error
		if body, err = json.Marshal(call.body); err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
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
	return header, err
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
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, opt := range call.opts {
		opt(req.Header)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &TransportError{Method: call.method, URL: target, Err: withoutURL(err)}
	}
	defer resp.Body.Close()
	return resp.Header, readAnswer(call, resp)
}

// maxAnswer bounds what is read of an answer; the largest is a query of 10,000
// users.
const maxAnswer = 64 << 20

func readAnswer(call *call, resp *http.Response) error {
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
		return fmt.Errorf("%s %s: the answer is not what this client knows: %w", call.method, call.path, err)
	}
	return nil
}

// revision is that of the ETag; 0 where there is none.
func revision(h http.Header) uint64 {
	digits, _, _ := strings.Cut(strings.Trim(h.Get("ETag"), `"`), "-")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
