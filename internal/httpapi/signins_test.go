package httpapi_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/wire"
)

const goodPassword = "correct horse battery"

// invite returns the secret of a link for a user.
func (w *world) invite(user presence.UserID, kind string) string {
	w.t.Helper()
	var link api.Invitation
	w.do("POST", "/v1/users/"+string(user)+"/"+kind, w.admin(), "").want(201).read(&link)
	base, secret, _ := strings.Cut(link.URL, "#")
	if base != "http://example.com/welcome" || len(secret) != 43 {
		w.t.Fatalf("the link is %s", link.URL)
	}
	return secret
}

// accept uses a link up.
func (w *world) accept(secret, password string) *exchange {
	w.t.Helper()
	return w.do("POST", "/v1/invitations/accept", "", `{"secret":"`+secret+`","password":"`+password+`"}`)
}

// member gives a user a password.
func (w *world) member(user presence.UserID) {
	w.t.Helper()
	w.accept(w.invite(user, "invitation"), goodPassword).want(201)
}

func (w *world) enter(email, password string, headers ...string) *exchange {
	w.t.Helper()
	return w.enterAccount(w.account, email, password, headers...)
}

func (w *world) enterAccount(account presence.AccountID, email, password string, headers ...string) *exchange {
	w.t.Helper()
	return w.do("POST", "/v1/sign-ins", "", `{"email":"`+email+`","password":"`+password+`","account":"`+string(account)+`"}`, headers...)
}

// suspendOther gives the stranger a password with which to sign in, and suspends the
// account.
func (w *world) suspendOther() {
	w.t.Helper()
	secret, _, err := w.api.SignIns.Invite(w.t.Context(), w.other, w.stranger.ID, "invitation", true, audit.Actor{})
	w.must(err)
	w.accept(secret, goodPassword).want(201)
	w.enterAccount(w.other, w.stranger.Email, goodPassword).want(201)
	account, err := w.directory.Account(w.t.Context(), w.other)
	w.must(err)
	suspended := true
	_, err = w.directory.UpdateAccount(w.t.Context(), account, directory.AccountChange{Suspended: &suspended})
	w.must(err)
}

// cookie is the cookie that a response sets, as a request header.
func (x *exchange) cookie() []string {
	x.w.t.Helper()
	cookies := (&http.Response{Header: x.header}).Cookies()
	if len(cookies) != 1 || cookies[0].Value == "" {
		x.w.t.Fatalf("%s sets the cookies %v", x.asked, cookies)
	}
	return []string{"Cookie", cookies[0].Name + "=" + cookies[0].Value, "Sec-Fetch-Site", "same-origin"}
}

// TestInvitation: a link works once, in its time, and signs the person in.
func TestInvitation(t *testing.T) {
	w := newWorld(t)
	secret := w.invite(w.alice.ID, "invitation")
	for password, reason := range map[string]string{
		"seven77": "8 to 256", strings.Repeat("x", 257): "8 to 256", "alice@example.com": "e-mail address", "ALICE@example.com": "e-mail address",
		"password1": "attackers try first", "aaaaaaaaaaaa": "attackers try first", "ａｂｃ": "8 to 256",
	} {
		if p := w.accept(secret, password).problem(&api.InvalidField); p.Field != "password" || !strings.Contains(p.Detail, reason) {
			t.Errorf("%q: %s", password, p.Detail)
		}
	}
	var who api.SignedIn
	x := w.accept(secret, goodPassword).want(201).read(&who)
	if who.User != string(w.alice.ID) || who.Email != "alice@example.com" || strings.Contains(x.body, "pl_") {
		t.Errorf("signed in: %s", x.body)
	}
	w.do("GET", "/v1/me", "", "", x.cookie()...).want(200)
	w.accept(secret, goodPassword).problem(&api.InvitationUsed)
	w.accept("unknown", goodPassword).problem(&api.NoInvitation)

	first, second := w.invite(w.alice.ID, "invitation"), w.invite(w.alice.ID, "password-reset")
	w.accept(first, goodPassword).problem(&api.InvitationUsed)
	w.advance(time.Hour)
	w.accept(second, goodPassword).problem(&api.InvitationExpired)
	third := w.invite(w.alice.ID, "invitation")
	w.advance(72*time.Hour - time.Second)
	w.accept(third, goodPassword).want(201)
}

// TestCookie: the cookie has the flags that keep it from scripts, other sites and, over
// HTTPS, other hosts; a new sign-in has another secret and ends the one before.
func TestCookie(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	x := w.enter("Alice@Example.com", goodPassword).want(201)
	c := (&http.Response{Header: x.header}).Cookies()[0]
	if c.Name != "porchlight" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure || c.MaxAge != 30*24*3600 || c.Domain != "" {
		t.Errorf("the cookie is %v", c)
	}
	again := w.enter("alice@example.com", goodPassword, x.cookie()...).want(201)
	if again.cookie()[1] == x.cookie()[1] {
		t.Error("two sign-ins have one secret")
	}
	w.do("GET", "/v1/me", "", "", x.cookie()...).problem(&api.InvalidToken)
	w.do("GET", "/v1/me", "", "", again.cookie()...).want(200)
	// Another site's page can use the cookie for nothing.
	theirs := append(again.cookie()[:2:2], "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
	w.do("DELETE", "/v1/sign-ins/current", "", "", theirs...).problem(&api.OriginRefused)
	w.do("GET", "/v1/me", "", "", theirs...).problem(&api.OriginRefused)
	w.do("POST", "/v1/sign-ins", "", `{"email":"alice@example.com","password":"x"}`, theirs...).problem(&api.OriginRefused)
	w.do("POST", "/v1/invitations/accept", "", `{"secret":"x","password":"x"}`, theirs...).problem(&api.OriginRefused)
	w.do("GET", "/v1/me", "", "", again.cookie()...).want(200)

	w.do("DELETE", "/v1/sign-ins/current", "", "", again.cookie()...).want(204)
	w.do("GET", "/v1/me", "", "", again.cookie()...).problem(&api.InvalidToken)
	out := w.do("DELETE", "/v1/sign-ins/current", "", "", again.cookie()...).want(204)
	if c := (&http.Response{Header: out.header}).Cookies()[0]; c.MaxAge >= 0 {
		t.Errorf("the cookie stays: %v", c)
	}
}

// TestSecureCookie: over HTTPS the cookie can be set and read by this host over HTTPS
// alone, and a cookie without the prefix, which another host of the domain can set, counts
// for nothing.
func TestSecureCookie(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	ask := func(method, url, body string, headers ...string) *http.Response {
		r := httptest.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		answer := httptest.NewRecorder()
		w.router.ServeHTTP(answer, r)
		return answer.Result()
	}
	made := ask("POST", "https://example.com/v1/sign-ins", `{"email":"alice@example.com","password":"`+goodPassword+`","account":"`+string(w.account)+`"}`)
	cookies := made.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%s sets the cookies %v", made.Status, cookies)
	}
	c := cookies[0]
	if c.Name != "__Host-porchlight" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("the cookie is %v", c)
	}
	for _, x := range []struct {
		url, name string
		status    int
	}{
		{"https://example.com/v1/me", c.Name, 200},
		{"https://example.com/v1/me", "porchlight", 401},
		{"http://example.com/v1/me", c.Name, 401},
	} {
		if got := ask("GET", x.url, "", "Cookie", x.name+"="+c.Value, "Sec-Fetch-Site", "same-origin"); got.StatusCode != x.status {
			t.Errorf("%s with the cookie %s: %s, want %d", x.url, x.name, got.Status, x.status)
		}
	}
	out := ask("DELETE", "https://example.com/v1/sign-ins/current", "", "Cookie", c.Name+"="+c.Value, "Sec-Fetch-Site", "same-origin").Cookies()
	if len(out) != 1 || out[0].Name != c.Name || !out[0].Secure || out[0].MaxAge >= 0 {
		t.Errorf("signing out sets the cookies %v", out)
	}
}

// TestCookieOfWebSocket: a page of another site opens no stream as the person, not even one
// whose origin may open streams with tokens.
func TestCookieOfWebSocket(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	cookie := w.enter("alice@example.com", goodPassword).cookie()[:2:2]
	upgrade := append(cookie, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	w.api.Site = &wire.Site{Hosts: []string{"example.com"}, Origins: []string{"*"}}
	router := wire.NewRouter(newObserver(w.clock), w.api)
	w.streams.Mount(router)
	w.handler = router
	for name, headers := range map[string][]string{
		"an old browser":            {"Origin", "https://partner.example"},
		"a new one":                 {"Origin", "https://partner.example", "Sec-Fetch-Site", "cross-site"},
		"a page of the same domain": {"Origin", "https://app.example.com", "Sec-Fetch-Site", "same-site"},
		"a page without an origin":  {"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		"a prefix of the host":      {"Origin", "http://example.com.evil.example"},
	} {
		x := w.do("GET", "/v1/stream", "", "", append(upgrade[:len(upgrade):len(upgrade)], headers...)...)
		if x.status != 403 {
			t.Errorf("%s: %d %s", name, x.status, x.body)
		}
	}
	if own := w.do("GET", "/v1/stream", "", "", append(upgrade, "Origin", "http://example.com", "Sec-Fetch-Site", "same-origin")...); own.status == 401 || own.status == 403 {
		t.Errorf("a page of this server: %d %s", own.status, own.body)
	}
}

// TestRefusalsAreAlike: nothing distinguishes whom a refused attempt was about.
func TestRefusalsAreAlike(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	w.member(w.bob.ID)
	by := &provision.By{Account: w.account}
	off := false
	_, err := w.api.Provisioner.Update(t.Context(), by, w.bob.ID, &provision.Change{Active: &off})
	w.must(err)
	w.suspendOther()
	answers := make(map[string]string)
	for _, attempt := range []struct {
		email, password string
		account         presence.AccountID
	}{
		{"alice@example.com", "wrong password", w.account}, // wrong
		{"bob@example.com", goodPassword, w.account},       // deactivated
		{"owner@example.com", goodPassword, w.account},     // without a password
		{"nobody@example.com", goodPassword, w.account},    // unknown
		{string(w.alice.ID), goodPassword, w.account},      // not an address
		{w.stranger.Email, goodPassword, w.other},          // of a suspended account
		{w.stranger.Email, "wrong password", w.other},      // wrong as well
		{"alice@example.com", goodPassword, "no-account"},
	} {
		x := w.enterAccount(attempt.account, attempt.email, attempt.password)
		x.problem(&api.SignInRefused)
		answer := instance.ReplaceAllString(x.body, "")
		for _, name := range slices.Sorted(maps.Keys(x.header)) {
			if name != "X-Request-Id" {
				answer += name + strings.Join(x.header[name], ",")
			}
		}
		answers[answer] = attempt.email
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
}

// TestAccountOfSignIn: the account need not be named if only one can be meant.
func TestAccountOfSignIn(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	body := `{"email":"alice@example.com","password":"` + goodPassword + `"`
	w.do("POST", "/v1/sign-ins", "", body+`}`).want(201)
	p := w.do("POST", "/v1/sign-ins", "", `{"email":"nobody@example.com","password":"`+goodPassword+`"}`).problem(&api.SignInAccount)
	if !strings.Contains(p.Detail, "name the account") {
		t.Error(p.Detail)
	}
	w.do("POST", "/v1/sign-ins", "", body+`,"account":"`+string(w.other)+`"}`).problem(&api.SignInRefused)

	// The address changes, and the account is found by the new one alone.
	by := &provision.By{Account: w.account}
	rename := func(to string) {
		_, err := w.api.Provisioner.Update(t.Context(), by, w.alice.ID, &provision.Change{Edit: func(u *directory.User) error { u.Email = to; return nil }})
		w.must(err)
	}
	rename("ada@example.com")
	w.do("POST", "/v1/sign-ins", "", body+`}`).problem(&api.SignInAccount)
	w.do("POST", "/v1/sign-ins", "", strings.Replace(body, "alice", "ada", 1)+`}`).want(201)

	// The other account has a user with the address too.
	twin := w.User(w.other, "ada@example.com")
	secret, _, err := w.api.SignIns.Invite(t.Context(), w.other, twin.ID, "invitation", true, by.Actor)
	w.must(err)
	w.accept(secret, "another horse battery").want(201)
	w.do("POST", "/v1/sign-ins", "", strings.Replace(body, "alice", "ada", 1)+`}`).problem(&api.SignInAccount)
	w.do("POST", "/v1/sign-ins", "", strings.Replace(body, "alice", "ada", 1)+`,"account":"`+string(w.account)+`"}`).want(201)
}

// TestAccountThatIsNone: an attempt that names no account of this server leaves nothing in
// the store. Anybody can make such attempts.
func TestAccountThatIsNone(t *testing.T) {
	w := newWorld(t)
	const invented = "inventedinventedinvent"
	w.do("POST", "/v1/sign-ins", "", `{"email":"nobody@example.com","password":"x","account":"`+invented+`"}`).problem(&api.SignInRefused)
	w.enter("nobody@example.com", "x").problem(&api.SignInRefused)
	denied := func(account presence.AccountID) int {
		page, err := w.api.Events.Page(t.Context(), account, &audit.Query{Action: "sign-in.fail", Limit: 10})
		w.must(err)
		return len(page.Records)
	}
	for denied(w.account) == 0 { // refusals are recorded in order, and nobody waits for them
		runtime.Gosched()
	}
	if denied(invented) != 0 {
		t.Error("an account that does not exist has an audit log")
	}
}

// TestSetPassword: the present password is needed, and all other sign-ins end.
func TestSetPassword(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	here, there := w.enter("alice@example.com", goodPassword).want(201), w.enter("alice@example.com", goodPassword).want(201)
	set := func(current, password string) *exchange {
		return w.do("PUT", "/v1/me/password", "", `{"current":"`+current+`","new":"`+password+`"}`, here.cookie()...)
	}
	if p := set("wrong", "another horse battery").problem(&api.InvalidField); p.Field != "current" {
		t.Error(p.Detail)
	}
	if p := set(goodPassword, "short").problem(&api.InvalidField); p.Field != "new" {
		t.Error(p.Detail)
	}
	w.do("GET", "/v1/me", "", "", there.cookie()...).want(200)
	link := w.invite(w.alice.ID, "password-reset")
	set(goodPassword, "another horse battery").want(204)
	w.do("GET", "/v1/me", "", "", here.cookie()...).want(200)
	w.do("GET", "/v1/me", "", "", there.cookie()...).problem(&api.InvalidToken)
	w.accept(link, goodPassword).problem(&api.InvitationUsed)
	w.enter("alice@example.com", goodPassword).problem(&api.SignInRefused)
	w.enter("alice@example.com", "another horse battery").want(201)
	for range 5 {
		set("wrong", "a third horse battery")
	}
	if p := set("another horse battery", "a third horse battery").problem(&api.SignInThrottled); p.RetryAfter < 1 {
		t.Error("no Retry-After")
	}
}

// TestReset: what the old password gave away ends.
func TestReset(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	before := w.enter("alice@example.com", goodPassword).want(201)
	token := w.token(w.alice.ID, "presence:read")
	w.accept(w.invite(w.alice.ID, "password-reset"), "another horse battery").want(201)
	w.do("GET", "/v1/me", "", "", before.cookie()...).problem(&api.InvalidToken)
	w.do("GET", "/v1/me", token, "").problem(&api.InvalidToken)
	w.enter("alice@example.com", goodPassword).problem(&api.SignInRefused)
	w.enter("alice@example.com", "another horse battery").want(201)
}

// TestInvitationEscalation: a link for an administrator needs an administrator's rights.
func TestInvitationEscalation(t *testing.T) {
	w := newWorld(t)
	manager := w.token(w.bob.ID, "directory:write:admin")
	w.do("POST", "/v1/users", w.admin(), `{"email":"carol@example.com"}`).want(201)
	by := &provision.By{Account: w.account}
	_, err := w.api.Provisioner.Update(t.Context(), by, w.alice.ID, &provision.Change{Edit: func(u *directory.User) error { u.Role = directory.Admin; return nil }})
	w.must(err)
	for _, kind := range []string{"invitation", "password-reset"} {
		for _, user := range []presence.UserID{w.alice.ID, w.owner} {
			w.do("POST", "/v1/users/"+string(user)+"/"+kind, manager, "").problem(&api.Escalation)
			w.do("POST", "/v1/users/"+string(user)+"/"+kind, w.admin(), "").want(201)
		}
		for _, user := range []string{"me", "carol@example.com"} {
			path := "/v1/users/" + user + "/" + kind
			w.do("POST", path, manager, "").problem(&api.Escalation) // less than a member may do
			w.do("POST", path, w.token(w.bob.ID, apptest.MemberScopes), "").want(201)
		}
	}
}

// TestLinkOfNewAdministrator: a link gives no more than its maker could give, also if the
// person becomes an administrator, or the owner, before it is used.
func TestLinkOfNewAdministrator(t *testing.T) {
	for name, promotion := range map[string]struct{ path, body string }{
		"administrator": {"/v1/users/alice@example.com", `{"role":"admin"}`},
		"owner":         {"/v1/account", `{"owner":"alice@example.com"}`},
	} {
		for _, kind := range []string{"invitation", "password-reset"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				w := newWorld(t)
				var link api.Invitation
				w.do("POST", "/v1/users/alice@example.com/"+kind, w.token(w.bob.ID, apptest.MemberScopes), "").want(201).read(&link)
				_, secret, _ := strings.Cut(link.URL, "#")
				w.do("PATCH", promotion.path, w.admin(), promotion.body).want(200)
				w.accept(secret, goodPassword).problem(&api.NoInvitation)
				w.enter("alice@example.com", goodPassword).problem(&api.SignInRefused)
				w.accept(w.invite(w.alice.ID, kind), goodPassword).want(201)
			})
		}
	}
	w := newWorld(t)
	secret := w.invite(w.alice.ID, "invitation")
	w.do("PATCH", "/v1/users/alice@example.com", w.admin(), `{"role":"admin"}`).want(200)
	w.accept(secret, goodPassword).want(201)
}

// TestWhatSignInsGaveEnds: a new password, and signing out everywhere, end the logins of the
// command line and the tokens that the person made, but not what other apps have.
func TestWhatSignInsGaveEnds(t *testing.T) {
	for name, end := range map[string]func(w *world, here []string){
		"a new password": func(w *world, here []string) {
			w.do("PUT", "/v1/me/password", "", `{"current":"`+goodPassword+`","new":"another horse battery"}`, here...).want(204)
			w.do("GET", "/v1/me", "", "", here...).want(200)
		},
		"signing out everywhere": func(w *world, here []string) {
			w.do("DELETE", "/v1/sign-ins", "", "", here...).want(204)
			w.do("GET", "/v1/me", "", "", here...).problem(&api.InvalidToken)
		},
		"an administrator": func(w *world, here []string) {
			w.do("DELETE", "/v1/users/alice@example.com/sign-ins", w.admin(), "").want(204)
			w.do("GET", "/v1/me", "", "", here...).problem(&api.InvalidToken)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.member(w.alice.ID)
			here, there := w.enter("alice@example.com", goodPassword).want(201), w.enter("alice@example.com", goodPassword).want(201)
			var made api.Token
			w.do("POST", "/v1/tokens", "", `{"name":"x","scopes":["presence:read"]}`, there.cookie()...).want(201).read(&made)
			login := w.allow(w.alice.ID, auth.CommandApp, "presence:read")
			app := w.webApp("presence:read", true)
			others := map[string]string{"another app": w.allow(w.alice.ID, app.ID, "presence:read").Text, "an administrator's": w.token(w.alice.ID, "presence:read"), "bob's": w.allow(w.bob.ID, auth.CommandApp, "presence:read").Text}
			end(w, here.cookie())
			for name, token := range map[string]string{"the token": made.Secret, "the login": login.Text} {
				if _, err := w.authority.Authenticate(t.Context(), token); err == nil {
					t.Errorf("%s is still valid", name)
				}
			}
			if _, err := w.authority.Refresh(t.Context(), auth.CommandApp, login.Refresh, func(s auth.Scopes) (auth.Scopes, error) { return s, nil }); err == nil {
				t.Error("the login can be refreshed")
			}
			w.do("GET", "/v1/me", "", "", there.cookie()...).problem(&api.InvalidToken)
			for name, token := range others {
				if _, err := w.authority.Authenticate(t.Context(), token); err != nil {
					t.Errorf("%s token ended: %v", name, err)
				}
			}
		})
	}
}

// TestThrottle: guesses get slower, whomever they are about. A person who was there before
// is not kept out, and nobody is for long.
func TestThrottle(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	w.enter("alice@example.com", goodPassword).want(201) // from a network that is known now
	for _, email := range []string{"bob@example.com", "nobody@example.com"} {
		for range 5 {
			w.enter(email, "wrong password").problem(&api.SignInRefused)
		}
		if p := w.enter(email, "wrong password").problem(&api.SignInThrottled); p.RetryAfter != 1 {
			t.Errorf("%s: retry after %d", email, p.RetryAfter)
		}
		w.advance(time.Second)
		w.enter(email, "wrong password").problem(&api.SignInRefused)
		if p := w.enter(email, "wrong password").problem(&api.SignInThrottled); p.RetryAfter != 2 {
			t.Errorf("%s: then after %d", email, p.RetryAfter)
		}
	}
	for range 10 { // the network reaches its limit
		w.enter("somebody@example.com", "wrong password")
		w.advance(5 * time.Second)
	}
	w.enter("alice@example.com", goodPassword).want(201)
	w.advance(5 * time.Minute)
	w.enter("bob@example.com", "wrong password").problem(&api.SignInRefused)
}

// TestSignInEnds: without use, and after 30 days in any case.
func TestSignInEnds(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	unused, used := w.enter("alice@example.com", goodPassword).want(201), w.enter("alice@example.com", goodPassword).want(201)
	const day = 24 * time.Hour
	for range 2 {
		w.advance(10 * day)
		w.do("GET", "/v1/me", "", "", used.cookie()...).want(200)
	}
	w.do("GET", "/v1/me", "", "", unused.cookie()...).problem(&api.InvalidToken)
	var list api.BrowserSignIns
	w.do("GET", "/v1/sign-ins", "", "", used.cookie()...).want(200).read(&list)
	if len(list.SignIns) != 1 || !list.SignIns[0].Current || list.SignIns[0].Used != api.At(w.clock()) {
		t.Errorf("the sign-ins are %+v", list)
	}
	w.advance(10*day - time.Second)
	w.do("GET", "/v1/me", "", "", used.cookie()...).want(200)
	w.advance(time.Second)
	w.do("GET", "/v1/me", "", "", used.cookie()...).problem(&api.ExpiredToken)
}

// TestDeactivationEndsSignIns, and a deleted user leaves nothing to sign in with.
func TestDeactivationEndsSignIns(t *testing.T) {
	w := newWorld(t)
	w.member(w.alice.ID)
	x := w.enter("alice@example.com", goodPassword).want(201)
	link := w.invite(w.alice.ID, "invitation")
	w.do("PATCH", "/v1/users/"+string(w.alice.ID), w.admin(), `{"active":false}`).want(200)
	w.do("GET", "/v1/me", "", "", x.cookie()...).problem(&api.InvalidToken)
	w.accept(link, goodPassword).problem(&api.NoInvitation)
	w.do("POST", "/v1/users/"+string(w.alice.ID)+"/invitation", w.admin(), "").problem(&api.Deactivated)
	w.do("PATCH", "/v1/users/"+string(w.alice.ID), w.admin(), `{"active":true}`).want(200)
	w.do("GET", "/v1/me", "", "", x.cookie()...).problem(&api.InvalidToken)
	w.enter("alice@example.com", goodPassword).want(201)
	w.do("DELETE", "/v1/users/"+string(w.alice.ID), w.admin(), "").want(204)
	twin := w.User(w.account, "alice@example.com")
	w.setUserState(w.account, twin.ID, presence.UserActive)
	w.enter("alice@example.com", goodPassword).problem(&api.SignInRefused)
}

// TestSignInMethods is what the page /signin asks.
func TestSignInMethods(t *testing.T) {
	w := newWorld(t)
	var methods api.SignInMethods
	if w.do("GET", "/v1/sign-ins/methods", "", "").want(200).read(&methods); !methods.Password || methods.Provider != "" {
		t.Errorf("the methods are %+v", methods)
	}
}
