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
	"time"
)

// The codes of OAuth that a login meets.
const (
	codePending      = "authorization_pending"
	codeSlowDown     = "slow_down"
	codeDenied       = "access_denied"
	codeExpired      = "expired_token"
	codeInvalidGrant = "invalid_grant"
)

var (
	// ErrLoginDenied: the person did not allow the login.
	ErrLoginDenied = errors.New("the login was denied in the browser")
	// ErrLoginExpired: nobody decided while the code was valid.
	ErrLoginExpired = errors.New("the code expired before it was entered")
	// ErrLoginEnded: the refresh token has expired, was revoked, or was used before.
	ErrLoginEnded = errors.New("the login has expired or was revoked")
)

// A LoginApp is a public app, which has no secret, and gets tokens that act for a person who
// allows it in a browser.
type LoginApp struct {
	base, id string
	http     *http.Client
}

// NewLoginApp returns the app with a client id of the server at baseURL. Every account has
// the app [porchlight.dev/porchlight/api.CommandLineApp]. If httpClient is nil, it uses one
// with a timeout of 30 seconds.
func NewLoginApp(baseURL, clientID string, httpClient *http.Client) (*LoginApp, error) {
	base, err := checkBase(baseURL)
	if err != nil {
		return nil, err
	}
	if clientID == "" {
		return nil, errors.New("the client id is empty")
	}
	return &LoginApp{base: base, id: clientID, http: orDefault(httpClient)}, nil
}

// A DeviceCode is a login that waits for a person, who enters UserCode on the page
// VerificationURL, or opens CompleteURL.
type DeviceCode struct {
	UserCode        string
	VerificationURL string
	CompleteURL     string
	Expires         time.Time

	code     string
	interval time.Duration
}

// A Login is the tokens of a person who allowed an app to act for them.
type Login struct {
	AccessToken  string
	RefreshToken string
	Expires      time.Time // of the access token
	Scopes       []string
}

// Start begins a login for scopes, or for all that the app and the person may have.
func (a *LoginApp) Start(ctx context.Context, scopes ...string) (*DeviceCode, error) {
	var got struct {
		DeviceCode string `json:"device_code"`
		UserCode   string `json:"user_code"`
		URL        string `json:"verification_uri"`
		Complete   string `json:"verification_uri_complete"`
		ExpiresIn  int    `json:"expires_in"`
		Interval   int    `json:"interval"`
	}
	form := url.Values{}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	asked := time.Now()
	if err := a.post(ctx, "/oauth/devicecode", form, &got); err != nil {
		return nil, err
	}
	if got.DeviceCode == "" || got.UserCode == "" || got.URL == "" {
		return nil, fmt.Errorf("POST %s/oauth/devicecode: the response has no code", a.base)
	}
	interval := 5 * time.Second // the default of RFC 8628
	if got.Interval > 0 {
		interval = time.Duration(got.Interval) * time.Second
	}
	return &DeviceCode{
		UserCode: got.UserCode, VerificationURL: got.URL, CompleteURL: got.Complete, Expires: asked.Add(time.Duration(got.ExpiresIn) * time.Second),
		code: got.DeviceCode, interval: interval,
	}, nil
}

// slowDown is how much longer a client waits each time the server says that it asks too
// often, and after a lost connection.
const slowDown = 5 * time.Second

// Await waits until the person has decided, as RFC 8628 says: no request comes sooner than
// the interval that the server gave, which grows by 5 seconds when the server asks for it.
// It returns ErrLoginDenied or ErrLoginExpired, and survives lost connections.
func (a *LoginApp) Await(ctx context.Context, c *DeviceCode) (*Login, error) {
	for interval := c.interval; ; {
		if !time.Now().Add(interval).Before(c.Expires) {
			return nil, ErrLoginExpired
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(interval):
		}
		got, err := a.token(ctx, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {c.code}})
		wait, again := Retry(err)
		switch code := oauthCode(err); {
		case err == nil:
			return got, nil
		case code == codePending:
		case code == codeSlowDown, again:
			interval = max(interval+slowDown, wait)
		case code == codeDenied:
			return nil, ErrLoginDenied
		case code == codeExpired:
			return nil, ErrLoginExpired
		default:
			return nil, err
		}
	}
}

// Refresh exchanges a refresh token, which can be used once, for new tokens. It returns
// ErrLoginEnded if the token is not valid any more.
func (a *LoginApp) Refresh(ctx context.Context, refreshToken string) (*Login, error) {
	got, err := a.token(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}})
	if oauthCode(err) == codeInvalidGrant {
		return nil, errors.Join(ErrLoginEnded, err)
	}
	if err == nil && got.RefreshToken == "" {
		got.RefreshToken = refreshToken // RFC 6749 §6 allows a server to keep it
	}
	return got, err
}

// Revoke ends an access or refresh token, and all that were made with it. A token that the
// server does not know has ended already.
func (a *LoginApp) Revoke(ctx context.Context, token string) error {
	err := a.post(ctx, "/oauth/revoke", url.Values{"token": {token}}, nil)
	if oauthCode(err) == "invalid_request" {
		return nil
	}
	return err
}

func (a *LoginApp) token(ctx context.Context, form url.Values) (*Login, error) {
	var got struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresIn    int    `json:"expires_in"`
		Scope        string `json:"scope"`
	}
	asked := time.Now()
	if err := a.post(ctx, "/oauth/token", form, &got); err != nil {
		return nil, err
	}
	if got.AccessToken == "" {
		return nil, fmt.Errorf("POST %s/oauth/token: the response has no access token", a.base)
	}
	return &Login{got.AccessToken, got.RefreshToken, asked.Add(time.Duration(got.ExpiresIn) * time.Second), strings.Fields(got.Scope)}, nil
}

// post calls an endpoint of OAuth as the app.
func (a *LoginApp) post(ctx context.Context, path string, form url.Values, into any) error {
	form.Set("client_id", a.id)
	target := a.base + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("create the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return &TransportError{Method: http.MethodPost, URL: target, Err: causeOf(err)}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case err != nil:
		return &TransportError{Method: http.MethodPost, URL: target, Err: err}
	case resp.StatusCode != http.StatusOK:
		return errorOf(http.MethodPost, resp, data)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("POST %s: unexpected response: %w", target, err)
	}
	return nil
}

// oauthCode is the code of an error of OAuth, or "".
func oauthCode(err error) string {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused.OAuthCode
	}
	return ""
}
