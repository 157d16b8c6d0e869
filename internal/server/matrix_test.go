package server_test

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
)

// A caller is somebody who calls a route, with what they should be able to do.
type caller struct {
	name    string
	headers []string
	query   string
	refused *api.Kind // whatever the route; nil: the caller is authenticated
	scopes  auth.Scopes
	app     bool // itself, not for a user
	// others: the objects of alice are those of somebody else.
	others bool
	// stranger: the caller belongs to another account, for which all objects are foreign.
	stranger bool
	operator bool // of the server, who belongs to no account
}

// refuses is the kind of the response to a caller, or nil.
func (c *caller) refuses(row *apptest.Right, scope auth.Scope, method, owner string) *api.Kind {
	switch {
	case row.Caller == apptest.Anybody && c.refused == &api.OriginRefused && !isSafe(method) && strings.Contains(c.name, " from "):
		return c.refused
	case row.Caller == apptest.Anybody:
		return nil
	case c.refused == &api.OriginRefused && strings.HasSuffix(c.name, "without an origin") && isSafe(method):
	case c.refused != nil:
		return c.refused
	}
	plain, admin := c.scopes.Has(scope), c.scopes.HasAdmin(scope)
	lacks := row.Scope != "" && (!plain && !admin || row.Manager && !admin)
	switch {
	case lacks && row.Lacking == nil:
		return &api.InsufficientScope
	case row.Caller == apptest.AppToken && !c.app:
		return notApp
	case row.Caller == apptest.Person && !strings.Contains(c.name, "cookie"):
		return &api.SignInRequired
	}
	kind := c.refusesObject(row, admin, owner)
	switch {
	case kind == nil && lacks:
		return row.Lacking
	case kind == nil && !c.hasBesides(row):
		return &api.Escalation
	}
	return kind
}

// hasBesides reports whether the caller has the scopes that the route needs beside its own.
func (c *caller) hasBesides(row *apptest.Right) bool {
	besides := strings.Fields(row.Besides)
	return !slices.ContainsFunc(auth.AllScopes(), func(s auth.Scope) bool {
		return slices.Contains(besides, s.String()+":admin") && !c.scopes.HasAdmin(s)
	})
}

// refusesObject is refuses for a caller who may use the route.
func (c *caller) refusesObject(row *apptest.Right, admin bool, owner string) *api.Kind {
	mine := owner == own && (!c.others || row.Caller == apptest.AppToken)
	switch {
	case row.Missing != nil && (c.stranger || owner == foreign || owner == absent || owner == deleted):
		return row.Missing
	case mine, admin && !row.Personal:
		return nil
	default:
		return row.Elses
	}
}

func isSafe(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// notApp refuses a user's token where an app's own is needed.
var notApp = &api.Kind{Slug: "403", Status: http.StatusForbidden}

// dialectOf is the API of a path, by how it writes errors.
func dialectOf(path string) string {
	for _, prefix := range []string{"/v2/", "/oauth/", "/scim/", "/ws"} {
		if strings.HasPrefix(path, prefix) {
			return prefix
		}
	}
	return "/v1/"
}

// zoomErrors are the responses of Zoom's dialect to what every dialect refuses.
var zoomErrors = map[*api.Kind]*api.Kind{
	&api.NoToken: {Slug: "124", Status: 401}, &api.InvalidToken: {Slug: "124", Status: 401}, &api.ExpiredToken: {Slug: "124", Status: 401},
	&api.TokenInQuery: {Slug: "124", Status: 401}, &api.InsufficientScope: {Slug: "4711", Status: 400}, &api.OriginRefused: {Slug: "403", Status: 403},
}

// wanted is the status and the code of a refusal in the dialect of a path.
func wanted(path string, k *api.Kind) (status int, code string) {
	if of := zoomErrors[k]; of != nil && dialectOf(path) == "/v2/" {
		k = of
	}
	if dialectOf(path) == "/scim/" {
		return k.Status, strconv.Itoa(k.Status)
	}
	return k.Status, k.Slug
}

// got is the code of the error in a response: the last part of a problem's type, the
// dialect's own code, or the status that SCIM repeats as a string.
func got(w *httptest.ResponseRecorder) string {
	var body struct {
		Type    string          `json:"type"`
		Code    json.Number     `json:"code"`
		Schemas []string        `json:"schemas"`
		Status  json.RawMessage `json:"status"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &body) // no error has a code then
	if len(body.Schemas) > 0 {
		return strings.Trim(string(body.Status), `"`)
	}
	if body.Type != "" {
		return path.Base(body.Type)
	}
	return body.Code.String()
}

// callers lists callers with every kind of credential, and authenticated ones with every
// relation to a scope.
func (c *tenant) callers(other *tenant, row *apptest.Right) []caller {
	c.t.Helper()
	a, ctx := c.Provisioner().Authority, c.t.Context()
	alice := c.users["alice"].ID
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	full := c.token(apptest.Everything, alice)
	all := []caller{
		{name: "nobody", refused: &api.NoToken},
		{name: "garbage", headers: bearer("nonsense"), refused: &api.InvalidToken},
		{name: "an unknown token", headers: bearer("pl_" + strings.Repeat("A", 43)), refused: &api.InvalidToken},
		{name: "two tokens", headers: append(bearer(full), bearer(full)...), refused: &api.NoToken},
		{name: "basic authentication", headers: []string{"Authorization", "Basic " + full}, refused: &api.NoToken},
		{name: "an app's secret", headers: bearer(c.secret), refused: &api.InvalidToken},
		{name: "a token in the query", query: "access_token=" + full, refused: &api.TokenInQuery},
		{name: "a token in the query and the header", query: "access_token=" + full, headers: bearer(full), refused: &api.TokenInQuery},
		{name: "an app's token in the cookie", headers: cookie(full, "same-origin"), refused: &api.InvalidToken},
		{name: "an expired token", headers: bearer(c.expired), refused: &api.ExpiredToken},
		{name: "a revoked token", headers: bearer(c.revoked), refused: &api.InvalidToken},
		{name: "a token of a deactivated user", headers: bearer(c.deactivated), refused: &api.InvalidToken},
		{name: "a token of a deleted user", headers: bearer(c.deleted), refused: &api.InvalidToken},
		{name: "a token of a deleted app", headers: bearer(c.orphan), refused: &api.InvalidToken},
		{name: "a ticket", headers: bearer(c.ticket), refused: &api.InvalidToken},
		{name: "the code of a device", headers: bearer(c.device), refused: &api.InvalidToken},
		{name: "a system token", headers: bearer(c.system), refused: &api.InvalidToken, operator: true},
		{name: "another account's administrator", headers: bearer(other.admin), scopes: other.app.Scopes, app: true, others: true, stranger: true},
	}
	for _, person := range []string{"alice", "boss"} {
		_, text, err := a.SignIn(ctx, c.account, c.users[person].ID, auth.Browser{Name: "browser"}, time.Hour)
		apptest.Check(c.t, err)
		scopes := a.ScopesOf(c.users[person].Role)
		signed := caller{name: person + "'s cookie", headers: cookie(text, "same-origin"), scopes: scopes, others: person != "alice"}
		all = append(all, signed)
		for _, site := range []string{"cross-site", "same-site", ""} {
			all = append(all, caller{name: person + "'s cookie from " + site, headers: cookie(text, site, "Origin", "https://evil.example"), refused: &api.OriginRefused})
		}
		all = append(all, caller{name: person + "'s cookie without an origin", headers: cookie(text, ""), refused: &api.OriginRefused, scopes: scopes, others: person != "alice"},
			caller{name: person + "'s cookie twice", headers: append(cookie(text, "same-origin"), "Cookie", "porchlight="+text), refused: &api.NoToken})
	}
	for scopes := range relations(row) {
		granted, err := a.ParseScopes(scopes)
		apptest.Check(c.t, err)
		all = append(all, caller{name: "a user with " + scopes, headers: bearer(c.token(scopes, alice)), scopes: granted},
			caller{name: "an app with " + scopes, headers: bearer(c.token(scopes, "")), scopes: granted, app: true, others: true})
	}
	return all
}

// relations lists scopes by their relation to those that a route needs: none, the plain one,
// the :admin one, that with those it needs besides, and all others.
func relations(row *apptest.Right) map[string]bool {
	scope := row.Scope
	if scope == "" {
		return map[string]bool{"": true, apptest.Everything: true}
	}
	others := slices.DeleteFunc(strings.Fields(apptest.Everything), func(s string) bool {
		return strings.HasPrefix(s, scope) || scope == "presence:read" && strings.HasPrefix(s, "contact:read") // Zoom's contact:read includes presence:read
	})
	return map[string]bool{
		"": true, scope: true, scope + ":admin": true, strings.TrimSpace(scope + ":admin " + row.Besides): true, strings.Join(others, " "): true,
	}
}

// cookie is the headers of a request of a browser that is signed in.
func cookie(token, site string, more ...string) []string {
	headers := []string{"Cookie", "porchlight=" + token}
	if site != "" {
		headers = append(headers, "Sec-Fetch-Site", site)
	}
	return append(headers, more...)
}

// A matrix calls one route.
type matrix struct {
	*tenant
	other        *tenant
	method, path string
	row          apptest.Right
	scope        auth.Scope
	cells        int
	succeeded    int // of them
}

// call sends the request of a caller for an object of an owner.
func (m *matrix) call(by *caller, owner string) *httptest.ResponseRecorder {
	m.cells++
	row := m.row
	row.Fill("{self}", m.email("alice"), "{new}", fmt.Sprintf("new%d-%d", m.n, m.cells), "{endpoint}", endpoint, "{password}", password)
	if strings.Contains(row.Query+row.Body, "{asks}") {
		row.Fill("{asks}", m.asks())
	}
	if strings.Contains(row.Query+row.Body, "{code}") {
		row.Fill("{code}", m.deviceCode().User)
	}
	query := strings.Trim(m.fill(row.Query, owner)+"&"+by.query, "&")
	if query != "" {
		query = "?" + query
	}
	headers := by.headers
	if row.Form {
		headers = append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)
	}
	if row.CSV {
		headers = append([]string{"Content-Type", "text/csv"}, headers...)
	}
	w := m.ask(m.method, m.fill(m.path, owner)+query, m.fill(row.Body, owner), headers...)
	if w.Code < http.StatusBadRequest {
		m.succeeded++
	}
	return w
}

// unsuccessful are the routes that nobody calls with success here, with the reason.
var unsuccessful = map[string]string{
	"POST /v1/sign-ins":                           "who signs in has a password and no token yet: signin and httpapi test it",
	"POST /v1/invitations/accept":                 "likewise, with the secret of a link",
	"GET /v1/signage/{secret}":                    "likewise: httpapi tests it",
	"GET /v1/subscriptions/{subscription}/events": "a WebSocket, and the subscriptions here have a URL",
	"GET /ws":            "a WebSocket, which zoomapi tests",
	"GET /v1/stream":     "it takes its connection over: streamapi tests it",
	"POST /scim/v2/Bulk": "not supported",
}

// checkSucceeded checks that somebody called the route with success.
func (m *matrix) checkSucceeded(route string) {
	if reason := unsuccessful[route]; (m.succeeded == 0) != (reason != "") {
		m.t.Errorf("%s was called %d times with success, and is listed with the reason %q", route, m.succeeded, reason)
	}
}

// TestMatrix calls every route of the server with every kind of credential, scope and
// object. What each is answered follows from the route's row in apptest.
func TestMatrix(t *testing.T) {
	s := newSurface(t)
	rows, cells, routes := apptest.Rights(), 0, 0
	other := s.newTenant()
	other.asks()
	before := other.snapshot()
	for _, route := range s.Router().Routes() {
		method, path, _ := strings.Cut(route, " ")
		of := route
		if method == http.MethodHead {
			of = "GET " + path
		}
		row, ok := rows[of]
		if !ok {
			t.Errorf("%s has no row in apptest.Rights", route)
			continue
		}
		if raceEnabled && routes%8 != 0 { // a part of it
			routes++
			continue
		}
		routes++
		m := &matrix{tenant: s.newTenant(), other: other, method: method, path: path, row: row}
		m.meet(other)
		if row.Scope != "" {
			m.scope = scopeNamed(t, row.Scope)
		}
		m.run()
		m.checkSucceeded(of)
		m.retire()
		cells += m.cells
	}
	for route := range rows {
		if !slices.Contains(s.Router().Routes(), route) {
			t.Errorf("apptest.Rights has the row %s, which is no route", route)
		}
	}
	if other.snapshot() != before {
		t.Errorf("the objects of another account changed from\n%s\nto\n%s", before, other.snapshot())
	}
	t.Logf("%d cells of %d routes", cells, routes)
}

func scopeNamed(t *testing.T, name string) auth.Scope {
	t.Helper()
	for _, s := range auth.AllScopes() {
		if s.String() == name {
			return s
		}
	}
	t.Fatalf("there is no scope %s", name)
	return 0
}

// run calls the route. Those who are refused go first and must leave everything as it is.
func (m *matrix) run() {
	m.spoil()
	m.asks() // it makes an app, which is no change by a request
	owners := []string{own}
	if m.row.Missing != nil || m.row.Elses != nil {
		owners = []string{own, another, foreign, absent, deleted}
	}
	switch m.row.Caller {
	case apptest.App, apptest.TokenInQuery, apptest.SystemToken:
		m.runStrange()
		return
	}
	all := m.callers(m.other, &m.row)
	type cell struct {
		by    *caller
		owner string
	}
	var permitted []cell
	missing := make(map[string][]string)
	before := m.snapshot()
	for i := range all {
		by := &all[i]
		for _, owner := range owners {
			kind := by.refuses(&m.row, m.scope, m.method, owner)
			if by.stranger && m.row.Missing == nil && !isSafe(m.method) {
				continue // it is permitted in the account of the caller
			}
			if by.stranger && owner == foreign {
				continue // its own
			}
			if kind == nil {
				permitted = append(permitted, cell{by, owner})
				continue
			}
			w := m.call(by, owner)
			status, code := wanted(m.path, kind)
			if w.Code != status || m.method != http.MethodHead && got(w) != code {
				m.t.Errorf("%s %s by %s for %s: %d %s, want %d %s\n%s", m.method, m.path, by.name, owner, w.Code, got(w), status, code, w.Body)
			}
			m.checkHeaders(w, by)
			if kind == m.row.Missing && owner != own && owner != another {
				missing[by.name] = append(missing[by.name], m.comparable(w, owner))
			}
		}
	}
	for name, answers := range missing {
		if len(slices.Compact(answers)) > 1 {
			m.t.Errorf("%s %s by %s: objects of another account, absent and deleted ones can be told apart:\n%s", m.method, m.path, name, strings.Join(answers, "\n"))
		}
	}
	if after := m.snapshot(); after != before {
		m.t.Errorf("%s %s: a request that was refused changed something:\n%s\n%s", m.method, m.path, before, after)
	}
	m.runPermitted(len(permitted), func(i int) (*caller, string) { return permitted[i].by, permitted[i].owner })
	if m.row.Caller == apptest.Person {
		m.runForeign()
	}
}

// runForeign lets a person decide on what an app or a device of another account asks for.
// It is as if nobody had asked.
func (m *matrix) runForeign() {
	_, text, err := m.Provisioner().Authority.SignIn(m.t.Context(), m.account, m.users["alice"].ID, auth.Browser{}, time.Hour)
	apptest.Check(m.t, err)
	by := caller{name: "alice's cookie", headers: cookie(text, "same-origin")}
	row, asks := m.row, m.other.asks()
	ask := func(asks, code string) string {
		m.row = row
		m.row.Fill("{asks}", asks, "{code}", code)
		w := m.call(&by, own)
		if w.Code < http.StatusBadRequest {
			m.t.Errorf("%s %s for another account: %d %s", m.method, m.path, w.Code, w.Body)
		}
		return m.comparable(w, own)
	}
	found, none := ask(asks, m.other.deviceCode().User), ask(strings.ReplaceAll(asks, m.other.asking, neverMade), "BCDF-GHJK")
	if found != none {
		m.t.Errorf("%s %s: what another account asks for can be told from nothing:\n%s\n%s", m.method, m.path, found, none)
	}
	m.row = row
}

// runPermitted calls the route for those who may. Each gets objects of its own if the
// call uses them up.
func (m *matrix) runPermitted(n int, cell func(int) (*caller, string)) {
	if m.row.Stream {
		return
	}
	for i := range n {
		by, owner := cell(i)
		if i > 0 && m.uses() {
			m.renew()
			for _, again := range m.callers(m.other, &m.row) {
				if again.name == by.name {
					by = &again
				}
			}
		}
		m.prepare()
		want := m.row.OK
		if by.app {
			want = cmp.Or(m.row.AppOK, want)
		}
		w := m.call(by, owner)
		for end := time.Now().Add(waitLimit); m.replays() && w.Code == http.StatusServiceUnavailable && time.Now().Before(end); w = m.call(by, owner) {
			time.Sleep(5 * time.Millisecond) // until deliveries of a new subscription begin
		}
		if w.Code != want {
			m.t.Errorf("%s %s by %s for %s: %d, want %d: %s", m.method, m.path, by.name, owner, w.Code, want, w.Body)
		} else {
			m.checkHeaders(w, by)
		}
	}
}

// uses reports whether a call uses an object up, or changes what others may do.
func (m *matrix) uses() bool {
	return m.row.Caller != apptest.Anybody && (m.method == http.MethodDelete || m.path == "/v1/account" || strings.HasSuffix(m.path, "/status") || m.setsPassword() || m.replays())
}

// replays reports whether the route starts a replay, of which a subscription has one at a
// time.
func (m *matrix) replays() bool { return strings.HasSuffix(m.path, "/replay") }

func (m *matrix) setsPassword() bool { return m.path == "/v1/me/password" }

// renew replaces the tenant by another one.
func (m *matrix) renew() {
	m.retire()
	m.tenant = m.newTenant()
	m.meet(m.other)
	m.spoil()
}

// prepare makes what some routes need of the server.
func (m *matrix) prepare() {
	if strings.HasSuffix(m.path, "/erasure") {
		for _, name := range []string{"alice", "bob"} {
			apptest.Check(m.t, m.RecordErasure(m.t.Context(), m.record(name)))
		}
	}
	if m.setsPassword() {
		m.setPassword("alice")
		m.setPassword("boss")
	}
}

var instance = regexp.MustCompile(`"instance":"[^"]*"`)

// comparable is a response without what differs from one response to the next, and without
// the id of the object.
func (m *matrix) comparable(w *httptest.ResponseRecorder, owner string) string {
	header := maps.Clone(w.Header())
	for _, name := range []string{"X-Request-Id", "X-Zm-Trackingid", "Date"} {
		delete(header, name)
	}
	body := instance.ReplaceAllString(w.Body.String(), "")
	for _, of := range m.objects {
		if id := of[owner]; id != "" {
			body = strings.ReplaceAll(body, id, "ID")
		}
	}
	return fmt.Sprint(w.Code, header, body)
}

// checkHeaders checks what every response must have.
func (m *matrix) checkHeaders(w *httptest.ResponseRecorder, by *caller) {
	h := w.Header()
	if h.Get("X-Content-Type-Options") != "nosniff" {
		m.t.Errorf("%s %s by %s: %d without X-Content-Type-Options", m.method, m.path, by.name, w.Code)
	}
	cached := h.Get("Cache-Control")
	if m.row.Caller != apptest.Anybody && !strings.Contains(cached, "no-store") {
		m.t.Errorf("%s %s by %s: %d has Cache-Control %q", m.method, m.path, by.name, w.Code, cached)
	}
	if strings.HasPrefix(h.Get("Content-Type"), "text/html") && !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		m.t.Errorf("%s %s by %s: a page that others can frame", m.method, m.path, by.name)
	}
	if set := h.Get("Set-Cookie"); set != "" && !strings.HasPrefix(set, "porchlight=; ") {
		m.t.Errorf("%s %s by %s: sets the cookie %v", m.method, m.path, by.name, h["Set-Cookie"])
	}
}

// runStrange calls a route with every credential that it does not take.
func (m *matrix) runStrange() {
	if dialectOf(m.path) == "/ws" {
		return // a WebSocket, which zoomapi tests
	}
	m.put("{account}", own, string(m.account))
	for _, by := range m.callers(m.other, &apptest.Right{}) {
		if by.operator && m.row.Caller == apptest.SystemToken {
			m.runOperator(&by)
			continue
		}
		w := m.call(&by, own)
		if w.Code < 400 {
			m.t.Errorf("%s %s by %s: %d %s", m.method, m.path, by.name, w.Code, w.Body)
		}
		m.checkHeaders(w, &by)
	}
	if m.row.Caller == apptest.App {
		m.runApps()
	}
}

// runOperator calls a route with a system token, for an account that never was and for a
// new one.
func (m *matrix) runOperator(by *caller) {
	made := m.ask("POST", "/v1/system/accounts", `{"name":"x","owner_email":"`+m.email("operated")+`"}`, by.headers...)
	var account api.CreatedAccount
	apptest.Check(m.t, json.Unmarshal(made.Body.Bytes(), &account))
	before := m.objects["{account}"][own]
	m.put("{account}", own, account.AccountID)
	if strings.HasSuffix(m.path, "/deletion") {
		m.ask("DELETE", "/v1/system/accounts/"+account.AccountID, "", by.headers...)
	}
	if strings.Contains(m.path, "{account}") {
		if w := m.call(by, absent); w.Code != http.StatusNotFound {
			m.t.Errorf("%s %s for an account that never was: %d %s", m.method, m.path, w.Code, w.Body)
		}
	}
	w := m.call(by, own)
	if w.Code != m.row.OK {
		m.t.Errorf("%s %s by %s: %d, want %d: %s", m.method, m.path, by.name, w.Code, m.row.OK, w.Body)
	}
	m.checkHeaders(w, by)
	m.put("{account}", own, before)
}

// runApps calls a route with the secrets of apps.
func (m *matrix) runApps() {
	m.row.Fill("{bearer}", m.token("presence:read", m.users["alice"].ID))
	for _, by := range []struct {
		name, id, secret string
		want             bool
	}{
		{"the app", string(m.app.ID), m.secret, true},
		{"the app with another secret", string(m.app.ID), m.other.secret, false},
		{"the app without a secret", string(m.app.ID), "", false},
		{"the app with a token", string(m.app.ID), m.admin, false},
		{"another app", string(m.other.app.ID), m.secret, false},
		{"a deleted app", m.objects["{app}"][deleted], m.secret, false},
		{"an app that never was", neverMade, m.secret, false},
	} {
		basic := base64.StdEncoding.EncodeToString([]byte(by.id + ":" + by.secret))
		w := m.call(&caller{headers: []string{"Authorization", "Basic " + basic}}, own)
		if (w.Code == m.row.OK) != by.want || !by.want && (w.Code != http.StatusBadRequest && w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "client")) {
			m.t.Errorf("%s %s by %s: %d %s", m.method, m.path, by.name, w.Code, w.Body)
		}
	}
}

// spoil makes credentials that are no longer valid.
func (c *tenant) spoil() {
	c.t.Helper()
	p, ctx := c.Provisioner(), c.t.Context()
	every := c.app.Scopes
	issue := func(app presence.AppID, user presence.UserID, lasts time.Duration) (auth.Token, string) {
		token, text, err := p.Authority.Issue(ctx, c.account, auth.Token{App: app, User: user, Name: "test", Scopes: every}, lasts)
		apptest.Check(c.t, err)
		return token, text
	}
	_, c.expired = issue(c.app.ID, c.users["alice"].ID, time.Millisecond)
	c.clock.Advance(2 * time.Millisecond)
	revoked, text := issue(c.app.ID, c.users["alice"].ID, 0)
	c.revoked = text
	apptest.Check(c.t, p.Authority.Revoke(ctx, c.account, revoked.ID))
	_, c.deactivated = issue(c.app.ID, c.users["idle"].ID, 0)
	off := false
	_, err := p.Update(ctx, c.by(), c.users["idle"].ID, &provision.Change{Active: &off})
	apptest.Check(c.t, err)
	_, c.deleted = issue(c.app.ID, c.users["erased"].ID, 0)
	apptest.Check(c.t, p.Delete(ctx, c.by(), c.users["erased"].ID, nil, nil))
	app, _, err := p.Authority.CreateApp(ctx, c.account, "Orphan", every)
	apptest.Check(c.t, err)
	_, c.orphan = issue(app.ID, c.users["alice"].ID, 0)
	apptest.Check(c.t, p.Authority.DeleteApp(ctx, c.account, app.ID))
	w := c.ask("POST", "/v1/tickets", "", "Authorization", "Bearer "+c.admin)
	var made api.Ticket
	apptest.Check(c.t, json.Unmarshal(w.Body.Bytes(), &made))
	c.ticket = made.Ticket
	c.device = c.deviceCode().Code
	_, c.system, err = p.Authority.IssueSystem(ctx, "test", 0)
	apptest.Check(c.t, err)
}
