package oauthapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/auth"
)

// The example of RFC 7636, appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// An rfcCase plays the parts of an app and of Ann's browser. Its requests say in a few
// words what they came to.
type rfcCase struct {
	*consentFixture
	t *testing.T
}

// query is the web app's usual request with pairs of parameters, of which "" removes one.
func (x *rfcCase) query(pairs ...string) string {
	values := url.Values{
		"response_type": {"code"}, "client_id": {string(x.web.ID)}, "redirect_uri": {callback}, "state": {"s"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		if values.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			values.Del(pairs[i])
		}
	}
	return values.Encode()
}

// asks is what a request of the app comes to if Ann allows it: "code", "error: ", or
// "page: " with the status if the browser goes nowhere.
func (x *rfcCase) asks(query string) string {
	x.t.Helper()
	w := oauthCall{method: http.MethodGet, path: "/oauth/authorize", query: query}.do(x.handler)
	if w.Header().Get("Location") != "" {
		return "redirected by a status"
	}
	status, answer := x.visit(x.t, http.MethodPost, "/v1/oauth/authorization", map[string]any{"request": query, "allow": true})
	if status != http.StatusOK || w.Code != http.StatusOK {
		return fmt.Sprintf("page: %d, %d", w.Code, status)
	}
	to, _ := answer["redirect"].(string)
	u, err := url.Parse(to)
	apptest.Check(x.t, err)
	if e := u.Query().Get("error"); e != "" {
		return "error: " + e
	}
	if u.Query().Get("code") == "" {
		return "neither code nor error: " + to
	}
	return "code"
}

func (x *rfcCase) changed(pairs ...string) string { return x.asks(x.query(pairs...)) }

func (x *rfcCase) code(pairs ...string) string {
	x.t.Helper()
	return x.decide(x.t, x.query(pairs...), true).Get("code")
}

// as is the header of an app's request; secret is "" for an app that only names itself.
func (x *rfcCase) as(app *auth.App, secret string) http.Header {
	h := makeHeader("Content-Type", formType)
	if secret == "" {
		h.Set("X-Client", string(app.ID)) // send puts it into the body
		return h
	}
	h.Set("Authorization", basicAuth(string(app.ID), secret))
	return h
}

// post sends a form, and returns the status with "token" or the error.
func (x *rfcCase) post(path string, header http.Header, pairs ...string) string {
	x.t.Helper()
	status, answer := x.send(path, header, pairs...)
	switch {
	case answer["access_token"] != nil:
		return fmt.Sprint(status, " token")
	case answer["error"] != nil:
		return fmt.Sprint(status, " ", answer["error"])
	default:
		return fmt.Sprint(status)
	}
}

func (x *rfcCase) send(path string, header http.Header, pairs ...string) (int, map[string]any) {
	x.t.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	if public := header.Get("X-Client"); public != "" {
		values.Set("client_id", public)
	}
	w := oauthCall{path: path, body: values.Encode(), header: header}.do(x.handler)
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Pragma") != "no-cache" {
		x.t.Errorf("%s may be cached: %v", path, w.Header()) // RFC 6749 §5.1, RFC 8628 §3.2
	}
	var answer map[string]any
	apptest.Check(x.t, json.Unmarshal(w.Body.Bytes(), &answer))
	return w.Code, answer
}

// asksToken is a request of the web app to the token endpoint.
func (x *rfcCase) asksToken(pairs ...string) string {
	x.t.Helper()
	return x.post("/oauth/token", x.as(&x.web, x.secret), pairs...)
}

// redeem exchanges a code, with pairs that replace or, with "", remove the usual parameters.
func (x *rfcCase) redeem(header http.Header, code string, pairs ...string) string {
	x.t.Helper()
	values := map[string]string{"grant_type": "authorization_code", "code": code, "redirect_uri": callback, "code_verifier": verifier}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	var all []string
	for name, value := range values {
		if value != "" {
			all = append(all, name, value)
		}
	}
	return x.post("/oauth/token", header, all...)
}

func (x *rfcCase) redeems(code string, pairs ...string) string {
	x.t.Helper()
	return x.redeem(x.as(&x.web, x.secret), code, pairs...)
}

// tokens are those of a new consent.
func (x *rfcCase) tokens() *oauth2.Token {
	x.t.Helper()
	status, answer := x.send("/oauth/token", x.as(&x.web, x.secret),
		"grant_type", "authorization_code", "code", x.code(), "redirect_uri", callback, "code_verifier", verifier)
	access, _ := answer["access_token"].(string)
	refresh, _ := answer["refresh_token"].(string)
	if status != http.StatusOK || access == "" || refresh == "" {
		x.t.Fatalf("%d %v", status, answer)
	}
	return &oauth2.Token{AccessToken: access, RefreshToken: refresh}
}

func (x *rfcCase) refresh(token string, pairs ...string) string {
	x.t.Helper()
	return x.asksToken(append([]string{"grant_type", "refresh_token", "refresh_token", token}, pairs...)...)
}

// device begins the flow of a device.
func (x *rfcCase) device() (code, user string) {
	x.t.Helper()
	_, answer := x.send("/oauth/devicecode", x.as(&x.public, ""))
	code, _ = answer["device_code"].(string)
	user, _ = answer["user_code"].(string)
	return code, user
}

func (x *rfcCase) polls(app *auth.App, code string) string {
	x.t.Helper()
	return x.post("/oauth/token", x.as(app, ""), "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", code)
}

func (x *rfcCase) metadata() map[string]any {
	x.t.Helper()
	w := oauthCall{method: http.MethodGet, path: "/.well-known/oauth-authorization-server"}.do(x.handler)
	var answer map[string]any
	apptest.Check(x.t, json.Unmarshal(w.Body.Bytes(), &answer))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		x.t.Errorf("%d %v", w.Code, w.Header()) // RFC 8414 §3.2
	}
	return answer
}

// registers is what the registration of a redirect URI comes to.
func (x *rfcCase) registers(uri string) string {
	_, _, err := x.Authority.AddApp(x.t.Context(), x.account, auth.App{Name: "App", Scopes: x.web.Scopes, RedirectURIs: []string{uri}})
	if err != nil {
		return "refused"
	}
	return "accepted"
}

// A requirement is a MUST for an authorization server, what tries it, and what that comes
// to.
type requirement struct {
	section, must string
	try           func(x *rfcCase) string
	want          string
}

func TestRequirements(t *testing.T) {
	for _, all := range [][]requirement{authorizationRequirements, tokenRequirements, refreshRequirements, otherRequirements} {
		for _, r := range all {
			t.Run(r.section+" "+r.must, func(t *testing.T) {
				if got := r.try(&rfcCase{newConsentFixture(t), t}); got != r.want {
					t.Errorf("%s, want %s", got, r.want)
				}
			})
		}
	}
}

func changed(pairs ...string) func(*rfcCase) string {
	return func(x *rfcCase) string { return x.changed(pairs...) }
}

func redirects(uri string) func(*rfcCase) string { return changed("redirect_uri", uri) }

const noRedirect = "page: 400, 400"

var authorizationRequirements = []requirement{
	{"6749 3.1", "support GET", changed(), "code"},
	{"6749 3.1", "a parameter without a value is left out", func(x *rfcCase) string { return x.asks(x.query("response_type", "") + "&response_type=") }, "error: invalid_request"},
	{"6749 3.1", "a parameter comes once", func(x *rfcCase) string { return x.asks(x.query() + "&state=t") }, "error: invalid_request"},
	{"6749 3.1", "client_id comes once", func(x *rfcCase) string { return x.asks(x.query() + "&client_id=t") }, noRedirect},
	{"6749 3.1", "redirect_uri comes once", func(x *rfcCase) string { return x.asks(x.query() + "&redirect_uri=https://evil.example") }, noRedirect},
	{"6749 3.1", "ignore unknown parameters", changed("audience", "x"), "code"},
	{"6749 3.1.1", "response_type is required", changed("response_type", ""), "error: invalid_request"},
	{"6749 3.1.1", "unknown response_type", changed("response_type", "fish"), "error: unsupported_response_type"},
	{"6749 3.1.2", "no fragment in a redirect URI", func(x *rfcCase) string { return x.registers(callback + "#x") }, "refused"},
	{"6749 3.1.2", "redirect URIs are absolute", func(x *rfcCase) string { return x.registers("/callback") }, "refused"},
	{"6749 3.1.2", "keep the query of a redirect URI", keepsQuery, "https://app.example.com/callback?tenant=1&code="},
	{"6749 3.1.2.3", "one redirect URI may be left out", changed("redirect_uri", ""), "code"},
	{"6749 3.1.2.3", "name one of several redirect URIs", severalRedirects, noRedirect},
	{"6749 3.1.2.4", "do not redirect to an unknown URI", redirects("https://evil.example/callback"), noRedirect},
	{"6749 3.1.2.4", "do not redirect for an unknown app", changed("client_id", "nobody"), noRedirect},
	{"6749 4.1.1", "client_id is required", changed("client_id", ""), noRedirect},
	{"9700 4.1.3", "compare exactly: query", redirects(callback + "?x=1"), noRedirect},
	{"9700 4.1.3", "compare exactly: slash", redirects(callback + "/"), noRedirect},
	{"9700 4.1.3", "compare exactly: prefix", redirects(callback + "er"), noRedirect},
	{"9700 4.1.3", "compare exactly: dots", redirects("https://app.example.com/x/../callback"), noRedirect},
	{"9700 4.1.3", "compare exactly: host in capitals", redirects("https://APP.example.com/callback"), noRedirect},
	{"9700 4.1.3", "compare exactly: port", redirects("https://app.example.com:443/callback"), noRedirect},
	{"9700 4.1.3", "compare exactly: scheme", redirects("http://app.example.com/callback"), noRedirect},
	{"9700 4.1.3", "compare exactly: escapes", redirects("https://app.example.com/%63allback"), noRedirect},
	{"9700 4.1.3", "compare exactly: user", redirects("https://app.example.com@evil.example/callback"), noRedirect},
	{"9700 4.1.3", "compare exactly: subdomain", redirects("https://app.example.com.evil.example/callback"), noRedirect},
	{"9700 4.1.3", "compare exactly: fragment", redirects(callback + "#x"), noRedirect},
	{"9700 4.1.3", "no wildcards", func(x *rfcCase) string { return x.registers("https://*.example.com/callback") }, "refused"},
	{"9700 2.6", "no http but on loopback", func(x *rfcCase) string { return x.registers("http://app.example.com/callback") }, "refused"},
	{"8252 7.3", "any port on loopback", publicAsks("redirect_uri", "http://127.0.0.1:50001/callback"), "code"},
	{"8252 7.3", "only the port may differ", publicAsks("redirect_uri", "http://127.0.0.1:50001/other"), noRedirect},
	{"8252 7.3", "localhost is another host", publicAsks("redirect_uri", "http://localhost:50001/callback"), noRedirect},
	{"6749 3.3", "refuse unknown scopes", changed("scope", "everything"), "error: invalid_scope"},
	{"6749 3.3", "refuse scopes that the app has not got", changed("scope", "audit:read"), "error: invalid_scope"},
	{"6749 4.1.2", "return the exact state", exactState, "true"},
	{"6749 4.1.2.1", "tell the app that the person denied it", func(x *rfcCase) string { return x.decide(x.t, x.query(), false).Get("error") }, "access_denied"},
	{"6749 4.1.2.1", "errors have the state", func(x *rfcCase) string { return x.decide(x.t, x.query("response_type", "x"), true).Get("state") }, "s"},
	{"9700 2.1.2", "no access token in a redirect", changed("response_type", "token"), "error: unsupported_response_type"},
	{"7636 4.3", "plain, the default, is refused", changed("code_challenge_method", ""), "error: invalid_request"},
	{"7636 4.4.1", "refuse a transformation that is not supported", changed("code_challenge_method", "plain"), "error: invalid_request"},
	{"7636 4.2", "refuse what is no challenge", changed("code_challenge", "short"), "error: invalid_request"},
	{"7636 4.4.1", "a public app must use PKCE", publicAsks("code_challenge", "", "code_challenge_method", ""), "error: invalid_request"},
	{"9700 2.1.1", "another app may leave PKCE out", changed("code_challenge", "", "code_challenge_method", ""), "code"},
	{"9207 2", "name the issuer with a code", func(x *rfcCase) string { return x.decide(x.t, x.query(), true).Get("iss") }, origin},
	{"9207 2", "name the issuer with an error", func(x *rfcCase) string { return x.decide(x.t, x.query(), false).Get("iss") }, origin},
	{"9207 2.3", "the issuer is that of the metadata", func(x *rfcCase) string { return fmt.Sprint(x.metadata()["issuer"]) }, origin},
	{"9207 3", "say so in the metadata", func(x *rfcCase) string {
		return fmt.Sprint(x.metadata()["authorization_response_iss_parameter_supported"])
	}, "true"},
}

func publicAsks(pairs ...string) func(*rfcCase) string {
	return func(x *rfcCase) string {
		return x.changed(append([]string{"client_id", string(x.public.ID), "redirect_uri", "http://127.0.0.1/callback"}, pairs...)...)
	}
}

func keepsQuery(x *rfcCase) string {
	app, _ := x.add(x.t, auth.App{Name: "App", Scopes: x.web.Scopes, RedirectURIs: []string{callback + "?tenant=1"}})
	_, answer := x.visit(x.t, http.MethodPost, "/v1/oauth/authorization",
		map[string]any{"request": x.query("client_id", string(app.ID), "redirect_uri", callback+"?tenant=1"), "allow": true})
	to, _ := answer["redirect"].(string)
	before, _, _ := strings.Cut(to, "pl_code_")
	return before
}

func severalRedirects(x *rfcCase) string {
	app, _ := x.add(x.t, auth.App{Name: "App", Scopes: x.web.Scopes, RedirectURIs: []string{callback, callback + "/2"}})
	return x.changed("client_id", string(app.ID), "redirect_uri", "")
}

func exactState(x *rfcCase) string {
	const state = `a b+c&d=e%"<é/\` + "'#?"
	return fmt.Sprint(x.decide(x.t, x.query("state", state), true).Get("state") == state)
}

var tokenRequirements = []requirement{
	{"6749 2.3.1", "support HTTP Basic", func(x *rfcCase) string { return x.asksToken("grant_type", "client_credentials") }, "200 token"},
	{"6749 2.3.1", "no secret in the URL", func(x *rfcCase) string {
		return x.post("/oauth/token?client_secret="+x.secret, makeHeader("Content-Type", formType), "grant_type", "client_credentials", "client_id", string(x.web.ID))
	}, "400 invalid_client"},
	{"6749 2.3", "one method of authentication", func(x *rfcCase) string {
		return x.asksToken("grant_type", "client_credentials", "client_id", string(x.web.ID), "client_secret", x.secret)
	}, "400 invalid_request"},
	{"6749 3.2", "POST alone", func(x *rfcCase) string {
		return fmt.Sprint(oauthCall{method: http.MethodGet, query: "grant_type=client_credentials"}.do(x.handler).Code)
	}, "405"},
	{"6749 3.2", "a parameter without a value is left out", func(x *rfcCase) string { return x.asksToken("grant_type", "") }, "400 invalid_request"},
	{"6749 3.2", "a parameter comes once", func(x *rfcCase) string {
		return x.asksToken("grant_type", "client_credentials", "scope", "a", "scope", "b")
	}, "400 invalid_request"},
	{"6749 3.2", "ignore unknown parameters", func(x *rfcCase) string { return x.asksToken("grant_type", "client_credentials", "audience", "x") }, "200 token"},
	{"6749 3.2.1", "an app with a secret proves it", func(x *rfcCase) string { return x.redeem(x.as(&x.web, ""), x.code()) }, "400 invalid_client"},
	{"6749 3.2.1", "with the right secret", func(x *rfcCase) string { return x.redeem(x.as(&x.web, "wrong"), x.code()) }, "400 invalid_client"},
	{"6749 5.2", "unknown grants", func(x *rfcCase) string { return x.asksToken("grant_type", "fish") }, "400 unsupported_grant_type"},
	{"9700 2.4", "no passwords", func(x *rfcCase) string {
		return x.asksToken("grant_type", "password", "username", "ann@example.com", "password", "x")
	}, "400 unsupported_grant_type"},
	{"6749 3.3", "say the scope that differs", scopeGiven, "claim:write directory:read presence:read"},
	{"6749 4.4", "client_credentials is not for public apps", func(x *rfcCase) string {
		return x.post("/oauth/token", x.as(&x.public, ""), "grant_type", "client_credentials")
	}, "400 unauthorized_client"},
	{"6749 5.1", "a code gives a token", func(x *rfcCase) string { return x.redeems(x.code()) }, "200 token"},
	{"6749 5.1", "name the type of the token", func(x *rfcCase) string {
		_, answer := x.send("/oauth/token", x.as(&x.web, x.secret), "grant_type", "client_credentials")
		return fmt.Sprintf("%v %v", answer["token_type"], answer["expires_in"])
	}, "bearer 3600"},
	{"6749 4.1.3", "code is required", func(x *rfcCase) string { return x.redeems("") }, "400 invalid_request"},
	{"6749 4.1.2", "a code expires", func(x *rfcCase) string {
		code := x.code()
		x.clock.Advance(auth.CodeLasts)
		return x.redeems(code)
	}, "400 invalid_grant"},
	{"6749 4.1.2", "within ten minutes", func(*rfcCase) string { return fmt.Sprint(auth.CodeLasts <= 10*time.Minute) }, "true"},
	{"6749 4.1.2", "a code works once", func(x *rfcCase) string {
		code := x.code()
		return x.redeems(code) + ", " + x.redeems(code)
	}, "200 token, 400 invalid_grant"},
	{"6749 4.1.2", "a second use ends the tokens", codeReused, "ended"},
	{"6749 4.1.3", "the code is of this app", func(x *rfcCase) string {
		other, secret := x.add(x.t, auth.App{Name: "Other", Scopes: x.web.Scopes, RedirectURIs: []string{callback}})
		return x.redeem(x.as(&other, secret), x.code())
	}, "400 invalid_grant"},
	{"6749 4.1.3", "another app's attempt does not use the code up", func(x *rfcCase) string {
		code := x.code()
		return x.redeem(x.as(&x.public, ""), code) + ", " + x.redeems(code)
	}, "400 invalid_grant, 200 token"},
	{"6749 4.1.3", "the redirect URI is that of the request", func(x *rfcCase) string { return x.redeems(x.code(), "redirect_uri", callback+"/") }, "400 invalid_grant"},
	{"6749 4.1.3", "and is named if it was", func(x *rfcCase) string { return x.redeems(x.code(), "redirect_uri", "") }, "400 invalid_grant"},
	{"6749 4.1.3", "and need not be named if it was not", func(x *rfcCase) string { return x.redeems(x.code("redirect_uri", ""), "redirect_uri", "") }, "200 token"},
	{"7636 4.6", "the verifier fits the challenge", func(x *rfcCase) string { return x.redeems(x.code(), "code_verifier", strings.Repeat("a", 43)) }, "400 invalid_grant"},
	{"7636 4.6", "the challenge is no verifier", func(x *rfcCase) string { return x.redeems(x.code(), "code_verifier", challenge) }, "400 invalid_grant"},
	{"9700 2.1.1", "the verifier is required after a challenge", func(x *rfcCase) string { return x.redeems(x.code(), "code_verifier", "") }, "400 invalid_grant"},
	{"9700 2.1.1", "a verifier needs a challenge", func(x *rfcCase) string {
		return x.redeems(x.code("code_challenge", "", "code_challenge_method", ""))
	}, "400 invalid_grant"},
	{"7636 4.1", "a verifier has 43 characters", func(x *rfcCase) string { return x.redeems(x.code(), "code_verifier", "short") }, "400 invalid_grant"},
	{"6749 5.2", "wrong credentials (400 and not 401, which Zoom's clients expect)", func(x *rfcCase) string {
		return x.post("/oauth/token", x.as(&x.web, "wrong"), "grant_type", "client_credentials")
	}, "400 invalid_client"},
	{"6749 5.2", "characters of error_description", func(x *rfcCase) string {
		_, answer := x.send("/oauth/token", x.as(&x.web, x.secret), "grant_type", "client_credentials", "scope", "\"é\\")
		return strings.Trim(fmt.Sprint(answer["error_description"]), " !#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~")
	}, ""},
}

func scopeGiven(x *rfcCase) string {
	_, answer := x.send("/oauth/token", x.as(&x.web, x.secret),
		"grant_type", "authorization_code", "code", x.code(), "redirect_uri", callback, "code_verifier", verifier)
	return fmt.Sprint(answer["scope"])
}

func codeReused(x *rfcCase) string {
	code := x.code()
	_, answer := x.send("/oauth/token", x.as(&x.web, x.secret),
		"grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier)
	x.redeems(code)
	text, _ := answer["access_token"].(string)
	x.refuses(x.t, text, auth.ErrInvalidToken)
	if got := x.refresh(fmt.Sprint(answer["refresh_token"])); got != "400 invalid_grant" {
		return got
	}
	return "ended"
}

var refreshRequirements = []requirement{
	{"6749 6", "a refresh token gives a token", func(x *rfcCase) string { return x.refresh(x.tokens().RefreshToken) }, "200 token"},
	{"6749 6", "refresh_token is required", func(x *rfcCase) string { return x.refresh("") }, "400 invalid_request"},
	{"6749 6", "an app with a secret proves it", func(x *rfcCase) string {
		return x.post("/oauth/token", x.as(&x.web, ""), "grant_type", "refresh_token", "refresh_token", x.tokens().RefreshToken)
	}, "400 invalid_client"},
	{"6749 6", "the refresh token is of this app", func(x *rfcCase) string {
		return x.post("/oauth/token", x.as(&x.public, ""), "grant_type", "refresh_token", "refresh_token", x.tokens().RefreshToken)
	}, "400 invalid_grant"},
	{"6749 6", "no more scopes than were allowed", func(x *rfcCase) string {
		return x.refresh(x.tokens().RefreshToken, "scope", "presence:read:admin")
	}, "400 invalid_scope"},
	{"6749 6", "fewer scopes, and then all again", fewerThenAll, "presence:read, claim:write directory:read presence:read"},
	{"6749 6", "a refused scope does not use the token up", func(x *rfcCase) string {
		token := x.tokens().RefreshToken
		return x.refresh(token, "scope", "audit:read") + ", " + x.refresh(token)
	}, "400 invalid_scope, 200 token"},
	{"9700 4.14.2", "refresh tokens are rotated, and a second use ends them", refreshReused, "200 token, 400 invalid_grant, 400 invalid_grant"},
	{"9700 4.14.2", "refresh tokens end when they are not used", func(x *rfcCase) string {
		token := x.tokens().RefreshToken
		x.clock.Advance(auth.RefreshLasts)
		return x.refresh(token)
	}, "400 invalid_grant"},
	{"9700 4.14.2", "and when the consent is taken back", func(x *rfcCase) string {
		token := x.tokens().RefreshToken
		apptest.Check(x.t, x.Authority.RevokeGrant(x.t.Context(), x.account, x.ann.ID, x.web.ID))
		return x.refresh(token)
	}, "400 invalid_grant"},
	{"6749 10.4", "refresh tokens cannot be made up", func(x *rfcCase) string {
		token := []byte(x.tokens().RefreshToken)
		token[20] ^= 1
		return x.refresh(string(token))
	}, "400 invalid_grant"},
}

func fewerThenAll(x *rfcCase) string {
	scope := func(pairs ...string) (string, string) {
		_, answer := x.send("/oauth/token", x.as(&x.web, x.secret), append([]string{"grant_type", "refresh_token"}, pairs...)...)
		return fmt.Sprint(answer["scope"]), fmt.Sprint(answer["refresh_token"])
	}
	fewer, next := scope("refresh_token", x.tokens().RefreshToken, "scope", "presence:read")
	all, _ := scope("refresh_token", next)
	return fewer + ", " + all
}

func refreshReused(x *rfcCase) string {
	first := x.tokens().RefreshToken
	_, answer := x.send("/oauth/token", x.as(&x.web, x.secret), "grant_type", "refresh_token", "refresh_token", first)
	second := fmt.Sprint(answer["refresh_token"])
	again := x.refresh(first) // the answer may have been lost
	x.clock.Advance(auth.RefreshRetry)
	return again + ", " + x.refresh(first) + ", " + x.refresh(second)
}

var otherRequirements = []requirement{
	{"8628 3.2", "a device gets its codes", func(x *rfcCase) string {
		status, answer := x.send("/oauth/devicecode", x.as(&x.public, ""))
		return fmt.Sprintf("%d %v %v %v %d", status, answer["verification_uri"], answer["expires_in"], answer["interval"], len(fmt.Sprint(answer["user_code"])))
	}, "200 " + origin + "/device 900 5 9"},
	{"8628 3.1", "an app with a secret proves it", func(x *rfcCase) string { return x.post("/oauth/devicecode", x.as(&x.web, "")) }, "400 invalid_client"},
	{"8628 3.1", "refuse scopes that the app has not got", func(x *rfcCase) string {
		return x.post("/oauth/devicecode", x.as(&x.public, ""), "scope", "audit:read")
	}, "400 invalid_scope"},
	{"8628 3.4", "device_code is required", func(x *rfcCase) string { return x.polls(&x.public, "") }, "400 invalid_request"},
	{"8628 3.4", "the device code is of this app", func(x *rfcCase) string {
		code, _ := x.device()
		other, _ := x.add(x.t, auth.App{Name: "Other", Scopes: x.public.Scopes, Public: true})
		return x.polls(&other, code)
	}, "400 invalid_grant"},
	{"8628 3.5", "wait for the person", func(x *rfcCase) string {
		code, _ := x.device()
		return x.polls(&x.public, code)
	}, "400 authorization_pending"},
	{"8628 3.5", "ask less often", func(x *rfcCase) string {
		code, _ := x.device()
		return x.polls(&x.public, code) + ", " + x.polls(&x.public, code) + ", " + x.polls(&x.public, code)
	}, "400 authorization_pending, 400 authorization_pending, 400 slow_down"},
	{"8628 3.5", "the code expires", func(x *rfcCase) string {
		code, _ := x.device()
		x.clock.Advance(auth.DeviceLasts)
		return x.polls(&x.public, code)
	}, "400 expired_token"},
	{"8628 3.5", "the person denies it", deviceDecided(false), "400 access_denied"},
	{"8628 3.5", "the person allows it, once", deviceDecided(true), "200 token"},
	{"8628 5.1", "guesses are limited", deviceGuesses, "404, 429"},
	{"7009 2.1", "an app with a secret proves it", func(x *rfcCase) string { return x.post("/oauth/revoke", x.as(&x.web, ""), "token", "x") }, "400 invalid_client"},
	{"7009 2.1", "a public app revokes its own", revokesOwn, "200"},
	{"7009 2.2", "unknown tokens (400 and not 200, as with Zoom)", func(x *rfcCase) string { return x.post("/oauth/revoke", x.as(&x.web, x.secret), "token", "x") }, "400 invalid_request"},
	{"7009 2", "POST alone", func(x *rfcCase) string {
		return fmt.Sprint(oauthCall{method: http.MethodGet, path: "/oauth/revoke"}.do(x.handler).Code)
	}, "405"},
	{"8414 2", "what the metadata has to name", func(x *rfcCase) string {
		m := x.metadata()
		return fmt.Sprintf("%v %v %v", m["authorization_endpoint"], m["token_endpoint"], m["response_types_supported"])
	}, origin + "/oauth/authorize " + origin + "/oauth/token [code]"},
	{"9700 2.1.1", "the metadata names S256", func(x *rfcCase) string { return fmt.Sprint(x.metadata()["code_challenge_methods_supported"]) }, "[S256]"},
	{"8628 4", "the metadata names the device endpoint", func(x *rfcCase) string { return fmt.Sprint(x.metadata()["device_authorization_endpoint"]) }, origin + "/oauth/devicecode"},
}

func deviceDecided(allow bool) func(*rfcCase) string {
	return func(x *rfcCase) string {
		code, user := x.device()
		if status, answer := x.visit(x.t, http.MethodPost, "/v1/oauth/device", map[string]any{"user_code": user, "allow": allow}); status != http.StatusNoContent {
			x.t.Errorf("%d %v", status, answer)
		}
		got := x.polls(&x.public, code)
		if again := x.polls(&x.public, code); allow && again != "400 invalid_grant" {
			x.t.Errorf("a second time: %s", again)
		}
		return got
	}
}

func deviceGuesses(x *rfcCase) string {
	_, user := x.device()
	guess := func(code string) int {
		status, _ := x.visit(x.t, http.MethodGet, "/v1/oauth/device?user_code="+code, nil)
		return status
	}
	status := 0
	for range 10 {
		status = guess("BBBB-BBBB")
	}
	return fmt.Sprintf("%d, %d", status, guess(user))
}

func revokesOwn(x *rfcCase) string {
	code, err := x.Authority.NewCode(x.t.Context(), &auth.Authorization{
		Account: x.account, User: x.ann.ID, App: x.public.ID, Scopes: x.public.Scopes, Redirect: callback, Challenge: challenge,
	})
	apptest.Check(x.t, err)
	got, err := x.Authority.RedeemCode(x.t.Context(), x.public.ID, code, "", verifier)
	apptest.Check(x.t, err)
	result := x.post("/oauth/revoke", x.as(&x.public, ""), "token", got.Refresh)
	x.refuses(x.t, got.Text, auth.ErrInvalidToken)
	return result
}
