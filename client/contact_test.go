package client_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// TestCalls: the requests of the simple calls.
func TestCalls(t *testing.T) {
	var got string
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.RequestURI() + " " + string(body)
		_, _ = io.WriteString(w, `{}`)
	})
	ctx := t.Context()
	for _, x := range []struct {
		want string
		call func() error
	}{
		{"POST /v1/tickets ", func() error { _, err := c.Ticket(ctx); return err }},
		{"GET /v1/presence/changes?contacts=true&cursor=c%2B1&users=a%2Cb%40example.com&wait=25 ", func() error {
			_, err := c.Changes(ctx, client.ChangesQuery{Users: []string{"a", "b@example.com"}, Contacts: true, Cursor: "c+1", Wait: 25*time.Second + 1})
			return err
		}},
		{"GET /v1/presence/changes?wait=0 ", func() error { _, err := c.Changes(ctx, client.ChangesQuery{}); return err }},
		{"GET /v1/users/me/contacts?limit=1000 ", func() error {
			for _, err := range c.Contacts(ctx, "me") {
				return err
			}
			return nil
		}},
		{`PUT /v1/users/me/contacts/b@example.com {"group":"team"}`, func() error {
			_, err := c.SetContact(ctx, "me", "b@example.com", api.SetContact{Group: "team"})
			return err
		}},
		{"DELETE /v1/users/me/contacts/b ", func() error { return c.RemoveContact(ctx, "me", "b") }},
		{"GET /v1/users/me/visibility ", func() error { _, err := c.Visibility(ctx, "me"); return err }},
		{`PUT /v1/users/me/visibility {"everyone":"status","groups":{"team":"all"},"watchers":null}`, func() error {
			_, err := c.SetVisibility(ctx, "me", api.Visibility{Everyone: api.VisibilityStatus, Groups: map[string]api.VisibilityLevel{"team": api.VisibilityAll}})
			return err
		}},
		{"DELETE /v1/users/me/visibility ", func() error { return c.EndVisibility(ctx, "me") }},
		{`POST /v1/watches {"user":"b"}`, func() error { _, err := c.CreateWatch(ctx, api.CreateWatch{User: "b"}); return err }},
		{"GET /v1/watches?limit=1000 ", func() error {
			for _, err := range c.Watches(ctx) {
				return err
			}
			return nil
		}},
		{"GET /v1/users/me/claims?limit=1000 ", func() error {
			for _, err := range c.Claims(ctx, "me") {
				return err
			}
			return nil
		}},
		{"GET /v1/sessions/s1 ", func() error { _, err := c.Session(ctx, "s1"); return err }},
		{"GET /v1/apps/a1 ", func() error { _, err := c.App(ctx, "a1"); return err }},
		{"GET /v1/watches/w1 ", func() error { _, err := c.Watch(ctx, "w1"); return err }},
		{"DELETE /v1/watches/w1 ", func() error { return c.DeleteWatch(ctx, "w1") }},
	} {
		if err := x.call(); err != nil || got != x.want {
			t.Errorf("sent %s, %v\nwant %s", got, err, x.want)
		}
	}
}
