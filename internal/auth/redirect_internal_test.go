package auth

import (
	"net/url"
	"testing"
)

// FuzzRedirect: a redirect URI that is accepted is absolute, without a fragment or a user,
// and on loopback unless it is encrypted or of an app. A request may differ from what is
// registered in a loopback port only.
func FuzzRedirect(f *testing.F) {
	for _, uris := range [][2]string{
		{"https://example.com/callback?a=b", "https://example.com/callback?a=b"},
		{"http://127.0.0.1/callback", "http://127.0.0.1:49152/callback"},
		{"http://[::1]:1/callback", "http://[::1]:2/callback"},
		{"http://localhost/", "http://localhost:@example.com/"},
		{"http://127.0.0.1:80/127.0.0.1:80", "http://127.0.0.1:81/127.0.0.1:80"},
		{"com.example.app:/callback", "com.example.app://x"},
		{"javascript:alert(1)", "http://127.0.0.1.example.com/"},
		{"https://*.example.com", "//example.com"},
		{"http://127.1/", "\n"},
	} {
		f.Add(uris[0], uris[1])
	}
	f.Fuzz(func(t *testing.T, registered, asked string) {
		if redirectProblem(registered) != "" {
			return
		}
		app := App{RedirectURIs: []string{registered}}
		got, ok := app.Redirect(asked)
		if !ok {
			return
		}
		known, err := url.Parse(registered)
		to, bad := url.Parse(got)
		if err != nil || bad != nil {
			t.Fatalf("%q and %q are no URIs", registered, got)
		}
		if !to.IsAbs() || to.User != nil || to.Fragment != "" || to.Scheme == "http" && !isLoopback(to.Hostname()) {
			t.Errorf("%q is sent codes", got)
		}
		if to.Scheme == "http" {
			known.Host, to.Host = known.Hostname(), to.Hostname()
		}
		if *known != *to {
			t.Errorf("%q is registered, and %q is sent codes", registered, got)
		}
	})
}
