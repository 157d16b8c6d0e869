package httpapi_test

import (
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
)

// jsonBodies lists the routes that read JSON: a body with the required members, and the
// optional members.
var jsonBodies = []struct {
	method, path, body string
	optional           string
}{
	{"POST", "/v1/users", `"email":"%@example.com"`, "first_name last_name display_name department"},
	{"PATCH", "/v1/users/me", `"first_name":"Ann"`, "email last_name display_name department active"},
	{"POST", "/v1/presence/query", `"users":["me"]`, ""},
	{"POST", "/v1/users/me/sessions", `"client_type":"desktop"`, "client_version lease_seconds"},
	{"PUT", "/v1/users/me/claims/a", `"source":"app","status":"busy"`, "note since until duration_seconds"},
	{"PUT", "/v1/users/me/note", `"text":"Hello"`, "until"},
	{"PUT", "/v1/users/me/contacts/bob@example.com", "", "group"},
	{"PUT", "/v1/users/me/visibility", "", "everyone groups watchers"},
	{"POST", "/v1/watches", `"user":"me"`, "until_status expires expires_in_seconds"},
	{"POST", "/v1/apps", `"name":"a","scopes":["presence:read"]`, ""},
	{"POST", "/v1/tokens", `"name":"a","scopes":["presence:read"]`, "user expires_in_seconds"},
}

// TestNullIsAbsent: null counts as absent on every route that reads JSON, because .NET
// and Java clients write it for unset members.
func TestNullIsAbsent(t *testing.T) {
	w := newWorld(t)
	token := w.admin()
	for _, c := range jsonBodies {
		for name := range strings.FieldsSeq(c.optional) {
			email := strings.ReplaceAll(c.path[1:]+name, "/", "-")
			body := "{" + strings.TrimPrefix(strings.Replace(c.body, "%", email, 1)+`,"`+name+`":null}`, ",")
			if x := w.do(c.method, c.path, token, body); x.status >= 300 {
				t.Errorf("%s %s %s: %d %s", c.method, c.path, body, x.status, x.body)
			}
		}
	}
	x := w.do("PUT", "/v1/users/me/visibility", token, `{"everyone":"all","groups":{"Work":null},"watchers":{"bob@example.com":null}}`)
	if want := `{"everyone":"all","groups":{},"watchers":{}}`; strings.TrimSpace(x.body) != want {
		t.Errorf("got %s, want %s", x.body, want)
	}
}

// TestTimeErrors: every invalid time causes a detail of one sentence.
func TestTimeErrors(t *testing.T) {
	w := newWorld(t)
	token := w.admin()
	for _, c := range []struct{ method, path, body, field string }{
		{"PUT", "/v1/users/me/claims/a", `{"source":"app","status":"busy","since":%}`, "since"},
		{"PUT", "/v1/users/me/claims/a", `{"source":"app","status":"busy","until":%}`, "until"},
		{"PUT", "/v1/users/me/note", `{"text":"Hello","until":%}`, "until"},
		{"POST", "/v1/watches", `{"user":"me","expires":%}`, "expires"},
	} {
		for _, text := range []string{`"x"`, `""`, `5`, `true`, `{}`, `[]`, `"2026-03-01T9:30:00Z"`, `"2026-03-01T09:30:00,5Z"`, `"2026-03-01T09:30:00+24:00"`} {
			p := w.do(c.method, c.path, token, strings.Replace(c.body, "%", text, 1)).problem(&api.InvalidField)
			want := `The field "` + c.field + `" must be an RFC 3339 time, as in "2026-03-01T09:30:00Z".`
			if p.Field != c.field || p.Detail != want {
				t.Errorf("%s %s: %q, want %q", c.path, text, p.Detail, want)
			}
		}
	}
	for _, text := range []string{"1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"} { // valid times, not absent ones
		w.do("PUT", "/v1/users/me/claims/a", token, `{"source":"app","status":"busy","until":"`+text+`"}`).problem(&api.InvalidField)
	}
	for _, text := range []string{"2026-03-01t10:30:00z", "2026-12-31T23:59:60Z", "2026-03-01T10:30:00.1234567890123+01:00"} {
		if x := w.do("PUT", "/v1/users/me/claims/a", token, `{"source":"app","status":"busy","until":"`+text+`"}`); x.status != 200 {
			t.Errorf("%s: %d %s", text, x.status, x.body)
		}
	}
}

// TestNullIsRequired: a required member that is null causes the same error as an absent
// one.
func TestNullIsRequired(t *testing.T) {
	w := newWorld(t)
	token := w.admin()
	for _, c := range []struct{ method, path, body, field string }{
		{"POST", "/v1/users", `{"email":null}`, "email"},
		{"POST", "/v1/presence/query", `{"users":null}`, "users"},
		{"POST", "/v1/users/me/sessions", `{"client_type":null}`, "client_type"},
		{"PUT", "/v1/users/me/claims/a", `{"source":null,"status":"busy"}`, "source"},
		{"PUT", "/v1/users/me/claims/a", `{"source":"app","status":null}`, "status"},
		{"PUT", "/v1/users/me/note", `{"text":null}`, "text"},
		{"POST", "/v1/watches", `{"user":null}`, "user"},
		{"POST", "/v1/apps", `{"name":null,"scopes":["presence:read"]}`, "name"},
		{"POST", "/v1/apps", `{"name":"a","scopes":null}`, "scopes"},
		{"POST", "/v1/tokens", `{"name":"a","scopes":null}`, "scopes"},
		{"POST", "/v1/sessions/refresh", `{"sessions":null}`, "sessions"},
		{"POST", "/v1/sessions/refresh", `{"sessions":[{"id":null}]}`, "sessions[0].id"},
	} {
		p := w.do(c.method, c.path, token, c.body).problem(&api.InvalidField)
		if p.Field != c.field || !strings.Contains(p.Detail, " is required") {
			t.Errorf("%s %s: field %q: %s", c.path, c.body, p.Field, p.Detail)
		}
	}
}
