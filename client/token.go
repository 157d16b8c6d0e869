package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A TokenSource provides access tokens. It is safe for concurrent use.
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// A Renewer is a TokenSource that can replace a token which the server refused.
type Renewer interface {
	TokenSource
	Renew(ctx context.Context, refused string) (string, error)
}

// renewed returns a token other than the refused one, if there is any.
func renewed(ctx context.Context, tokens TokenSource, refused string) (token string, ok bool, err error) {
	if renewer, can := tokens.(Renewer); can {
		token, err = renewer.Renew(ctx, refused)
		return token, err == nil, err
	}
	token, err = tokens.Token(ctx) // another caller may have renewed it
	return token, err == nil && token != refused, err
}

// StaticToken is a token that the caller obtains and renews.
type StaticToken string

// Token implements TokenSource.
func (t StaticToken) Token(context.Context) (string, error) { return string(t), nil }

// A TokenCache stores the latest token of an [AccountCredentials] for other processes and
// later runs. It handles its own errors: if Load returns no token, a new one is obtained.
type TokenCache interface {
	// Load returns the token and the time to replace it, or "".
	Load() (token string, renewAt time.Time)
	Save(token string, renewAt time.Time)
}

// AccountCredentials obtains account-level tokens with an app's id and secret. It
// caches the newest token and obtains another before it expires.
type AccountCredentials struct {
	// Cache is read before the server is asked for a token, and stores each new one. nil
	// means no cache. Set it before the first call.
	Cache TokenCache

	base string
	http *http.Client
	app  App

	mu      sync.Mutex // held during a request, so that there is one at a time
	token   string
	renewAt time.Time
}

// An App has the credentials of an app.
type App struct {
	AccountID    string
	ClientID     string
	ClientSecret string
}

// NewAccountCredentials returns a source of tokens for app from the server at baseURL.
// If httpClient is nil, it uses one with a timeout of 30 seconds.
func NewAccountCredentials(baseURL string, app App, httpClient *http.Client) (*AccountCredentials, error) {
	base, err := checkBase(baseURL)
	if err != nil {
		return nil, err
	}
	if app.AccountID == "" || app.ClientID == "" || app.ClientSecret == "" {
		return nil, errors.New("incomplete app credentials: set AccountID, ClientID and ClientSecret")
	}
	return &AccountCredentials{base: base, http: orDefault(httpClient), app: app}, nil
}

// Token implements TokenSource.
func (a *AccountCredentials) Token(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == "" {
		a.load("")
	}
	if a.token != "" && time.Now().Before(a.renewAt) {
		return a.token, nil
	}
	return a.get(ctx)
}

// Renew implements Renewer.
func (a *AccountCredentials) Renew(ctx context.Context, refused string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == refused {
		a.load(refused)
	}
	if a.token != refused && a.token != "" {
		return a.token, nil // another call or process has renewed it
	}
	return a.get(ctx)
}

// load takes a token from the cache that is valid and not the refused one. a.mu is held.
func (a *AccountCredentials) load(refused string) {
	if a.Cache == nil {
		return
	}
	if token, renewAt := a.Cache.Load(); token != refused && time.Now().Before(renewAt) {
		a.token, a.renewAt = token, renewAt
	}
}

// get requests a token. a.mu is held.
func (a *AccountCredentials) get(ctx context.Context) (string, error) {
	form := url.Values{"grant_type": {"account_credentials"}, "account_id": {a.app.AccountID}}
	target := a.base + "/oauth/token"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("create the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(a.app.ClientID), url.QueryEscape(a.app.ClientSecret))
	asked := time.Now()
	resp, err := a.http.Do(req)
	if err != nil {
		return "", &TransportError{Method: http.MethodPost, URL: target, Err: causeOf(err)}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", &TransportError{Method: http.MethodPost, URL: target, Err: err}
	}
	if resp.StatusCode != http.StatusOK {
		return "", errorOf(http.MethodPost, resp, data)
	}
	var granted struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal(data, &granted); err != nil || granted.AccessToken == "" {
		return "", fmt.Errorf("POST %s: the response has no access token", target)
	}
	lasts := time.Duration(granted.ExpiresIn) * time.Second
	a.token, a.renewAt = granted.AccessToken, asked.Add(lasts-min(time.Minute, lasts/10))
	if a.Cache != nil {
		a.Cache.Save(a.token, a.renewAt)
	}
	return a.token, nil
}
