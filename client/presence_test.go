package client_test

import (
	"io"
	"net/http"
	"slices"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// TestList: all pages are read, an empty one too, with the filter on each.
func TestList(t *testing.T) {
	var asked []string
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, r.URL.Path+" "+q.Get("group")+" "+q["status"][0]+" "+q["status"][1]+" "+q.Get("page_token"))
		body := `{"presences":[],"next_page_token":"x"}`
		if q.Get("page_token") == "x" {
			body = `{"presences":[{"user":"a","status":"busy","groups":["R+D"]}]}`
		}
		_, _ = io.WriteString(w, body)
	})
	var found []api.UserPresence
	for u, err := range c.List(t.Context(), client.ListOptions{Status: []api.Status{api.Busy, api.Away}, Group: "R+D"}) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, u)
	}
	if len(found) != 1 || found[0].User != "a" || found[0].Status != api.Busy || found[0].Groups[0] != "R+D" {
		t.Errorf("%+v", found)
	}
	if len(asked) != 2 || asked[0] != "/v1/presence R+D busy away " || asked[1] != "/v1/presence R+D busy away x" {
		t.Errorf("asked %q", asked)
	}
}

// TestFreshReads: a write gives its cursor, and reads pass on how fresh they must be.
func TestFreshReads(t *testing.T) {
	var asked []string
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery+r.Header.Get("Idempotency-Key"))
		w.Header().Set("Presence-Cursor", "c1")
		_, _ = io.WriteString(w, "{}")
	})
	var cursor string
	if err := c.EndClaim(t.Context(), "me", "manual", client.CursorOf(&cursor), client.IdempotencyKey("key")); err != nil || cursor != "c1" {
		t.Fatalf("the cursor is %q, %v", cursor, err)
	}
	if _, err := c.Presence(t.Context(), "me", client.AtLeast(cursor)); err != nil {
		t.Error(err)
	}
	if _, err := c.Query(t.Context(), []string{"me"}, client.Strong(), client.AtLeast(cursor)); err != nil {
		t.Error(err)
	}
	for _, err := range c.List(t.Context(), client.ListOptions{Group: "g"}, client.Strong()) {
		t.Error("a user", err)
	}
	want := []string{
		"DELETE /v1/users/me/claims/manual?key", "GET /v1/users/me/presence?at_least=c1",
		"POST /v1/presence/query?at_least=c1&consistency=strong", "GET /v1/presence?consistency=strong&group=g&limit=1000",
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}
