package client

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// memoryCache is a TokenCache that another process may write too.
type memoryCache struct {
	token   string
	renewAt time.Time
}

func (c *memoryCache) Load() (string, time.Time)            { return c.token, c.renewAt }
func (c *memoryCache) Save(token string, renewAt time.Time) { c.token, c.renewAt = token, renewAt }

// TestTokenCache checks when a cached token is used, and when another one is obtained
// and saved.
func TestTokenCache(t *testing.T) {
	granted := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		granted++
		_, _ = fmt.Fprintf(w, `{"access_token":"granted-%d","expires_in":3600}`, granted)
	}))
	defer srv.Close()
	later := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		cached  memoryCache
		refused string
		want    string
		saved   string
	}{
		"empty":                         {want: "granted-1", saved: "granted-1"},
		"valid":                         {cached: memoryCache{"cached", later}, want: "cached", saved: "cached"},
		"expired":                       {cached: memoryCache{"cached", time.Now()}, want: "granted-1", saved: "granted-1"},
		"refused":                       {cached: memoryCache{"cached", later}, refused: "cached", want: "granted-1", saved: "granted-1"},
		"renewed by another process":    {cached: memoryCache{"other", later}, refused: "cached", want: "other", saved: "other"},
		"another process's has expired": {cached: memoryCache{"other", time.Now()}, refused: "cached", want: "granted-1", saved: "granted-1"},
	} {
		t.Run(name, func(t *testing.T) {
			granted = 0
			source, err := NewAccountCredentials(srv.URL, App{"a", "c", "s"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			source.Cache = &c.cached
			var got string
			if c.refused == "" {
				got, err = source.Token(t.Context())
			} else {
				source.token, source.renewAt = c.refused, later
				got, err = source.Renew(t.Context(), c.refused)
			}
			if err != nil || got != c.want || c.cached.token != c.saved {
				t.Errorf("%q, %v, saved %q; want %q, saved %q", got, err, c.cached.token, c.want, c.saved)
			}
			if time.Until(source.renewAt) < 58*time.Minute {
				t.Errorf("renewed at %v", source.renewAt)
			}
		})
	}
}
