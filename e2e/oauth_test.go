package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"
)

const password = "correct horse battery"

// administer sends a request with the demo's token and reads the answer.
func (d *demo) administer(t *testing.T, path, body string, answer any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+d.AccessToken)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var read bytes.Buffer
	if _, err := read.ReadFrom(resp.Body); err != nil || json.Unmarshal(read.Bytes(), answer) != nil {
		t.Fatalf("POST %s: %s %s %v", path, resp.Status, &read, err)
	}
}

// hasPassword has a user accept an invitation with a password.
func (d *demo) hasPassword(t *testing.T, u user) {
	t.Helper()
	var invitation struct {
		URL string `json:"url"`
	}
	d.administer(t, "/v1/users/"+u.ID+"/invitation", "", &invitation)
	_, invited, _ := strings.Cut(invitation.URL, "#")
	var signedIn struct {
		User string `json:"user"`
	}
	d.administer(t, "/v1/invitations/accept", `{"secret":"`+invited+`","password":"`+password+`"}`, &signedIn)
	if signedIn.User != u.ID {
		t.Fatalf("accepted as %q", signedIn.User)
	}
}

func (d *demo) newApp(t *testing.T, body string) (id, secret string) {
	t.Helper()
	var app struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	d.administer(t, "/v1/apps", body, &app)
	return app.ID, app.Secret
}

// returned is a page of an app on loopback, which keeps the parameters of each visit.
func returned(t *testing.T) (address string, visits <-chan url.Values) {
	t.Helper()
	seen := make(chan url.Values, 10)
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			seen <- r.URL.Query()
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!DOCTYPE html><html lang="en"><title>The app</title><link rel="icon" href="data:,"><p id="back">Back`))
	}))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	app.Listener = listener
	app.Start()
	t.Cleanup(app.Close)
	return app.URL + "/callback", seen
}

// TestConsent: a person signs in on the way to the consent page, denies an app, allows it,
// and is not asked again. Another link leads to a page of this server only.
func TestConsent(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	u := d.signedOut(t)
	d.hasPassword(t, u)
	id, secret := d.newApp(t, `{"name":"Calendar","scopes":["presence:read:admin","claim:write"],"redirect_uris":["http://127.0.0.1/callback"]}`)
	address, visits := returned(t)
	client := &oauth2.Config{
		ClientID: id, ClientSecret: secret, RedirectURL: address, Scopes: []string{"presence:read:admin", "claim:write"},
		Endpoint: oauth2.Endpoint{AuthURL: d.URL + "/oauth/authorize", TokenURL: d.URL + "/oauth/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	verifier := oauth2.GenerateVerifier()
	ask := client.AuthCodeURL("a b&c=d", oauth2.S256ChallengeOption(verifier))

	do(t, tab, chromedp.EmulateViewport(390, 844), prefer("dark"), chromedp.Navigate(ask))
	holds(t, tab, `location.pathname === "/signin" && document.querySelector("#by-password")`)
	screenshot(t, tab, "signin-dark-390.png")
	retype(t, tab, "#email", u.Email)
	retype(t, tab, "#password", password)
	click(t, tab, "#by-password button")
	holds(t, tab, `location.pathname === "/oauth/authorize" && document.querySelector("#question")`)
	asked, _ := url.Parse(ask)
	if search, err := chromedp.Run(tab, chromedp.Evaluate[string]("location.search")); err != nil || search != "?"+asked.RawQuery {
		t.Errorf("back from the sign-in with %q, %v; want %q", search, err, asked.RawQuery)
	}
	if got := text(t, tab, "#question"); !strings.Contains(got, "Allow Calendar?") || !strings.Contains(got, "Change your status and your note") || !strings.Contains(got, "127.0.0.1") {
		t.Error(got)
	}
	holds(t, tab, "document.documentElement.scrollWidth <= innerWidth")
	screenshot(t, tab, "consent-dark-390.png")

	click(t, tab, "#deny")
	holds(t, tab, `document.querySelector("#back")`)
	if got := <-visits; got.Get("error") != "access_denied" || got.Get("state") != "a b&c=d" || got.Get("iss") != d.URL {
		t.Errorf("denied: %v", got)
	}
	do(t, tab, chromedp.Navigate(ask))
	click(t, tab, "#question:not([hidden]) #allow")
	holds(t, tab, `document.querySelector("#back")`)
	got := <-visits
	token, err := client.Exchange(t.Context(), got.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil || got.Get("state") != "a b&c=d" || token.Extra("scope") != "claim:write presence:read" {
		t.Fatalf("%v: %v, %+v", got, err, token)
	}
	do(t, tab, chromedp.Navigate(ask)) // not asked again
	holds(t, tab, `document.querySelector("#back")`)
	if got := <-visits; got.Get("code") == "" {
		t.Errorf("a second time: %v", got)
	}

	d.endGrant(t, tab, token, client.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}))

	do(t, tab, chromedp.Navigate(d.URL+"/oauth/authorize?response_type=code&client_id="+id+"&redirect_uri=http://evil.example/callback"))
	holds(t, tab, `document.body.innerText.includes("redirect_uri")`)
	screenshot(t, tab, "wrong-redirect-dark-390.png")
	if errors := browserErrors(); strings.Contains(errors, "Content Security") {
		t.Errorf("the browser reports errors:\n%s", errors)
	}
}

// endGrant sees on the page Account what the app Calendar may do, and ends that: neither its
// access token nor its refresh token works any more.
func (d *demo) endGrant(t *testing.T, tab context.Context, token *oauth2.Token, refreshed oauth2.TokenSource) {
	t.Helper()
	do(t, tab, chromedp.Navigate(d.URL+"/account"))
	holds(t, tab, `document.querySelectorAll("#grants li").length === 1`)
	if got := text(t, tab, "#grants li"); !strings.Contains(got, "Calendar") || !strings.Contains(got, "Change your status and your note") {
		t.Error(got)
	}
	screenshot(t, tab, "account-grant-dark-390.png")
	if got := d.statusOf(t, token.AccessToken, http.MethodGet, "/v1/users/me/presence"); got != http.StatusOK {
		t.Errorf("with the grant, the app gets %d", got)
	}
	click(t, tab, "#grants li button")
	confirm(t, tab)
	holds(t, tab, `!document.querySelector("#grants")`)
	if got := d.statusOf(t, token.AccessToken, http.MethodGet, "/v1/users/me/presence"); got != http.StatusUnauthorized {
		t.Errorf("without the grant, the app gets %d", got)
	}
	if again, err := refreshed.Token(); err == nil {
		t.Errorf("without the grant, the app refreshes its token: %+v", again)
	}
}

// TestLinkOffersToken: a link with an access token does not replace another token of the tab,
// unless the user agrees.
func TestLinkOffersToken(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	ada, bruno := d.signedIn(t, 0), d.signedIn(t, 1)
	is := func(u user) string {
		return `document.querySelector("#who")?.textContent.startsWith(` + quoted(firstName(u)) + `)`
	}
	do(t, tab, chromedp.Navigate(d.URL+"/admin#token="+ada.AccessToken))
	wait(t, tab, is(ada))
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+bruno.AccessToken))
	wait(t, tab, `document.querySelector("dialog").textContent.includes("another access token") && location.hash === ""`)
	click(t, tab, "dialog footer button") // Cancel
	wait(t, tab, `!document.querySelector("dialog") && document.querySelector("#statuses") && `+is(ada))
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+ada.AccessToken)) // its own
	wait(t, tab, `location.hash === "" && !document.querySelector("dialog")`)
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+bruno.AccessToken)) // without loading the page
	confirm(t, tab)
	wait(t, tab, `document.querySelector("#statuses") && `+is(bruno))
}

// firstName is the first name of a user of the demo.
func firstName(u user) string {
	first, _, _ := strings.Cut(u.Email, ".")
	return strings.ToUpper(first[:1]) + first[1:]
}

// TestSignInLeadsToOwnPages: no link to the page of sign-ins leads to another server.
func TestSignInLeadsToOwnPages(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	do(t, tab, chromedp.Navigate(d.URL+"/signin"))
	evaluate(t, tab, `import(document.querySelector("link[href$='/session.js']").href).then((m) => { window.localPath = m.localPath; }), true`)
	holds(t, tab, `window.localPath`)
	for _, c := range []struct{ next, want string }{
		{"/oauth/authorize?client_id=a&state=b%26c#d", "/oauth/authorize?client_id=a&state=b%26c#d"},
		{"https://evil.example/", "/"},
		{"//evil.example/", "/"},
		{`/\evil.example/`, "/"},
		{"/\t/evil.example/", "/"},
		{"/.//evil.example/", "/"},
		{"/x/..//evil.example/", "/"},
		{"/%2e//evil.example/", "/"},
		{"javascript:alert(1)", "/"},
		{"", "/"},
	} {
		given, _ := json.Marshal(c.next)
		got, err := chromedp.Run(tab, chromedp.Evaluate[string]("localPath("+string(given)+")"))
		if err != nil || got != c.want {
			t.Errorf("%q leads to %q, want %q (%v)", c.next, got, c.want, err)
		}
	}
}

// TestDevicePage: a person enters the code of a device and allows it.
func TestDevicePage(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	u := d.signedOut(t)
	d.hasPassword(t, u)
	id, _ := d.newApp(t, `{"name":"Door sign","scopes":["presence:read"],"public":true}`)
	client := &oauth2.Config{ClientID: id, Endpoint: oauth2.Endpoint{
		DeviceAuthURL: d.URL + "/oauth/devicecode", TokenURL: d.URL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams,
	}}
	shown, err := client.DeviceAuth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do(t, tab, chromedp.EmulateViewport(390, 844), prefer("dark"), chromedp.Navigate(shown.VerificationURI))
	holds(t, tab, `location.pathname === "/signin" && document.querySelector("#by-password")`)
	retype(t, tab, "#email", u.Email)
	retype(t, tab, "#password", password)
	click(t, tab, "#by-password button")
	holds(t, tab, `location.pathname === "/device" && document.querySelector("#entry")`)
	retype(t, tab, "#code", "BBBB-BBBB")
	click(t, tab, "#entry button")
	holds(t, tab, `document.querySelector("#problem")?.hidden === false`)
	screenshot(t, tab, "device-wrong-dark-390.png")
	retype(t, tab, "#code", strings.ToLower(shown.UserCode))
	click(t, tab, "#entry button")
	holds(t, tab, `document.querySelector("#question")`)
	if got := text(t, tab, "#question"); !strings.Contains(got, "Allow Door sign?") || !strings.Contains(got, shown.UserCode) {
		t.Error(got)
	}
	holds(t, tab, "document.documentElement.scrollWidth <= innerWidth")
	screenshot(t, tab, "device-dark-390.png")
	click(t, tab, "#allow")
	holds(t, tab, `document.querySelector("#done")`)
	screenshot(t, tab, "device-done-dark-390.png")
	if token, err := client.DeviceAccessToken(t.Context(), shown); err != nil || token.RefreshToken == "" {
		t.Errorf("%+v, %v", token, err)
	}
}
