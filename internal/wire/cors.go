package wire

import (
	"net/http"
	"slices"
	"strings"
)

const (
	corsRequestHeaders = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID"
	corsAnswerHeaders  = "Allow, ETag, Idempotency-Replayed, Location, Presence-Cursor, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Outcome, X-Request-Id"
	corsMaxAge         = "600" // seconds: how long a change of the setting may go unnoticed
)

// announce gives the headers that every answer has: HSTS, and on paths that are
// shared what lets a page of another origin read the answer (CORS). Credentials
// are never allowed: a caller has a token.
func (s *Site) announce(h http.Header, r *http.Request, c *Client) {
	if s == nil {
		return
	}
	hsts, vary := s.Fixed(r.URL.Path, c)
	if hsts != "" {
		h["Strict-Transport-Security"] = []string{hsts}
	}
	if vary != "" {
		h["Vary"] = append(h["Vary"], vary)
	}
	if len(s.Origins) == 0 || !s.shared(r.URL.Path) {
		return
	}
	switch origin := r.Header.Get("Origin"); {
	case origin == "":
		return
	case vary == "":
		h["Access-Control-Allow-Origin"] = []string{"*"}
	case slices.Contains(s.Origins, origin):
		h["Access-Control-Allow-Origin"] = []string{origin}
	default:
		return
	}
	h["Access-Control-Expose-Headers"] = append([]string{corsAnswerHeaders}, s.Exposed...)
}

// Fixed gives the values of Strict-Transport-Security and Vary in every answer to a client,
// whatever its origin; "": the answer has no such header.
func (s *Site) Fixed(path string, c *Client) (hsts, vary string) {
	if s == nil {
		return "", ""
	}
	if c.Secure() {
		hsts = s.HSTS
	}
	if len(s.Origins) > 0 && !slices.Contains(s.Origins, "*") && s.shared(path) {
		vary = "Origin"
	}
	return hsts, vary
}

// shared reports whether a path is one of those that pages of other origins may be
// allowed to call.
func (s *Site) shared(path string) bool {
	return slices.ContainsFunc(s.Shared, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// preflight answers the question of a browser whether a page of another origin may
// use the methods of a route. announce has decided whether the page may call at all.
func (s *Site) preflight(allow string) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if origin := r.Header.Get("Origin"); !s.allows(origin) {
			return &OriginError{Origin: origin}
		}
		h := w.Header()
		h["Access-Control-Allow-Methods"] = []string{allow}
		h["Access-Control-Allow-Headers"] = []string{corsRequestHeaders}
		h["Access-Control-Max-Age"] = []string{corsMaxAge}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// isPreflight reports whether a request is such a question, about a shared path.
func (s *Site) isPreflight(r *http.Request) bool {
	return s != nil && r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" && s.shared(r.URL.Path)
}
