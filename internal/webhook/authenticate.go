package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"porchlight.dev/porchlight/internal/egress"
)

const (
	maxCredential = 4096 // bytes of a name, a password or a value
	maxTokenBody  = 64 << 10
	maxToken      = 16 << 10
	maxTokens     = 4096
	// unknownExpiry is how long a token is used whose answer does not say when it expires.
	unknownExpiry = 5 * time.Minute
)

// ErrAuthentication is wrapped by the errors of Authentication.Check.
var ErrAuthentication = errors.New("authentication")

// Check reports what is wrong with the fields of an authentication. reserved are the
// headers that the form sends itself.
func (a *Authentication) Check(client *egress.Client, reserved http.Header) error {
	switch a.Kind {
	case AuthNone:
		return nil
	case AuthBasic:
		return a.checkBasic()
	case AuthOAuth:
		return a.checkOAuth(client)
	case AuthHeader:
		return checkHeader(a.HeaderName, a.HeaderValue, reserved)
	default:
		return refuseAuthentication("the kind %q is unknown", a.Kind)
	}
}

// Follows reports whether an authentication may be kept when an endpoint moves. Whoever
// changes the URL may not know the credentials, and must not have them sent elsewhere.
func (a *Authentication) Follows(from, to string) bool {
	return a.Kind == AuthNone || to == "" || from == to || origin(from) != "" && origin(from) == origin(to)
}

// origin is the scheme, host and port of a URL; empty: it cannot be parsed.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

func refuseAuthentication(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrAuthentication}, args...)...)
}

func (a *Authentication) checkBasic() error {
	switch {
	case a.Username == "" || strings.Contains(a.Username, ":"):
		return refuseAuthentication("the user name is empty or contains a colon")
	case !plain(a.Username) || !plain(a.Password):
		return refuseAuthentication("the user name or the password contains control characters or has more than %d bytes", maxCredential)
	}
	return nil
}

func (a *Authentication) checkOAuth(client *egress.Client) error {
	if _, err := client.ParseURL(a.TokenURL); err != nil {
		return refuseAuthentication("token URL: %w", err)
	}
	if a.ClientID == "" || a.ClientSecret == "" {
		return refuseAuthentication("the client id or the client secret is missing")
	}
	if !plain(a.ClientID) || !plain(a.ClientSecret) || !plain(a.Scope) {
		return refuseAuthentication("the client id, the client secret or the scope contains control characters or has more than %d bytes", maxCredential)
	}
	return nil
}

// plain reports whether a credential can be sent.
func plain(text string) bool {
	return len(text) <= maxCredential && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7F })
}

// ownHeaders lists what a custom header must not be: what belongs to the connection or to
// the message. Authorization and Cookie are permitted.
var ownHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Date", "Expect", "Host", "Keep-Alive",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "Via",
}

// checkHeader is the rule for a custom header.
func checkHeader(name, value string, reserved http.Header) error {
	key := http.CanonicalHeaderKey(name)
	_, taken := reserved[key]
	switch {
	case len(name) > 100 || !httpguts.ValidHeaderFieldName(name):
		return refuseAuthentication("%.100q is not the name of a header", name)
	case slices.Contains(ownHeaders, key), taken && key != "Authorization",
		strings.HasPrefix(key, "Webhook-"), strings.HasPrefix(key, "Proxy-"), strings.HasPrefix(key, "Porchlight-"),
		strings.HasPrefix(key, "Trace"), strings.HasPrefix(key, "Ce-"):
		return refuseAuthentication("the header %s cannot be set: the server or the connection uses it", key)
	case len(value) > maxCredential || !httpguts.ValidHeaderFieldValue(value) || strings.TrimSpace(value) != value:
		return refuseAuthentication("the header's value contains control characters, has spaces around it, or has more than %d bytes", maxCredential)
	}
	return nil
}

// authenticate sets the header of the subscription's authentication. For OAuth it returns
// the token, and whether that was in the cache; rejected is a token not to be used again.
func (h *HTTPSender) authenticate(ctx context.Context, s *Subscription, header http.Header, rejected string) (token string, cached bool, err error) {
	a := &s.Auth
	if err := a.Check(h.Client, header); err != nil {
		return "", false, &failure{FailureConfig, err.Error()}
	}
	switch a.Kind {
	case AuthBasic:
		r := http.Request{Header: header}
		r.SetBasicAuth(a.Username, a.Password)
	case AuthHeader:
		header.Set(a.HeaderName, a.HeaderValue)
	case AuthOAuth:
		token, cached, err = h.tokens.get(ctx, a, rejected, h)
		header.Set("Authorization", "Bearer "+token)
	}
	return token, cached, err
}

// A tokenCache keeps access tokens until they expire. The zero value is empty.
type tokenCache struct {
	mu      sync.Mutex
	entries map[tokenKey]*tokenEntry
}

type tokenKey struct{ url, id, secret, scope string }

type tokenEntry struct {
	turn    chan struct{} // holds a value while somebody uses the fields below
	value   string
	expires time.Time
}

// get returns a token other than rejected, from the cache if possible. Only one request
// for a token is made at a time; others wait for its result.
func (c *tokenCache) get(ctx context.Context, a *Authentication, rejected string, h *HTTPSender) (token string, cached bool, err error) {
	e := c.entry(tokenKey{a.TokenURL, a.ClientID, a.ClientSecret, a.Scope})
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return "", false, &failure{FailureToken, "no access token: the token endpoint is slow"}
	}
	if e.value != "" && e.value != rejected && h.Now().Before(e.expires) {
		return e.value, true, nil
	}
	value, lasts, err := h.fetchToken(ctx, a)
	if err != nil {
		return "", false, err
	}
	// A token is not used in its last seconds: it could expire on its way.
	e.value, e.expires = value, h.Now().Add(lasts-min(lasts/2, 30*time.Second))
	return value, false, nil
}

func (c *tokenCache) entry(key tokenKey) *tokenEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		if c.entries == nil || len(c.entries) >= maxTokens {
			c.entries = make(map[tokenKey]*tokenEntry) // those in use are fetched again
		}
		e = &tokenEntry{turn: make(chan struct{}, 1)}
		c.entries[key] = e
	}
	return e
}

// fetchToken obtains a token by the client credentials grant (RFC 6749, 4.4).
func (h *HTTPSender) fetchToken(ctx context.Context, a *Authentication) (token string, lasts time.Duration, err error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if a.Scope != "" {
		form.Set("scope", a.Scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, noToken("the token URL cannot be parsed")
	}
	req.Header = http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "User-Agent": {h.UserAgent},
	}
	req.SetBasicAuth(url.QueryEscape(a.ClientID), url.QueryEscape(a.ClientSecret))
	answer, err := h.Client.Do(req, maxTokenBody)
	if err != nil {
		if kind, reason := describeFailure(err); kind != FailureCanceled {
			return "", 0, noToken(reason)
		}
		return "", 0, err
	}
	return readToken(answer)
}

func noToken(reason string) error {
	return &failure{FailureToken, "no access token from the token URL: " + reason}
}

func readToken(answer *egress.Answer) (token string, lasts time.Duration, err error) {
	var body struct {
		AccessToken string      `json:"access_token"`
		TokenType   string      `json:"token_type"`
		ExpiresIn   json.Number `json:"expires_in"`
		Error       string      `json:"error"`
	}
	err = json.Unmarshal(answer.Body, &body)
	switch {
	case !accepted(answer.Status) && plain(body.Error) && body.Error != "":
		return "", 0, noToken(fmt.Sprintf("it answered %d, %.100s", answer.Status, body.Error))
	case !accepted(answer.Status):
		return "", 0, noToken(fmt.Sprintf("it answered %d", answer.Status))
	case err != nil || !answer.Whole:
		return "", 0, noToken("its answer is not a JSON object with access_token")
	case !bearer(body.AccessToken):
		return "", 0, noToken("its answer has no access_token, or one with characters that no token has")
	case body.TokenType != "" && !strings.EqualFold(body.TokenType, "bearer"):
		return "", 0, noToken(fmt.Sprintf("it issues tokens of the type %.100q, not Bearer", body.TokenType))
	}
	return body.AccessToken, expiry(body.ExpiresIn), nil
}

// bearer reports whether a token can be sent in a header.
func bearer(token string) bool {
	return token != "" && len(token) <= maxToken && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

// expiry is how long a token lasts, at most a day.
func expiry(seconds json.Number) time.Duration {
	n, err := seconds.Float64()
	if err != nil || n <= 0 {
		return unknownExpiry
	}
	return time.Duration(min(n, 86_400) * float64(time.Second))
}
