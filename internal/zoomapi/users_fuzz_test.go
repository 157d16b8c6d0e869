package zoomapi

import (
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
)

// FuzzUserList: every query is refused or within the bounds, and the tokens that continue
// it come back as they were made.
func FuzzUserList(f *testing.F) {
	for _, seed := range []string{
		"", "status=active&page_size=2000&page_number=7", "status=pending&role_id=0", "page_size=0", "page_size=99999999999999999999",
		"page_number=1000001", "page_number=%31", "next_page_token=AAAA", "status=a;b", "%zz", "role_id=%00", "page_size=+1",
	} {
		f.Add(seed)
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	a, p := &API{Clock: func() time.Time { return at }}, &auth.Principal{Account: "account"}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/v2/users", nil)
		r.URL.RawQuery = query
		l, err := a.readUserList(r, p)
		if err != nil {
			if reply := answerTo(err); reply.status != 400 || reply.code != 300 {
				t.Fatalf("%q: %v is answered %d/%d", query, err, reply.status, reply.code)
			}
			return
		}
		if l.size < 1 || l.size > 2000 || l.number < 1 || l.number > maxPageNumber || !slices.Contains([]string{userActive, userInactive, userPending}, l.status) {
			t.Fatalf("%q: %+v", query, l)
		}
		token := a.pageToken(p, l.bound, "someone")
		r.URL.RawQuery = url.Values{"status": {l.status}, "role_id": {l.role}, "next_page_token": {token}}.Encode()
		if next, err := a.readUserList(r, p); err != nil || next.after != "someone" || next.userFilter != l.userFilter {
			t.Fatalf("%q: the token leads to %+v, %v", query, next, err)
		}
		r.URL.RawQuery = url.Values{"status": {l.status}, "role_id": {l.role + "x"}, "next_page_token": {token}}.Encode()
		if _, err := a.readUserList(r, p); err == nil {
			t.Fatalf("%q: the token continues another query", query)
		}
	})
}

// FuzzUserBodies: a body is refused with 300, or read into what the directory checks.
func FuzzUserBodies(f *testing.F) {
	for _, seed := range []string{
		`{"action":"create","user_info":{"email":"x@example.com","type":1,"first_name":"x","password":"y"}}`, `{"first_name":null,"dept":"R&D"}`,
		`{"members":[{"id":"x"},{"email":"y"}]}`, `{"action":"create","action":"create"}`, `{"user_info":{"type":1e400}}`, `[]`, ``, "{\"dept\":\"\xff\"}", `{"type":1.0}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		read := func(into any) bool {
			r := httptest.NewRequest("POST", "/v2/users", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			err := readJSON(httptest.NewRecorder(), r, into)
			if err == nil {
				return true
			}
			if reply := answerTo(err); reply.code != 300 && reply.status != 413 {
				t.Fatalf("%q: %v is answered %d/%d", body, err, reply.status, reply.code)
			}
			return false
		}
		var made newUser
		if read(&made) && made.check() == nil && (!slices.Contains(createActions, made.Action) || made.Info == nil) {
			t.Fatalf("%q: %+v", body, made)
		}
		var edit userEdit
		before := directory.User{ID: "x", Email: "x@example.com", Role: directory.Member, Groups: []string{"a"}, Active: true}
		u := before
		if !read(&edit) || edit.apply(&u) != nil {
			return
		}
		u.FirstName, u.LastName, u.DisplayName, u.Department = "", "", "", ""
		if !u.Equal(&before) {
			t.Fatalf("%q changes more than names: %+v", body, u)
		}
	})
}
