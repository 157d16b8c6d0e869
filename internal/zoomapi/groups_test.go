package zoomapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

const manageGroups = "group:read:list_groups:admin group:read:group:admin group:read:list_members:admin group:write:member:admin group:delete:member:admin user:read:user:admin"

func (w *fixture) group(account presence.AccountID, name string) directory.Group {
	w.tb.Helper()
	g, err := w.Directory.CreateGroup(w.tb.Context(), account, directory.Group{Name: name})
	w.must(err)
	return g
}

func noGroupBody(id string) string {
	return fmt.Sprintf(`{"code":4130,"message":"A group with this %s does not exist."}`, id)
}

// TestGroups lists groups, and adds, lists and removes members.
func TestGroups(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", manageGroups)
	want(t, w.send(token, "GET", "/v2/groups", ""), 200, `{"groups":[],"total_records":0,"next_page_token":""}`)
	g := w.group(w.account, "R&D")
	at := "/v2/groups/" + g.ID
	want(t, w.send(token, "GET", at, ""), 200, fmt.Sprintf(`{"id":"%s","name":"R\u0026D","total_members":0}`, g.ID))

	rec := w.send(token, "POST", at+"/members", fmt.Sprintf(
		`{"members":[{"id":"%s"},{"email":"ANN+desk@example.com"},{"id":"%s","email":"cyd@example.com"},{"email":"eve@example.com"},{"id":"%s"},{}]}`, w.ben.ID, w.ben.ID, w.eve.ID))
	want(t, rec, 201, fmt.Sprintf(`{"ids":"%s,%s","added_at":"2026-11-22T12:00:00Z"}`, w.ben.ID, w.ann.ID))

	want(t, w.send(token, "GET", "/v2/groups", ""), 200,
		fmt.Sprintf(`{"groups":[{"id":"%s","name":"R\u0026D","total_members":2}],"total_records":1,"next_page_token":""}`, g.ID))
	if u := read[struct {
		IDs []string `json:"group_ids"`
	}](t, w.send(token, "GET", "/v2/users/ben@example.com", ""), 200); !slices.Equal(u.IDs, []string{g.ID}) {
		t.Errorf("Ben is in %q", u.IDs)
	}
	first := read[memberPage](t, w.send(token, "GET", at+"/members?page_size=1", ""), 200)
	second := read[memberPage](t, w.send(token, "GET", at+"/members?page_size=1&next_page_token="+first.Next, ""), 200)
	numbered := read[memberPage](t, w.send(token, "GET", at+"/members?page_size=1&page_number=2", ""), 200)
	if first.Total != 2 || first.Pages != 2 || first.Next == "" || second.Next != "" || len(numbered.Members) != 1 || numbered.Members[0] != second.Members[0] {
		t.Errorf("pages: %+v %+v %+v", first, second, numbered)
	}
	emails := []string{first.Members[0].Email, second.Members[0].Email}
	slices.Sort(emails)
	if !slices.Equal(emails, []string{"ann+desk@example.com", "ben@example.com"}) {
		t.Errorf("members: %q", emails)
	}
	other := w.group(w.account, "Other")
	want(t, w.send(token, "GET", "/v2/groups/"+other.ID+"/members?next_page_token="+first.Next, ""), 400, badPage)

	for range 2 {
		want(t, w.send(token, "DELETE", at+"/members/"+string(w.ben.ID), ""), 204, "")
	}
	want(t, w.send(token, "DELETE", at+"/members/ann%2Bdesk%40example.com", ""), 204, "")
	if page := read[memberPage](t, w.send(token, "GET", at+"/members", ""), 200); page.Total != 0 || page.Members == nil || len(page.Members) != 0 {
		t.Errorf("after the last left: %+v", page)
	}
}

type memberPage struct {
	Next    string       `json:"next_page_token"`
	Pages   int          `json:"page_count"`
	Total   int          `json:"total_records"`
	Members []listedUser `json:"members"`
}

// TestGroupPages: each group is on exactly one page.
func TestGroupPages(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", manageGroups)
	var made []string
	for i := range 7 {
		made = append(made, w.group(w.account, fmt.Sprint("Group ", i)).ID)
	}
	slices.Sort(made)
	var seen []string
	next := ""
	for page := 0; page == 0 || next != ""; page++ {
		got := read[struct {
			Groups []struct{ ID string } `json:"groups"`
			Total  int                   `json:"total_records"`
			Next   string                `json:"next_page_token"`
		}](t, w.send(token, "GET", "/v2/groups?page_size=3&next_page_token="+next, ""), 200)
		if got.Total != 7 || page > 2 {
			t.Fatalf("page %d: %+v", page, got)
		}
		for _, g := range got.Groups {
			seen = append(seen, g.ID)
		}
		next = got.Next
	}
	if !slices.Equal(seen, made) {
		t.Errorf("listed %q, want %q", seen, made)
	}
}

// TestOtherAccountsGroups: a group of another account looks as if it did not exist, and
// users of another account cannot be added.
func TestOtherAccountsGroups(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", manageGroups)
	theirs := w.group(w.eveAccount(), "Theirs")
	for _, id := range []string{theirs.ID, "AAAAAAAAAAAAAAAAAAAAAA", "no", "%00"} {
		shown := id
		if id == "%00" {
			shown = `\u0000`
		}
		for _, c := range []struct{ method, suffix, body string }{
			{"GET", "", ""},
			{"GET", "/members", ""},
			{"POST", "/members", `{"members":[{"email":"ben@example.com"}]}`},
			{"DELETE", "/members/ben@example.com", ""},
			{"DELETE", "/members/eve@example.com", ""},
		} {
			want(t, w.send(token, c.method, "/v2/groups/"+id+c.suffix, c.body), 404, noGroupBody(shown))
		}
	}
	g := w.group(w.account, "Ours")
	want(t, w.send(token, "POST", "/v2/groups/"+g.ID+"/members", fmt.Sprintf(`{"members":[{"id":"%s"},{"email":"eve@example.com"}]}`, w.eve.ID)),
		201, `{"ids":"","added_at":"2026-11-22T12:00:00Z"}`)
	for _, ref := range []string{string(w.eve.ID), "eve@example.com", "nobody@example.com"} {
		want(t, w.send(token, "DELETE", "/v2/groups/"+g.ID+"/members/"+ref, ""), 404,
			fmt.Sprintf(`{"code":1001,"message":"User does not exist or does not belong to this account: %s."}`, ref))
	}
	eve, err := w.Directory.User(t.Context(), w.eveAccount(), w.eve.ID)
	if err != nil || len(eve.Groups) > 0 {
		t.Errorf("Eve: %+v, %v", eve, err)
	}
}

// TestGroupRequests: scopes, and refused bodies.
func TestGroupRequests(t *testing.T) {
	w := newFixture(t, options{})
	g := w.group(w.account, "Ours")
	for _, c := range []struct{ method, path, body, scope, classic string }{
		{"GET", "/v2/groups", "", "group:read:list_groups:admin", "group:read:admin"},
		{"GET", "/v2/groups/" + g.ID, "", "group:read:group:admin", "group:write:admin"},
		{"GET", "/v2/groups/" + g.ID + "/members", "", "group:read:list_members:admin", "group:read:admin"},
		{"POST", "/v2/groups/" + g.ID + "/members", `{"members":[{"id":"x"}]}`, "group:write:member:admin", "group:write:admin"},
		{"DELETE", "/v2/groups/" + g.ID + "/members/ben@example.com", "", "group:delete:member:admin", "group:write:admin"},
	} {
		want(t, w.send(w.token(w.account, w.ann.ID, "directory:read directory:write contact:read:admin"), c.method, c.path, c.body), 400,
			fmt.Sprintf(`{"code":4711,"message":"Invalid access token, does not contain scopes:[%s]."}`, c.scope))
		for _, scope := range []string{c.scope, c.classic} {
			if rec := w.send(w.token(w.account, w.ann.ID, scope), c.method, c.path, c.body); rec.Code/100 != 2 {
				t.Errorf("%s %s with %s: %d %s", c.method, c.path, scope, rec.Code, rec.Body)
			}
		}
		want(t, w.send("", c.method, c.path, c.body), 401, badToken)
	}
	token := w.token(w.account, "", manageGroups)
	for _, body := range []string{`{}`, `{"members":[]}`, `{"members":"x"}`, `{"members":["x"]}`, `{"members":[{"id":1}]}`, `[]`, `{"members":[` + strings.Repeat(`{"id":"x"},`, 30) + `{"id":"x"}]}`} {
		if rec := w.send(token, "POST", "/v2/groups/"+g.ID+"/members", body); rec.Code != 400 || !strings.Contains(rec.Body.String(), `"code":300`) {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
	}
	for _, query := range []string{"page_size=301", "page_size=0", "page_number=2", "next_page_token=x"} {
		if rec := w.send(token, "GET", "/v2/groups?"+query, ""); rec.Code != 400 {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

// TestMembersOfManyUsers: the counts of members come from one reading of all users, which
// is kept for a while.
func TestMembersOfManyUsers(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", manageGroups)
	g := w.group(w.account, "Everybody")
	everybody := &largeDirectory{Directory: w.Directory, size: 3000, active: true, groups: []string{"EVERYBODY"}}
	w.api.Directory = everybody
	at := "/v2/groups/" + g.ID
	for _, reads := range []int{3000, 0} {
		everybody.read = 0
		want(t, w.send(token, "GET", at, ""), 200, fmt.Sprintf(`{"id":"%s","name":"Everybody","total_members":3000}`, g.ID))
		if everybody.read != reads {
			t.Errorf("%d users were read, want %d", everybody.read, reads)
		}
	}
	w.clock.Advance(time.Minute)
	everybody.size = 3001
	want(t, w.send(token, "GET", at, ""), 200, fmt.Sprintf(`{"id":"%s","name":"Everybody","total_members":3001}`, g.ID))
}
