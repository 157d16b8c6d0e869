package zoomapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	searchPath = "/v2/contacts"
	chatPath   = "/v2/chat/users/me/contacts"
	badPage    = `{"code":300,"message":"The next page token is invalid or expired."}`
)

func (w *fixture) ask(token, path string, query ...string) *httptest.ResponseRecorder {
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	return w.do(call{method: "GET", path: path + "?" + values.Encode(), token: token})
}

// A contactPage is the answer of both listings.
type contactPage struct {
	Contacts []struct {
		Email          string `json:"email"`
		PresenceStatus string `json:"presence_status"`
		UserStatus     string `json:"user_status"`
	} `json:"contacts"`
	Next string `json:"next_page_token"`
	Size int    `json:"page_size"`
}

func (w *fixture) page(rec *httptest.ResponseRecorder) contactPage {
	w.tb.Helper()
	var page contactPage
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || rec.Code != 200 {
		w.tb.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
	}
	return page
}

func (p *contactPage) emails() string {
	var all []string
	for _, c := range p.Contacts {
		all = append(all, c.Email)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// newContactFixture adds names, and contacts of Ann.
func newContactFixture(t *testing.T) (w *fixture, token string) {
	t.Helper()
	w = newFixture(t, options{})
	for _, u := range []struct {
		user              directory.User
		first, last, dept string
	}{{w.ben, "Benjamin", "Ångström", "R&D"}, {w.cyd, "Cydney", "Doe", "Research"}} {
		u.user.FirstName, u.user.LastName, u.user.Department, u.user.DisplayName = u.first, u.last, u.dept, u.first
		_, err := w.Directory.Update(t.Context(), w.account, u.user)
		w.must(err)
	}
	for _, contact := range []directory.User{w.ben, w.cyd, w.owner} {
		_, err := w.Directory.SetContact(t.Context(), w.account, w.ann.ID, contact.ID, "")
		w.must(err)
	}
	return w, w.token(w.account, w.ann.ID, "contact:read:list_contacts team_chat:read:list_contacts team_chat:read:contact")
}

// TestNumberedPages: page numbers are refused. Otherwise a client that counts pages
// would get the first page for ever.
func TestNumberedPages(t *testing.T) {
	w, token := newContactFixture(t)
	for _, path := range []string{searchPath, chatPath} {
		ask := func(number string) *httptest.ResponseRecorder {
			return w.ask(token, path, "search_key", "example", "page_number", number)
		}
		for _, number := range []string{"", "1"} {
			if rec := ask(number); rec.Code != 200 {
				t.Errorf("%s, page %q: %d %s", path, number, rec.Code, rec.Body)
			}
		}
		for _, number := range []string{"2", "0", "-1", "x", "1.0"} {
			if rec := ask(number); rec.Code != 400 || !strings.Contains(rec.Body.String(), "page_number") {
				t.Errorf("%s, page %q: %d %s", path, number, rec.Code, rec.Body)
			}
		}
	}
}

// TestSearchForAnAddress: a "+" in an address need not be escaped.
func TestSearchForAnAddress(t *testing.T) {
	w, token := newContactFixture(t)
	for _, query := range []string{"ann+desk@example.com", "ann%2Bdesk@example.com", "ann%2bdesk%40example.com", "ann+desk%40example.com"} {
		r := call{method: "GET", path: searchPath + "?page_size=25&search_key=" + query, token: token}
		if page := w.page(w.do(r)); page.emails() != "ann+desk@example.com" {
			t.Errorf("%s finds %q", query, page.emails())
		}
	}
}

func TestSearchContacts(t *testing.T) {
	w, token := newContactFixture(t)
	want(t, w.ask(token, searchPath, "search_key", "ÅNGSTRÖM"), 200, fmt.Sprintf(
		`{"contacts":[{"id":"%[1]s","member_id":"%[1]s","email":"ben@example.com","first_name":"Benjamin","last_name":"Ångström",`+
			`"display_name":"Benjamin","dept":"R\u0026D","contact_type":1,"user_status":"active"}],"next_page_token":"","page_size":1}`, w.ben.ID))

	const all, none = "ann+desk@example.com ben@example.com cyd@example.com owner@example.com", ""
	u, err := w.Directory.User(t.Context(), w.account, w.owner.ID)
	w.must(err)
	u.Active = false
	_, err = w.Directory.Update(t.Context(), w.account, u)
	w.must(err)
	for _, c := range []struct {
		query  []string
		emails string
	}{
		{[]string{"search_key", "EXAMPLE.com"}, all},
		{[]string{"search_key", "example.com", "query_presence_status", "True"}, all},
		{[]string{"search_key", "r&d"}, "ben@example.com"},
		{[]string{"search_key", "benjamin å"}, "ben@example.com"},
		{[]string{"search_key", " cyd "}, "cyd@example.com"},
		{[]string{"search_key", "eve"}, none},
		{[]string{"search_key", "example", "user_status", "inactive"}, "owner@example.com"},
		{[]string{"search_key", "owner", "user_status", "active"}, none},
		{[]string{"search_key", "example", "contact_types", "2,1"}, all},
		{[]string{"search_key", "example", "contact_types", "2"}, none},
	} {
		page := w.page(w.ask(token, searchPath, append(c.query, "page_size", "25")...))
		if got := page.emails(); got != c.emails || page.Next != "" || page.Size != 25 {
			t.Errorf("%q finds %q, then %q", c.query, got, page.Next)
		}
	}
}

// TestSearchStatus: each status in the vocabulary of the search and of a single
// contact.
func TestSearchStatus(t *testing.T) {
	w, token := newContactFixture(t)
	for status, words := range map[presence.Status][2]string{
		presence.Busy: {"Do_Not_Disturb", "Busy"}, presence.DoNotDisturb: {"Do_Not_Disturb", "Do_Not_Disturb"},
		presence.InCalendarEvent: {"Away", "In_A_Calendar_Event"}, presence.InMeeting: {"Do_Not_Disturb", "In_A_Meeting"},
		presence.Presenting: {"Do_Not_Disturb", "Presenting"}, presence.OnCall: {"Do_Not_Disturb", "In_A_Call"},
		presence.OutOfOffice: {"Away", "Out_of_Office"}, presence.Away: {"Away", "Away"},
		presence.Offline: {"Offline", "Offline"}, presence.Available: {"Available", "Available"},
	} {
		who := w.ben
		switch status {
		case presence.Offline: // no record
			who = w.cyd
		case presence.Available:
			w.publish(who.ID, presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: status})
		default:
			w.publish(who.ID, presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: status, Lasts: time.Hour})
		}
		page := w.page(w.ask(token, searchPath, "search_key", who.Email, "query_presence_status", "TRUE"))
		if len(page.Contacts) != 1 || page.Contacts[0].PresenceStatus != words[0] {
			t.Errorf("the search shows %v as %+v", status, page)
		}
		rec := w.ask(token, chatPath+"/"+string(who.ID), "query_presence_status", "true")
		if !strings.HasSuffix(rec.Body.String(), `,"presence_status":"`+words[1]+`"}`+"\n") {
			t.Errorf("a contact shows %v as %s", status, rec.Body)
		}
	}
}

// TestContactsFollowVisibility: visibility rules apply here too, but not to an app.
func TestContactsFollowVisibility(t *testing.T) {
	w, token := newContactFixture(t)
	app := w.token(w.account, "", "contact:read:list_contacts:admin")
	plain := w.token(w.account, "", "contact:read:list_contacts team_chat:read:contact")
	w.publish(w.ben.ID, presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{w.ann.ID: presence.VisibilityOffline}})
	for token, status := range map[string]string{token: "Offline", app: "Available", plain: "Available"} {
		page := w.page(w.ask(token, searchPath, "search_key", "ben@", "query_presence_status", "true"))
		if len(page.Contacts) != 1 || page.Contacts[0].PresenceStatus != status {
			t.Errorf("%+v, want %s", page, status)
		}
		rec := w.ask(token, chatPath+"/ben@example.com", "query_presence_status", "true")
		if !strings.Contains(rec.Body.String(), `"presence_status":"`+status+`"`) {
			t.Errorf("%s, want %s", rec.Body, status)
		}
	}
}

func TestListContacts(t *testing.T) {
	w, token := newContactFixture(t)
	page := w.page(w.ask(token, chatPath))
	if got := page.emails(); got != "ben@example.com cyd@example.com owner@example.com" || page.Next != "" || page.Size != 10 {
		t.Errorf("%+v", page)
	}
	want(t, w.ask(token, chatPath, "type", "external"), 200, `{"contacts":[],"next_page_token":"","page_size":10}`)
	w.must(w.Directory.Delete(t.Context(), w.account, w.ben.ID))
	w.must(w.Directory.RemoveContact(t.Context(), w.account, w.ann.ID, w.owner.ID))
	want(t, w.ask(token, chatPath), 200, fmt.Sprintf(
		`{"contacts":[{"id":"%[1]s","member_id":"%[1]s","email":"cyd@example.com","first_name":"Cydney","last_name":"Doe"}],`+
			`"next_page_token":"","page_size":10}`, w.cyd.ID))

	// An app has the contacts of its owner; in an account without an owner it has none.
	scopes := "team_chat:read:list_contacts"
	want(t, w.ask(w.token(w.account, "", scopes), chatPath), 200, `{"contacts":[],"next_page_token":"","page_size":10}`)
	accounts, err := w.Directory.Accounts(t.Context(), "", 10)
	w.must(err)
	for _, account := range accounts {
		if account.ID != w.account {
			want(t, w.ask(w.token(account.ID, "", scopes), chatPath), 404, noUserBody("me"))
		}
	}
}

func TestGetContact(t *testing.T) {
	w, token := newContactFixture(t)
	body := fmt.Sprintf(`{"id":"%[1]s","member_id":"%[1]s","email":"cyd@example.com","first_name":"Cydney","last_name":"Doe"}`, w.cyd.ID)
	for _, ref := range []string{string(w.cyd.ID), "CYD@example.com", "cyd%40example.com", "cyd%2540example.com"} {
		want(t, w.do(call{method: "GET", path: chatPath + "/" + ref, token: token}), 200, body)
	}
	for _, ref := range []string{"nobody", "nobody@example.com", "eve@example.com", string(w.eve.ID), "me"} {
		want(t, w.ask(token, chatPath+"/"+ref), 404, noUserBody(ref))
	}
	want(t, w.ask(token, chatPath+"/nobody", "query_presence_status", "perhaps"), 400, badParameter("query_presence_status", "It must be true or false."))
	w.store.fail = store.ErrFailed
	want(t, w.ask(token, chatPath+"/"+string(w.cyd.ID), "query_presence_status", "true"), 503, `{"code":503,"message":"The store failed. Try again later."}`)
	want(t, w.ask(token, searchPath, "search_key", "cyd", "query_presence_status", "true"), 503, `{"code":503,"message":"The store failed. Try again later."}`)
}

func badParameter(name, more string) string {
	return `{"code":300,"message":"Validation Failed.","errors":[{"field":"` + name + `","message":"Invalid field. ` + more + `"}]}`
}

func TestContactsRefuse(t *testing.T) {
	w, token := newContactFixture(t)
	for _, c := range []struct {
		path        string
		query       []string
		field, more string
	}{
		{searchPath, nil, "search_key", "It is required."},
		{searchPath, []string{"search_key", " "}, "search_key", "It is required."},
		{searchPath, []string{"search_key", "x", "page_size", "26"}, "page_size", "It must be a number from 1 to 25."},
		{searchPath, []string{"search_key", "x", "page_size", "0"}, "page_size", "It must be a number from 1 to 25."},
		{searchPath, []string{"search_key", "x", "user_status", "gone"}, "user_status", "It must be one of: active, inactive."},
		{searchPath, []string{"search_key", "x", "contact_types", "9"}, "contact_types", "It must be numbers from 1 to 8."},
		{searchPath, []string{"search_key", "x", "contact_types", "1,x"}, "contact_types", "It must be numbers from 1 to 8."},
		{searchPath, []string{"search_key", "x", "query_presence_status", "1"}, "query_presence_status", "It must be true or false."},
		{chatPath, []string{"page_size", "51"}, "page_size", "It must be a number from 1 to 50."},
		{chatPath, []string{"page_size", "x"}, "page_size", "It must be a number from 1 to 50."},
		{chatPath, []string{"type", "friends"}, "type", "It must be one of: company, external."},
	} {
		want(t, w.ask(token, c.path, c.query...), 400, badParameter(c.field, c.more))
	}
	for path, scopes := range map[string]string{
		searchPath:        "contact:read:list_contacts, contact:read:list_contacts:admin",
		chatPath:          "team_chat:read:list_contacts",
		chatPath + "/ben": "team_chat:read:contact",
	} {
		lacks := `{"code":4711,"message":"Invalid access token, does not contain scopes:[` + scopes + `]."}`
		want(t, w.do(call{method: "GET", path: path}), 401, badToken)
		want(t, w.do(call{method: "GET", path: path, token: w.annReads}), 400, lacks)
		want(t, w.do(call{method: "GET", path: path + "?search_key=%zz", token: token}), 400, `{"code":300,"message":"The query of the URL is not well-formed."}`)
		want(t, w.do(call{method: "POST", path: path, token: token}), 405, `{"code":405,"message":"Request method POST is not supported; this path allows GET, HEAD."}`)
	}
}

// TestContactPages reads both listings in pages, and uses tokens where they are not
// valid.
func TestContactPages(t *testing.T) {
	w, token := newContactFixture(t)
	for _, c := range []struct {
		path  string
		query []string
		most  int
	}{
		{searchPath, []string{"search_key", "example"}, 4},
		{chatPath, []string{"page_size", "1"}, 3},
	} {
		query := append(slices.Clone(c.query), "next_page_token", "")
		seen := map[string]bool{}
		for {
			page := w.page(w.ask(token, c.path, query...))
			for _, contact := range page.Contacts {
				seen[contact.Email] = true
			}
			if len(page.Contacts) != 1 || len(seen) > c.most {
				t.Fatalf("%+v after %v", page, seen)
			}
			if page.Next == "" {
				break
			}
			query[len(query)-1] = page.Next
		}
		if len(seen) != c.most {
			t.Errorf("%s: %v", c.path, seen)
		}
		good := query[len(query)-1]
		for _, bad := range []string{"x", good[1:], good + "AAAA", strings.ToUpper(good), strings.Repeat("A", 1000), "====", strings.Repeat("A", 30)} {
			query[len(query)-1] = bad
			want(t, w.ask(token, c.path, query...), 400, badPage)
		}
		query[len(query)-1] = good
		want(t, w.ask(token, searchPath, "search_key", "other", "next_page_token", good), 400, badPage)
		w.clock.Advance(15*time.Minute - 2*time.Second)
		w.page(w.ask(token, c.path, query...))
		w.clock.Advance(2 * time.Second)
		want(t, w.ask(token, c.path, query...), 400, badPage)
	}
}

// A largeDirectory has many users, which are made on demand.
type largeDirectory struct {
	*directory.Directory
	size, read int
	active     bool
	groups     []string
}

func (c *largeDirectory) Users(_ context.Context, _ presence.AccountID, after presence.UserID, limit int) ([]directory.User, error) {
	first := 0
	if after != "" {
		n, err := strconv.Atoi(string(after))
		if err != nil {
			return nil, err
		}
		first = n + 1
	}
	var users []directory.User
	for i := first; i < min(first+limit, c.size); i++ {
		users = append(users, directory.User{ID: presence.UserID(fmt.Sprintf("%06d", i)), Email: fmt.Sprintf("user%06d@example.com", i), Active: c.active, Groups: c.groups})
	}
	c.read += len(users)
	return users, nil
}

// TestSearchIsBounded: one request reads a bounded number of users, and the next
// continues from there.
func TestSearchIsBounded(t *testing.T) {
	w, token := newContactFixture(t)
	everybody := &largeDirectory{Directory: w.Directory, size: 50_000}
	w.api.Directory = everybody
	next := ""
	for i, step := range []struct {
		emails string
		more   bool
		read   int
	}{{"", true, 20_000}, {"user030000@example.com", true, 20_000}, {"", false, 10_000}} {
		everybody.read = 0
		page := w.page(w.ask(token, searchPath, "search_key", "user030000", "page_size", "2", "next_page_token", next))
		if page.emails() != step.emails || (page.Next != "") != step.more || everybody.read != step.read {
			t.Errorf("step %d: %+v after %d users", i, page, everybody.read)
		}
		next = page.Next
	}
}
