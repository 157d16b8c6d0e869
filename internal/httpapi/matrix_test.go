package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/watch"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/api/apitest"
	"porchlight.dev/porchlight/docs"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/scim"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// open lists the routes for browsers, which take no token.
var open = []string{
	"/docs/openapi.yaml", "/docs/openapi.json", "/docs/openapi-3.0.json", "/docs/problems", "/docs/problems/{slug}",
}

const (
	signInBody = `{"client_type":"web"}`
	claimBody  = `{"source":"app","status":"busy"}`
)

// rights has a row for each route; the test fails for a route without one. Add rows in
// apptest, where the tests of the whole server find them too.
var rights = apptest.NativeRights()

// TestRights calls each route with each kind of token and each kind of object.
func TestRights(t *testing.T) {
	for _, route := range newWorld(t).router.Routes() {
		method, pattern, _ := strings.Cut(route, " ")
		if method == "HEAD" || slices.Contains(open, pattern) || strings.HasPrefix(pattern, "/v1/system/") {
			continue // TestSystemTokens covers those of the system API
		}
		row, ok := rights[route]
		if !ok {
			t.Errorf("%s has no row in the matrix", route)
			continue
		}
		row.Fill("{self}", "alice@example.com", "{new}", "new", "{endpoint}", "https://example.com/", "{password}", goodPassword)
		if row.Caller == apptest.Anybody {
			w := newWorld(t)
			w.do(method, pattern, "", row.Body).want(row.OK)
			w.do(method, pattern, w.token(w.alice.ID, ""), row.Body).want(row.OK) // a token makes no difference
			continue
		}
		t.Run(route, func(t *testing.T) {
			w := newWorld(t)
			if pattern == "/v1/me/password" {
				w.member(w.alice.ID)
			}
			m := &matrix{world: w, objects: w.objects(), method: method, pattern: pattern, Right: row}
			if m.replays() {
				w.runWebhooks()
				w.awaitDelivering(m.objects["{subscription}"]["self"])
				w.awaitDelivering(m.objects["{subscription}"]["other"])
			}
			m.checkTokens()
			switch {
			case pattern == "/v1/stream": // needs a connection to hijack
			case row.Missing == nil:
				m.checkWithoutObject()
			default:
				m.checkObjects()
			}
		})
	}
}

// TestDocumentHasScopes: the API document requires the same scopes as the server.
func TestDocumentHasScopes(t *testing.T) {
	doc, err := apitest.Document()
	if err != nil {
		t.Fatal(err)
	}
	rows := maps.Clone(rights)
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if !strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/v1/system/") {
				continue
			}
			row, ok := rows[method+" "+path]
			delete(rows, method+" "+path)
			want := []string{}
			if row.Scope != "" {
				want = append(want, row.Scope)
			}
			if row.Caller == apptest.Anybody {
				if !ok || len(*operation.Security) != 0 {
					t.Errorf("%s %s: documented with %v, and needs no token", method, path, *operation.Security)
				}
				continue
			}
			if row.Manager {
				want[0] += ":admin"
			}
			if got := (*operation.Security)[0]["bearer"]; !ok || !slices.Equal(got, want) {
				t.Errorf("%s %s: documented with %v, requires %v", method, path, got, want)
			}
		}
	}
	for route := range rows {
		t.Errorf("%s is not documented", route)
	}
}

// TestScopesPage checks the table of docs/scopes.md: it has each scope of a route, each
// native scope has a route, and each route is listed under its scope.
func TestScopesPage(t *testing.T) {
	doc, err := apitest.Document()
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string][]string)
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for _, way := range *operation.Security {
				for _, scope := range way["bearer"] {
					want[scope] = append(want[scope], method+" "+path)
				}
			}
		}
	}
	want["scim:write:admin"] = new(scim.API).Routes() // SCIM describes itself
	text, err := docs.Served.ReadFile("scopes.md")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z:]+)` \\|.*\\| (`[A-Z]+ /.*`) \\|$").FindAllStringSubmatch(string(text), -1) {
		got[row[1]] = strings.Split(strings.Trim(row[2], "`"), "`, `")
	}
	for scope := range auth.Scope(255) {
		_, plain := got[scope.String()]
		_, admin := got[scope.String()+":admin"]
		if !plain && !admin && !strings.HasPrefix(scope.String(), "scope(") {
			t.Errorf("no route requires the scope %s", scope)
		}
	}
	for _, routes := range []map[string][]string{want, got} {
		for scope := range routes {
			slices.Sort(routes[scope])
		}
	}
	if diff := mapDiff(want, got); diff != "" {
		t.Errorf("docs/scopes.md and api/openapi.yaml differ:\n%s", diff)
	}
}

// mapDiff lists the keys whose values differ.
func mapDiff(want, got map[string][]string) string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(want)), maps.Keys(got))
	slices.Sort(keys)
	var diff strings.Builder
	for _, key := range slices.Compact(keys) {
		if !slices.Equal(want[key], got[key]) {
			fmt.Fprintf(&diff, "%s: the document has %q, the page %q\n", key, want[key], got[key])
		}
	}
	return diff.String()
}

// objects are the ids for the paths of the matrix, by path segment and owner.
type objects map[string]map[string]string

func (w *world) objects() objects {
	t, admin := w.t, w.admin()
	// Objects of another account.
	scopes, err := w.authority.ParseScopes("presence:read")
	w.must(err)
	app, _, err := w.authority.CreateApp(t.Context(), w.other, "Other", scopes)
	w.must(err)
	token, _, err := w.authority.Issue(t.Context(), w.other, auth.Token{App: app.ID, User: w.stranger.ID, Scopes: scopes}, 0)
	w.must(err)
	w.publish(store.User{Account: w.other, ID: w.stranger.ID}, presence.SignIn{Session: "s", Client: "web"})
	// Objects of this account.
	var made api.App
	w.do("POST", "/v1/apps", admin, `{"name":"x","scopes":["directory:write"]}`).want(201).read(&made)
	sessions, tokens, watches := make(map[string]string), make(map[string]string), make(map[string]string)
	for _, name := range []string{"alice", "bob"} {
		user := "/v1/users/" + name + "@example.com"
		w.do("PUT", user+"/claims/x", admin, claimBody).want(200)
		w.do("PUT", user+"/contacts/owner@example.com", admin, `{}`).want(200)
		sessions[name] = w.signIn(user+"/sessions", admin, signInBody).ID
		var t api.Token
		w.do("POST", "/v1/tokens", admin, `{"user":"`+name+`@example.com","name":"x","scopes":["presence:read"]}`).want(201).read(&t)
		tokens[name] = t.ID
	}
	for name, u := range map[string]store.User{
		"alice": {Account: w.account, ID: w.alice.ID}, "bob": {Account: w.account, ID: w.bob.ID}, "stranger": {Account: w.other, ID: w.stranger.ID},
	} {
		made, err := w.api.Watches.Create(t.Context(), watch.Watch{
			Account: u.Account, Owner: u.ID, Target: u.ID, Until: presence.Busy, Expires: w.clock().Add(time.Hour),
		})
		w.must(err)
		watches[name] = made.ID
		_, err = w.api.Erasures.Request(t.Context(), u)
		w.must(err)
	}
	signIns := make(map[string]string)
	for name, u := range map[string]store.User{
		"alice": {Account: w.account, ID: w.alice.ID}, "bob": {Account: w.account, ID: w.bob.ID}, "stranger": {Account: w.other, ID: w.stranger.ID},
	} {
		made, _, err := w.authority.SignIn(t.Context(), u.Account, u.ID, auth.Browser{}, time.Hour)
		w.must(err)
		signIns[name] = made.ID
	}
	subscriptions := w.subscriptions()
	ref := func(u presence.UserID) string {
		return base64.RawURLEncoding.EncodeToString(append([]byte{byte(len(u))}, string(u)+"s"...))
	}
	const never = "KDcuGIm1QgePTO8WbOqwIQ"
	return objects{
		"{user}": {
			"self": string(w.alice.ID), "other": string(w.bob.ID), "foreign": string(w.stranger.ID), "unknown": never, "deleted": string(w.deleted),
		},
		"{session}": {
			"self": sessions["alice"], "other": sessions["bob"], "foreign": ref(w.stranger.ID), "unknown": ref(never), "deleted": ref(w.deleted),
		},
		"{token}":        {"self": tokens["alice"], "other": tokens["bob"], "foreign": token.ID, "unknown": never, "deleted": never},
		"{watch}":        {"self": watches["alice"], "other": watches["bob"], "foreign": watches["stranger"], "unknown": never, "deleted": never},
		"{signin}":       {"self": signIns["alice"], "other": signIns["bob"], "foreign": signIns["stranger"], "unknown": never, "deleted": never},
		"{subscription}": subscriptions,
		"{grant}":        w.grants(),
		"{link}":         {"self": w.signageLink(w.account), "other": w.signageLink(w.account), "foreign": w.signageLink(w.other), "unknown": never, "deleted": never},
		"{group}":        {"self": w.group(w.account, "Support"), "other": w.group(w.account, "Sales"), "foreign": w.group(w.other, "Support"), "unknown": never, "deleted": never},
		"{app}":          {"self": made.ID, "other": made.ID, "foreign": string(app.ID), "unknown": never, "deleted": never},
	}
}

func (w *world) group(account presence.AccountID, name string) string {
	w.t.Helper()
	g, err := w.directory.CreateGroup(w.t.Context(), account, directory.Group{Name: name})
	w.must(err)
	return g.ID
}

func (w *world) signageLink(account presence.AccountID) string {
	w.t.Helper()
	link, _, err := w.api.Signage.Create(w.t.Context(), account, audit.Actor{}, "x", "")
	w.must(err)
	return link.ID
}

// grants makes one for each owner, of an app each.
func (w *world) grants() map[string]string {
	made := map[string]string{"unknown": "KDcuGIm1QgePTO8WbOqwIQ", "deleted": "KDcuGIm1QgePTO8WbOqwIQ"}
	for name, u := range map[string]store.User{
		"self": {Account: w.account, ID: w.alice.ID}, "other": {Account: w.account, ID: w.bob.ID}, "foreign": {Account: w.other, ID: w.stranger.ID},
	} {
		app, _ := w.App(u.Account, "presence:read")
		w.must(w.authority.Consent(w.t.Context(), u.Account, u.ID, app.ID, app.Scopes))
		made[name] = string(app.ID)
	}
	return made
}

// subscriptions makes one for each owner.
func (w *world) subscriptions() map[string]string {
	made := map[string]string{"unknown": "KDcuGIm1QgePTO8WbOqwIQ", "deleted": "KDcuGIm1QgePTO8WbOqwIQ"}
	for name, u := range map[string]store.User{
		"self": {Account: w.account, ID: w.alice.ID}, "other": {Account: w.account, ID: w.bob.ID}, "foreign": {Account: w.other, ID: w.stranger.ID},
	} {
		app := w.app
		if u.Account != w.account {
			app = "" // it is not of that account
		}
		s, err := w.api.Subscriptions.Create(w.t.Context(), &webhook.Subscription{
			Account: u.Account, App: app, Owner: u.ID, Users: []presence.UserID{u.ID}, URL: "https://example.com/", Secrets: []webhook.Secret{{Value: webhook.NewSecret()}},
		})
		w.must(err)
		made[name] = s.ID
	}
	return made
}

func (w *world) publish(u store.User, e presence.Event) publish.Result {
	w.t.Helper()
	result, err := w.api.Publisher.Publish(w.t.Context(), u, store.Actor{}, e)
	w.must(err)
	return result
}

type matrix struct {
	*world
	objects         objects
	method, pattern string
	apptest.Right
}

// ask sends the request for an object of the given owner.
func (m *matrix) ask(owner, token string) *exchange {
	m.t.Helper()
	path := strings.NewReplacer("{claim}", "x", "{contact}", "owner@example.com").Replace(m.pattern)
	for part, of := range m.objects {
		path = strings.ReplaceAll(path, part, of[owner])
	}
	if m.Query != "" {
		path += "?" + m.Query
	}
	if m.CSV {
		return m.do(m.method, path, token, m.Body, "Content-Type", "text/csv")
	}
	return m.do(m.method, path, token, m.Body)
}

// checkTokens checks requests without a token, with a bad one, with one in the URL, and
// with one that lacks the scope. The object must not make a difference.
func (m *matrix) checkTokens() {
	m.t.Helper()
	for _, owner := range []string{"self", "unknown"} {
		m.ask(owner, "").problem(&api.NoToken)
		x := m.ask(owner, "nonsense")
		x.problem(&api.InvalidToken)
		if !strings.Contains(x.header.Get("Www-Authenticate"), "invalid_token") {
			m.t.Errorf("challenge %q", x.header.Get("Www-Authenticate"))
		}
		if m.Scope == "" {
			continue
		}
		without := strings.Fields(everything)
		// Zoom's contact:read includes presence:read.
		without = slices.DeleteFunc(without, func(s string) bool {
			return strings.HasPrefix(s, m.Scope) || strings.HasPrefix(s, "contact:")
		})
		refused := m.ask(owner, m.token("", strings.Join(without, " "))).problem(&api.InsufficientScope)
		if !slices.Contains(refused.Scopes, m.Scope+":admin") {
			m.t.Errorf("the error names the scopes %v", refused.Scopes)
		}
	}
	x := m.do(m.method, strings.ReplaceAll(m.pattern, "{", "")+"?access_token=secret", "", m.Body)
	if strings.Contains(m.pattern, "{") {
		return // another path, which is refused below /v1/, too
	}
	x.problem(&api.TokenInQuery)
}

// replays reports whether the route needs the deliverer.
func (m *matrix) replays() bool { return strings.HasSuffix(m.pattern, "/replay") }

func (m *matrix) own() string { return m.token(m.alice.ID, m.Scope) }
func (m *matrix) managing() string {
	return m.token(m.alice.ID, strings.TrimSpace(m.Scope+":admin "+m.Besides))
}

// checkWithoutObject checks the plain scope and the :admin one on a route without an
// object.
func (m *matrix) checkWithoutObject() {
	m.t.Helper()
	switch {
	case m.Caller == apptest.Person:
		m.ask("self", m.token(m.alice.ID, everything)).problem(&api.SignInRequired)
		return
	case m.Scope == "":
		m.ask("self", m.token(m.alice.ID, "")).want(m.OK)
		return
	case m.Manager:
		m.ask("self", m.own()).problem(&api.InsufficientScope)
	default:
		m.ask("self", m.own()).want(m.OK)
	}
	m.ask("self", m.managing()).want(m.OK)
}

var instance = regexp.MustCompile(`"instance":"[^"]*"`)

func (m *matrix) checkObjects() {
	m.t.Helper()
	own, admin := m.own(), m.managing()
	answers := make(map[string]string)
	for _, owner := range []string{"foreign", "unknown", "deleted"} {
		x := m.ask(owner, admin)
		x.problem(m.Missing)
		answers[instance.ReplaceAllString(x.body, "")] = owner
		if m.Manager {
			m.ask(owner, own).problem(&api.InsufficientScope)
			continue
		}
		x = m.ask(owner, own)
		x.problem(m.Missing)
		answers[instance.ReplaceAllString(x.body, "")] = owner
	}
	if len(answers) != 1 {
		m.t.Errorf("responses distinguish missing objects: %v", answers)
	}
	switch {
	case m.Manager:
		m.ask("self", own).problem(&api.InsufficientScope)
		m.ask("other", own).problem(&api.InsufficientScope)
	case m.Elses != nil:
		m.ask("other", own).problem(m.Elses)
		m.ask("self", own).want(m.OK)
	default:
		m.ask("other", own).want(m.OK)
		m.ask("self", own).want(m.OK)
	}
	if m.Personal {
		m.ask("other", admin).problem(m.Elses)
		return
	}
	m.ask("other", admin).want(m.OK)
	if m.Besides != "" {
		m.ask("other", m.token(m.alice.ID, m.Scope+":admin")).problem(&api.Escalation)
	}
}

// TestOrderOfChecks: checks run in the order token, scope, body, user, permission,
// rules. A request with two errors gets the first of them.
func TestOrderOfChecks(t *testing.T) {
	w := newWorld(t)
	own, without, admin := w.token(w.alice.ID, "claim:write"), w.token(w.alice.ID, "claim:read"), w.admin()
	const nobody, bob = "/v1/users/nobody@example.com/claims/x", "/v1/users/bob@example.com/claims/x"
	w.do("PUT", nobody, "nonsense", `{`).problem(&api.InvalidToken)
	w.do("PUT", nobody, without, `{`).problem(&api.InsufficientScope)
	w.do("PUT", nobody, own, `{`).problem(&api.Malformed)
	w.do("PUT", nobody, own, `{"source":"app","status":"asleep"}`).problem(&api.InvalidField)
	w.do("PUT", nobody, own, claimBody, "If-Match", "x").problem(&api.Malformed)
	w.do("PUT", nobody, own, claimBody, "If-Match", `"1"`).problem(&api.NoUser)
	w.do("PUT", bob, own, claimBody, "If-Match", `"1"`).problem(&api.Forbidden)
	w.do("PUT", bob, admin, claimBody, "Idempotency-Key", "k").want(200)
	w.do("PUT", bob, admin, claimBody, "Idempotency-Key", "k", "If-Match", `"1"`).want(200)
	w.do("PUT", bob, admin, `{"source":"app","status":"away"}`, "Idempotency-Key", "k", "If-Match", `"1"`).problem(&api.KeyReused)
	w.do("DELETE", "/v1/users/bob@example.com/claims/y", admin, "", "If-Match", `"1"`).problem(&api.PreconditionFailed)
}
