package oauthapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/httpapi"
	. "porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/wire"
)

const (
	origin   = "http://presence.example:8080"
	callback = "https://app.example.com/callback"
)

// A consentFixture is a whole authorization server, with the native API by which people
// decide, Ann's browser, in which she signed in, a web app and a public app.
type consentFixture struct {
	*oauthFixture
	handler     http.Handler
	browser     http.Client
	web, public auth.App
	secret      string // of web
}

// A local answers requests by a handler, without a network.
type local struct{ http.Handler }

func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	inbound := r.Clone(r.Context())
	inbound.RequestURI, inbound.RemoteAddr, inbound.Host = r.URL.RequestURI(), "192.0.2.1:1234", r.URL.Host
	if inbound.Body == nil {
		inbound.Body = http.NoBody
	}
	l.ServeHTTP(w, inbound)
	return w.Result(), nil
}

// ownPage adds what a browser adds to the requests of the server's own pages.
type ownPage struct{ http.RoundTripper }

func (o ownPage) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return o.RoundTripper.RoundTrip(r)
}

func newConsentFixture(t *testing.T) *consentFixture {
	t.Helper()
	f := &consentFixture{oauthFixture: newOAuthFixture(t)}
	log := slog.New(slog.DiscardHandler)
	recorder := audit.New(f.docs, f.clock.Now)
	native := &httpapi.API{Authority: f.Authority, Directory: f.Directory, Audit: recorder, Events: recorder, Clock: f.clock.Now, Log: log}
	page := func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.WriteString(w, "the consent page")
		return err
	}
	native.OAuth = &API{
		Authority: f.Authority, Audit: recorder, Clock: f.clock.Now, Page: native, Consent: page,
		BaseURL: func(http.ResponseWriter) string { return origin },
	}
	rt := wire.NewRouter(wire.NewObserver(nil, log, prometheus.NewRegistry(), f.clock.Now), native)
	native.Mount(rt)
	native.OAuth.Mount(rt)
	f.handler = rt
	f.web, f.secret = f.add(t, auth.App{Name: "Calendar", Scopes: f.Scopes("presence:read:admin claim:write directory:read"), RedirectURIs: []string{callback}})
	f.public, _ = f.add(t, auth.App{Name: "Phone", Scopes: f.Scopes("presence:read claim:write"), RedirectURIs: []string{"http://127.0.0.1/callback"}, Public: true})
	f.signIn(t)
	return f
}

func (f *consentFixture) add(t *testing.T, app auth.App) (auth.App, string) {
	t.Helper()
	made, secret, err := f.Authority.AddApp(t.Context(), f.account, app)
	apptest.Check(t, err)
	return made, secret
}

// signIn gives Ann's browser the cookie of a sign-in.
func (f *consentFixture) signIn(t *testing.T) {
	t.Helper()
	_, text, err := f.Authority.SignIn(t.Context(), f.account, f.ann.ID, auth.Browser{Name: "test"}, auth.SignInLasts)
	apptest.Check(t, err)
	jar, err := cookiejar.New(nil)
	apptest.Check(t, err)
	at, err := url.Parse(origin)
	apptest.Check(t, err)
	jar.SetCookies(at, []*http.Cookie{{Name: "porchlight", Value: text}})
	f.browser = http.Client{Transport: ownPage{local{f.handler}}, Jar: jar}
}

// visit sends a request of Ann's browser, and returns the status and the answer.
func (f *consentFixture) visit(t *testing.T, method, path string, body any) (status int, answer map[string]any) {
	t.Helper()
	sent, err := json.Marshal(body)
	apptest.Check(t, err)
	r, err := http.NewRequestWithContext(t.Context(), method, origin+path, bytes.NewReader(sent))
	apptest.Check(t, err)
	r.Header.Set("Content-Type", "application/json")
	resp, err := f.browser.Do(r)
	apptest.Check(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		apptest.Check(t, json.NewDecoder(resp.Body).Decode(&answer))
	}
	return resp.StatusCode, answer
}

// decide has Ann decide about an app's request, and returns where her browser goes.
func (f *consentFixture) decide(t *testing.T, query string, allow bool) url.Values {
	t.Helper()
	status, answer := f.visit(t, http.MethodPost, "/v1/oauth/authorization", map[string]any{"request": query, "allow": allow})
	to, ok := answer["redirect"].(string)
	if status != http.StatusOK || !ok {
		t.Fatalf("%d %v", status, answer)
	}
	u, err := url.Parse(to)
	apptest.Check(t, err)
	values := u.Query()
	u.RawQuery = ""
	values.Set("to", u.String())
	return values
}

// client is golang.org/x/oauth2's of an app.
func (f *consentFixture) client(t *testing.T, app *auth.App, secret, redirect string) (context.Context, *oauth2.Config) {
	t.Helper()
	style := oauth2.AuthStyleInHeader
	if secret == "" {
		style = oauth2.AuthStyleInParams
	}
	return context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: local{f.handler}}), &oauth2.Config{
		ClientID: string(app.ID), ClientSecret: secret, RedirectURL: redirect, Scopes: []string{"presence:read", "claim:write"},
		Endpoint: oauth2.Endpoint{AuthURL: origin + "/oauth/authorize", TokenURL: origin + "/oauth/token", DeviceAuthURL: origin + "/oauth/devicecode", AuthStyle: style},
	}
}

// actsForAnn checks that an access token acts for Ann, with scopes.
func (f *consentFixture) actsForAnn(t *testing.T, text, scopes string) {
	t.Helper()
	p := f.principal(t, text)
	if p.User != f.ann.ID || p.AccountLevel || p.SignIn || p.Scopes.String() != scopes {
		t.Errorf("the token acts for %q with %q", p.User, p.Scopes)
	}
}

// TestCodeAndRefresh is what an app does that is written with golang.org/x/oauth2.
func TestCodeAndRefresh(t *testing.T) {
	for name, public := range map[string]bool{"with a secret": false, "public": true} {
		t.Run(name, func(t *testing.T) {
			f := newConsentFixture(t)
			app, secret, redirect := &f.web, f.secret, callback
			if public {
				app, secret, redirect = &f.public, "", "http://127.0.0.1:49152/callback"
			}
			ctx, client := f.client(t, app, secret, redirect)
			verifier := oauth2.GenerateVerifier()
			opened, err := url.Parse(client.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier)))
			apptest.Check(t, err)
			resp, err := f.browser.Get(opened.String())
			apptest.Check(t, err)
			apptest.Check(t, resp.Body.Close())
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("the consent page: %s", resp.Status)
			}
			_, asked := f.visit(t, http.MethodGet, "/v1/oauth/authorization?"+opened.RawQuery, nil)
			if asked["app_name"] != app.Name || asked["redirect"] != nil {
				t.Errorf("asked %v", asked)
			}
			back := f.decide(t, opened.RawQuery, true)
			if back.Get("to") != redirect || back.Get("state") != "the state" || back.Get("iss") != origin {
				t.Errorf("back to %v", back)
			}
			first, err := client.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier))
			apptest.Check(t, err)
			f.actsForAnn(t, first.AccessToken, "presence:read claim:write")

			expired := &oauth2.Token{RefreshToken: first.RefreshToken, Expiry: time.Unix(1, 0)}
			second, err := client.TokenSource(ctx, expired).Token()
			apptest.Check(t, err)
			f.actsForAnn(t, second.AccessToken, "presence:read claim:write")
			if second.RefreshToken == first.RefreshToken || second.AccessToken == first.AccessToken {
				t.Error("a token did not change")
			}
			f.clock.Advance(auth.RefreshRetry)
			_, err = client.TokenSource(ctx, expired).Token()
			wantRefusal(t, err, "invalid_grant")
			for _, text := range []string{first.AccessToken, second.AccessToken} {
				f.refuses(t, text, auth.ErrInvalidToken) // somebody else has a refresh token
			}
			_, err = client.TokenSource(ctx, &oauth2.Token{RefreshToken: second.RefreshToken}).Token()
			wantRefusal(t, err, "invalid_grant")
		})
	}
}

func wantRefusal(t *testing.T, err error, code string) {
	t.Helper()
	refusal, ok := err.(*oauth2.RetrieveError) //nolint:errorlint // the library documents this type
	if !ok || refusal.ErrorCode != code || refusal.ErrorDescription == "" {
		t.Errorf("%v, want %s", err, code)
	}
}

func TestClientCredentials(t *testing.T) {
	f := newConsentFixture(t)
	ctx, _ := f.client(t, &f.web, f.secret, "")
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		client := clientcredentials.Config{
			ClientID: string(f.web.ID), ClientSecret: f.secret, TokenURL: origin + "/oauth/token", Scopes: []string{"presence:read:admin"}, AuthStyle: style,
		}
		got, err := client.Token(ctx)
		apptest.Check(t, err)
		if p := f.principal(t, got.AccessToken); !p.AccountLevel || p.App != f.web.ID || got.RefreshToken != "" {
			t.Errorf("%+v with %q", p, got.RefreshToken)
		}
	}
	client := clientcredentials.Config{ClientID: string(f.public.ID), TokenURL: origin + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams}
	_, err := client.Token(ctx)
	wantRefusal(t, err, "unauthorized_client")
}

// A turn does something before each request of a client.
type turn struct {
	http.RoundTripper
	before func()
}

func (x turn) RoundTrip(r *http.Request) (*http.Response, error) {
	x.before()
	return x.RoundTripper.RoundTrip(r)
}

// TestDevice: Ann decides after the device has asked twice.
func TestDevice(t *testing.T) {
	for _, c := range []struct {
		allow bool
		code  string
	}{{true, ""}, {false, "access_denied"}} {
		f := newConsentFixture(t)
		var shown *oauth2.DeviceAuthResponse
		polls := 0
		ctx, client := f.client(t, &f.public, "", "")
		ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: turn{local{f.handler}, func() {
			if polls++; polls == 4 { // one of which asked for the codes
				status, answer := f.visit(t, http.MethodPost, "/v1/oauth/device", map[string]any{"user_code": shown.UserCode, "allow": c.allow})
				if status != http.StatusNoContent {
					t.Errorf("%d %v", status, answer)
				}
			}
			f.clock.Advance(5 * time.Second)
		}}})
		var err error
		shown, err = client.DeviceAuth(ctx)
		apptest.Check(t, err)
		if shown.Interval != 5 || shown.VerificationURI != origin+"/device" || shown.VerificationURIComplete != shown.VerificationURI+"?user_code="+shown.UserCode {
			t.Errorf("%+v", shown)
		}
		shown.Interval = 1 // the server's clock advances by five seconds each time
		shown.Expiry = time.Time{}
		got, err := client.DeviceAccessToken(ctx, shown)
		if c.allow {
			apptest.Check(t, err)
			f.actsForAnn(t, got.AccessToken, "presence:read claim:write")
			got, err = client.TokenSource(ctx, &oauth2.Token{RefreshToken: got.RefreshToken}).Token()
			apptest.Check(t, err)
			f.actsForAnn(t, got.AccessToken, "presence:read claim:write")
		} else {
			wantRefusal(t, err, c.code)
		}
	}
}

// TestRevokeGrants: what an app revokes ends with everything of the same consent, and
// nothing else does.
func TestRevokeGrants(t *testing.T) {
	for _, c := range []struct {
		name  string
		token func(*oauth2.Token) string
		hint  string
	}{
		{"access token", func(k *oauth2.Token) string { return k.AccessToken }, "access_token"},
		{"refresh token", func(k *oauth2.Token) string { return k.RefreshToken }, "refresh_token"},
		{"wrong hint", func(k *oauth2.Token) string { return k.RefreshToken }, "access_token"},
		{"unknown hint", func(k *oauth2.Token) string { return k.AccessToken }, "assertion"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newConsentFixture(t)
			x := &rfcCase{f, t}
			mine, another := x.tokens(), x.tokens()
			revoke := func(app *auth.App, secret string) string {
				return x.post("/oauth/revoke", x.as(app, secret), "token", c.token(mine), "token_type_hint", c.hint)
			}
			if got := revoke(&f.public, ""); got != "400 invalid_request" {
				t.Errorf("by another app: %s", got)
			}
			f.actsForAnn(t, mine.AccessToken, "claim:write directory:read presence:read")
			if got := revoke(&f.web, f.secret); got != "200" {
				t.Error(got)
			}
			f.refuses(t, mine.AccessToken, auth.ErrInvalidToken)
			if got := x.refresh(mine.RefreshToken); got != "400 invalid_grant" {
				t.Errorf("refresh: %s", got)
			}
			f.actsForAnn(t, another.AccessToken, "claim:write directory:read presence:read")
			if got := x.refresh(another.RefreshToken); got != "200 token" {
				t.Errorf("refresh of another consent: %s", got)
			}
		})
	}
}

// TestConsentNeedsOwnPage: no other site's page, and no request without the cookie, can
// allow an app anything.
func TestConsentNeedsOwnPage(t *testing.T) {
	f := newConsentFixture(t)
	jar, at := f.browser.Jar, &url.URL{Scheme: "http", Host: "presence.example:8080", Path: "/"}
	cookie := jar.Cookies(at)[0].String()
	body := `{"request":"` + (&rfcCase{f, t}).query() + `","allow":true}`
	for name, header := range map[string]http.Header{
		"no cookie":        makeHeader("Sec-Fetch-Site", "same-origin"),
		"another site":     makeHeader("Cookie", cookie, "Sec-Fetch-Site", "cross-site"),
		"another origin":   makeHeader("Cookie", cookie, "Origin", "https://evil.example"),
		"the same domain":  makeHeader("Cookie", cookie, "Sec-Fetch-Site", "same-site"),
		"a null origin":    makeHeader("Cookie", cookie, "Origin", "null"),
		"an old browser":   makeHeader("Cookie", cookie),
		"a bearer token":   makeHeader("Authorization", "Bearer "+f.issue(f.ann.ID, time.Hour), "Sec-Fetch-Site", "same-origin"),
		"a token too":      makeHeader("Cookie", cookie, "Authorization", "Bearer "+f.issue(f.ann.ID, time.Hour), "Sec-Fetch-Site", "same-origin"),
		"a sign-in's text": makeHeader("Authorization", "Bearer "+strings.TrimPrefix(cookie, "porchlight="), "Sec-Fetch-Site", "same-origin"),
	} {
		header.Set("Content-Type", "application/json")
		w := oauthCall{path: "/v1/oauth/authorization", body: body, header: header}.do(f.handler)
		if w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if grants, err := f.Authority.Grants(t.Context(), f.account, f.ann.ID); err != nil || len(grants) > 0 {
		t.Errorf("%v, %v", grants, err)
	}
	good := makeHeader("Cookie", cookie, "Sec-Fetch-Site", "same-origin", "Content-Type", "application/json")
	if w := (oauthCall{path: "/v1/oauth/authorization", body: body, header: good}).do(f.handler); w.Code != http.StatusOK {
		t.Errorf("her own page: %d %s", w.Code, w.Body)
	}
}
