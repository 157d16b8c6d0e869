package wire

import (
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/auth"
)

// Names of the cookie of a sign-in. Browsers accept the prefix __Host- only from the host
// itself over HTTPS, so that no other host of the domain can set it.
const (
	secureCookie = "__Host-porchlight"
	plainCookie  = "porchlight"
)

func cookieName(w http.ResponseWriter) string {
	if ClientOf(w).Secure() {
		return secureCookie
	}
	return plainCookie
}

// SetSignIn gives the browser the cookie of a sign-in, until it expires.
func SetSignIn(w http.ResponseWriter, token string, lasts time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(w), Value: token, Path: "/", MaxAge: int(lasts / time.Second),
		Secure: ClientOf(w).Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// ClearSignIn has the browser forget its sign-in.
func ClearSignIn(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(w), Path: "/", MaxAge: -1, Secure: ClientOf(w).Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// CookiePrincipal is the principal of the request's cookie, whatever else it carries. It
// counts for a request that must not depend on it, such as another sign-in.
func CookiePrincipal(w http.ResponseWriter, r *http.Request, a Authenticator) (*auth.Principal, error) {
	cookies := r.CookiesNamed(cookieName(w))
	if len(cookies) != 1 || cookies[0].Value == "" {
		return nil, auth.ErrNoToken
	}
	p, err := a.Authenticate(r.Context(), cookies[0].Value)
	if err == nil && !p.SignIn {
		err = auth.ErrInvalidToken // a token of an app does not belong in a cookie
	}
	return p, err
}

// signedIn is the principal of the request's cookie. The browser adds the cookie to every
// request, whichever page makes it, so only requests of the server's own pages count.
func signedIn(w http.ResponseWriter, r *http.Request, a Authenticator) (*auth.Principal, error) {
	cookies := r.CookiesNamed(cookieName(w))
	if len(cookies) != 1 || cookies[0].Value == "" {
		return nil, auth.ErrNoToken
	}
	if err := CheckOwnPage(w, r); err != nil {
		return nil, err
	}
	p, err := CookiePrincipal(w, r, a)
	if err != nil {
		return nil, err
	}
	RecordPrincipal(w, p)
	return p, nil
}

// CheckOwnPage refuses a request that another site's page may have made. Browsers name the
// origin of every request that changes something, and of every WebSocket.
func CheckOwnPage(w http.ResponseWriter, r *http.Request) error {
	site, origins := r.Header.Get("Sec-Fetch-Site"), r.Header["Origin"]
	for _, origin := range origins {
		if !sameHost(origin, ClientOf(w).Host) {
			return &OriginError{Origin: origin}
		}
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case site == "same-origin", site == "none" && safe:
		return nil
	case site != "":
		return &OriginError{Origin: site}
	case len(origins) == 0 && !safe:
		return &OriginError{}
	}
	return nil
}

// flowLasts is how long a person may take at the OpenID provider.
const flowLasts = 10 * time.Minute

// flowCookie is the cookie of the flow with this state.
func flowCookie(w http.ResponseWriter, state string) string {
	return cookieName(w) + "-flow-" + state[:min(8, len(state))]
}

// SetFlow gives the browser what ties the answer of an OpenID provider to it.
func SetFlow(w http.ResponseWriter, state, value string) {
	http.SetCookie(w, &http.Cookie{
		Name: flowCookie(w, state), Value: value, Path: "/", MaxAge: int(flowLasts / time.Second),
		Secure: ClientOf(w).Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// TakeFlow is what SetFlow set for a state, or "". The browser forgets it.
func TakeFlow(w http.ResponseWriter, r *http.Request, state string) string {
	if len(state) < 8 || !plausibleHost(strings.ReplaceAll(state, "_", "-")) {
		return ""
	}
	name := flowCookie(w, state)
	cookies := r.CookiesNamed(name)
	if len(cookies) != 1 {
		return ""
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Path: "/", MaxAge: -1, Secure: ClientOf(w).Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return cookies[0].Value
}
