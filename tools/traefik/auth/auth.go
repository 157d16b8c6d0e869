// Package auth replaces Traefik's fork of github.com/abbot/go-http-auth, which cannot be
// downloaded. It refuses every request.
package auth

import "net/http"

// BasicAuth is HTTP's basic authentication.
type BasicAuth struct {
	Realm   string
	Secrets func(user, realm string) string
}

// RequireAuth refuses a request.
func (*BasicAuth) RequireAuth(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// CheckSecret accepts no password.
func CheckSecret(string, string) bool { return false }

// DigestAuth is HTTP's digest authentication.
type DigestAuth struct{}

// NewDigestAuthenticator ignores the secrets.
func NewDigestAuthenticator(string, func(user, realm string) string) *DigestAuth {
	return new(DigestAuth)
}

// CheckAuth accepts no request.
func (*DigestAuth) CheckAuth(*http.Request) (user string, info *string) { return "", nil }

// RequireAuth refuses a request.
func (*DigestAuth) RequireAuth(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// RequireAuthStale refuses a request.
func (*DigestAuth) RequireAuthStale(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// DigestAuthParams finds no parameters.
func DigestAuthParams(string) map[string]string { return nil }

func refuse(w http.ResponseWriter) { http.Error(w, "", http.StatusUnauthorized) }
