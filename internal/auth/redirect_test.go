package auth_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	. "porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
)

func TestRedirectURIs(t *testing.T) {
	f := newFixture(t)
	for uri, valid := range map[string]bool{
		"https://app.example.com/callback":      true,
		"https://app.example.com/cb?tenant=1":   true,
		"https://app.example.com":               true,
		"http://127.0.0.1/callback":             true,
		"http://127.0.0.1:8123/callback":        true,
		"http://[::1]:8123/":                    true,
		"http://localhost:3000/cb":              true,
		"com.example.app:/callback":             true,
		"com.example.app://callback":            true,
		"":                                      false,
		"/callback":                             false,
		"app.example.com/callback":              false,
		"//app.example.com/callback":            false,
		"http://app.example.com/callback":       false,
		"http://localhost.example.com/":         false,
		"http://127.0.0.1.example.com/":         false,
		"https:///callback":                     false,
		"https://":                              false,
		"https://user@app.example.com/":         false,
		"https://app.example.com/#part":         false,
		"https://app.example.com/#":             false,
		"https://*.example.com/":                false,
		"https://app.example.com/*":             false,
		"javascript:alert(1)":                   false,
		"data:text/html,x":                      false,
		"myapp://callback":                      false,
		"https://app.example.com/a b":           false,
		"https://app.example.com\\@evil.com/":   false,
		"https://app.example.com/\r\nX: y":      false,
		"https://äpp.example.com/":              false,
		"https://a.example/" + long(600):        false,
		"urn:ietf:wg:oauth:2.0:oob":             false,
		"https://app.example.com:notaport/path": false,
	} {
		app, _, err := f.AddApp(t.Context(), f.account, App{Name: "App", RedirectURIs: []string{uri, uri}})
		switch {
		case valid && (err != nil || !slices.Equal(app.RedirectURIs, []string{uri})):
			t.Errorf("%q: %v, %q", uri, err, app.RedirectURIs)
		case !valid && !errors.As(err, new(*presence.FieldError)):
			t.Errorf("%q: %v, want a FieldError", uri, err)
		}
	}
	var many []string
	for n := range MaxRedirectURIs + 1 {
		many = append(many, fmt.Sprintf("https://a.example/%d", n))
	}
	if _, _, err := f.AddApp(t.Context(), f.account, App{Name: "App", RedirectURIs: many}); !errors.As(err, new(*presence.LimitError)) {
		t.Errorf("too many: %v", err)
	}
}

func long(n int) string { return strings.Repeat("x", n) }

// A public app has no secret, so that nothing authenticates it.
func TestPublicApp(t *testing.T) {
	f := newFixture(t)
	app, secret, err := f.AddApp(t.Context(), f.account, App{Name: "App", Public: true, RedirectURIs: []string{"com.example.app:/cb"}})
	if err != nil || secret != "" || !app.Public {
		t.Fatalf("%+v, %q, %v", app, secret, err)
	}
	for _, text := range []string{"", "x"} {
		if _, _, err := f.AuthenticateClient(t.Context(), app.ID, text); !errors.Is(err, ErrBadClient) {
			t.Errorf("the secret %q: %v", text, err)
		}
	}
	if _, err := f.RotateSecret(t.Context(), f.account, app.ID); !errors.Is(err, ErrPublicApp) {
		t.Errorf("a secret for it: %v", err)
	}
}

// Tokens keep at most the scopes of their app.
func TestUpdateAppNarrowsTokens(t *testing.T) {
	f := newFixture(t)
	app, secret, err := f.CreateApp(t.Context(), f.account, "App", f.people.Scopes("presence:read:admin claim:write:admin"))
	check(t, err)
	_, text, err := f.Issue(t.Context(), f.account, Token{App: app.ID, Scopes: f.people.Scopes("presence:read:admin claim:write:admin")}, 0)
	check(t, err)
	var revoked []presence.AppID
	f.OnRevoke(func(r *Revocation) { revoked = append(revoked, r.App) })
	granted := func(want string) {
		t.Helper()
		p, err := f.Authenticate(t.Context(), text)
		if err != nil || formatScopes(p.Scopes) != want || p.Scopes.String() != want {
			t.Errorf("the token allows %q, %v; want %q", p.Scopes, err, want)
		}
	}
	granted("presence:read:admin claim:write:admin")
	for _, row := range []struct{ set, want string }{
		{"presence:read:admin", "presence:read:admin"},
		{"presence:read", "presence:read"},
		{"presence:read:admin claim:write:admin", "presence:read:admin claim:write:admin"},
		{"session:read:admin", ""},
	} {
		before, err := f.App(t.Context(), f.account, app.ID)
		check(t, err)
		before.Name, before.Scopes = "Renamed", f.people.Scopes(row.set)
		after, err := f.UpdateApp(t.Context(), f.account, before)
		if err != nil || after.Name != "Renamed" || after.Version == before.Version {
			t.Fatalf("%+v, %v", after, err)
		}
		granted(row.want)
	}
	if len(revoked) != 4 || revoked[0] != app.ID {
		t.Errorf("streams of the app were ended %d times: %q", len(revoked), revoked)
	}
	if _, _, err := f.AuthenticateClient(t.Context(), app.ID, secret); err != nil {
		t.Errorf("the secret after the changes: %v", err)
	}
}
