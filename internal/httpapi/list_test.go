package httpapi_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// list reads all pages of GET /v1/presence, and lists "name status" of each user.
func (w *world) list(token, query string) []string {
	w.t.Helper()
	var found []string
	for mark := ""; ; {
		var page api.PresencePage
		w.do("GET", "/v1/presence?"+query+mark, token, "").want(200).read(&page)
		for _, u := range page.Presences {
			name, _, _ := strings.Cut(u.Email, "@")
			found = append(found, name+" "+string(u.Status))
		}
		if page.NextPageToken == "" {
			slices.Sort(found)
			return found
		}
		mark = "&page_token=" + url.QueryEscape(page.NextPageToken)
	}
}

func TestListPresence(t *testing.T) {
	w := newWorld(t)
	admin, own := w.admin(), w.token(w.bob.ID, "presence:read")
	w.do("PATCH", "/v1/users/alice@example.com", admin, `{"display_name":"Alice","groups":["Support","Night"]}`).want(200)
	w.do("PATCH", "/v1/users/bob@example.com", admin, `{"groups":["support"]}`).want(200)
	for _, name := range []string{"alice", "bob"} {
		w.signIn("/v1/users/"+name+"@example.com/sessions", admin, `{"client_type":"web"}`)
	}
	w.do("PUT", "/v1/users/alice@example.com/claims/x", admin, `{"source":"app","status":"busy","note":"Until 5"}`).want(200)
	for _, row := range []struct{ query, want string }{
		{"", "alice busy, bob available, owner offline"},
		{"limit=1", "alice busy, bob available, owner offline"},
		{"group=SUPPORT", "alice busy, bob available"},
		{"group=support&limit=1", "alice busy, bob available"},
		{"group=night", "alice busy"},
		{"group=nobody", ""},
		{"status=busy", "alice busy"},
		{"status=busy,offline", "alice busy, owner offline"},
		{"status=busy&status=offline&limit=1", "alice busy, owner offline"},
		{"status=available&group=night", ""},
	} {
		if got := strings.Join(w.list(own, row.query), ", "); got != row.want {
			t.Errorf("%s: %q, want %q", row.query, got, row.want)
		}
	}
	var page api.PresencePage
	w.do("GET", "/v1/presence?group=night", own, "").want(200).read(&page)
	u, single := page.Presences[0], w.presence(string(w.alice.ID), own)
	if u.User != single.User || u.DisplayName != "Alice" || !slices.Equal(u.Groups, []string{"Support", "Night"}) ||
		u.Note != "Until 5" || u.Since != single.Since || u.Until != single.Until || u.Revision != single.Revision {
		t.Errorf("%+v, and by itself %+v", u, single)
	}
	for _, query := range []string{"status=asleep", "status=", "status=busy,", "group=", "group=a&group=b", "groups=x", "limit=0", "limit=1001"} {
		w.do("GET", "/v1/presence?"+query, own, "").problem(&api.InvalidField)
	}
	w.do("GET", "/v1/presence?page_token="+strings.Repeat("x", 1000), own, "").problem(&api.CursorInvalid)
	tag := w.do("GET", "/v1/presence", own, "").want(200).header.Get("Etag")
	w.do("GET", "/v1/presence", own, "", "If-None-Match", tag).want(304)
	w.do("PUT", "/v1/users/alice@example.com/claims/x", admin, `{"source":"app","status":"on_call"}`).want(200)
	w.do("GET", "/v1/presence", own, "", "If-None-Match", tag).want(200)
}

// The filter applies to what the caller sees: otherwise it would tell what a rule hides.
func TestListPresenceThroughVisibility(t *testing.T) {
	w := newWorld(t)
	admin, own := w.admin(), w.token(w.bob.ID, "presence:read")
	w.signIn("/v1/users/alice@example.com/sessions", admin, `{"client_type":"web"}`)
	w.do("PUT", "/v1/users/alice@example.com/visibility", admin, `{"everyone":"offline"}`).want(200)
	for _, row := range []struct{ token, query, want string }{
		{own, "", "alice offline, bob offline, owner offline"},
		{own, "status=available", ""},
		{own, "status=offline", "alice offline, bob offline, owner offline"},
		{w.token(w.alice.ID, "presence:read"), "status=available", "alice available"},
		{admin, "status=available", "alice available"},
	} {
		if got := strings.Join(w.list(row.token, row.query), ", "); got != row.want {
			t.Errorf("%s: %q, want %q", row.query, got, row.want)
		}
	}
}

// Users who are deactivated or deleted, in the directory or on record alone, are not
// listed; one without a record is, and those of another account are not.
func TestListPresenceHasActiveUsersOnly(t *testing.T) {
	w := newWorld(t)
	w.do("PATCH", "/v1/users/bob@example.com", w.admin(), `{"active":false}`).want(200)
	for _, state := range []presence.UserState{presence.UserDeactivated, presence.UserDeleted} {
		u := w.User(w.account, fmt.Sprintf("state%d@example.com", state))
		w.setUserState(w.account, u.ID, state)
	}
	inactive := directory.User{Email: "inactive@example.com"}
	_, err := w.directory.Create(t.Context(), w.account, inactive)
	w.must(err)
	w.User(w.account, "new@example.com")
	if got := strings.Join(w.list(w.admin(), ""), ", "); got != "alice offline, new offline, owner offline" {
		t.Error(got)
	}
}

// A filter that matches few users of a large account leads to pages that are short or
// empty, and a request examines a bounded number of users.
func TestListPresenceIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("creates 6,000 users")
	}
	if enginetest.OnNATS() && !leveltest.Full(t, "the list of 6,000 users on the embedded engine") {
		t.Skip("creates 6,000 users")
	}
	w := newWorld(t)
	for n := range 6_000 {
		w.User(w.account, fmt.Sprintf("u%d@example.com", n))
	}
	w.signIn("/v1/users/alice@example.com/sessions", w.admin(), `{"client_type":"web"}`)
	own := w.token(w.bob.ID, "presence:read")
	var page api.PresencePage
	counting := &countingDocs{Store: w.store}
	w.api.Directory = directory.New(counting, w.clock)
	w.do("GET", "/v1/presence?status=busy", own, "").want(200).read(&page)
	if len(page.Presences) != 0 || page.NextPageToken == "" || counting.listed > 5_600 {
		t.Errorf("%d users were read for %+v", counting.listed, page)
	}
	if got := w.list(own, "status=available"); !slices.Equal(got, []string{"alice available"}) {
		t.Error(got)
	}
}

// countingDocs counts the documents that are listed.
type countingDocs struct {
	store.Store

	listed int
}

// List implements store.Store.
func (c *countingDocs) List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error) {
	docs, err := c.Store.List(ctx, account, collection, after, limit)
	c.listed += len(docs)
	return docs, err
}
