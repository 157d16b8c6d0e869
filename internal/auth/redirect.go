package auth

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
)

// Bounds of the redirect URIs of an app.
const (
	MaxRedirectURIs     = 20
	maxRedirectURIBytes = 512
)

// cleanRedirectURIs checks where an app may have browsers sent back to, and drops
// repetitions.
func cleanRedirectURIs(given []string) ([]string, error) {
	if len(given) > MaxRedirectURIs {
		return nil, &presence.LimitError{What: "redirect URIs of an app", Limit: MaxRedirectURIs}
	}
	var uris []string
	for i, uri := range given {
		if reason := redirectProblem(uri); reason != "" {
			return nil, &presence.FieldError{Field: fmt.Sprintf("redirect_uris[%d]", i), Reason: reason}
		}
		if !slices.Contains(uris, uri) {
			uris = append(uris, uri)
		}
	}
	return uris, nil
}

// redirectProblem is why a URI is no redirect URI, or "". Redirect URIs are absolute and
// are compared as they are (RFC 9700, section 4.1.3), so there are no patterns. Apart from
// https, they are of programs on the user's own machine (RFC 8252).
func redirectProblem(text string) string {
	uri, err := url.Parse(text)
	switch {
	case text == "" || len(text) > maxRedirectURIBytes:
		return fmt.Sprintf("must have 1 to %d bytes", maxRedirectURIBytes)
	case strings.ContainsFunc(text, notInURI):
		return "must have ASCII characters alone, and no spaces"
	case err != nil || !uri.IsAbs():
		return "must be an absolute URI"
	case strings.Contains(text, "#"):
		return "must not have a fragment"
	case strings.Contains(text, "*"):
		return "must not have a wildcard: redirect URIs are compared as they are"
	case uri.User != nil:
		return "must not have a user name"
	}
	switch uri.Scheme {
	case "https":
		if uri.Hostname() == "" {
			return "must name a host"
		}
	case "http":
		if !isLoopback(uri.Hostname()) {
			return "must be https, unless the host is 127.0.0.1, [::1] or localhost"
		}
	default:
		if !strings.Contains(uri.Scheme, ".") {
			return `must be https, http on loopback, or have a scheme of the app's own with a dot, such as "com.example.app:/callback"`
		}
	}
	return ""
}

func notInURI(r rune) bool {
	return r <= ' ' || r > '~' || r == '\\' || r == '"' || r == '<' || r == '>'
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// Redirect is where a code may be sent when an app asks for it with uri: exactly one of its
// redirect URIs, or with any port on a loopback address, which an app on a person's own
// machine gets from the system (RFC 8252 §7.3). uri may be "" if the app has only one.
func (app *App) Redirect(uri string) (string, bool) {
	if uri == "" {
		if len(app.RedirectURIs) != 1 {
			return "", false
		}
		return app.RedirectURIs[0], true
	}
	for _, known := range app.RedirectURIs {
		if uri == known || matchesLoopback(known, uri) {
			return uri, true
		}
	}
	return "", false
}

func matchesLoopback(known, uri string) bool {
	k, badKnown := url.Parse(known)
	u, bad := url.Parse(uri)
	if badKnown != nil || bad != nil || k.Scheme != "http" || !isLoopback(k.Hostname()) || strings.Contains(uri, "#") {
		return false
	}
	// Compare what is written, so that nothing but the port may differ.
	return withoutPort(known, k) == withoutPort(uri, u) && redirectProblem(uri) == ""
}

func withoutPort(text string, u *url.URL) string {
	if u.Port() == "" {
		return text
	}
	return strings.Replace(text, u.Host, strings.TrimSuffix(u.Host, ":"+u.Port()), 1)
}
