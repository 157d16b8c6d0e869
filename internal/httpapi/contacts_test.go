package httpapi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestContactLimitsAgree: the API documents the limits that the directory and the rules
// enforce.
func TestContactLimitsAgree(t *testing.T) {
	if api.MaxContacts != directory.MaxContacts || api.MaxVisibilityWatchers != presence.MaxRules {
		t.Error("the limits differ")
	}
}

func TestContacts(t *testing.T) {
	w := newWorld(t)
	own := w.token(w.alice.ID, "contact:read contact:write")
	const mine = "/v1/users/me/contacts"
	var set api.Contact
	w.do("PUT", mine+"/BOB%40example.com", own, `{"group":"Work"}`).want(200).read(&set)
	if set.User != string(w.bob.ID) || set.Group != "Work" || !set.Added.Equal(w.clock()) {
		t.Errorf("%+v", set)
	}
	w.advance(time.Minute)
	var moved api.Contact
	w.do("PUT", mine+"/"+string(w.bob.ID), own, `{}`).want(200).read(&moved)
	if moved.Group != "" || !moved.Added.Equal(set.Added.Time) {
		t.Errorf("%+v", moved)
	}
	w.do("PUT", mine+"/owner@example.com", own, `{}`).want(200)
	var page api.Contacts
	w.do("GET", mine+"?limit=1", own, "").want(200).read(&page)
	first := page.Contacts[0].User
	w.do("GET", mine+"?limit=1&after="+page.Next, own, "").want(200).read(&page)
	if page.Contacts[0].User <= first {
		t.Errorf("%+v after %s", page, first)
	}
	page = api.Contacts{}
	if w.do("GET", mine, own, "").want(200).read(&page); page.Next != "" || len(page.Contacts) != 2 {
		t.Errorf("%+v", page)
	}
	w.do("GET", mine+"?limit=0", own, "").problem(&api.InvalidField)

	for path, kind := range map[string]*api.Kind{
		mine + "/me":                           &api.InvalidField,
		mine + "/alice@example.com":            &api.InvalidField,
		mine + "/nobody@example.com":           &api.NoUser,
		mine + "/" + string(w.stranger.ID):     &api.NoUser,
		mine + "/stranger@example.net":         &api.NoUser,
		mine + "/" + string(w.deleted):         &api.NoUser,
		"/v1/users/bob@example.com/contacts/x": &api.Forbidden,
	} {
		w.do("PUT", path, own, `{}`).problem(kind)
		if kind != &api.Forbidden {
			w.do("DELETE", path, own, "").problem(&api.NoContact)
		}
	}
	for body, kind := range map[string]*api.Kind{
		`{"group":"` + strings.Repeat("x", 65) + `"}`: &api.InvalidField,
		`{"group":"\n"}`:             &api.InvalidField,
		`{"colour":"red"}`:           &api.InvalidField,
		`[]`:                         &api.Malformed,
		`{"group":"x"}{}`:            &api.Malformed,
		`{"group":"\ud800`:           &api.Malformed,
		strings.Repeat(" ", 1<<16+1): &api.BodyTooLarge,
	} {
		w.do("PUT", mine+"/nobody", own, body).problem(kind) // the body is checked before the user
	}
	w.do("PUT", mine+"/bob@example.com", own, "{}", "Content-Type", "text/xml").problem(&api.UnsupportedMediaType)

	w.do("DELETE", mine+"/bob@example.com", own, "").want(204)
	w.do("DELETE", mine+"/bob@example.com", own, "").problem(&api.NoContact)
	// A deleted user stays a contact until removed.
	u, err := w.directory.Create(t.Context(), w.account, w.userLike("short@example.com"))
	w.must(err)
	w.do("PUT", mine+"/"+string(u.ID), own, `{}`).want(200)
	w.do("DELETE", "/v1/users/"+string(u.ID), w.admin(), "").want(204)
	if w.do("GET", mine, own, "").want(200).read(&page); len(page.Contacts) != 2 {
		t.Errorf("%+v", page)
	}
	w.do("DELETE", mine+"/"+string(u.ID), own, "").want(204)
}

// presenceOfAlice returns the presence of Alice that a token may see, and checks that a
// single read and a query agree.
func (w *world) presenceOfAlice(token string) api.Presence {
	w.t.Helper()
	var one api.Presence
	x := w.do("GET", "/v1/users/alice@example.com/presence", token, "").want(200)
	x.read(&one)
	one.Cursor = ""
	var many api.Presences
	w.do("POST", "/v1/presence/query", token, `{"users":["`+string(w.alice.ID)+`"]}`).want(200).read(&many)
	if len(many.Presences) != 1 || many.Presences[0] != one {
		w.t.Errorf("the single read returns %+v, the query %+v", one, many)
	}
	if tag := x.header.Get("Etag"); tag != "" && !w.seesUnfiltered(token) {
		w.t.Errorf("a watcher gets the tag %s", tag)
	}
	return one
}

func (w *world) seesUnfiltered(token string) bool {
	w.t.Helper()
	var me api.Me
	w.do("GET", "/v1/me", token, "").want(200).read(&me)
	return me.AccountLevel || me.User == string(w.alice.ID)
}

// TestVisibility: Bob sees what Alice's rules allow, and a hidden user looks the same
// as an offline one.
func TestVisibility(t *testing.T) {
	w := newWorld(t)
	own, admin := w.token(w.alice.ID, "contact:read contact:write claim:write session:write presence:read"), w.admin()
	bob := w.token(w.bob.ID, "presence:read")
	const rules = "/v1/users/me/visibility"
	var v api.Visibility
	if w.do("GET", rules, own, "").want(200).read(&v); v.Everyone != api.VisibilityAll || v.Groups == nil || v.Watchers == nil {
		t.Errorf("%+v", v)
	}
	w.signIn("/v1/sessions", own, `{"client_type":"web","lease_seconds":3600}`)
	busy := func(note string) {
		t.Helper()
		w.advance(time.Minute)
		w.do("PUT", "/v1/users/me/claims/x", own, `{"source":"meeting","status":"busy","note":"`+note+`"}`).want(200)
	}
	busy("one")
	if p := w.presenceOfAlice(bob); p.Status != api.Busy || p.Note != "one" {
		t.Errorf("%+v", p)
	}

	w.do("PUT", rules, own, `{"everyone":"status"}`).want(200)
	p := w.presenceOfAlice(bob)
	if p.Status != api.Busy || p.Note != "" || !p.Since.IsZero() || !p.Until.IsZero() {
		t.Errorf("%+v", p)
	}
	busy("two")
	if again := w.presenceOfAlice(bob); again != p {
		t.Errorf("after a note Bob sees %+v, and before %+v", again, p)
	}

	w.do("PUT", rules, own, `{"everyone":"all","watchers":{"bob@example.com":"offline"}}`).want(200).read(&v)
	if v.Watchers[string(w.bob.ID)] != api.VisibilityOffline {
		t.Errorf("%+v", v)
	}
	hidden := w.presenceOfAlice(bob)
	if hidden.Status != api.Offline || hidden.Note != "" || hidden.Revision <= p.Revision {
		t.Errorf("%+v", hidden)
	}
	busy("three")
	w.do("PUT", "/v1/users/me/claims/x", own, `{"source":"meeting","status":"in_meeting"}`).want(200)
	if again := w.presenceOfAlice(bob); again != hidden {
		t.Errorf("a change of a hidden user is visible: %+v, and before %+v", again, hidden)
	}
	for _, token := range []string{own, admin} {
		if p := w.presenceOfAlice(token); p.Status != api.InMeeting {
			t.Errorf("%+v", p)
		}
	}

	w.do("DELETE", rules, own, "").want(204)
	w.do("DELETE", rules, own, "").want(204)
	if p := w.presenceOfAlice(bob); p.Status != api.InMeeting {
		t.Errorf("%+v", p)
	}
}

// TestVisibilityOfGroups: the rule of a group applies to its current contacts.
func TestVisibilityOfGroups(t *testing.T) {
	w := newWorld(t)
	own := w.token(w.alice.ID, "contact:read contact:write session:write")
	bob := w.token(w.bob.ID, "presence:read")
	w.signIn("/v1/sessions", own, `{"client_type":"web","lease_seconds":3600}`)
	const rules, contact = "/v1/users/me/visibility", "/v1/users/me/contacts/bob@example.com"
	expectBobSees := func(want api.Status) {
		t.Helper()
		if got := w.presenceOfAlice(bob).Status; got != want {
			t.Errorf("Bob sees %s, want %s", got, want)
		}
	}
	w.do("PUT", rules, own, `{"everyone":"offline","groups":{"Work":"all"}}`).want(200)
	expectBobSees(api.Offline)
	w.do("PUT", contact, own, `{"group":"Work"}`).want(200)
	expectBobSees(api.Available)
	w.do("PUT", contact, own, `{"group":"Other"}`).want(200)
	expectBobSees(api.Offline)
	w.do("PUT", contact, own, `{"group":"Work"}`).want(200)
	expectBobSees(api.Available)
	w.do("PUT", rules, own, `{"everyone":"offline","groups":{"Work":"all"},"watchers":{"`+string(w.bob.ID)+`":"offline"}}`).want(200)
	expectBobSees(api.Offline)
	w.do("PUT", rules, own, `{"everyone":"offline","groups":{"Work":"all"}}`).want(200)
	expectBobSees(api.Available)
	w.do("DELETE", contact, own, "").want(204)
	expectBobSees(api.Offline)

	// Repeating an interrupted removal completes it.
	w.do("PUT", contact, own, `{"group":"Work"}`).want(200)
	w.must(w.directory.RemoveContact(t.Context(), w.account, w.alice.ID, w.bob.ID))
	expectBobSees(api.Available)
	w.do("DELETE", contact, own, "").problem(&api.NoContact)
	expectBobSees(api.Offline)

	// Rules that are set for a deactivated user take effect when the user is activated.
	admin := w.admin()
	const alice = "/v1/users/alice@example.com"
	w.do("PATCH", alice, admin, `{"active":false}`).want(200)
	w.do("PUT", alice+"/visibility", admin, `{}`).want(200)
	w.do("PATCH", alice, admin, `{"active":true}`).want(200)
	w.signIn(alice+"/sessions", admin, `{"client_type":"web"}`)
	expectBobSees(api.Available)
}

func TestVisibilityErrors(t *testing.T) {
	w := newWorld(t)
	own := w.token(w.alice.ID, "contact:write")
	const rules = "/v1/users/me/visibility"
	many := make([]string, 501)
	for i := range many {
		many[i] = fmt.Sprintf(`"u%d":"all"`, i)
	}
	for body, field := range map[string]string{
		`{"everyone":"some"}`:        "everyone",
		`{"groups":{"":"all"}}`:      "groups",
		`{"groups":{"Work":"some"}}`: "groups",
		`{"groups":{"Work":1}}`:      "groups.Work",
		`{"groups":[]}`:              "groups",

		`{"groups":{"` + strings.Repeat("x", 65) + `":"all"}}`:                    "groups",
		`{"watchers":{"bob@example.com":"some"}}`:                                 "watchers",
		`{"watchers":{"me":"all"}}`:                                               "watchers",
		`{"watchers":{"nobody":"all"}}`:                                           "watchers",
		`{"watchers":{"\u0000":"all"}}`:                                           "watchers",
		`{"watchers":{"stranger@example.net":"all"}}`:                             "watchers",
		`{"watchers":{"` + string(w.stranger.ID) + `":"all"}}`:                    "watchers",
		`{"watchers":{"bob@example.com":"all","` + string(w.bob.ID) + `":"all"}}`: "watchers",
		`{"watchers":{` + strings.Join(many, ",") + `}}`:                          "watchers",
		`{"colour":"red"}`:                                                        "colour",
	} {
		if p := w.do("PUT", rules, own, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%.80s: the field is %q", body, p.Field)
		}
	}
	groups := strings.Join(many[:101], ",")
	if p := w.do("PUT", rules, own, `{"groups":{`+groups+`}}`).problem(&api.LimitReached); p.Limit != 100 {
		t.Errorf("%+v", p)
	}
	w.do("PUT", rules, own, `{}`, "Content-Type", "text/xml").problem(&api.UnsupportedMediaType)
	w.do("PUT", rules, own, strings.Repeat(" ", 1<<16+1)).problem(&api.BodyTooLarge)
	v, err := w.directory.Visibility(t.Context(), w.account, w.alice.ID)
	if err != nil || len(v.Watchers)+len(v.Groups) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestVisibilityConverges: after concurrent writes, the published rules match the
// stored declaration.
func TestVisibilityConverges(t *testing.T) {
	w := newWorld(t)
	own := w.token(w.alice.ID, "contact:read contact:write")
	for range 10 {
		var group sync.WaitGroup
		for _, c := range [][2]string{
			{"visibility", `{"everyone":"offline","groups":{"Work":"status"}}`},
			{"visibility", `{"everyone":"status","groups":{"Work":"offline"}}`},
			{"contacts/bob@example.com", `{"group":"Work"}`},
			{"contacts/bob@example.com", `{"group":"Other"}`},
		} {
			group.Go(func() { w.do("PUT", "/v1/users/me/"+c[0], own, c[1]).want(200) })
		}
		group.Wait()
		want, err := w.directory.Rules(t.Context(), w.account, w.alice.ID)
		w.must(err)
		records, _, err := w.store.Read(t.Context(), []store.User{{Account: w.account, ID: w.alice.ID}}, store.Freshness{})
		w.must(err)
		got, named := records[0].State.Rules, 0
		for _, rule := range got.Watchers {
			if rule.Default {
				continue
			}
			if named++; want.Watchers[rule.User] != rule.Visibility {
				t.Errorf("%+v, declared %+v", got, want)
			}
		}
		if got.Everyone.Visibility != want.Everyone || named != len(want.Watchers) {
			t.Errorf("%+v, declared %+v", got, want)
		}
	}
}
