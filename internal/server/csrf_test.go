package server_test

import (
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/auth"
)

// TestCookieOrigins sends every route that changes something the cookie of an
// administrator from pages of every kind. Only the server's own pages get past the check.
func TestCookieOrigins(t *testing.T) {
	s := newSurface(t)
	c := s.newTenant()
	_, text, err := s.Provisioner().Authority.SignIn(t.Context(), c.account, c.users["boss"].ID, auth.Browser{}, time.Hour)
	apptest.Check(t, err)
	rows, asked := apptest.Rights(), 0
	for _, route := range s.Router().Routes() {
		method, path, _ := strings.Cut(route, " ")
		row := rows[route]
		if isSafe(method) || row.Caller != apptest.WithToken && row.Caller != apptest.AppToken {
			continue
		}
		status, code := wanted(path, &api.OriginRefused)
		for origin, ownOrigin := range map[string]bool{
			"": false, "http://localhost": true, "https://localhost": true, "http://LOCALHOST": true, "http://localhost:8080": false, "http://localhost.evil.example": false,
			"https://evil.example": false, "null": false, "file://": false, "localhost": false, "http://localhost@evil.example": false, "http://localhost, https://evil.example": false,
		} {
			for _, site := range []string{"", "same-origin", "same-site", "cross-site", "none", "Same-Origin"} {
				for _, twice := range []bool{false, true} {
					asked++
					headers := cookie(text, site)
					if origin != "" {
						headers = append(headers, "Origin", origin)
					}
					if twice {
						headers = append(headers, "Origin", "https://evil.example")
					}
					// The object does not exist: the request changes nothing if it gets past.
					w := c.ask(method, c.fill(path, absent), "", headers...)
					allowed := !twice && (site == "same-origin" && (ownOrigin || origin == "") || site == "" && ownOrigin)
					refused := w.Code == status && (got(w) == code && code != "" || strings.Contains(w.Body.String(), "may not call this server"))
					if refused == allowed {
						t.Errorf("%s from %q, Sec-Fetch-Site %q, another origin %t: %d %s", route, origin, site, twice, w.Code, w.Body)
					}
				}
			}
		}
	}
	t.Logf("%d requests", asked)
}
