package zoomapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// A userPage is a page of GET /v2/users.
type userPage struct {
	Next   string       `json:"next_page_token"`
	Pages  int          `json:"page_count"`
	Number int          `json:"page_number"`
	Size   int          `json:"page_size"`
	Total  int          `json:"total_records"`
	Users  []listedUser `json:"users"`
}

func (p *userPage) emails() string {
	var all []string
	for i := range p.Users {
		all = append(all, p.Users[i].Email)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (w *fixture) users(token string, query ...string) userPage {
	w.tb.Helper()
	return read[userPage](w.tb, w.ask(token, "/v2/users", query...), 200)
}

func TestListUsers(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", "user:read:list_users:admin")
	cyd := w.cyd
	cyd.Active, cyd.Role = false, directory.Admin
	_, err := w.Directory.Update(t.Context(), w.account, cyd)
	w.must(err)
	ben := w.ben
	ben.Role = directory.Admin
	_, err = w.Directory.Update(t.Context(), w.account, ben)
	w.must(err)
	for _, c := range []struct{ query, emails string }{
		{"", "ann+desk@example.com ben@example.com owner@example.com"},
		{"status=active&page_size=2000&include_fields=host_key&license=zoom_workforce_management&unknown=1", "ann+desk@example.com ben@example.com owner@example.com"},
		{"status=inactive", "cyd@example.com"},
		{"status=pending", ""},
		{"role_id=0", "owner@example.com"},
		{"role_id=1", "ben@example.com"},
		{"role_id=1&status=inactive", "cyd@example.com"},
		{"role_id=2", "ann+desk@example.com"},
		{"role_id=Rabc", ""},
		{"page_number=2", ""},
	} {
		values, err := url.ParseQuery(c.query)
		w.must(err)
		page := read[userPage](t, w.do(call{method: "GET", path: "/v2/users?" + c.query, token: token}), 200)
		total := len(page.Users)
		if values.Get("page_number") != "" {
			total = 3
		}
		if page.emails() != c.emails || page.Total != total || page.Next != "" || page.Pages != min(1, total) || page.Users == nil {
			t.Errorf("%s: %+v", c.query, page)
		}
	}
	for _, query := range []string{"status=Active", "status=all", "page_size=0", "page_size=2001", "page_size=x", "page_number=0", "page_number=-1", "page_number=x", "page_number=1.0", "next_page_token=x"} {
		if rec := w.do(call{method: "GET", path: "/v2/users?" + query, token: token}); rec.Code != 400 || !strings.Contains(rec.Body.String(), `"code":300`) {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

// TestUserPageTokens: a token continues the query that it came from, for 15 minutes, in
// its account.
func TestUserPageTokens(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", "user:read:list_users:admin")
	first := w.users(token, "page_size", "1")
	if len(first.Users) != 1 || first.Next == "" || first.Pages != 4 || first.Total != 4 || first.Number != 1 || first.Size != 1 {
		t.Fatalf("%+v", first)
	}
	for _, query := range [][]string{{"status", "inactive"}, {"role_id", "2"}} {
		want(t, w.ask(token, "/v2/users", append(query, "next_page_token", first.Next)...), 400, badPage)
	}
	elsewhere := w.token(w.eveAccount(), "", "user:read:list_users:admin")
	want(t, w.ask(elsewhere, "/v2/users", "next_page_token", first.Next), 400, badPage)
	want(t, w.ask(w.token(w.account, "", "contact:read:list_contacts:admin"), "/v2/contacts", "search_key", "x", "next_page_token", first.Next), 400, badPage)
	w.clock.Advance(15*time.Minute - time.Second)
	if rest := w.users(token, "next_page_token", first.Next); len(rest.Users) != 3 {
		t.Errorf("%+v", rest)
	}
	w.clock.Advance(time.Second)
	want(t, w.ask(token, "/v2/users", "next_page_token", first.Next), 400, badPage)
}

// TestListWhileUsersComeAndGo reads 5,000 users by pages (on NATS, where each takes 30 ms
// to create, 500), while users are created,
// deleted, deactivated and renamed between the pages. Every user who is there and active
// all the time is listed once; no one is listed twice, and no one who was gone before the
// page was read.
func TestListWhileUsersComeAndGo(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", everythingOfUsers)
	users, size := 5000, "300"
	if enginetest.OnNATS() {
		users, size = 500, "30"
	}
	for i := range users - 4 {
		w.must1(w.Directory.Create(t.Context(), w.account, directory.User{Email: fmt.Sprintf("user%04d@example.com", i), Active: true}))
	}
	stable := map[presence.UserID]bool{}
	all, err := w.Directory.Users(t.Context(), w.account, "", 10_000)
	w.must(err)
	for i := range all {
		stable[all[i].ID] = true
	}
	seen := map[presence.UserID]bool{}
	gone := map[presence.UserID]bool{}
	next := ""
	for page := 0; page == 0 || next != ""; page++ {
		got := w.users(token, "page_size", size, "next_page_token", next)
		for i := range got.Users {
			id := got.Users[i].ID
			if seen[id] || gone[id] {
				t.Errorf("page %d lists %s again, or after it was gone", page, id)
			}
			seen[id] = true
		}
		if got.Total < users-100 || got.Total > users+100 {
			t.Errorf("total_records: %d", got.Total)
		}
		next = got.Next
		// Two go and one changes, anywhere in the order; one comes.
		for i, method := range []string{"DELETE", "PUT", "PATCH"} {
			u := all[(page*1237+i*571)%len(all)]
			suffix, body := "", ""
			switch method {
			case "PUT":
				suffix, body = "/status", `{"action":"deactivate"}`
			case "PATCH":
				body = `{"first_name":"New"}`
			}
			rec := w.send(token, method, "/v2/users/"+string(u.ID)+suffix, body)
			if rec.Code == 204 && method != "PATCH" {
				gone[u.ID] = true
				delete(stable, u.ID)
			}
		}
		read[listedUser](t, w.send(token, "POST", "/v2/users", fmt.Sprintf(`{"action":"create","user_info":{"email":"new%d@example.com","type":1}}`, page)), 201)
	}
	missing := 0
	for id := range stable {
		if !seen[id] {
			missing++
		}
	}
	if missing > 0 || len(gone) < 20 {
		t.Errorf("%d users were not listed; %d went", missing, len(gone))
	}
}

func (w *fixture) must1(_ any, err error) {
	w.tb.Helper()
	w.must(err)
}

// TestCounts: small counts are exact, large ones are kept for a minute, and numbered pages
// have every user once.
func TestCounts(t *testing.T) {
	w := newFixture(t, options{})
	everybody := &largeDirectory{Directory: w.Directory, size: 1000, active: true}
	w.api.Directory = everybody
	token := w.token(w.account, "", "user:read:list_users:admin")
	step := func(size, total, atMost int) {
		t.Helper()
		everybody.size, everybody.read = size, 0
		if page := w.users(token); page.Total != total || everybody.read > atMost {
			t.Errorf("%d users: total %d after %d reads", size, page.Total, everybody.read)
		}
	}
	step(900, 900, 1000)
	step(999, 999, 1100)
	step(100_000, 100_000, 100_100)
	step(100_001, 100_000, 31) // kept
	w.clock.Advance(2*time.Minute - time.Microsecond)
	step(100_001, 100_000, 31)
	w.clock.Advance(time.Microsecond)
	step(100_001, 100_001, 100_100)
	if page := w.users(token, "status", "inactive"); page.Total != 0 {
		t.Errorf("inactive: %+v", page)
	}

	var seen []string
	pages := 0
	for number := 1; number == 1 || number <= pages; number += 47 {
		everybody.read = 0
		page := w.users(token, "page_size", "1999", "page_number", strconv.Itoa(number))
		pages = page.Pages
		first := (number - 1) * 1999
		if page.Number != number || len(page.Users) == 0 || page.Users[0].ID != presence.UserID(fmt.Sprintf("%06d", first)) || everybody.read > 3000 {
			t.Fatalf("page %d begins with %+v after %d reads", number, page.Users[0], everybody.read)
		}
		for i := range page.Users {
			seen = append(seen, string(page.Users[i].ID))
		}
	}
	if pages != 51 || !slices.IsSorted(seen) || len(slices.Compact(seen)) != len(seen) {
		t.Errorf("%d pages", pages)
	}
	if page := w.users(token, "page_size", "1999", "page_number", "51"); len(page.Users) != 100_001-50*1999 || page.Next != "" {
		t.Errorf("the last page has %d users, then %q", len(page.Users), page.Next)
	}
	if page := w.users(token, "page_number", "100000"); len(page.Users) != 0 || page.Next != "" {
		t.Errorf("past the end: %+v", page)
	}
}
