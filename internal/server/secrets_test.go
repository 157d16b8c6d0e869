package server_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

const (
	secretNote     = "not secret: this note is stored"
	providerSecret = "0IDC client s3cret/of+this server"
	refusal        = 0 // any status that refuses a request
	deviceGrant    = "urn:ietf:params:oauth:grant-type:device_code"
)

// An issuer is an OpenID provider that repeats the request in its errors, as some do.
type issuer struct {
	*httptest.Server
	t   *testing.T
	key *rsa.PrivateKey

	mu     sync.Mutex
	answer string // what is wrong with it: "token", "id_token", "userinfo" or nothing
	nonce  string
	seen   []canary
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	apptest.Check(t, err)
	i := &issuer{t: t, key: key}
	mux := http.NewServeMux()
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.write(w, http.StatusOK, map[string]any{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
			"userinfo_endpoint": i.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.write(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", i.token)
	mux.HandleFunc("/userinfo", i.userInfo)
	return i
}

func (i *issuer) write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	apptest.Check(i.t, json.NewEncoder(w).Encode(body))
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	apptest.Check(i.t, r.ParseForm())
	_, secret, _ := r.BasicAuth()
	i.seen = append(i.seen, canary{"verifier for the provider", r.PostForm.Get("code_verifier")})
	if i.answer == "token" {
		i.write(w, http.StatusBadRequest, map[string]string{
			"error": "invalid_grant", "error_description": fmt.Sprint("cannot accept ", secret, " ", r.Header.Get("Authorization"), " ", r.PostForm),
		})
		return
	}
	access, refresh := "access of the provider "+i.answer, "refresh of the provider "+i.answer
	id := "header.payload.signature of " + i.answer
	if i.answer != "id_token" {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: "k"}}, nil)
		apptest.Check(i.t, err)
		now := time.Now().Unix()
		claims, err := json.Marshal(map[string]any{"iss": i.URL, "aud": "porchlight", "sub": "ada", "nonce": i.nonce, "iat": now, "exp": now + 60})
		apptest.Check(i.t, err)
		signed, err := signer.Sign(claims)
		apptest.Check(i.t, err)
		id, err = signed.CompactSerialize()
		apptest.Check(i.t, err)
	}
	i.seen = append(i.seen, canary{"access token of the provider", access}, canary{"refresh token of the provider", refresh}, canary{"ID token", id})
	i.write(w, http.StatusOK, map[string]any{"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 60, "id_token": id})
}

func (i *issuer) userInfo(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.answer == "userinfo" {
		i.write(w, http.StatusInternalServerError, map[string]string{"error": "bad token: " + r.Header.Get("Authorization")})
		return
	}
	i.write(w, http.StatusOK, map[string]any{"sub": "ada", "email": "ada@example.com", "email_verified": true})
}

// A keeper uses secrets as clients do, and keeps them to look for them.
type keeper struct {
	*running
	t       *testing.T
	browser http.Client
	issuer  *issuer
	clock   *apptest.Clock
	email   string // of the person
	all     []canary
	refused []string // error responses
}

// keep remembers a secret.
func (k *keeper) keep(name, secret string) string {
	k.t.Helper()
	if len(secret) < 8 {
		k.t.Fatalf("INVALID: the %s is %q", name, secret)
	}
	k.all = append(k.all, canary{name, secret})
	return secret
}

// send sends a request of the browser: a form, a value as JSON, or no body.
func (k *keeper) send(want int, method, path string, body any, headers ...string) map[string]any {
	k.t.Helper()
	var text, kind string
	switch body := body.(type) {
	case url.Values:
		text, kind = body.Encode(), "application/x-www-form-urlencoded"
	case nil:
	default:
		encoded, err := json.Marshal(body)
		apptest.Check(k.t, err)
		text, kind = string(encoded), "application/json"
	}
	r, err := http.NewRequestWithContext(k.t.Context(), method, k.URL()+path, strings.NewReader(text))
	apptest.Check(k.t, err)
	if text != "" {
		r.Header.Set("Content-Type", kind)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := k.browser.Do(r)
	apptest.Check(k.t, err)
	defer resp.Body.Close()
	answered, err := io.ReadAll(resp.Body)
	apptest.Check(k.t, err)
	if resp.StatusCode != want && (want != refusal || resp.StatusCode < http.StatusBadRequest) {
		k.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, want, answered)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		pattern, _, _ := strings.Cut(path, "?")
		k.refused = append(k.refused, fmt.Sprint(method, " ", pattern, " answers ", string(answered), resp.Header))
	}
	var answer map[string]any
	_ = json.Unmarshal(answered, &answer) // pages are none
	if answer == nil {
		answer = make(map[string]any)
	}
	answer["location"] = resp.Header.Get("Location")
	return answer
}

func text(answer map[string]any, member string) string {
	value, _ := answer[member].(string)
	return value
}

// keepCookie remembers the cookie that the browser has.
func (k *keeper) keepCookie(name string) {
	k.t.Helper()
	at, err := url.Parse(k.URL())
	apptest.Check(k.t, err)
	for _, cookie := range k.browser.Jar.Cookies(at) {
		if cookie.Name == "porchlight" {
			k.keep(name, cookie.Value)
			return
		}
	}
	k.t.Fatalf("no %s", name)
}

// admin are the headers of the administrator's token.
func (k *keeper) admin() []string { return []string{"Authorization", "Bearer " + k.made.AccessToken} }

// people use invitations, passwords, resets and cookies.
func (k *keeper) people() {
	for i, link := range []string{"invitation", "password-reset"} {
		answer := k.send(http.StatusCreated, "POST", "/v1/users/me/"+link, nil, k.admin()...)
		_, secret, _ := strings.Cut(text(answer, "url"), "#")
		k.keep("secret of the "+link, secret)
		k.send(refusal, "POST", "/v1/invitations/accept", api.AcceptInvitation{Secret: secret, Password: k.keep("refused password", fmt.Sprint(k.email, strings.Repeat("é", 300)))})
		password := k.keep("password by "+link, fmt.Sprint("correct horse battery % ", i))
		k.send(http.StatusCreated, "POST", "/v1/invitations/accept", api.AcceptInvitation{Secret: secret, Password: password})
		k.keepCookie("cookie of the " + link)
		k.send(refusal, "POST", "/v1/invitations/accept", api.AcceptInvitation{Secret: secret, Password: password})
		k.send(refusal, "POST", "/v1/sign-ins", api.CreateSignIn{Email: k.email, Password: k.keep("wrong password", fmt.Sprint("a wrong password ", i))})
		k.send(http.StatusCreated, "POST", "/v1/sign-ins", api.CreateSignIn{Email: k.email, Password: password})
		k.keepCookie("cookie of the sign-in after the " + link)
	}
	change := api.SetPassword{Current: k.keep("guessed password", "guessed password"), New: k.keep("new password", "a new password of Ada")}
	k.send(refusal, "PUT", "/v1/me/password", change)
	change.Current = "correct horse battery % 1"
	k.send(http.StatusNoContent, "PUT", "/v1/me/password", change)
	k.send(http.StatusCreated, "POST", "/v1/sign-ins", api.CreateSignIn{Email: k.email, Password: change.New})
	k.keepCookie("cookie of the last sign-in")
}

// consent has an app get a code, exchange it and refresh, and use what is used up again.
func (k *keeper) consent() {
	app := k.send(http.StatusCreated, "POST", "/v1/apps", map[string]any{"name": "Calendar", "scopes": []string{"presence:read"}, "redirect_uris": []string{"https://app.example.com/callback"}}, append(k.admin(), "Idempotency-Key", "1")...)
	id, secret := text(app, "id"), k.keep("client secret of an app", text(app, "secret"))
	k.keep("webhook secret of an app", text(app, "webhook_secret"))
	verifier := k.keep("PKCE verifier", strings.Repeat("canary.of-the~verifier_", 5))
	asked := url.Values{
		"response_type": {"code"}, "client_id": {id}, "redirect_uri": {"https://app.example.com/callback"}, "scope": {"presence:read"}, "state": {"state"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}.Encode()
	k.send(http.StatusOK, "GET", "/oauth/authorize?"+asked, nil)
	k.send(http.StatusOK, "GET", "/v1/oauth/authorization?"+asked, nil)
	answer := k.send(http.StatusOK, "POST", "/v1/oauth/authorization", map[string]any{"request": asked, "allow": true})
	to, err := url.Parse(text(answer, "redirect"))
	apptest.Check(k.t, err)
	code := k.keep("authorization code", to.Query().Get("code"))
	redeem := url.Values{"grant_type": {"authorization_code"}, "client_id": {id}, "client_secret": {secret}, "code": {code}, "redirect_uri": {"https://app.example.com/callback"}}
	redeem.Set("code_verifier", k.keep("wrong PKCE verifier", strings.Repeat("another.verifier-", 6)))
	k.send(refusal, "POST", "/oauth/token", redeem)
	answer = k.send(http.StatusOK, "POST", "/v1/oauth/authorization", map[string]any{"request": asked, "allow": true})
	to, err = url.Parse(text(answer, "redirect"))
	apptest.Check(k.t, err)
	redeem.Set("code", k.keep("second authorization code", to.Query().Get("code")))
	redeem.Set("code_verifier", verifier)
	k.refresh("code", id, secret, k.send(http.StatusOK, "POST", "/oauth/token", redeem))
	k.send(refusal, "POST", "/oauth/token", redeem)
}

// refresh refreshes what an app got, twice with the same refresh token at last.
func (k *keeper) refresh(name, id, secret string, got map[string]any) {
	k.keep("access token by "+name, text(got, "access_token"))
	asked := url.Values{"grant_type": {"refresh_token"}, "client_id": {id}, "refresh_token": {k.keep("refresh token by "+name, text(got, "refresh_token"))}}
	if secret != "" {
		asked.Set("client_secret", secret)
	}
	got = k.send(http.StatusOK, "POST", "/oauth/token", asked)
	k.keep("refreshed access token by "+name, text(got, "access_token"))
	next := k.keep("rotated refresh token by "+name, text(got, "refresh_token"))
	k.send(http.StatusOK, "GET", "/v1/me", nil, "Authorization", "Bearer "+text(got, "access_token"))
	revoke := url.Values{"client_id": {id}, "token": {next}}
	if secret != "" {
		revoke.Set("client_secret", secret)
	}
	k.send(http.StatusOK, "POST", "/oauth/revoke", revoke)
	k.send(refusal, "POST", "/oauth/token", asked)
	asked.Set("client_id", k.made.ClientID)
	k.send(refusal, "POST", "/oauth/token", asked)
}

// device has the command line log in.
func (k *keeper) device() {
	codes := k.send(http.StatusOK, "POST", "/oauth/devicecode", url.Values{"client_id": {api.CommandLineApp}})
	device, user := k.keep("device code", text(codes, "device_code")), k.keep("user code", text(codes, "user_code"))
	poll := url.Values{"grant_type": {deviceGrant}, "client_id": {api.CommandLineApp}, "device_code": {device}}
	k.send(refusal, "POST", "/oauth/token", poll)
	k.send(http.StatusOK, "GET", "/device?user_code="+user, nil)
	k.send(http.StatusOK, "GET", "/v1/oauth/device?user_code="+user, nil)
	k.send(refusal, "GET", "/v1/oauth/device?user_code="+k.keep("wrong user code", "BCDF-GHJK"), nil)
	k.send(http.StatusNoContent, "POST", "/v1/oauth/device", map[string]any{"user_code": user, "allow": true})
	k.send(refusal, "POST", "/v1/oauth/device", map[string]any{"user_code": user, "allow": true})
	k.clock.Advance(5 * time.Second) // the interval between polls
	k.refresh("device", api.CommandLineApp, "", k.send(http.StatusOK, "POST", "/oauth/token", poll))
	k.send(refusal, "POST", "/oauth/token", poll)
}

// foreign signs Ada in through a provider, which first fails in each of its ways.
func (k *keeper) foreign() {
	for _, answer := range []string{"token", "id_token", "userinfo", ""} {
		begun := k.send(http.StatusSeeOther, "GET", "/signin/oidc", nil)
		to, err := url.Parse(text(begun, "location"))
		apptest.Check(k.t, err)
		k.issuer.mu.Lock()
		k.issuer.answer, k.issuer.nonce = answer, to.Query().Get("nonce")
		k.issuer.mu.Unlock()
		back := url.Values{"state": {k.keep("state of the provider", to.Query().Get("state"))}, "code": {k.keep("code of the provider", "the code of the provider "+answer)}}
		status := refusal
		if answer == "" {
			status = http.StatusSeeOther
		}
		k.send(status, "GET", "/signin/oidc/callback?"+back.Encode(), nil)
	}
	k.keepCookie("cookie of the sign-in through the provider")
	k.issuer.mu.Lock()
	defer k.issuer.mu.Unlock()
	for _, c := range k.issuer.seen {
		k.keep(c.name, c.secret)
	}
}

var failedAttempts = regexp.MustCompile(`porchlight_webhook_failed_total [1-9]`)

// operator uses what administrators and the operator hold.
func (k *keeper) operator() {
	ctx := k.t.Context()
	form := url.Values{"grant_type": {"client_credentials"}}
	k.browser.Jar, _ = cookiejar.New(nil)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.URL()+"/oauth/token", strings.NewReader(form.Encode()))
	apptest.Check(k.t, err)
	r.SetBasicAuth(k.keep("client secret", k.made.ClientSecret), k.made.ClientSecret) // as the id: it is refused
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := k.http.Do(r)
	apptest.Check(k.t, err)
	k.refused = append(k.refused, readAll(k.t, resp))
	form.Set("client_id", k.made.ClientID)
	form.Set("client_secret", k.made.ClientSecret)
	k.keep("access token of an app", text(k.send(http.StatusOK, "POST", "/oauth/token", form), "access_token"))
	k.keep("access token of init", k.made.AccessToken)
	token := k.send(http.StatusCreated, "POST", "/v1/tokens", map[string]any{"name": "x", "scopes": []string{"presence:read"}}, append(k.admin(), "Idempotency-Key", "2")...)
	k.keep("personal token", text(token, "secret"))
	k.keep("ticket", text(k.send(http.StatusCreated, "POST", "/v1/tickets", nil, k.admin()...), "ticket"))
	k.TrustEndpoints()
	sub := k.send(http.StatusCreated, "POST", "/v1/subscriptions", map[string]any{"name": "x", "url": "https://127.0.0.1:9999/?key=" + k.keep("key of an endpoint", "the-key-of-the-endpoint")}, k.admin()...)
	k.keep("subscription secret", text(sub, "secret"))
	apptest.Check(k.t, second(k.client.SetNote(ctx, "me", api.SetNote{Text: secretNote})))
	eventually(k.t, "an attempt to deliver failed", func() bool {
		_, metrics := k.get(k.t, k.AdminURL()+"/metrics")
		return failedAttempts.MatchString(metrics)
	})

	made, err := server.SystemTokens(ctx, k.config, server.SystemTokenRequest{Create: true, Name: "x"})
	apptest.Check(k.t, err)
	system := k.keep("system token", made[0].Secret)
	k.send(http.StatusOK, "GET", "/v1/system/accounts", nil, "Authorization", "Bearer "+system)
	k.send(refusal, "GET", "/v1/me", nil, "Authorization", "Bearer "+system)
	account := k.send(http.StatusCreated, "POST", "/v1/system/accounts", api.CreateAccount{Name: "Acme", OwnerEmail: "grace@example.com"}, "Authorization", "Bearer "+system)
	k.keep("client secret of a new account", text(account, "client_secret"))
	k.keep("webhook secret of a new account", text(account, "webhook_secret"))
}

// TestSecretsStayOut uses every kind of secret as clients do, and then looks for them:
// in the log, the access log, the metrics, responses that refuse something, the arguments and
// the environment of the process, the files of the store, and a backup.
func TestSecretsStayOut(t *testing.T) {
	engines := map[string]func(*testing.T) (config.Config, string){
		"embedded": func(t *testing.T) (config.Config, string) { cfg := settings(t); return cfg, cfg.DataDir },
		"NATS":     onNATSWithFiles,
	}
	for engine, settingsOf := range engines {
		t.Run(engine, func(t *testing.T) {
			cfg, dir := settingsOf(t)
			k, access := newKeeper(t, cfg)
			k.people()
			k.consent()
			k.device()
			k.foreign()
			k.operator()
			k.misuse()
			places := map[string]string{"arguments": strings.Join(os.Args, " "), "environment": strings.Join(os.Environ(), "\n"), "refusals": strings.Join(k.refused, "\n")}
			_, places["metrics"] = k.get(t, k.AdminURL()+"/metrics")
			if cfg.Store == "" {
				var copied bytes.Buffer
				_, err := server.Backup{DataDir: cfg.DataDir, To: &copied}.Run(t.Context())
				apptest.Check(t, err)
				places["backup"] = copied.String()
			}
			k.stop(server.ErrInterrupted)
			apptest.Check(t, k.wait(t))
			places["log"], places["access log"], places["files"] = k.log.String(), access.String(), contents(t, dir)
			if cfg.Store == "" {
				compact(t, filepath.Join(dir, "store"))
				places["compacted files"] = contents(t, dir)
			}
			k.look(places)
		})
	}
}

func onNATSWithFiles(t *testing.T) (config.Config, string) {
	t.Helper()
	n := enginetest.StartNATS(t)
	return settingsOnNATS(t, &n), n.Dir
}

func newKeeper(t *testing.T, cfg config.Config) (*keeper, *lockedBuffer) {
	t.Helper()
	k := &keeper{t: t, issuer: newIssuer(t), clock: apptest.NewClock(time.Now()), email: "ada@example.com"}
	cfg.AccessLog, cfg.LogLevel, cfg.WebhookAllow = "on", "debug", "127.0.0.1/32"
	cfg.OIDCIssuer, cfg.OIDCClientID, cfg.OIDCClientSecretFile = k.issuer.URL, "porchlight", filepath.Join(t.TempDir(), "secret")
	apptest.Check(t, os.WriteFile(cfg.OIDCClientSecretFile, []byte(k.keep("client secret at the provider", providerSecret)+"\n"), 0o600))
	access := new(lockedBuffer)
	k.running = start(t, cfg, server.Options{AccessLog: access, Clock: k.clock.Now, StoreTimeout: waitLimit})
	jar, err := cookiejar.New(nil)
	apptest.Check(t, err)
	k.browser = http.Client{Jar: jar, Transport: k.http.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return k, access
}

// misuse puts every secret that clients send, and that the server made, where it does not
// belong.
func (k *keeper) misuse() {
	for _, c := range k.all {
		if len(c.secret) < 43 || strings.ContainsAny(c.secret, " %.~") {
			continue // a person or another server chose it, or it is never sent
		}
		k.clock.Advance(10 * time.Second) // limits of wrong tokens
		for _, answer := range k.sendSecret(k.t, c, c.secret) {
			k.refused = append(k.refused, answer)
		}
	}
}

// look reports every place that has a secret, and every one that is empty.
func (k *keeper) look(places map[string]string) {
	stored := map[string]bool{"files": true, "compacted files": true, "backup": true}
	for place, has := range places {
		if has == "" || stored[place] && !strings.Contains(has, secretNote) {
			k.t.Errorf("INVALID: the %s lack what they must have", place)
		}
		for _, c := range k.all {
			if c.name == "key of an endpoint" && stored[place] {
				continue // the URL is the subscription's
			}
			if c.occursIn(has) {
				k.t.Errorf("the %s have the %s: %s", place, c.name, around(has, c.secret))
			}
		}
	}
}

// around is the part of a text in which a secret is.
func around(has, secret string) string {
	at := strings.Index(has, secret)
	if at < 0 {
		return "in another form"
	}
	return fmt.Sprintf("%q", has[max(at-200, 0):min(at+len(secret)+100, len(has))])
}

// contents is what all files below a directory have.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	apptest.Check(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		return err
	}))
	return all.String()
}
