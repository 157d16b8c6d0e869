package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
)

func TestAppLifecycle(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var made, read, rotated api.App
	x := w.do("POST", "/v1/apps", admin, `{"name":"Signs","scopes":["presence:read:admin","user:update:presence_status:admin"]}`).want(201).read(&made)
	if made.Secret == "" || made.Name != "Signs" || len(made.Scopes) != 2 || x.header.Get("Location") != "/v1/apps/"+made.ID {
		t.Errorf("%+v", made)
	}
	if w.do("GET", "/v1/apps/"+made.ID, admin, "").want(200).read(&read); read.ID != made.ID || read.Secret != "" {
		t.Errorf("%+v", read)
	}
	if w.do("POST", "/v1/apps/"+made.ID+"/secret", admin, "").want(200).read(&rotated); rotated.Secret == "" || rotated.Secret == made.Secret {
		t.Errorf("%+v", rotated)
	}
	w.do("DELETE", "/v1/apps/"+made.ID, admin, "").want(204)
	w.do("DELETE", "/v1/apps/"+made.ID, admin, "").problem(&api.NoApp)
	w.do("GET", "/v1/apps/"+made.ID, admin, "").problem(&api.NoApp)
	w.do("POST", "/v1/apps/"+made.ID+"/secret", admin, "").problem(&api.NoApp)
	for body, field := range map[string]string{
		`{"scopes":["presence:read"]}`:                        "name",
		`{"name":"x"}`:                                        "scopes",
		`{"name":"x","scopes":[]}`:                            "scopes",
		`{"name":"x","scopes":["presence:fly"]}`:              "scopes",
		`{"name":"x","scopes":["presence:read claim:write"]}`: "scopes",
		`{"name":"x","scopes":[""]}`:                          "scopes",
		`{"name":"x","scopes":"presence:read"}`:               "scopes",
	} {
		if p := w.do("POST", "/v1/apps", admin, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q, want %q", body, p.Field, field)
		}
	}
}

func TestPublicApp(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var made api.App
	w.do("POST", "/v1/apps", admin, `{"name":"Phone","scopes":["presence:read"],"public":true,"redirect_uris":["com.example.app:/cb","com.example.app:/cb"]}`).want(201).read(&made)
	if made.Secret != "" || !made.Public || len(made.RedirectURIs) != 1 {
		t.Errorf("%+v", made)
	}
	w.do("POST", "/v1/apps/"+made.ID+"/secret", admin, "").problem(&api.PublicApp)
	w.do("PATCH", "/v1/apps/"+made.ID, admin, `{"public":false}`).want(200).read(&made)
	if made.Public || len(made.RedirectURIs) != 1 {
		t.Errorf("%+v", made)
	}
	if w.do("POST", "/v1/apps/"+made.ID+"/secret", admin, "").want(200).read(&made); made.Secret == "" {
		t.Errorf("%+v", made)
	}
	for body, field := range map[string]string{
		`{"redirect_uris":["http://example.com/cb"]}`:     "redirect_uris[0]",
		`{"redirect_uris":["https://a.example/","/cb"]}`:  "redirect_uris[1]",
		`{"redirect_uris":["https://*.example.com/cb"]}`:  "redirect_uris[0]",
		`{"redirect_uris":["https://a.example/cb#part"]}`: "redirect_uris[0]",
		`{"scopes":[]}`: "scopes", `{"scopes":["presence:fly"]}`: "scopes", `{"name":""}`: "name",
	} {
		if p := w.do("PATCH", "/v1/apps/"+made.ID, admin, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q, want %q", body, p.Field, field)
		}
	}
}

// A change of an app's scopes applies to its tokens, and depends on the representation
// that the caller read.
func TestUpdateApp(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	app, _ := w.App(w.account, "presence:read:admin claim:write:admin")
	_, token := w.Token(w.account, app.ID, w.alice.ID, "presence:read claim:write", 0)
	at := "/v1/apps/" + string(app.ID)
	claimOf := func() *exchange {
		return w.do("PUT", "/v1/users/me/claims/x", token, `{"source":"app","status":"busy"}`)
	}
	claimOf().want(200)
	tag := w.do("GET", at, admin, "").want(200).header.Get("Etag")
	w.do("PATCH", at, admin, `{"name":"Signs"}`, "If-Match", `"other"`).problem(&api.PreconditionFailed)
	var after api.App
	w.do("PATCH", at, admin, `{"name":"Signs","scopes":["presence:read:admin"]}`, "If-Match", tag).want(200).read(&after)
	if after.Name != "Signs" || len(after.Scopes) != 1 {
		t.Errorf("%+v", after)
	}
	claimOf().problem(&api.InsufficientScope)
	w.do("GET", "/v1/users/me/presence", token, "").want(200)
	w.do("PATCH", at, admin, `{"name":"x"}`, "If-Match", tag).problem(&api.PreconditionFailed)

	manager := w.token("", "directory:write:admin presence:read:admin")
	w.do("PATCH", at, manager, `{"scopes":["claim:write:admin"]}`).problem(&api.Escalation)
	w.do("PATCH", at, manager, `{"redirect_uris":["https://a.example/"]}`).want(200)
	w.do("PATCH", at, admin, `{"scopes":["presence:read:admin","claim:write:admin"]}`).want(200)
	claimOf().want(200)
	// Who may not create the app may not have its codes sent elsewhere.
	w.do("PATCH", at, manager, `{"redirect_uris":["https://evil.example/"]}`).problem(&api.Escalation)
	w.do("PATCH", at, manager, `{"scopes":["presence:read"]}`).problem(&api.Escalation)
	w.do("PATCH", "/v1/apps/porchlight", admin, `{"name":"x"}`).problem(&api.NoApp)
	w.do("DELETE", "/v1/apps/porchlight", admin, "").problem(&api.NoApp)
}

func TestTokenLifecycle(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var made api.Token
	w.do("POST", "/v1/tokens", admin, `{"user":"alice@example.com","name":"Laptop","scopes":["presence:read","directory:read","directory:write"],"expires_in_seconds":60}`).want(201).read(&made)
	if made.Secret == "" || made.User != string(w.alice.ID) || made.Expires.Sub(w.clock()) != time.Minute || made.App != string(w.app) {
		t.Errorf("%+v", made)
	}
	var me api.Me
	if w.do("GET", "/v1/me", made.Secret, "").want(200).read(&me); me.User != string(w.alice.ID) || me.Token != made.ID {
		t.Errorf("%+v", me)
	}
	var list api.Tokens
	if w.do("GET", "/v1/tokens", made.Secret, "").want(200).read(&list); len(list.Tokens) != 1 || list.Tokens[0].ID != made.ID || list.Tokens[0].Secret != "" {
		t.Errorf("%+v", list)
	}
	bobs := w.token(w.bob.ID, "directory:write directory:read")
	w.do("DELETE", "/v1/tokens/"+made.ID, bobs, "").problem(&api.NoTokenID)
	w.do("DELETE", "/v1/tokens/nonsense", bobs, "").problem(&api.NoTokenID)
	w.do("DELETE", "/v1/tokens/nonsense", admin, "").problem(&api.NoTokenID)
	w.do("DELETE", "/v1/tokens/"+made.ID, made.Secret, "").want(204)
	w.do("GET", "/v1/me", made.Secret, "").problem(&api.InvalidToken)

	w.do("POST", "/v1/tokens", admin, `{"name":"x","scopes":["presence:read"],"expires_in_seconds":60}`).want(201).read(&made)
	if made.User != "" {
		t.Errorf("an account-level caller did not get an account-level token by default: %+v", made)
	}
	w.advance(time.Minute)
	w.do("GET", "/v1/me", made.Secret, "").problem(&api.ExpiredToken)
	for body, field := range map[string]string{
		`{"name":"x","scopes":["presence:read"],"expires_in_seconds":0}`:              "expires_in_seconds",
		`{"name":"x","scopes":["presence:read"],"expires_in_seconds":-5}`:             "expires_in_seconds",
		`{"name":"x","scopes":["presence:read"],"expires_in_seconds":99999999999999}`: "expires_in_seconds",
		`{"name":"x"}`: "scopes",
		`{"name":"` + strings.Repeat("x", 257) + `","scopes":["presence:read"]}`: "name",
	} {
		if p := w.do("POST", "/v1/tokens", admin, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q, want %q", body, p.Field, field)
		}
	}
	w.do("PATCH", "/v1/users/bob@example.com", admin, `{"active":false}`).want(200)
	w.do("POST", "/v1/tokens", admin, `{"user":"bob@example.com","scopes":["presence:read"]}`).problem(&api.Deactivated)
}

// TestTokensOfOne: lists of tokens of a user, of an app and of both, and the end of all that
// are listed.
func TestTokensOfOne(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	app, _ := w.App(w.account, everything)
	issue := func(app presence.AppID, user presence.UserID, names string) string {
		scopes, err := w.authority.ParseScopes(names)
		w.must(err)
		_, secret, err := w.authority.Issue(t.Context(), w.account, auth.Token{App: app, User: user, Scopes: scopes, Name: "x"}, 0)
		w.must(err)
		return secret
	}
	const own = "directory:read directory:write"
	alices, bobs := issue(w.app, w.alice.ID, own), issue(w.app, w.bob.ID, own)
	issue(app.ID, w.alice.ID, own)
	issue(app.ID, w.alice.ID, own)
	issue(app.ID, "", own)
	bobsOfApp := issue(app.ID, w.bob.ID, own)
	_, signIn, err := w.authority.SignIn(t.Context(), w.account, w.alice.ID, auth.Browser{}, time.Hour)
	w.must(err)
	count := func(caller, query string) (n int) {
		t.Helper()
		for next := "/v1/tokens?limit=2&" + query; next != ""; {
			var page api.Tokens
			w.do("GET", next, caller, "").want(200).read(&page)
			if n += len(page.Tokens); len(page.Tokens) > 2 {
				t.Errorf("%s: %d tokens on a page", next, len(page.Tokens))
			}
			next = ""
			if page.Next != "" {
				next = "/v1/tokens?limit=2&" + query + "&after=" + page.Next
			}
		}
		return n
	}
	ofApp := "app=" + string(app.ID)
	for _, c := range []struct {
		caller, query string
		want          int
	}{
		{admin, "user=alice@example.com", 4},
		{admin, "user=" + string(w.alice.ID) + "&" + ofApp, 2},
		{admin, ofApp, 4},
		{admin, "user=bob@example.com", 2},
		{admin, "app=unknown", 0},
		{alices, "user=me", 4},
		{alices, ofApp, 2},
		{alices, "user=alice@example.com&" + ofApp, 2},
	} {
		if n := count(c.caller, c.query); n != c.want {
			t.Errorf("%s: %d tokens, want %d", c.query, n, c.want)
		}
	}
	w.do("GET", "/v1/tokens?user=bob@example.com", alices, "").problem(&api.Forbidden)
	w.do("DELETE", "/v1/tokens?user=bob@example.com", alices, "").problem(&api.Forbidden)
	w.do("DELETE", "/v1/tokens?"+ofApp, alices, "").problem(&api.InsufficientScope)
	for _, method := range []string{"GET", "DELETE"} {
		for _, ref := range []string{"nobody@example.com", string(w.stranger.ID), string(w.deleted)} {
			w.do(method, "/v1/tokens?user="+ref, admin, "").problem(&api.NoUser)
		}
		for query, field := range map[string]string{"user=": "user", "user=&" + ofApp: "user", "app=": "app", "app=x&app=y": "app"} {
			if p := w.do(method, "/v1/tokens?"+query, admin, "").problem(&api.InvalidField); p.Field != field {
				t.Errorf("%s %s: the field is %q", method, query, p.Field)
			}
		}
	}
	w.do("DELETE", "/v1/tokens", admin, "").problem(&api.InvalidField)
	w.do("DELETE", "/v1/tokens?user=me", alices, "", "If-Match", `"x"`).problem(&api.PreconditionFailed)

	// The app gets no new tokens with a refresh token.
	w.must(w.authority.Consent(t.Context(), w.account, w.alice.ID, app.ID, app.Scopes))
	revoke := func(caller, query string, want int) {
		t.Helper()
		var done api.RevokedTokens
		if w.do("DELETE", "/v1/tokens?"+query, caller, "").want(200).read(&done); done.Revoked != want {
			t.Errorf("%s: %d tokens were revoked, want %d", query, done.Revoked, want)
		}
	}
	revoke(alices, "user=me&"+ofApp, 2)
	if given, err := w.authority.Granted(t.Context(), w.account, w.alice.ID, app.ID); err != nil || !given.Created.IsZero() {
		t.Errorf("the app still has a grant: %+v, %v", given, err)
	}
	if n := count(admin, "user=alice@example.com"); n != 2 {
		t.Errorf("alice has %d tokens", n)
	}
	w.do("GET", "/v1/me", bobsOfApp, "").want(200)
	revoke(admin, ofApp, 2)
	w.do("GET", "/v1/me", bobsOfApp, "").problem(&api.InvalidToken)
	w.do("GET", "/v1/me", bobs, "").want(200)
	revoke(alices, "user=me", 2)
	w.do("GET", "/v1/me", alices, "").problem(&api.InvalidToken)
	if _, err := w.authority.Authenticate(t.Context(), signIn); err == nil {
		t.Error("alice is still signed in")
	}
	revoke(admin, "user=alice@example.com", 0)
	w.do("GET", "/v1/me", bobs, "").want(200)
}

// TestAddressOfAdministrator: who may not do all that an administrator may cannot change
// where an administrator's mail goes, and so become that administrator.
func TestAddressOfAdministrator(t *testing.T) {
	w := newWorld(t)
	manager := w.token("", "directory:write:admin")
	w.do("PATCH", "/v1/users/"+string(w.bob.ID), w.admin(), `{"role":"admin"}`).want(200)
	for _, ref := range []string{"owner@example.com", string(w.bob.ID)} {
		w.do("PATCH", "/v1/users/"+ref, manager, `{"email":"mine@example.com"}`).problem(&api.Escalation)
		w.do("PATCH", "/v1/users/"+ref, manager, `{"department":"Sales"}`).want(200)
	}
	w.do("PATCH", "/v1/users/"+string(w.alice.ID), manager, `{"email":"mine@example.com"}`).want(200)
	w.do("PATCH", "/v1/users/"+string(w.bob.ID), w.admin(), `{"email":"bob2@example.com"}`).want(200)
}

// TestNoEscalation: nobody can create or take over a credential with more permissions
// than their own.
func TestNoEscalation(t *testing.T) {
	w := newWorld(t)
	plain := w.token(w.alice.ID, "directory:read directory:write presence:read claim:write")
	// An administrator of only the directory.
	manager := w.token(w.bob.ID, "directory:read:admin directory:write:admin presence:read")
	// An account-level token with few scopes.
	account := w.token("", "directory:write:admin presence:read")
	strong := w.admin()
	app := func(scopes string) string {
		return fmt.Sprintf(`{"name":"x","scopes":["%s"]}`, strings.ReplaceAll(scopes, " ", `","`))
	}
	token := func(user, scopes string) string {
		return fmt.Sprintf(`{"user":%q,"name":"x","scopes":["%s"]}`, user, strings.ReplaceAll(scopes, " ", `","`))
	}
	var theApp api.App
	w.do("POST", "/v1/apps", strong, app("claim:write:admin")).want(201).read(&theApp)

	for name, c := range map[string]struct {
		path, as, body string
		kind           *api.Kind // nil: it is allowed
	}{
		"own, the same":                         {"/v1/tokens", plain, token("me", "presence:read claim:write"), nil},
		"own, without a user":                   {"/v1/tokens", plain, app("presence:read"), nil},
		"own, one more scope":                   {"/v1/tokens", plain, token("me", "session:write"), &api.Escalation},
		"own, the admin form":                   {"/v1/tokens", plain, token("me", "claim:write:admin"), &api.Escalation},
		"own, Zoom's name for more":             {"/v1/tokens", plain, token("me", "user:write:admin"), &api.Escalation},
		"own, Zoom's name for the same":         {"/v1/tokens", plain, token("me", "user:write"), nil},
		"another's":                             {"/v1/tokens", plain, token("bob@example.com", "presence:read"), &api.Forbidden},
		"another's, unknown":                    {"/v1/tokens", plain, token("nobody@example.com", "presence:read"), &api.NoUser},
		"another account's":                     {"/v1/tokens", strong, token(string(w.stranger.ID), "presence:read"), &api.NoUser},
		"a deleted one's":                       {"/v1/tokens", strong, token(string(w.deleted), "presence:read"), &api.NoUser},
		"the owner's by a manager":              {"/v1/tokens", manager, token("owner@example.com", "presence:read"), &api.Escalation},
		"another's directory by a manager":      {"/v1/tokens", manager, token("alice@example.com", "directory:write"), nil},
		"a manager's own plain scope":           {"/v1/tokens", manager, token("me", "presence:read"), nil},
		"an app by a manager, plain":            {"/v1/apps", manager, app("presence:read"), &api.Escalation},
		"an app by a manager, beyond":           {"/v1/apps", manager, app("claim:write:admin"), &api.Escalation},
		"an app by a manager, its own":          {"/v1/apps", manager, app("directory:read"), nil},
		"an app by the account, its own":        {"/v1/apps", account, app("presence:read"), nil},
		"an app by the account, admin form":     {"/v1/apps", account, app("presence:read:admin"), &api.Escalation},
		"an app's secret by a manager":          {"/v1/apps/" + theApp.ID + "/secret", manager, "", &api.Escalation},
		"an app's secret by the account":        {"/v1/apps/" + theApp.ID + "/secret", account, "", &api.Escalation},
		"an app's secret by a permitted caller": {"/v1/apps/" + theApp.ID + "/secret", strong, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			x := w.do("POST", c.path, c.as, c.body)
			switch {
			case c.kind != nil:
				x.problem(c.kind)
			case x.status/100 != 2:
				t.Errorf("got %d %s", x.status, x.body)
			}
		})
	}
}

// TestTokenLifetimeBoundedByCaller: a token cannot create one that outlives it, so that
// a leaked short-lived token does not grant lasting access.
func TestTokenLifetimeBoundedByCaller(t *testing.T) {
	w := newWorld(t)
	brief := w.tokenFor(w.alice.ID, "directory:write presence:read", time.Hour)
	var made api.Token
	w.do("POST", "/v1/tokens", brief, `{"name":"x","scopes":["presence:read"]}`).want(201).read(&made)
	if left := made.Expires.Sub(w.clock()); left != time.Hour {
		t.Errorf("the token is valid for %v", left)
	}
	w.do("POST", "/v1/tokens", brief, `{"name":"x","scopes":["presence:read"],"expires_in_seconds":3601}`).problem(&api.InvalidField)
	w.do("POST", "/v1/tokens", brief, `{"name":"x","scopes":["presence:read"],"expires_in_seconds":3600}`).want(201)
	manager := w.tokenFor(w.bob.ID, "directory:write:admin", time.Hour)
	w.do("POST", "/v1/tokens", manager, `{"name":"x","scopes":["directory:write"],"expires_in_seconds":36000}`).want(201)
}

// TestTokenOfAnotherApp: an administrator makes a token of another app, with scopes that
// both have.
func TestTokenOfAnotherApp(t *testing.T) {
	w := newWorld(t)
	var app api.App
	w.do("POST", "/v1/apps", w.admin(), `{"name":"Identity provider","scopes":["scim:write:admin"]}`).want(201).read(&app)
	body := `{"app":"` + app.ID + `","name":"x","scopes":["scim:write:admin"]}`
	person := w.token(w.owner, everything)
	for _, caller := range []string{w.admin(), person} {
		var made api.Token
		if w.do("POST", "/v1/tokens", caller, body).want(201).read(&made); made.App != app.ID || made.User != "" {
			t.Errorf("%+v", made)
		}
	}
	w.do("POST", "/v1/tokens", person, `{"app":"`+app.ID+`","name":"x","scopes":["presence:read:admin"]}`).problem(&api.Escalation)
	w.do("POST", "/v1/tokens", w.token(w.alice.ID, "directory:write:admin"), body).problem(&api.Escalation)
	w.do("POST", "/v1/tokens", w.token(w.alice.ID, "directory:write scim:write:admin"), body).problem(&api.InsufficientScope)
	w.do("POST", "/v1/tokens", w.admin(), strings.Replace(body, app.ID, "unknown", 1)).problem(&api.NoApp)
	scopes, err := w.authority.ParseScopes("scim:write:admin")
	w.must(err)
	other, _, err := w.authority.CreateApp(t.Context(), w.other, "Other", scopes)
	w.must(err)
	w.do("POST", "/v1/tokens", w.admin(), strings.Replace(body, app.ID, string(other.ID), 1)).problem(&api.NoApp)
}
