package client_test

import (
	"io"
	"net/http"
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
