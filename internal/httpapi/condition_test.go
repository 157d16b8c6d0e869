package httpapi_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/watch"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A conditionRow is a resource and a write of the table of conditions. Paths have
// {user} and so on in place of ids, as in the matrix.
type conditionRow struct {
	name string
	read string // path of its representation and its tag; "" for none
	// write is the method of a request that changes it; ok is the status of its response.
	write, path, body string
	ok                int
}

// Every readable resource, and every write to one.
var conditionedResources = []conditionRow{
	{name: "presence", read: "/v1/users/me/presence"},
	{name: "explain", read: "/v1/users/me/presence/explain"},
	{name: "account", read: "/v1/account", write: "PATCH", path: "/v1/account", body: `{"owner":"bob@example.com"}`, ok: 200},
	{name: "me", read: "/v1/me"},
	{name: "apps", read: "/v1/apps"},
	{name: "tokens", read: "/v1/tokens"},
	{name: "users", read: "/v1/users?limit=2"},
	{name: "watches", read: "/v1/watches"},
	{name: "own sessions", read: "/v1/sessions"},
	{name: "claim", read: "/v1/users/{user}/claims", write: "PUT", path: "/v1/users/{user}/claims/x", body: `{"source":"app","status":"away"}`, ok: 200},
	{name: "end of a claim", read: "/v1/users/{user}/claims", write: "DELETE", path: "/v1/users/{user}/claims/x", ok: 204},
	{name: "note", read: "/v1/users/{user}/presence", write: "PUT", path: "/v1/users/{user}/note", body: `{"text":"other"}`, ok: 200},
	{name: "removal of a note", read: "/v1/users/{user}/presence", write: "DELETE", path: "/v1/users/{user}/note", ok: 204},
	{name: "sign-in", read: "/v1/users/{user}/sessions", write: "POST", path: "/v1/users/{user}/sessions", body: signInBody, ok: 201},
	{name: "session", read: "/v1/sessions/{session}", write: "PATCH", path: "/v1/sessions/{session}", body: `{"active":false}`, ok: 200},
	{name: "sign-out", read: "/v1/sessions/{session}", write: "DELETE", path: "/v1/sessions/{session}", ok: 204},
	{name: "contact", read: "/v1/users/{user}/contacts", write: "PUT", path: "/v1/users/{user}/contacts/owner@example.com", body: `{"group":"other"}`, ok: 200},
	{name: "removal of a contact", read: "/v1/users/{user}/contacts", write: "DELETE", path: "/v1/users/{user}/contacts/owner@example.com", ok: 204},
	{name: "visibility", read: "/v1/users/{user}/visibility", write: "PUT", path: "/v1/users/{user}/visibility", body: `{"everyone":"offline"}`, ok: 200},
	{name: "removal of visibility", read: "/v1/users/{user}/visibility", write: "DELETE", path: "/v1/users/{user}/visibility", ok: 204},
	{name: "user", read: "/v1/users/{user}", write: "PATCH", path: "/v1/users/{user}", body: `{"display_name":"Other"}`, ok: 200},
	{name: "deactivation", read: "/v1/users/{user}", write: "PATCH", path: "/v1/users/{user}", body: `{"active":false}`, ok: 200},
	{name: "removal of a user", read: "/v1/users/{user}", write: "DELETE", path: "/v1/users/{user}", ok: 204},
	{name: "removal of an app", read: "/v1/apps/{app}", write: "DELETE", path: "/v1/apps/{app}", ok: 204},
	{name: "watch", read: "/v1/watches/{watch}", write: "DELETE", path: "/v1/watches/{watch}", ok: 204},
	{name: "token", write: "DELETE", path: "/v1/tokens/{token}", ok: 204},
}

// cursorless matches the part of a representation that its tag does not cover.
var cursorless = regexp.MustCompile(`"cursor":"[^"]*"`)

// newConditionWorld returns a world with one object of each kind, owned by the user
// whom a token acts for or an administrator manages.
func newConditionWorld(t *testing.T) (*world, string, *strings.Replacer) {
	t.Helper()
	w := newWorld(t)
	of := w.objects()
	alice := store.User{Account: w.account, ID: w.alice.ID}
	w.publish(alice, presence.SetClaim{ID: "x", Source: "app", Status: presence.Busy})
	w.publish(alice, presence.SetNote{Text: "note"})
	_, err := w.directory.SetContact(t.Context(), w.account, w.alice.ID, w.owner, "team")
	w.must(err)
	admin := w.admin()
	w.do("PUT", "/v1/users/"+string(w.alice.ID)+"/visibility", admin, `{"everyone":"status"}`).want(200)
	waiting, err := w.api.Watches.Create(t.Context(), watch.Watch{
		Account: w.account, Owner: w.owner, Target: w.bob.ID, Until: presence.Busy, Expires: w.clock().Add(time.Hour),
	})
	w.must(err)
	return w, admin, strings.NewReplacer("{user}", of["{user}"]["self"], "{session}", of["{session}"]["self"],
		"{app}", of["{app}"]["self"], "{token}", of["{token}"]["self"], "{watch}", waiting.ID)
}

// TestConditionsOfReads: conditions are evaluated as in RFC 9110, section 13, on every
// readable resource.
func TestConditionsOfReads(t *testing.T) {
	w, admin, fill := newConditionWorld(t)
	seen := make(map[string]bool)
	for _, row := range conditionedResources {
		path := fill.Replace(row.read)
		if path == "" || seen[path] {
			continue
		}
		seen[path] = true
		t.Run(row.name, func(t *testing.T) {
			w.validate(t)
			first := w.do("GET", path, admin, "").want(200)
			tag := first.header.Get("Etag")
			if tag == "" || strings.HasPrefix(tag, "W/") {
				t.Fatalf("the entity tag is %q", tag)
			}
			for _, c := range []struct {
				headers []string
				want    int
			}{
				{[]string{"If-None-Match", tag}, 304},
				{[]string{"If-None-Match", "W/" + tag}, 304}, // the comparison is weak
				{[]string{"If-None-Match", `"other", ` + tag}, 304},
				{[]string{"If-None-Match", `"a,b" , ,W/"c",` + tag}, 304},
				{[]string{"If-None-Match", "*"}, 304},
				{[]string{"If-None-Match", `"other"`}, 200},
				{[]string{"If-Match", tag}, 200},
				{[]string{"If-Match", `"a,b", ` + tag}, 200},
				{[]string{"If-Match", "*"}, 200},
				{[]string{"If-Match", "W/" + tag}, 412}, // weak tags never match strongly
				{[]string{"If-Match", `"other"`}, 412},
				{[]string{"If-Match", `"other"`, "If-None-Match", tag}, 412}, // If-Match comes first
				{[]string{"If-Match", tag, "If-None-Match", tag}, 304},
				{[]string{"If-Match", tag, "If-None-Match", `"other"`}, 200},
				{[]string{"If-None-Match", "other"}, 400},
				{[]string{"If-None-Match", `"a" "b"`}, 400},
				{[]string{"If-None-Match", `*, "a"`}, 400},
				{[]string{"If-None-Match", `w/"a"`}, 400},
				{[]string{"If-Match", ``}, 400},
				{[]string{"If-Match", `"a b"`}, 400},
				{[]string{"If-Modified-Since", "Sun, 01 Mar 2026 09:00:00 GMT"}, 200}, // nothing has a date
			} {
				for _, method := range []string{"GET", "HEAD"} {
					x := w.do(method, path, admin, "", c.headers...)
					if x.status != c.want {
						t.Errorf("%s with %q: %d, want %d", method, c.headers, x.status, c.want)
					}
					if c.want < 400 && x.header.Get("Etag") != tag || c.want == 304 && x.body != "" {
						t.Errorf("%s with %q: tag %q, body %q", method, c.headers, x.header.Get("Etag"), x.body)
					}
				}
			}
		})
	}
}

// TestConditionsOfWrites: a write whose conditions fail changes nothing. A write whose
// conditions hold changes the tag.
func TestConditionsOfWrites(t *testing.T) {
	for _, row := range conditionedResources {
		if row.write == "" {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			w, admin, fill := newConditionWorld(t)
			path, read := fill.Replace(row.path), fill.Replace(row.read)
			tag, before := `"none"`, ""
			readBody := func() string { return "" }
			if read != "" {
				readBody = func() string { return cursorless.ReplaceAllString(w.do("GET", read, admin, "").body, "") }
				tag = w.do("GET", read, admin, "").want(200).header.Get("Etag")
				before = readBody()
			}
			for _, c := range []struct {
				headers []string
				want    *api.Kind
			}{
				{[]string{"If-Match", `"other"`}, &api.PreconditionFailed},
				{[]string{"If-Match", `"1", "2"`}, &api.PreconditionFailed},
				{[]string{"If-Match", "W/" + tag}, &api.PreconditionFailed},
				{[]string{"If-None-Match", "*"}, &api.PreconditionFailed},
				{[]string{"If-Match", "*", "If-None-Match", "*"}, &api.PreconditionFailed},
				{[]string{"If-Match", "other"}, &api.Malformed},
				{[]string{"If-None-Match", `"`}, &api.Malformed},
				{[]string{"If-None-Match", ","}, &api.Malformed},
			} {
				w.do(row.write, path, admin, row.body, c.headers...).problem(c.want)
			}
			if read == "" {
				w.do(row.write, path, admin, row.body, "If-Match", "*", "If-None-Match", `"other"`).want(row.ok)
				return
			}
			w.do(row.write, path, admin, row.body, "If-None-Match", "W/"+tag).problem(&api.PreconditionFailed)
			if after := readBody(); after != before {
				t.Errorf("a refused write changed\n%s to\n%s", before, after)
			}
			w.do(row.write, path, admin, row.body, "If-Match", `"other", `+tag, "If-None-Match", `"other"`).want(row.ok)
			if row.write == http.MethodDelete {
				return
			}
			w.do(row.write, path, admin, row.body, "If-Match", tag).problem(&api.PreconditionFailed)
			w.do(row.write, path, admin, row.body, "If-Match", "*").want(row.ok)
		})
	}
}

// TestConditionsOfMissingObjects: the condition "*" distinguishes creating from
// replacing. Other errors about a missing object take precedence.
func TestConditionsOfMissingObjects(t *testing.T) {
	w, admin, fill := newConditionWorld(t)
	do := func(method, path, body, header string) *exchange {
		return w.do(method, fill.Replace("/v1/users/{user}"+path), admin, body, header, "*")
	}
	do("PUT", "/claims/y", claimBody, "If-Match").problem(&api.PreconditionFailed)
	do("PUT", "/claims/y", claimBody, "If-None-Match").want(200)
	do("PUT", "/claims/y", claimBody, "If-None-Match").problem(&api.PreconditionFailed)
	do("PUT", "/claims/y", claimBody, "If-Match").want(200)
	do("DELETE", "/claims/z", "", "If-Match").problem(&api.NoClaim)
	do("DELETE", "/claims/z", "", "If-None-Match").problem(&api.NoClaim)
	do("DELETE", "/note", "", "If-Match").want(204)
	do("DELETE", "/note", "", "If-Match").problem(&api.PreconditionFailed)
	do("PUT", "/note", `{"text":"n"}`, "If-Match").problem(&api.PreconditionFailed)
	do("PUT", "/note", `{"text":"n"}`, "If-None-Match").want(200)
	do("PUT", "/contacts/bob@example.com", `{}`, "If-Match").problem(&api.PreconditionFailed)
	do("PUT", "/contacts/bob@example.com", `{}`, "If-None-Match").want(200)
	do("PUT", "/contacts/bob@example.com", `{"group":"g"}`, "If-None-Match").problem(&api.PreconditionFailed)
	do("DELETE", "/contacts/bob@example.com", "", "If-Match").want(204)
	do("DELETE", "/contacts/bob@example.com", "", "If-Match").problem(&api.NoContact)
	for _, path := range []string{"/v1/users/nobody@example.com", "/v1/apps/none", "/v1/watches/none"} {
		for _, header := range []string{"If-Match", "If-None-Match"} {
			if x := w.do("GET", path, admin, "", header, "*"); x.status != 404 {
				t.Errorf("%s with %s: *: status %d", path, header, x.status)
			}
		}
	}
	for path, body := range map[string]string{
		"/v1/users": `{"email":"new@example.com"}`, "/v1/apps": `{"name":"n","scopes":["presence:read"]}`,
		"/v1/tokens": `{"scopes":["presence:read"]}`, "/v1/watches": `{"user":"bob@example.com"}`,
	} {
		w.do("POST", path, admin, body, "If-None-Match", "*").problem(&api.PreconditionFailed)
		w.do("POST", path, admin, body, "If-Match", `"x"`).problem(&api.PreconditionFailed)
		w.do("POST", path, admin, body, "If-Match", "x").problem(&api.Malformed)
		w.do("POST", path, admin, body, "If-Match", "*").want(201)
	}
}

// TestConcurrentConditionalWrites: conditions are checked atomically with the write,
// so that one of many concurrent, equal requests succeeds.
func TestConcurrentConditionalWrites(t *testing.T) {
	const many = 16
	for _, row := range []struct {
		name, method, path string
		body               func(n int) string
		header             string // "": If-Match with the tag of read
		read               string
	}{
		{"claim", "PUT", "/claims/new", func(int) string { return claimBody }, "If-None-Match", ""},
		{"note", "PUT", "/note", func(n int) string { return fmt.Sprintf(`{"text":"%d"}`, n) }, "", "/presence"},
		{"contact", "PUT", "/contacts/bob@example.com", func(n int) string { return fmt.Sprintf(`{"group":"%d"}`, n) }, "If-None-Match", ""},
		{"visibility", "PUT", "/visibility", func(int) string { return `{"everyone":"all"}` }, "", "/visibility"},
		{"user", "PATCH", "", func(n int) string { return fmt.Sprintf(`{"department":"%d"}`, n) }, "", ""},
		{"deactivation", "PATCH", "", func(int) string { return `{"active":false}` }, "", ""},
		{"deletion", "DELETE", "", func(int) string { return "" }, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, admin, fill := newConditionWorld(t)
			user := fill.Replace("/v1/users/{user}")
			header, value := row.header, "*"
			if header == "" {
				header, value = "If-Match", w.do("GET", user+row.read, admin, "").want(200).header.Get("Etag")
			}
			var done, refused atomic.Int32
			var group sync.WaitGroup
			for n := range many {
				group.Go(func() {
					switch x := w.do(row.method, user+row.path, admin, row.body(n), header, value); x.status {
					case 200, 204:
						done.Add(1)
					case 404, 412: // 404: deleted by another request
						refused.Add(1)
					default:
						t.Errorf("%d: %s", x.status, x.body)
					}
				})
			}
			group.Wait()
			if done.Load() != 1 || refused.Load() != many-1 {
				t.Errorf("%d of %d succeeded, %d were refused", done.Load(), many, refused.Load())
			}
		})
	}
}

// TestConditionsOfWatcher: a watcher who may not see the revision cannot learn it by
// conditions either.
func TestConditionsOfWatcher(t *testing.T) {
	w := newWorld(t)
	watcher, path := w.token(w.bob.ID, "presence:read"), "/v1/users/"+string(w.alice.ID)+"/presence"
	tag := w.do("GET", path, w.admin(), "").header.Get("Etag")
	if x := w.do("GET", path, watcher, ""); x.header.Get("Etag") != "" {
		t.Errorf("a watcher gets the tag %s", x.header.Get("Etag"))
	}
	w.do("GET", path, watcher, "", "If-None-Match", tag).want(200)
	w.do("GET", path, watcher, "", "If-None-Match", "*").want(304)
	w.do("GET", path, watcher, "", "If-Match", "*").want(200)
	for _, other := range []string{tag, `"1"`} {
		w.do("GET", path, watcher, "", "If-Match", other).problem(&api.PreconditionFailed)
	}
}

// TestEntityTagCoversSoftState: a refresh in soft state changes the representation and
// its tag, but not the record.
func TestEntityTagCoversSoftState(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "session:read session:write")
	var session api.Session
	w.do("POST", "/v1/sessions", token, signInBody).want(201).read(&session)
	path := "/v1/sessions/" + session.ID
	before := w.do("GET", path, token, "").header.Get("Etag")
	w.advance(10 * time.Second)
	patched := w.do("PATCH", path, token, `{}`, "If-None-Match", `"1"`).want(200)
	after := w.do("GET", path, token, "", "If-None-Match", before).want(200)
	if tag := after.header.Get("Etag"); tag == before || tag != patched.header.Get("Etag") {
		t.Errorf("the tag was %s and is now %s; the refresh returned %s", before, tag, patched.header.Get("Etag"))
	}
}
