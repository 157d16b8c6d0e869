package httpapi_test

import (
	"testing"

	"porchlight.dev/porchlight/api"
)

// TestAddressesInQuery: "+" in an address is literal, whether or not it is encoded. No
// address contains a space.
func TestAddressesInQuery(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var u api.User
	w.do("POST", "/v1/users", admin, `{"email":"ada+work@example.com"}`).want(201).read(&u)
	for query, want := range map[string]string{
		"users=ada+work@example.com":           u.ID,
		"users=ADA%2Bwork%40example.com":       u.ID,
		"users=ada%2bwork@example.com&wait=0":  u.ID,
		"wait=0&%75sers=ada+work@example.com":  u.ID,
		"users=ada%20work@example.com&wait=0":  "",
		"users=ada%252Bwork@example.com":       "",
		"users=bob@example.com&cursor=&wait=0": string(w.bob.ID),
	} {
		var got api.Changes
		w.do("GET", "/v1/presence/changes?"+query, admin, "").want(200).read(&got)
		switch {
		case want == "" && (len(got.Unknown) != 1 || len(got.Presences) != 0),
			want != "" && (len(got.Presences) != 1 || got.Presences[0].User != want):
			t.Errorf("%s: %+v", query, got)
		}
	}
	w.do("GET", "/v1/presence/changes?users=a+b@example.com&users=x", admin, "").problem(&api.InvalidField)
	w.do("POST", "/v1/users", admin, `{"email":"a,b@example.com"}`).problem(&api.InvalidField)
}

// TestPollResolvesAddressEachTime: each request resolves the address again. If it has
// a new owner, the response has the owner's changes after the cursor.
func TestPollResolvesAddressEachTime(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	poll := func(cursor string) (c api.Changes) {
		w.do("GET", "/v1/presence/changes?wait=0&users=alice@example.com&cursor="+cursor, admin, "").want(200).read(&c)
		return c
	}
	first := poll("")
	if len(first.Presences) != 1 || first.Presences[0].User != string(w.alice.ID) {
		t.Fatalf("%+v", first)
	}
	w.do("PATCH", "/v1/users/"+string(w.alice.ID), admin, `{"email":"alice2@example.com"}`).want(200)
	w.do("PATCH", "/v1/users/"+string(w.bob.ID), admin, `{"email":"alice@example.com"}`).want(200)
	for _, u := range []string{string(w.alice.ID), string(w.bob.ID)} {
		w.do("PUT", "/v1/users/"+u+"/note", admin, `{"text":"moved"}`).want(200)
	}
	next := poll(first.Cursor)
	if len(next.Presences) != 1 || next.Presences[0].User != string(w.bob.ID) || next.Presences[0].AskedAs != "alice@example.com" {
		t.Errorf("after the address moved: %+v", next)
	}
}
