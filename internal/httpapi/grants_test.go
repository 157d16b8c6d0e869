package httpapi_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
)

// cookie is the header of a browser in which a user signed in.
func (w *world) cookie(account presence.AccountID, user presence.UserID) string {
	w.t.Helper()
	_, text, err := w.authority.SignIn(w.t.Context(), account, user, auth.Browser{Name: "test"}, time.Hour)
	w.must(err)
	return "porchlight=" + text
}

// visit sends a request of the server's own page, with the cookie.
func (w *world) visit(cookie, method, path, body string) *exchange {
	w.t.Helper()
	return w.do(method, path, "", body, "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
}

const appRedirect = "https://app.example.com/callback"

// asks is the query of an app's request, with pairs of parameters beside the usual ones.
func asks(app auth.App, more ...string) string {
	values := url.Values{
		"client_id": {string(app.ID)}, "redirect_uri": {appRedirect}, "response_type": {"code"}, "state": {"s"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(more); i += 2 {
		values.Set(more[i], more[i+1])
	}
	return values.Encode()
}

func (w *world) webApp(scopes string, public bool) auth.App {
	w.t.Helper()
	app, _, err := w.authority.AddApp(w.t.Context(), w.account, auth.App{Name: "Calendar", Scopes: w.Scopes(scopes), RedirectURIs: []string{appRedirect}, Public: public})
	w.must(err)
	return app
}

func TestAuthorization(t *testing.T) {
	w := newWorld(t)
	const path = "/v1/oauth/authorization"
	app := w.webApp("presence:read:admin claim:write", false)
	alice := w.cookie(w.account, w.alice.ID)

	var asked api.AuthorizationRequest
	w.visit(alice, "GET", path+"?"+asks(app), "").want(200).read(&asked)
	if asked.AppName != "Calendar" || strings.Join(asked.Scopes, " ") != "claim:write presence:read" || len(asked.Allows) != 2 ||
		asked.Returns != "app.example.com" || asked.Redirect != "" || asked.Remembered {
		t.Errorf("a member is asked %+v", asked)
	}
	decide := func(allow string) string {
		t.Helper()
		var result api.AuthorizationResult
		w.visit(alice, "POST", path, `{"request":"`+asks(app)+`","allow":`+allow+`}`).want(200).read(&result)
		return result.Redirect
	}
	if to := decide("false"); !strings.HasPrefix(to, appRedirect+"?error=access_denied&") {
		t.Error(to)
	}
	if grants, err := w.authority.Grants(t.Context(), w.account, w.alice.ID); err != nil || len(grants) != 0 {
		t.Errorf("denied, and granted %v, %v", grants, err)
	}
	to, err := url.Parse(decide("true"))
	w.must(err)
	code := to.Query().Get("code")
	if to.Query().Get("state") != "s" || to.Query().Get("iss") != "http://example.com" || code == "" {
		t.Error(to)
	}
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // of RFC 7636
	got, err := w.authority.RedeemCode(t.Context(), app.ID, code, appRedirect, verifier)
	w.must(err)
	w.do("GET", "/v1/users/me/presence", got.Text, "").want(200)

	w.visit(alice, "GET", path+"?"+asks(app), "").want(200).read(&asked)
	if !asked.Remembered {
		t.Error("asked again")
	}
	asked = api.AuthorizationRequest{}
	w.visit(alice, "GET", path+"?"+asks(app, "prompt", "consent"), "").want(200).read(&asked)
	if asked.Remembered {
		t.Error("not asked again, although the app wants it")
	}
	var grants api.Grants
	w.do("GET", "/v1/grants", w.token(w.alice.ID, "directory:read"), "").want(200).read(&grants)
	if len(grants.Grants) != 1 || grants.Grants[0].AppName != "Calendar" || len(grants.Grants[0].Allows) != 2 {
		t.Errorf("%+v", grants)
	}
	w.visit(alice, "DELETE", "/v1/grants/"+string(app.ID), "").want(204)
	w.do("GET", "/v1/users/me/presence", got.Text, "").problem(&api.InvalidToken)
	if got := actions(w.auditEvents(w.admin(), "", 100)); !slices.Contains(got, "grant.allow") || !slices.Contains(got, "grant.revoke") {
		t.Errorf("the audit log has %q", got)
	}
}

// TestAuthorizationNeedsPerson: neither a token, nor another site's page, nor a person of
// another account can allow anything.
func TestAuthorizationNeedsPerson(t *testing.T) {
	w := newWorld(t)
	const path = "/v1/oauth/authorization"
	app := w.webApp("presence:read", false)
	alice, stranger := w.cookie(w.account, w.alice.ID), w.cookie(w.other, w.stranger.ID)
	body := `{"request":"` + asks(app) + `","allow":true}`
	w.do("POST", path, w.admin(), body).problem(&api.SignInRequired)
	w.do("POST", path, strings.TrimPrefix(alice, "porchlight="), body).problem(&api.SignInRequired)
	w.do("POST", path, "", body, "Cookie", alice, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.com").problem(&api.OriginRefused)
	w.do("POST", path, "", body, "Cookie", alice).problem(&api.OriginRefused)
	w.do("GET", path+"?"+asks(app), "", "", "Cookie", alice, "Sec-Fetch-Site", "cross-site").problem(&api.OriginRefused)
	w.visit(stranger, "GET", path+"?"+asks(app), "").problem(&api.BadAuthorization)
	w.visit(stranger, "POST", path, body).problem(&api.BadAuthorization)
	for account, user := range map[presence.AccountID]presence.UserID{w.other: w.stranger.ID, w.account: w.alice.ID} {
		if grants, err := w.authority.Grants(t.Context(), account, user); err != nil || len(grants) != 0 {
			t.Errorf("%v, %v", grants, err)
		}
	}
	w.visit(alice, "POST", path, `{"request":"`+asks(app)+`"}`).problem(&api.InvalidField)
	w.do("GET", path+"?"+asks(app), "", "").problem(&api.NoToken)
	var asked api.AuthorizationRequest
	w.do("GET", path+"?"+asks(app, "prompt", "none"), "", "").want(200).read(&asked)
	if !strings.HasPrefix(asked.Redirect, appRedirect+"?error=login_required") {
		t.Error(asked.Redirect)
	}
}

func TestPublicAppsAskAgain(t *testing.T) {
	w := newWorld(t)
	app := w.webApp("presence:read", true)
	w.must(w.authority.Consent(t.Context(), w.account, w.alice.ID, app.ID, app.Scopes))
	var asked api.AuthorizationRequest
	w.visit(w.cookie(w.account, w.alice.ID), "GET", "/v1/oauth/authorization?"+asks(app), "").want(200).read(&asked)
	if asked.Remembered {
		t.Error("any program can pretend to be a public app, and is not asked about")
	}
}

func TestDeviceRoutes(t *testing.T) {
	w := newWorld(t)
	const path = "/v1/oauth/device"
	app := w.webApp("presence:read claim:write:admin", true)
	begin := func() auth.DeviceCode {
		made, err := w.authority.NewDeviceCode(t.Context(), w.account, app.ID, app.Scopes)
		w.must(err)
		return made
	}
	made := begin()
	alice, stranger := w.cookie(w.account, w.alice.ID), w.cookie(w.other, w.stranger.ID)
	query := path + "?user_code=" + made.User
	var asked api.DeviceRequest
	w.visit(alice, "GET", query, "").want(200).read(&asked)
	if asked.AppName != "Calendar" || len(asked.Allows) != 2 || strings.Join(asked.Scopes, " ") != "presence:read claim:write" {
		t.Errorf("%+v", asked)
	}
	w.visit(stranger, "GET", query, "").problem(&api.NoUserCode)
	w.do("GET", query, w.admin(), "").problem(&api.SignInRequired)
	body := `{"user_code":"` + strings.ToLower(made.User) + `","allow":true}`
	w.visit(stranger, "POST", path, body).problem(&api.NoUserCode)
	w.visit(alice, "POST", path, body).want(204)
	w.visit(alice, "POST", path, body).problem(&api.NoUserCode)
	if got := actions(w.auditEvents(w.admin(), "", 100)); !slices.Contains(got, "grant.allow") {
		t.Errorf("the audit log has %q", got)
	}
	got, err := w.authority.RedeemDevice(t.Context(), app.ID, made.Code)
	w.must(err)
	if got.Token.User != w.alice.ID || got.Token.Scopes.String() != "presence:read claim:write" {
		t.Errorf("%+v", got.Token)
	}

	// Whoever guesses must wait, even with the right code; others need not.
	bob := w.cookie(w.account, w.bob.ID)
	for range 10 {
		w.visit(bob, "GET", path+"?user_code=BBBB-BBBB", "").problem(&api.NoUserCode)
	}
	made = begin()
	if x := w.visit(bob, "GET", path+"?user_code="+made.User, ""); x.status != http.StatusTooManyRequests {
		t.Errorf("%d %s", x.status, x.body)
	}
	w.visit(alice, "GET", path+"?user_code="+made.User, "").want(200)
}

// allow is what an app gets from a user who allows it scopes.
func (w *world) allow(user presence.UserID, app presence.AppID, names string) *auth.Access {
	w.t.Helper()
	scopes, err := w.authority.ParseScopes(names)
	w.must(err)
	made, err := w.authority.NewDeviceCode(w.t.Context(), w.account, app, scopes)
	w.must(err)
	w.must(w.authority.DecideDevice(w.t.Context(), w.account, user, made.User, true, scopes))
	got, err := w.authority.RedeemDevice(w.t.Context(), app, made.Code)
	w.must(err)
	return got
}

// TestConsentMakesNoCredentials: an app that acts for an administrator by consent makes
// nothing that would outlive the consent. The command line, which has a consent too, makes
// what the person asks it for.
func TestConsentMakesNoCredentials(t *testing.T) {
	w := newWorld(t)
	theirs := w.webApp(everything, true)
	for method, routes := range map[string]map[string]string{
		"POST": {
			"/v1/apps":                              `{"name":"x","scopes":["presence:read"]}`,
			"/v1/tokens":                            `{"name":"x","scopes":["presence:read"]}`,
			"/v1/apps/" + string(w.app) + "/secret": "",
			"/v1/apps/" + string(w.app) + "/webhook-secret":       `{}`,
			"/v1/signage-links":                                   `{"name":"x"}`,
			"/v1/users/" + string(w.alice.ID) + "/invitation":     "",
			"/v1/users/" + string(w.alice.ID) + "/password-reset": "",
		},
		"PATCH": {"/v1/apps/" + string(theirs.ID): `{"redirect_uris":["https://evil.example.com/"]}`},
	} {
		for path, body := range routes {
			x := w.do(method, path, w.allow(w.owner, theirs.ID, everything).Text, body)
			if p := x.problem(&api.Escalation); !strings.Contains(p.Detail, "consent") {
				t.Errorf("%s %s: %s", method, path, p.Detail)
			}
			if x := w.do(method, path, w.allow(w.owner, auth.CommandApp, everything).Text, body); x.status/100 != 2 {
				t.Errorf("the command line: %s %s: %d %s", method, path, x.status, x.body)
			}
		}
	}
}

// TestRevokedGrantEndsSubscriptions: what an app subscribed to for a person ends with the
// person's consent, whoever ends that. What others subscribed to stays.
func TestRevokedGrantEndsSubscriptions(t *testing.T) {
	const scopes = "subscription:read subscription:write presence:read"
	for name, revoke := range map[string]func(w *world, app auth.App){
		"the grant": func(w *world, app auth.App) {
			w.visit(w.cookie(w.account, w.alice.ID), "DELETE", "/v1/grants/"+string(app.ID), "").want(204)
		},
		"tokens of the user": func(w *world, _ auth.App) {
			w.do("DELETE", "/v1/tokens?user=alice@example.com", w.admin(), "").want(200)
		},
		"tokens of the app": func(w *world, app auth.App) {
			w.do("DELETE", "/v1/tokens?app="+string(app.ID), w.admin(), "").want(200)
		},
		"tokens of the app for the user": func(w *world, app auth.App) {
			w.do("DELETE", "/v1/tokens?user=alice@example.com&app="+string(app.ID), w.admin(), "").want(200)
		},
		"a deactivation, before the reactivation": func(w *world, _ auth.App) {
			w.do("PATCH", "/v1/users/alice@example.com", w.admin(), `{"active":false}`).want(200)
			w.do("PATCH", "/v1/users/alice@example.com", w.admin(), `{"active":true}`).want(200)
		},
		"a new password": func(w *world, _ auth.App) {
			w.accept(w.invite(w.alice.ID, "password-reset"), goodPassword).want(201)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			app := w.webApp(scopes, true)
			for _, token := range []string{w.allow(w.alice.ID, app.ID, scopes).Text, w.token(w.alice.ID, scopes), w.token(w.bob.ID, scopes)} {
				w.do("POST", "/v1/subscriptions", token, `{"url":"https://example.com/"}`).want(201)
			}
			revoke(w, app)
			var left api.Subscriptions
			w.do("GET", "/v1/subscriptions", w.admin(), "").want(200).read(&left)
			for _, s := range left.Subscriptions {
				if s.App == string(app.ID) {
					t.Errorf("%s of %s stays", s.ID, s.Owner)
				}
			}
			if len(left.Subscriptions) != 2 {
				t.Errorf("%d subscriptions stay", len(left.Subscriptions))
			}
		})
	}
}

// TestConsentedAccountSubscriptions: what an app subscribed to for the whole account, because an
// administrator allowed it, ends with that consent. What the account's apps subscribed to by a
// right of their own stays, and an app that acts by consent does not change it.
func TestConsentedAccountSubscriptions(t *testing.T) {
	w := newWorld(t)
	const scopes = "subscription:read:admin subscription:write:admin presence:read:admin"
	app := w.webApp(scopes, true)
	subscribe := func(token string) api.Subscription {
		t.Helper()
		var made api.Subscription
		w.do("POST", "/v1/subscriptions", token, `{"url":"https://example.com/"}`).want(201).read(&made)
		return made
	}
	token := w.allow(w.owner, app.ID, scopes).Text
	account, theirs := subscribe(w.admin()), subscribe(token)
	if theirs.Owner != "" || theirs.ConsentBy != string(w.owner) || account.ConsentBy != "" {
		t.Errorf("made %+v and %+v", theirs, account)
	}
	w.do("PATCH", "/v1/subscriptions/"+theirs.ID, token, `{"name":"x"}`).want(200)
	for path, method := range map[string]string{"": "PATCH", "/secret": "POST"} {
		w.do(method, "/v1/subscriptions/"+account.ID+path, token, `{}`).problem(&api.Escalation)
	}
	w.visit(w.cookie(w.account, w.owner), "DELETE", "/v1/grants/"+string(app.ID), "").want(204)
	w.do("POST", "/v1/subscriptions", token, `{"url":"https://example.com/"}`).problem(&api.InvalidToken)
	w.do("GET", "/v1/subscriptions/"+theirs.ID, w.admin(), "").problem(&api.NoSubscription)
	w.do("GET", "/v1/subscriptions/"+account.ID, w.admin(), "").want(200)
}

// TestConsentOfFormerOwner: what an app subscribed to for the account, because its owner allowed
// it, is suspended while somebody else owns the account.
func TestConsentOfFormerOwner(t *testing.T) {
	w := newWorld(t)
	const scopes = "subscription:write:admin presence:read:admin"
	token := w.allow(w.owner, w.webApp(scopes, true).ID, scopes).Text
	w.do("POST", "/v1/subscriptions", token, `{"url":"https://example.com/"}`).want(201)
	w.runWebhooks()
	await := func(suspended bool) {
		t.Helper()
		deadline := time.After(time.Minute)
		for {
			all, changed := w.api.Subscriptions.Snapshot()
			if len(all) == 1 && all[0].Suspended == suspended {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("not in time: suspended: %v", suspended)
			}
		}
	}
	await(false)
	for _, owner := range []presence.UserID{w.bob.ID, w.owner} {
		w.do("PATCH", "/v1/account", w.admin(), fmt.Sprintf(`{"owner":%q}`, owner)).want(200)
		await(owner != w.owner)
	}
}

// TestPauseSubscription: anybody who may change a subscription can pause and resume it.
func TestPauseSubscription(t *testing.T) {
	w := newWorld(t)
	var made api.Subscription
	w.do("POST", "/v1/subscriptions", w.admin(), `{"url":"https://example.com/"}`).want(201).read(&made)
	path := "/v1/subscriptions/" + made.ID
	for _, paused := range []bool{true, false} {
		var got api.Subscription
		w.do("PATCH", path, w.admin(), fmt.Sprintf(`{"paused":%v}`, paused)).want(200)
		w.do("GET", path, w.admin(), "").want(200).read(&got)
		if got.Paused != paused || made.Paused {
			t.Errorf("paused: %v, want %v", got.Paused, paused)
		}
		x := w.do("POST", path+"/replay", w.admin(), `{"from":"1"}`)
		if refused := x.status == 409; refused != paused {
			t.Errorf("paused: %v, and a replay gets %d", paused, x.status)
		}
	}
}

// TestPauseSurvivesRestart: a server that starts finds a subscription paused, sends it nothing, and
// sends it what waited once it is resumed.
func TestPauseSurvivesRestart(t *testing.T) {
	w := newWorld(t)
	paused, active := w.subscribe(`{"url":"https://example.com/"}`), w.subscribe(`{"url":"https://example.com/"}`)
	path := "/v1/subscriptions/" + paused.ID
	w.do("PATCH", path, w.admin(), `{"paused":true}`).want(200)
	w.addWebhooks(slog.New(slog.DiscardHandler)) // another registry on the same store
	w.runWebhooks()
	w.awaitDelivering(paused.ID)
	w.advance(time.Second)
	w.signIn("/v1/users/alice@example.com/sessions", w.admin(), signInBody)
	w.awaitDeliveries("/v1/subscriptions/"+active.ID+"/deliveries", 1)
	if list := w.awaitDeliveries(path+"/deliveries", 0); len(list.Deliveries) != 0 {
		t.Errorf("sent while it is paused: %+v", list)
	}
	w.do("PATCH", path, w.admin(), `{"paused":false}`).want(200)
	w.awaitDeliveries(path+"/deliveries", 1)
}

// TestTokensOfUnknownUser: a member cannot find out by the lists of tokens which users exist.
func TestTokensOfUnknownUser(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "directory:read directory:write")
	for _, method := range []string{"GET", "DELETE"} {
		var answers []string
		for _, user := range []string{"bob@example.com", string(w.bob.ID), "nobody@example.com", "nobody"} {
			answers = append(answers, w.do(method, "/v1/tokens?user="+user, token, "").problem(&api.Forbidden).Detail)
		}
		if len(slices.Compact(answers)) != 1 {
			t.Errorf("%s: %q", method, answers)
		}
	}
	w.do("GET", "/v1/tokens?user=nobody", w.admin(), "").problem(&api.NoUser)
	w.do("GET", "/v1/tokens?user=me", token, "").want(200)
}

// TestNothingToAllow: nobody can allow what is beyond their role, and everybody can deny it.
func TestNothingToAllow(t *testing.T) {
	w := newWorld(t)
	app := w.webApp("audit:read:admin", true)
	alice := w.cookie(w.account, w.alice.ID)
	made, err := w.authority.NewDeviceCode(t.Context(), w.account, app.ID, app.Scopes)
	w.must(err)
	w.visit(alice, "GET", "/v1/oauth/device?user_code="+made.User, "").problem(&api.Forbidden)
	w.visit(alice, "POST", "/v1/oauth/device", `{"user_code":"`+made.User+`","allow":true}`).problem(&api.Forbidden)
	if grants, err := w.authority.Grants(t.Context(), w.account, w.alice.ID); err != nil || len(grants) != 0 {
		t.Errorf("granted %v, %v", grants, err)
	}
	w.visit(alice, "POST", "/v1/oauth/device", `{"user_code":"`+made.User+`","allow":false}`).want(204)
}
