package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
)

func TestGroupLifecycle(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var made, read api.Group
	x := w.do("POST", "/v1/groups", admin, `{"name":"Support","external_id":"x1"}`).want(201).read(&made)
	at := "/v1/groups/" + made.ID
	if made.Name != "Support" || made.ExternalID != "x1" || x.header.Get("Location") != at {
		t.Errorf("%+v", made)
	}
	w.do("POST", "/v1/groups", admin, `{"name":"SUPPORT"}`).problem(&api.GroupTaken)
	for body, field := range map[string]string{`{}`: "name", `{"name":""}`: "name", `{"name":"` + strings.Repeat("x", 65) + `"}`: "name"} {
		if p := w.do("POST", "/v1/groups", admin, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q", body, p.Field)
		}
	}
	member := at + "/members/"
	for range 2 {
		w.do("PUT", member+"alice@example.com", admin, "").want(204)
	}
	w.do("PUT", member+"nobody@example.com", admin, "").problem(&api.NoUser)
	w.do("PUT", member+string(w.stranger.ID), admin, "").problem(&api.NoUser)
	w.do("PATCH", "/v1/users/bob@example.com", admin, `{"groups":["support","Sales"]}`).want(200)

	tag := w.do("GET", at, admin, "").want(200).read(&read).header.Get("Etag")
	if read != made {
		t.Errorf("%+v", read)
	}
	w.do("GET", at, admin, "", "If-None-Match", tag).want(304)
	w.do("PATCH", at, admin, `{"name":"Help desk"}`, "If-Match", `"other"`).problem(&api.PreconditionFailed)
	w.do("PATCH", at, admin, `{"name":"sales"}`).problem(&api.GroupTaken)
	w.do("PATCH", at, admin, `{"name":"Help desk"}`, "If-Match", tag).want(200).read(&read)
	if read.ID != made.ID || read.Name != "Help desk" {
		t.Errorf("%+v", read)
	}
	var members api.Users
	w.do("GET", at+"/members", admin, "").want(200).read(&members)
	if len(members.Users) != 2 || members.Users[0].Groups[0] != "Help desk" || members.Users[1].Groups[0] != "Help desk" {
		t.Errorf("%+v", members)
	}
	w.do("GET", at+"/members?limit=1", admin, "").want(200).read(&members)
	if len(members.Users) != 1 || members.Next != members.Users[0].ID {
		t.Errorf("%+v", members)
	}
	w.do("DELETE", member+"alice@example.com", admin, "").want(204)
	w.do("DELETE", member+"alice@example.com", admin, "").want(204)
	w.do("DELETE", at, admin, "", "If-Match", tag).problem(&api.PreconditionFailed)
	w.do("DELETE", at, admin, "").want(204)
	w.do("GET", at, admin, "").problem(&api.NoGroup)
	var bob api.User
	if w.do("GET", "/v1/users/bob@example.com", admin, "").want(200).read(&bob); fmt.Sprint(bob.Groups) != "[Sales]" {
		t.Errorf("bob is in %q", bob.Groups)
	}
}

func TestListGroups(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for _, name := range []string{"A", "B", "C"} {
		w.do("POST", "/v1/groups", admin, `{"name":"`+name+`"}`).want(201)
	}
	var page, rest, found api.Groups
	w.do("GET", "/v1/groups?limit=2", admin, "").want(200).read(&page)
	w.do("GET", "/v1/groups?limit=2&after="+page.Next, admin, "").want(200).read(&rest)
	if len(page.Groups) != 2 || len(rest.Groups) != 1 || rest.Next != "" {
		t.Errorf("%+v %+v", page, rest)
	}
	if w.do("GET", "/v1/groups?name=b", admin, "").want(200).read(&found); len(found.Groups) != 1 || found.Groups[0].Name != "B" {
		t.Errorf("%+v", found)
	}
	found = api.Groups{}
	if w.do("GET", "/v1/groups?name=D", admin, "").want(200).read(&found); len(found.Groups) != 0 {
		t.Errorf("%+v", found)
	}
}
