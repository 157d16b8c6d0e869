package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/webhook"
)

// A surface is a running server of which a test calls every route. Its limits are off, because a
// test asks more than any client does.
type surface struct {
	*running
	t             testing.TB
	clock         *apptest.Clock
	handler       http.Handler
	subscriptions *webhook.Registry
	asked         uint32
}

func newSurface(t testing.TB) *surface {
	t.Helper()
	cfg := settings(t)
	cfg.Durability = "os"
	cfg.RateLimitPlan = "off"
	cfg.WebhookAllow = "127.0.0.1/32"
	for _, q := range []*config.Quotas{&cfg.StreamLimits, &cfg.TicketLimits, &cfg.TokenLimits, &cfg.WriteLimits} {
		apptest.Check(t, q.UnmarshalText([]byte("user=none,app=none,account=none,address=none")))
	}
	apptest.Check(t, cfg.LiveTokenLimits.UnmarshalText([]byte("user=none,app=none")))
	clock := apptest.NewClock(time.Now())
	made, err := server.Init(t.Context(), cfg, testFounding)
	apptest.Check(t, err)
	h := &surface{running: run(t, cfg, server.Options{Clock: clock.Now}, made), t: t, clock: clock}
	h.handler, h.subscriptions = h.Router(), h.TrustEndpoints()
	return h
}

// endpoint refuses every connection.
const endpoint = "https://127.0.0.1:9999/"

// ask sends a request straight to the handler. The headers are pairs of names and values.
func (h *surface) ask(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(h.t.Context(), method, path, strings.NewReader(body))
	r.Host = "localhost"
	h.asked++
	r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(h.asked >> 16), byte(h.asked >> 8), byte(h.asked)}), 1024).String() // another one each time: wrong passwords count by address
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Content-Type" {
			r.Header.Del("Content-Type")
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}

// must sends a request with a token that succeeds, and reads the id of what it made.
func (h *surface) must(method, path, token, body string) string {
	h.t.Helper()
	w := h.ask(method, path, body, "Authorization", "Bearer "+token)
	if w.Code >= 300 {
		h.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	var made struct {
		ID string `json:"id"`
	}
	if w.Body.Len() > 0 {
		apptest.Check(h.t, json.Unmarshal(w.Body.Bytes(), &made))
	}
	return made.ID
}

// The owners of an object, as the caller sees them.
const (
	own     = "own"
	another = "another" // of the same account
	foreign = "foreign" // of another account
	absent  = "absent"
	deleted = "deleted"
)

// A tenant is an account with people and objects of each kind.
type tenant struct {
	*surface
	n       int
	account presence.AccountID
	app     auth.App
	secret  string
	admin   string // the app's own token, with every scope
	users   map[string]directory.User
	objects map[string]map[string]string // by parameter of a path, and owner

	// Credentials that are not valid.
	expired, revoked, deactivated, deleted, orphan, ticket, device string

	system  string // a system token
	asking  string // the app of asks
	request string // what asks returns
}

var tenantNumber atomic.Int64

func (h *surface) newTenant() *tenant {
	h.t.Helper()
	ctx, p := h.t.Context(), h.Provisioner()
	made, err := p.Directory.CreateAccount(ctx, "Example")
	apptest.Check(h.t, err)
	c := &tenant{surface: h, n: int(tenantNumber.Add(1)), account: made.ID, users: make(map[string]directory.User), objects: make(map[string]map[string]string)}
	for _, name := range []string{"owner", "alice", "bob", "boss", "gone", "idle", "erased"} {
		asked := directory.User{Email: c.email(name), DisplayName: name}
		if name == "boss" {
			asked.Role = directory.Admin
		}
		u, err := p.Create(ctx, c.by(), asked)
		apptest.Check(h.t, err)
		c.users[name] = u
	}
	apptest.Check(h.t, p.Directory.SetOwner(ctx, made.ID, c.users["owner"].ID))
	every, err := p.Authority.ParseScopes(apptest.Everything)
	apptest.Check(h.t, err)
	c.app, c.secret, err = p.Authority.CreateApp(ctx, made.ID, "App", every)
	apptest.Check(h.t, err)
	_, c.admin, err = p.Authority.Issue(ctx, made.ID, auth.Token{App: c.app.ID, Scopes: every}, 0)
	apptest.Check(h.t, err)
	c.makeObjects()
	return c
}

// retire deletes the subscriptions, which cost the server time as long as they exist.
func (c *tenant) retire() {
	c.t.Helper()
	all, err := c.subscriptions.List(c.t.Context(), c.account)
	apptest.Check(c.t, err)
	for _, s := range all {
		apptest.Check(c.t, c.subscriptions.Delete(c.t.Context(), c.account, s.ID, func(*webhook.Subscription) error { return nil }))
	}
}

func (c *tenant) by() *provision.By { return &provision.By{Actor: audit.Actor{}, Account: c.account} }

func (c *tenant) email(name string) string { return fmt.Sprintf("%s.%d@example.com", name, c.n) }

const neverMade = "KDcuGIm1QgePTO8WbOqwIQ"

// put records an object of a kind.
func (c *tenant) put(parameter, owner, id string) {
	if c.objects[parameter] == nil {
		c.objects[parameter] = map[string]string{absent: neverMade}
	}
	c.objects[parameter][owner] = id
}

// makeObjects makes an object of each kind for alice (own), bob (another), and a user who
// is deleted afterwards.
func (c *tenant) makeObjects() {
	c.t.Helper()
	app2, _, err := c.Provisioner().Authority.CreateApp(c.t.Context(), c.account, "App 2", c.app.Scopes)
	apptest.Check(c.t, err)
	for owner, name := range map[string]string{own: "alice", another: "bob", deleted: "gone"} {
		u := c.users[name]
		c.put("{user}", owner, string(u.ID))
		c.put("{userId}", owner, string(u.ID))
		c.put("{memberId}", owner, string(u.ID))
		c.put("{identifier}", owner, string(u.ID))
		user := "/v1/users/" + string(u.ID)
		c.put("{session}", owner, c.must("POST", user+"/sessions", c.admin, `{"client_type":"web","lease_seconds":3600}`))
		c.must("PUT", user+"/claims/x", c.admin, `{"source":"app","status":"busy"}`)
		c.must("PUT", user+"/contacts/"+c.email("owner"), c.admin, `{}`)
		c.must("PUT", user+"/note", c.admin, `{"text":"secret note of `+name+`"}`)
		c.put("{token}", owner, c.must("POST", "/v1/tokens", c.admin, `{"user":"`+string(u.ID)+`","name":"x","scopes":["presence:read"]}`))
		c.put("{watch}", owner, c.must("POST", "/v1/watches", c.token("presence:read", u.ID), `{"user":"`+c.email("owner")+`"}`))
		signIn, _, err := c.Provisioner().Authority.SignIn(c.t.Context(), c.account, u.ID, auth.Browser{}, time.Hour)
		apptest.Check(c.t, err)
		c.put("{signin}", owner, signIn.ID)
		c.put("{grant}", owner, c.grant(u.ID))
		c.put("{app}", owner, c.must("POST", "/v1/apps", c.admin, `{"name":"x","scopes":["directory:write"]}`))
		c.put("{group}", owner, c.must("POST", "/v1/groups", c.admin, `{"name":"Team of `+name+`"}`))
		c.put("{link}", owner, c.must("POST", "/v1/signage-links", c.admin, `{"name":"`+name+`"}`))
		c.put("{groupId}", owner, c.objects["{group}"][owner])
		c.put("{subscription}", owner, c.subscription(&webhook.Subscription{App: c.app.ID, Owner: u.ID, Users: []presence.UserID{u.ID}}))
		of := c.app.ID
		if owner == another {
			of = app2.ID
		}
		c.put("{appId}", owner, string(of))
		c.put("{eventSubscriptionId}", owner, c.subscription(&webhook.Subscription{App: of, Form: "zoom", Events: []string{"user.presence_status_updated"}, Users: []presence.UserID{u.ID}}))
	}
	c.remove()
}

// remove deletes what is to be absent because it was deleted.
func (c *tenant) remove() {
	c.t.Helper()
	for _, of := range [][2]string{
		{"{token}", "/v1/tokens/"}, {"{app}", "/v1/apps/"}, {"{group}", "/v1/groups/"}, {"{link}", "/v1/signage-links/"}, {"{subscription}", "/v1/subscriptions/"}, {"{eventSubscriptionId}", "/v1/subscriptions/"}, {"{user}", "/v1/users/"},
	} {
		c.must("DELETE", of[1]+c.objects[of[0]][deleted], c.admin, "")
	}
	c.must("DELETE", "/v1/apps/"+c.objects["{grant}"][deleted], c.admin, "")
	c.objects["{appId}"][deleted] = c.objects["{app}"][deleted]
}

// grant is what a user allows an app.
func (c *tenant) grant(user presence.UserID) string {
	c.t.Helper()
	app, _, err := c.Provisioner().Authority.CreateApp(c.t.Context(), c.account, "Allowed", c.app.Scopes)
	apptest.Check(c.t, err)
	apptest.Check(c.t, c.Provisioner().Authority.Consent(c.t.Context(), c.account, user, app.ID, app.Scopes))
	return string(app.ID)
}

// password is what setPassword sets.
const password = "correct horse battery staple"

func (c *tenant) setPassword(name string) {
	c.t.Helper()
	w := c.ask("POST", "/v1/users/"+string(c.users[name].ID)+"/invitation", "", "Authorization", "Bearer "+c.admin)
	var link api.Invitation
	apptest.Check(c.t, json.Unmarshal(w.Body.Bytes(), &link))
	_, secret, _ := strings.Cut(link.URL, "#")
	if w := c.ask("POST", "/v1/invitations/accept", `{"secret":"`+secret+`","password":"`+password+`"}`); w.Code >= http.StatusBadRequest {
		c.t.Fatalf("a password for %s: %d %s", name, w.Code, w.Body)
	}
}

// asks is the query of an app's request for access. The first call makes the app.
func (c *tenant) asks() string {
	c.t.Helper()
	if c.request != "" {
		return c.request
	}
	const redirect = "https://app.example.com/callback"
	app, _, err := c.Provisioner().Authority.AddApp(c.t.Context(), c.account, auth.App{Name: "Asks", Scopes: c.app.Scopes, RedirectURIs: []string{redirect}})
	apptest.Check(c.t, err)
	c.asking = string(app.ID)
	c.request = url.Values{
		"client_id": {string(app.ID)}, "redirect_uri": {redirect}, "response_type": {"code"},
		"code_challenge": {strings.Repeat("E", 43)}, "code_challenge_method": {"S256"},
	}.Encode()
	return c.request
}

// deviceCode is the codes of a new device.
func (c *tenant) deviceCode() auth.DeviceCode {
	c.t.Helper()
	made, err := c.Provisioner().Authority.NewDeviceCode(c.t.Context(), c.account, c.app.ID, c.app.Scopes)
	apptest.Check(c.t, err)
	return made
}

func (c *tenant) subscription(s *webhook.Subscription) string {
	c.t.Helper()
	s.Account, s.URL, s.Secrets = c.account, endpoint, []webhook.Secret{{Value: webhook.NewSecret()}}
	made, err := c.subscriptions.Create(c.t.Context(), s)
	apptest.Check(c.t, err)
	return made.ID
}

// token makes a token of the app for a user, or of the app itself if user is "".
func (c *tenant) token(scopes string, user presence.UserID) string {
	c.t.Helper()
	granted, err := c.Provisioner().Authority.ParseScopes(scopes)
	apptest.Check(c.t, err)
	_, text, err := c.Provisioner().Authority.Issue(c.t.Context(), c.account, auth.Token{App: c.app.ID, User: user, Name: "test", Scopes: granted}, 0)
	apptest.Check(c.t, err)
	return text
}

// meet makes the objects of another account the foreign ones of this one.
func (c *tenant) meet(other *tenant) {
	for parameter := range c.objects {
		c.put(parameter, foreign, other.objects[parameter][own])
	}
}

// fill replaces the parameters of a path by the object of an owner.
func (c *tenant) fill(path, owner string) string {
	path = strings.NewReplacer("/ui/{version}/{file...}", ui.URL("app.css"), "{rest...}", "users", "{secret}", "a.b", "{claim}", "x", "{contact}", c.email("owner"), "{page...}", "concepts", "{page}", "concepts", "{slug}", "no-token", "{$}", "",
		"{type}", "User", "{schema}", "urn:ietf:params:scim:schemas:core:2.0:User").Replace(path)
	for parameter, of := range c.objects {
		path = strings.ReplaceAll(path, parameter, of[owner])
	}
	return path
}

// readAt is the time at which a presence was explained.
var readAt = regexp.MustCompile(`"at":"[^"]*"`)

// snapshot is what an account's administrator sees of all its objects.
func (c *tenant) snapshot() string {
	var all strings.Builder
	paths := []string{"/v1/account", "/v1/users", "/v1/sessions", "/v1/apps", "/v1/groups", "/v1/tokens", "/v1/subscriptions"}
	for _, owner := range []string{own, another} {
		user := "/v1/users/" + c.objects["{user}"][owner]
		for _, of := range []string{"", "/claims", "/contacts", "/visibility", "/sessions", "/presence/explain"} {
			paths = append(paths, user+of)
		}
	}
	for _, path := range paths {
		w := c.ask("GET", path, "", "Authorization", "Bearer "+c.admin)
		if w.Code != http.StatusOK {
			c.t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		all.WriteString(path + " " + readAt.ReplaceAllString(w.Body.String(), ""))
	}
	return all.String()
}

func (c *tenant) record(name string) store.User {
	return store.User{Account: c.account, ID: c.users[name].ID}
}
