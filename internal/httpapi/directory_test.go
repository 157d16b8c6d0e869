package httpapi_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func (w *world) userLike(email string) directory.User {
	return directory.User{Email: email, Active: true}
}

func TestUserLifecycle(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var u, again api.User
	x := w.do("POST", "/v1/users", admin, `{"email":"Jane@Example.com","first_name":"Jane","department":"R&D"}`).want(201).read(&u)
	if u.ID == "" || u.Email != "Jane@Example.com" || !u.Active || x.header.Get("Location") != "/v1/users/"+u.ID {
		t.Errorf("%+v", u)
	}
	w.do("POST", "/v1/users", admin, `{"email":"jane@example.com"}`).problem(&api.EmailTaken)
	if w.do("GET", "/v1/users/jane%40example.com", admin, "").want(200).read(&again); !reflect.DeepEqual(again, u) {
		t.Errorf("%+v", again)
	}
	if p := w.presence(u.ID, admin); p.Status != api.Offline || p.Revision == 0 {
		t.Errorf("the new user has no record: %+v", p)
	}

	own := w.token(presence.UserID(u.ID), "directory:read directory:write session:write presence:read")
	w.do("PATCH", "/v1/users/me", own, `{"display_name":"JD"}`).want(200).read(&again)
	if again.DisplayName != "JD" || again.FirstName != "Jane" {
		t.Errorf("%+v", again)
	}
	w.do("PATCH", "/v1/users/me", own, `{"email":"j@example.com"}`).problem(&api.InsufficientScope)
	w.do("PATCH", "/v1/users/me", own, `{"active":false}`).problem(&api.InsufficientScope)
	w.do("PATCH", "/v1/users/me", own, `{"groups":["Board"]}`).problem(&api.InsufficientScope)
	w.do("PATCH", "/v1/users/"+u.ID, admin, `{"email":"alice@example.com"}`).problem(&api.EmailTaken)
	w.do("PATCH", "/v1/users/"+u.ID, admin, `{"email":"nonsense"}`).problem(&api.InvalidField)
	w.do("PATCH", "/v1/users/"+u.ID, admin, `{"id":"x"}`).problem(&api.InvalidField)
	w.do("PATCH", "/v1/users/"+u.ID, admin, `{"email":"j@example.com"}`).want(200)
	w.do("GET", "/v1/users/jane@example.com", admin, "").problem(&api.NoUser)

	w.signIn("/v1/sessions", own, `{"client_type":"web"}`)
	w.do("PATCH", "/v1/users/"+u.ID, admin, `{"active":false}`).want(200).read(&again)
	if again.Active || w.presence(u.ID, admin).Status != api.Offline {
		t.Errorf("deactivated: %+v", again)
	}
	w.do("GET", "/v1/me", own, "").problem(&api.InvalidToken)
	w.do("PATCH", "/v1/users/"+u.ID, admin, `{"active":true}`).want(200)
	w.do("GET", "/v1/me", own, "").problem(&api.InvalidToken)
	w.signIn("/v1/users/"+u.ID+"/sessions", admin, `{"client_type":"web"}`)

	w.do("DELETE", "/v1/users/"+u.ID, admin, "").want(204)
	w.do("DELETE", "/v1/users/"+u.ID, admin, "").problem(&api.NoUser)
	w.do("GET", "/v1/users/"+u.ID+"/presence", admin, "").problem(&api.NoUser)
	w.do("POST", "/v1/users", admin, `{"email":"j@example.com"}`).want(201).read(&again)
	if again.ID == u.ID {
		t.Error("an id was reused")
	}
	for _, body := range []string{`{"active":false}`, `{"active":false,"display_name":"x"}`} {
		w.do("PATCH", "/v1/users/"+string(w.owner), admin, body).problem(&api.OwnerKept)
	}
	w.do("DELETE", "/v1/users/me", admin, "").problem(&api.OwnerKept)
	if p := w.do("POST", "/v1/users", admin, `{}`).problem(&api.InvalidField); p.Field != "email" {
		t.Error(p.Field)
	}
	w.do("POST", "/v1/users", admin, `{"email":"x@example.com","first_name":"`+strings.Repeat("x", 257)+`"}`).problem(&api.InvalidField)
}

// TestInterruptedChangesAreCompleted: if the server stops between the two writes of a
// change, repeating the request completes it.
func TestInterruptedChangesAreCompleted(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	half, err := w.directory.Create(t.Context(), w.account, w.userLike("half@example.com"))
	w.must(err)
	w.do("POST", "/v1/users", admin, `{"email":"half@example.com","first_name":"Other"}`).problem(&api.EmailTaken)
	var u api.User
	if w.do("POST", "/v1/users", admin, `{"email":"half@example.com"}`).want(201).read(&u); u.ID != string(half.ID) {
		t.Errorf("got %+v, want the user %s", u, half.ID)
	}
	w.do("POST", "/v1/users", admin, `{"email":"half@example.com"}`).problem(&api.EmailTaken)

	w.setUserState(w.account, half.ID, presence.UserDeactivated)
	w.do("PATCH", "/v1/users/"+u.ID, admin, `{"active":false}`).want(200)
	found, err := w.directory.User(t.Context(), w.account, half.ID)
	w.must(err)
	found.Active = true
	_, err = w.directory.Update(t.Context(), w.account, found)
	w.must(err)
	w.do("PATCH", "/v1/users/"+u.ID, admin, `{"active":true}`).want(200)
	w.signIn("/v1/users/"+u.ID+"/sessions", admin, `{"client_type":"web"}`)

	w.setUserState(w.account, half.ID, presence.UserDeleted)
	w.do("DELETE", "/v1/users/half@example.com", admin, "").want(204)
	w.do("DELETE", "/v1/users/half@example.com", admin, "").problem(&api.NoUser)
	records, _, err := w.store.Read(t.Context(), []store.User{{Account: w.account, ID: half.ID}}, store.Freshness{})
	if err != nil || records[0].State.UserState != presence.UserDeleted {
		t.Errorf("%+v, %v", records, err)
	}
}

func TestListingsPage(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for path, want := range map[string]int{"/v1/users": 3, "/v1/apps": 4, "/v1/tokens": 4} {
		for i := range 3 {
			if path == "/v1/apps" {
				w.do("POST", path, admin, `{"name":"app","scopes":["presence:read"]}`).want(201)
			}
			if path == "/v1/tokens" {
				w.do("POST", path, admin, `{"name":"token `+string(rune('a'+i))+`","scopes":["presence:read"]}`).want(201)
			}
		}
		seen, pages := make(map[string]bool), 0
		for next := path + "?limit=2"; next != ""; pages++ {
			var page struct {
				Users, Apps, Tokens []struct{ ID, Secret string }
				Next                string
			}
			w.do("GET", next, admin, "").want(200).read(&page)
			items := append(append(page.Users, page.Apps...), page.Tokens...)
			if len(items) > 2 {
				t.Errorf("%s: %d items on a page", next, len(items))
			}
			for _, item := range items {
				if seen[item.ID] || item.Secret != "" {
					t.Errorf("%s: %+v is listed twice or has a secret", next, item)
				}
				seen[item.ID] = true
			}
			next = ""
			if page.Next != "" {
				next = path + "?limit=2&after=" + page.Next
			}
		}
		if len(seen) < want || pages != (len(seen)+1)/2 {
			t.Errorf("%s: %d items in %d pages", path, len(seen), pages)
		}
		for query, field := range map[string]string{
			"limit=0": "limit", "limit=1001": "limit", "limit=x": "limit", "limit=1&limit=2": "limit", "colour=red": "colour",
		} {
			if p := w.do("GET", path+"?"+query, admin, "").problem(&api.InvalidField); p.Field != field {
				t.Errorf("%s: the field is %q", query, p.Field)
			}
		}
		w.do("GET", path+"?limit=%zz", admin, "").problem(&api.Malformed)
		w.do("GET", path+"?after="+strings.Repeat("x", 400), admin, "").problem(&api.CursorInvalid)
	}
}

func TestListUsersFilters(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.do("PATCH", "/v1/users/alice@example.com", admin, `{"first_name":"Alice","groups":["Support"],"role":"admin"}`).want(200)
	w.do("PATCH", "/v1/users/bob@example.com", admin, `{"first_name":"Bob","active":false}`).want(200)
	w.do("POST", "/v1/users", admin, `{"email":"bob+night@example.com"}`).want(201)
	for query, want := range map[string]string{
		"query=BOB":                               "bob+night@example.com bob@example.com",
		"query=":                                  "alice@example.com bob+night@example.com bob@example.com owner@example.com",
		"query=bob&active=false":                  "bob@example.com",
		"query=bob+night":                         "bob+night@example.com",
		"email=bob+night@example.com":             "bob+night@example.com",
		"email=BOB%2Bnight@example.com":           "bob+night@example.com",
		"group=support":                           "alice@example.com",
		"group=Sales":                             "",
		"role=admin":                              "alice@example.com",
		"role=member&active=true&query=owner":     "owner@example.com",
		"email=stranger@example.org":              "",
		"query=stranger":                          "",
		"query=alice&email=alice@example.com":     "alice@example.com",
		"query=alice&email=bob@example.com":       "",
		"role=admin&group=Support&query=ali+exam": "alice@example.com",
	} {
		var list api.Users
		w.do("GET", "/v1/users?"+query, admin, "").want(200).read(&list)
		var got []string
		for _, u := range list.Users {
			got = append(got, u.Email)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for query, field := range map[string]string{
		"role=chief": "role", "role=": "role", "active=": "active", "active=yes": "active", "email=": "email", "group=": "group",
		"query=" + strings.Repeat("x", 257): "query", "role=admin&role=member": "role", "group=" + strings.Repeat("x", 65): "group",
	} {
		if p := w.do("GET", "/v1/users?"+query, admin, "").problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q", query, p.Field)
		}
	}
}

// TestAccountOwner checks that the owner can be changed: to an active user of the
// account, by a caller who gains no rights by it, and with effect on the next request.
// TestOwnerChangeGrantsNothing: an app that may not write the claims of other users
// cannot make them the owner, with any token that it can create.
func TestOwnerChangeGrantsNothing(t *testing.T) {
	const scopes = "directory:write:admin session:write claim:write"
	for name, create := range map[string]string{
		"a token of the owner": `{"user":"me","scopes":["directory:write:admin"]}`,
		"a narrower token":     `{"scopes":["directory:write:admin"]}`,
	} {
		w := newWorld(t)
		app, _ := w.App(w.account, scopes)
		w.app = app.ID
		full := w.token("", scopes)
		var narrow api.Token
		w.do("POST", "/v1/tokens", full, create).want(201).read(&narrow)
		for _, token := range []string{full, narrow.Secret} {
			w.do("PATCH", "/v1/account", token, `{"owner":"bob@example.com"}`).problem(&api.Escalation)
		}
		if x := w.do("PUT", "/v1/users/bob@example.com/claims/manual", full, `{"source":"manual","status":"busy"}`); x.status != 403 {
			t.Errorf("%s: the app writes the claims of another user: %d", name, x.status)
		}
	}
}

func TestAccountOwner(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	owner := func(ref string) string { return fmt.Sprintf(`{"owner":%q}`, ref) }
	w.do("PATCH", "/v1/users/bob@example.com", admin, `{"active":false}`).want(200)
	for ref, kind := range map[string]*api.Kind{
		"bob@example.com":     &api.Deactivated,
		"nobody@example.com":  &api.NoUser,
		"":                    &api.NoUser,
		string(w.deleted):     &api.NoUser,
		string(w.stranger.ID): &api.NoUser,
	} {
		w.do("PATCH", "/v1/account", admin, owner(ref)).problem(kind)
	}
	w.do("PATCH", "/v1/account", w.token("", "directory:write:admin presence:read"), owner("alice@example.com")).problem(&api.Escalation)
	w.do("PATCH", "/v1/account", admin, `{"name":"x"}`).problem(&api.InvalidField)

	// A repeat, or a change of nothing, changes nothing.
	first := w.do("GET", "/v1/account", admin, "").want(200)
	for _, body := range []string{`{}`, `{"owner":null}`, owner("owner@example.com"), owner("me")} {
		if x := w.do("PATCH", "/v1/account", admin, body).want(200); x.header.Get("Etag") != first.header.Get("Etag") || x.body != first.body {
			t.Errorf("%s: %s, was %s", body, x.body, first.body)
		}
	}

	// The owner is an administrator, so whoever chooses one makes an administrator.
	narrow := w.token(w.alice.ID, "directory:write:admin")
	w.do("PATCH", "/v1/account", narrow, owner("me")).problem(&api.Escalation)
	w.do("PATCH", "/v1/account", narrow, owner("owner@example.com")).want(200)

	var account api.Account
	manager := w.token(w.alice.ID, everything)
	x := w.do("PATCH", "/v1/account", manager, owner("me"), "If-Match", first.header.Get("Etag")).want(200).read(&account)
	if account.Owner != string(w.alice.ID) {
		t.Errorf("%+v", account)
	}
	w.do("PATCH", "/v1/account", admin, owner("owner@example.com"), "If-Match", first.header.Get("Etag")).problem(&api.PreconditionFailed)
	if now := w.do("GET", "/v1/account", admin, "").want(200); now.header.Get("Etag") != x.header.Get("Etag") || now.body != x.body {
		t.Errorf("%s with tag %s, want %s with %s", now.body, now.header.Get("Etag"), x.body, x.header.Get("Etag"))
	}
	var me api.Me
	if w.do("GET", "/v1/me", admin, "").want(200).read(&me); me.User != string(w.alice.ID) {
		t.Errorf("the account's token acts for %s, want %s", me.User, w.alice.ID)
	}
	w.do("DELETE", "/v1/users/alice@example.com", admin, "").problem(&api.OwnerKept)
	w.do("DELETE", "/v1/users/owner@example.com", admin, "").want(204)
}

// TestDemotionEndsTokens: what allows more than the new role ends with the old one.
func TestDemotionEndsTokens(t *testing.T) {
	w := newWorld(t)
	user := "/v1/users/" + string(w.alice.ID)
	w.do("PATCH", user, w.admin(), `{"role":"admin"}`).want(200)
	wide, plain, others := w.token(w.alice.ID, "directory:write:admin"), w.token(w.alice.ID, "presence:read"), w.token(w.bob.ID, "presence:read:admin")
	w.do("PATCH", user, w.admin(), `{"role":"member"}`).want(200)
	w.do("GET", "/v1/me", wide, "").problem(&api.InvalidToken)
	w.do("GET", "/v1/me", plain, "").want(200)
	w.do("GET", "/v1/me", others, "").want(200)
}

func TestAccountAndMe(t *testing.T) {
	w := newWorld(t)
	var account api.Account
	w.do("GET", "/v1/account", w.token(w.alice.ID, "directory:read"), "").want(200).read(&account)
	if account.ID != string(w.account) || account.Owner != string(w.owner) || account.Name != "Example" {
		t.Errorf("%+v", account)
	}
	var me api.Me
	w.do("GET", "/v1/me", w.admin(), "").want(200).read(&me)
	if me.User != string(w.owner) || !me.AccountLevel || me.App != string(w.app) || len(me.Scopes) != len(strings.Fields(everything)) || !me.Expires.IsZero() || me.Token == "" {
		t.Errorf("%+v", me)
	}
	w.do("GET", "/v1/me", w.token(w.alice.ID, ""), "").want(200).read(&me)
	if me.User != string(w.alice.ID) || me.AccountLevel || len(me.Scopes) != 0 || me.DisplayName != w.alice.DisplayName || me.Email != w.alice.Email || me.AppName == "" {
		t.Errorf("%+v", me)
	}
}

// causes returns the causes of a user's log entries, oldest first.
func (w *world) causes(id string) []string {
	w.t.Helper()
	entries, err := w.store.Log(w.t.Context(), 0, store.MaxFeedGroup)
	w.must(err)
	var causes []string
	for _, e := range entries {
		if string(e.User.ID) == id {
			causes = append(causes, e.By.Cause.String())
		}
	}
	return causes
}

// profiles returns the profiles in a user's log entries, oldest first.
func (w *world) profiles(id string) []string {
	w.t.Helper()
	entries, err := w.store.Log(w.t.Context(), 0, store.MaxFeedGroup)
	w.must(err)
	short := func(p *presence.Profile) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprint(p.Email, " ", p.DisplayName, " ", p.Department, " ", p.Groups)
	}
	var profiles []string
	for _, e := range entries {
		if string(e.User.ID) == id {
			profiles = append(profiles, short(e.ProfileBefore)+" > "+short(e.Profile))
		}
	}
	return profiles
}

// TestDirectoryChangesAreLogged: each change commits one log entry, and watchers see no
// difference.
func TestDirectoryChangesAreLogged(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var u api.User
	w.do("POST", "/v1/users", admin, `{"email":"jane@example.com"}`).want(201).read(&u)
	path := "/v1/users/" + u.ID
	seen := w.presence(u.ID, admin)
	for _, body := range []string{
		`{"display_name":"Jane"}`, `{"display_name":"Jane"}`, `{"email":"j@example.com"}`, `{"email":"k@example.com","department":"R&D"}`,
		`{"groups":["Support"]}`, `{"groups":["Support","support"]}`, `{"groups":null}`, `{"groups":[]}`,
	} {
		w.do("PATCH", path, admin, body).want(200)
	}
	now := w.presence(u.ID, admin)
	now.Cursor = seen.Cursor
	if now != seen {
		t.Errorf("%+v became %+v", seen, now)
	}
	for _, active := range []string{"false", "false", "true"} {
		w.do("PATCH", path, admin, `{"active":`+active+`}`).want(200)
	}
	w.do("DELETE", path, admin, "").want(204)
	want := "created renamed email renamed email groups groups deactivated activated deleted"
	if got := strings.Join(w.causes(u.ID), " "); got != want {
		t.Errorf("the log has %q, want %q", got, want)
	}
	got := strings.Join(w.profiles(u.ID), "\n")
	if want := strings.Join([]string{
		"- > jane@example.com   []",
		"jane@example.com   [] > jane@example.com Jane  []",
		"jane@example.com Jane  [] > j@example.com Jane  []",
		"j@example.com Jane  [] > k@example.com Jane R&D []", // one change, two entries
		"j@example.com Jane  [] > k@example.com Jane R&D []",
		"k@example.com Jane R&D [] > k@example.com Jane R&D [Support]",
		"k@example.com Jane R&D [Support] > k@example.com Jane R&D []",
		"- > k@example.com Jane R&D []",
		"- > k@example.com Jane R&D []",
		"- > k@example.com Jane R&D []",
	}, "\n"); got != want {
		t.Errorf("the log has the profiles\n%s\nwant\n%s", got, want)
	}
}

// TestUnloggedChangesAreLogged: a change that a server did not log before it stopped is
// logged at the next start, or when the client repeats the request.
func TestUnloggedChangesAreLogged(t *testing.T) {
	for name, finish := range map[string]func(w *world, path string){
		"the next start": func(w *world, _ string) { w.must(w.api.Provisioner.LogProfiles(w.t.Context(), func() {})) },
		"the same request": func(w *world, path string) {
			w.do("PATCH", path, w.admin(), `{"display_name":"Half","email":"half2@example.com"}`).want(200)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var u api.User
			w.do("POST", "/v1/users", w.admin(), `{"email":"half@example.com"}`).want(201).read(&u)
			for _, change := range []func(*directory.User){
				func(u *directory.User) { u.DisplayName = "Half" },
				func(u *directory.User) { u.Email = "half2@example.com" },
			} {
				found, err := w.directory.User(t.Context(), w.account, presence.UserID(u.ID))
				w.must(err)
				change(&found)
				_, err = w.directory.Update(t.Context(), w.account, found)
				w.must(err)
			}
			for range 2 {
				finish(w, "/v1/users/"+u.ID)
				if got := strings.Join(w.causes(u.ID), " "); got != "created renamed email" {
					t.Errorf("the log has %q", got)
				}
				const change = "half@example.com   [] > half2@example.com Half  []"
				if got := w.profiles(u.ID)[1:]; !slices.Equal(got, []string{change, change}) {
					t.Errorf("the log has the profiles %q", got)
				}
			}
		})
	}
}
