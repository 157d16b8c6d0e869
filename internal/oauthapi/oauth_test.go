package oauthapi_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	. "porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/wire"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// An oauthCall is a request to the endpoints.
type oauthCall struct {
	method, path, query, body string
	header                    http.Header
}

func (x oauthCall) do(h http.Handler) *httptest.ResponseRecorder {
	method, path := x.method, x.path
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/oauth/token"
	}
	r := httptest.NewRequest(method, "http://presence.example:8080"+path, strings.NewReader(x.body))
	r.URL.RawQuery = x.query
	if x.header != nil {
		r.Header = x.header
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// makeHeader makes a header from alternating names and values.
func makeHeader(parts ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(parts); i += 2 {
		h.Add(parts[i], parts[i+1])
	}
	return h
}

const formType = "application/x-www-form-urlencoded"

func basicAuth(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// oauthScopes are the scopes of the app.
const oauthScopes = "presence:read:admin session:read:admin session:write:admin claim:read:admin " +
	"claim:write:admin contact:read:admin directory:read:admin directory:write:admin"

// An oauthFixture is an account with an owner, Ann and an app.
type oauthFixture struct {
	*apptest.People
	clock   *apptest.Clock
	docs    *storetest.Faulty
	account presence.AccountID
	owner   presence.UserID
	ann     directory.User
	app     auth.App
	secret  string
}

func newOAuthFixture(tb testing.TB) *oauthFixture {
	tb.Helper()
	f := &oauthFixture{clock: apptest.Noon()}
	f.docs = storetest.Fault(enginetest.Open(tb, f.clock.Now))
	f.People = apptest.On(tb, f.docs, f.clock.Now, zoomapi.Scopes()...)
	account, owner := f.Account("owner@example.com")
	f.account, f.owner, f.ann = account, owner.ID, f.User(account, "ann@example.com")
	f.app, f.secret = f.App(account, oauthScopes)
	return f
}

func (f *oauthFixture) issue(user presence.UserID, lasts time.Duration) string {
	_, text := f.Token(f.account, f.app.ID, user, "presence:read", lasts)
	return text
}

// principal is the caller for which a token acts.
func (f *oauthFixture) principal(t *testing.T, text string) *auth.Principal {
	t.Helper()
	p, err := f.Authority.Authenticate(t.Context(), text)
	apptest.Check(t, err)
	return p
}

func (f *oauthFixture) refuses(t *testing.T, text string, want error) {
	t.Helper()
	if _, err := f.Authority.Authenticate(t.Context(), text); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func (f *oauthFixture) endpoints() http.Handler {
	return f.endpointsAt("http://presence.example:8080")
}

func (f *oauthFixture) endpointsAt(url string) http.Handler {
	log := slog.New(slog.DiscardHandler)
	dialect := &zoomapi.API{}
	rt := wire.NewRouter(wire.NewObserver(nil, log, prometheus.NewRegistry(), f.clock.Now), dialect)
	(&API{Authority: f.Authority, BaseURL: func(http.ResponseWriter) string { return url }, Clock: f.clock.Now, Headers: dialect.Announce}).Mount(rt)
	return rt
}

func (f *oauthFixture) basic() string { return basicAuth(string(f.app.ID), f.secret) }

// query is the query of the grant account_credentials.
func (f *oauthFixture) query() string {
	return "grant_type=account_credentials&account_id=" + url.QueryEscape(string(f.account))
}

type grantAnswer struct {
	AccessToken string      `json:"access_token"`
	TokenType   string      `json:"token_type"`
	ExpiresIn   json.Number `json:"expires_in"`
	Scope       *string     `json:"scope"`
	APIURL      string      `json:"api_url"`
}

func wantGrant(t *testing.T, w *httptest.ResponseRecorder) grantAnswer {
	t.Helper()
	var g grantAnswer
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	apptest.Check(t, json.Unmarshal(w.Body.Bytes(), &g))
	if !strings.HasSuffix(w.Body.String(), "}\n") {
		t.Errorf("the answer does not end in a line feed: %q", w.Body)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	return g
}

func wantOAuth(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	got := w.Body.String()
	if status >= 400 { // the description repeats the reason, as far as its characters allow
		before, description, found := strings.Cut(got, `,"error_description":"`)
		if !found || len(description) < 5 {
			t.Errorf("no error_description: %s", got)
		}
		got = before + "}\n"
	}
	if w.Code != status || got != body+"\n" {
		t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, status, body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %q", got)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %q", got)
	}
}

func TestTokenEndpoint(t *testing.T) {
	f := newOAuthFixture(t)
	body := "client_id=" + string(f.app.ID) + "&client_secret=" + f.secret
	encoded := strings.ReplaceAll(url.QueryEscape(f.secret), "-", "%2D")
	for name, x := range map[string]oauthCall{
		"form":                           {body: f.query(), header: makeHeader("Content-Type", formType, "Authorization", f.basic())},
		"form with a charset":            {body: f.query(), header: makeHeader("Content-Type", formType+"; charset=UTF-8", "Authorization", f.basic())},
		"query":                          {query: f.query(), header: makeHeader("Authorization", f.basic())},
		"query and JSON type":            {query: f.query(), header: makeHeader("Content-Type", "application/json", "Authorization", f.basic())},
		"query and JSON type, stray":     {query: f.query(), header: makeHeader("Content-Type", "application/json", "Grant_type", "x", "Authorization", f.basic())},
		"query and an empty object":      {query: f.query(), body: "{}", header: makeHeader("Content-Type", "application/json", "Authorization", f.basic())},
		"query and an empty array":       {query: f.query(), body: "[]", header: makeHeader("Content-Type", "application/json", "Authorization", f.basic())},
		"query and null, spaces":         {query: f.query(), body: " null\r\n", header: makeHeader("Content-Type", "application/json; charset=utf8", "Authorization", f.basic())},
		"query and [ ]":                  {query: f.query(), body: "[ ]", header: makeHeader("Content-Type", "application/json", "Authorization", f.basic())},
		"query and { }, byte order mark": {query: f.query(), body: "\ufeff{\n}\n", header: makeHeader("Content-Type", "application/json", "Authorization", f.basic())},
		"query and [], no type":          {query: f.query(), body: "[]", header: makeHeader("Authorization", f.basic())},
		"query and [], form type":        {query: f.query(), body: "[]", header: makeHeader("Content-Type", formType, "Authorization", f.basic())},
		"form, byte order mark":          {body: "\ufeff" + f.query(), header: makeHeader("Content-Type", formType, "Authorization", f.basic())},
		"100 parameters":                 {query: f.query() + strings.Repeat("&", 98), header: makeHeader("Authorization", f.basic())},
		"query and form type":            {query: f.query(), header: makeHeader("Content-Type", formType, "Authorization", f.basic())},
		"half and half":                  {query: "grant_type=account_credentials", body: "account_id=" + string(f.account), header: makeHeader("Content-Type", formType, "Authorization", f.basic())},
		"credentials in the body":        {query: f.query(), body: body, header: makeHeader("Content-Type", formType)},
		"all in the body":                {body: f.query() + "&" + body, header: makeHeader("Content-Type", formType)},
		"client_id beside Basic":         {body: f.query() + "&client_id=" + string(f.app.ID), header: makeHeader("Content-Type", formType, "Authorization", f.basic())},
		"basic":                          {query: f.query(), header: makeHeader("Authorization", strings.Replace(f.basic(), "Basic", "basic", 1))},
		"BASIC and no padding":           {query: f.query(), header: makeHeader("Authorization", "BASIC  "+strings.TrimRight(f.basic()[6:], "="))},
		"encoded credentials":            {query: f.query(), header: makeHeader("Authorization", basicAuth(string(f.app.ID), encoded))},
		"unknown parameters, no values":  {query: f.query() + "&x=1&scope=&client_id=", header: makeHeader("Authorization", f.basic())},
		"client_credentials":             {query: "grant_type=client_credentials", header: makeHeader("Authorization", f.basic())},
		"client_credentials, account":    {query: "grant_type=client_credentials&account_id=" + string(f.account), header: makeHeader("Authorization", f.basic())},
	} {
		t.Run(name, func(t *testing.T) {
			g := wantGrant(t, x.do(f.endpoints()))
			if g.TokenType != "bearer" || g.ExpiresIn != "3600" || g.Scope == nil || *g.Scope != oauthScopes || g.APIURL != "http://presence.example:8080" {
				t.Errorf("%+v", g)
			}
			p := f.principal(t, g.AccessToken)
			if p.Account != f.account || p.App != f.app.ID || p.User != f.owner || !p.AccountLevel || !p.Expires.Equal(f.clock.Now().Add(time.Hour)) {
				t.Errorf("principal %+v", p)
			}
		})
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	f := newOAuthFixture(t)
	other, _ := f.Account("other@example.net")
	_, otherSecret := f.App(other, "presence:read")
	id, account := string(f.app.ID), string(f.account)
	const (
		badClient = `{"reason":"Invalid client_id or client_secret","error":"invalid_client"}`
		noAccount = `{"reason":"Account does not exist","error":"invalid_request"}`
		badGrant  = `{"reason":"unsupported grant type","error":"unsupported_grant_type"}`
	)
	authorized := func(query string) oauthCall {
		return oauthCall{query: query, header: makeHeader("Authorization", f.basic())}
	}
	withHeader := func(parts ...string) oauthCall { return oauthCall{query: f.query(), header: makeHeader(parts...)} }
	form := func(body string, parts ...string) oauthCall {
		return oauthCall{body: body, header: makeHeader(append(parts, "Content-Type", formType)...)}
	}
	for name, c := range map[string]struct {
		x      oauthCall
		status int
		body   string
	}{
		"no credentials":           {withHeader(), 400, badClient},
		"wrong secret":             {withHeader("Authorization", basicAuth(id, otherSecret)), 400, badClient},
		"empty secret":             {withHeader("Authorization", basicAuth(id, "")), 400, badClient},
		"unknown client":           {withHeader("Authorization", basicAuth("nobody", f.secret)), 400, badClient},
		"long client id":           {withHeader("Authorization", basicAuth(strings.Repeat("a", 2000), f.secret)), 400, badClient},
		"bearer":                   {withHeader("Authorization", "Bearer "+f.secret), 400, badClient},
		"no base64":                {withHeader("Authorization", "Basic !"), 400, badClient},
		"no colon":                 {withHeader("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id))), 400, badClient},
		"badly encoded secret":     {withHeader("Authorization", basicAuth(id, "%zz")), 400, badClient},
		"only client_id":           {form(f.query() + "&client_id=" + id), 400, badClient},
		"wrong secret in the body": {form(f.query() + "&client_secret=x&client_id=" + id), 400, badClient},
		"secret in the query": {
			oauthCall{query: f.query() + "&client_id=" + id + "&client_secret=" + f.secret},
			400,
			`{"reason":"client_secret must be in the Authorization header or the body, never in the URL","error":"invalid_client"}`,
		},
		"credentials twice": {
			form(f.query()+"&client_id="+id+"&client_secret="+f.secret, "Authorization", f.basic()), 400,
			`{"reason":"The client is authenticated twice: use the Authorization header or the body","error":"invalid_request"}`,
		},
		"another client_id": {
			form(f.query()+"&client_id=x", "Authorization", f.basic()), 400,
			`{"reason":"client_id is not that of the Authorization header","error":"invalid_request"}`,
		},
		"two headers": {
			withHeader("Authorization", f.basic(), "Authorization", f.basic()), 400,
			`{"reason":"More than one Authorization header","error":"invalid_request"}`,
		},

		"no grant":                          {authorized("account_id=" + account), 400, `{"reason":"Missing required parameter: grant_type","error":"invalid_request"}`},
		"no account":                        {authorized("grant_type=account_credentials"), 400, `{"reason":"Missing required parameter: account_id","error":"invalid_request"}`},
		"unknown grant":                     {authorized("grant_type=password"), 400, badGrant},
		"grant in capital":                  {authorized("grant_type=ACCOUNT_CREDENTIALS&account_id=" + account), 400, badGrant},
		"other account":                     {authorized("grant_type=account_credentials&account_id=" + string(other)), 400, noAccount},
		"unknown account":                   {authorized("grant_type=account_credentials&account_id=x"), 400, noAccount},
		"other account, client_credentials": {authorized("grant_type=client_credentials&account_id=" + string(other)), 400, noAccount},
		"grant twice": {
			authorized(f.query() + "&grant_type=account_credentials"), 400,
			`{"reason":"Parameter given twice: grant_type","error":"invalid_request"}`,
		},
		"account in query and body": {
			oauthCall{query: f.query(), body: "account_id=" + account, header: makeHeader("Content-Type", formType, "Authorization", f.basic())},
			400,
			`{"reason":"Parameter given twice: account_id","error":"invalid_request"}`,
		},
		"JSON that is not empty":    {oauthCall{query: f.query(), body: `[0]`, header: makeHeader("Content-Type", "application/json", "Authorization", f.basic())}, 415, unsupportedForm},
		"two types":                 {form(f.query(), "Content-Type", formType+"; charset=latin1"), 400, `{"reason":"The request has more than one Content-Type header","error":"invalid_request"}`},
		"latin1":                    {oauthCall{body: f.query(), header: makeHeader("Content-Type", formType+"; charset=latin1", "Authorization", f.basic())}, 415, `{"reason":"The charset \"latin1\" is not supported; send the body in UTF-8","error":"invalid_request"}`},
		"101 parameters in a query": {authorized(f.query() + strings.Repeat("&a=1", 99)), 400, `{"reason":"The query has more than 100 parameters","error":"invalid_request"}`},
		"thousands in a body":       {form(strings.Repeat("a&", 30_000), "Authorization", f.basic()), 400, `{"reason":"The body has more than 100 parameters","error":"invalid_request"}`},
		"bad query":                 {authorized(f.query() + "&x=%zz"), 400, `{"reason":"The query is not well-formed","error":"invalid_request"}`},
		"bad body":                  {form("a=%zz"), 400, `{"reason":"The body is not well-formed","error":"invalid_request"}`},
		"not UTF-8":                 {form("a=%ff"), 400, `{"reason":"The body is not UTF-8","error":"invalid_request"}`},
		"unknown scope":             {authorized(f.query() + "&scope=presence:read+nope"), 400, `{"reason":"Unknown scope \"nope\"","error":"invalid_scope"}`},
		"scope that the app has not": {
			authorized(f.query() + "&scope=presence:read+contact:write"), 400,
			`{"reason":"The app was not granted the scope contact:write","error":"invalid_scope"}`,
		},

		"GET":                 {oauthCall{method: "GET", query: f.query(), header: makeHeader("Authorization", f.basic())}, 405, `{"reason":"this path allows POST","error":"invalid_request"}`},
		"JSON":                {oauthCall{body: `{"grant_type":"account_credentials"}`, header: makeHeader("Content-Type", "application/json")}, 415, unsupportedForm},
		"form that says text": {oauthCall{body: f.query(), header: makeHeader("Content-Type", "text/plain")}, 415, unsupportedForm},
		"form of no type":     {oauthCall{body: f.query()}, 415, unsupportedForm},
		"a large body":        {form("a=" + strings.Repeat("a", 64<<10)), 413, `{"reason":"The body is larger than 64 KiB","error":"invalid_request"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.x.do(f.endpoints())
			wantOAuth(t, w, c.status, c.body)
			if allow := w.Header().Get("Allow"); (allow == "POST") != (c.status == 405) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
	if tokens, err := f.Authority.Tokens(t.Context(), f.account, "", 10); err != nil || len(tokens) != 0 {
		t.Errorf("tokens %v, %v; want none", tokens, err)
	}
}

const unsupportedForm = `{"reason":"The body must be application/x-www-form-urlencoded; parameters may also be in the query","error":"invalid_request"}`

func TestTokenEndpointNarrows(t *testing.T) {
	f := newOAuthFixture(t)
	x := oauthCall{query: f.query() + "&scope=user:read:presence_status+presence:read", header: makeHeader("Authorization", f.basic())}
	g := wantGrant(t, x.do(f.endpoints()))
	if *g.Scope != "user:read:presence_status presence:read" {
		t.Errorf("scope %q", *g.Scope)
	}
	if p := f.principal(t, g.AccessToken); !p.May(auth.PresenceRead) || p.MayFor(auth.PresenceRead, "x") || p.May(auth.ClaimWrite) {
		t.Errorf("the token may %v", p.Scopes)
	}
	bare, secret := f.App(f.account, "")
	x = oauthCall{query: f.query(), header: makeHeader("Authorization", basicAuth(string(bare.ID), secret))}
	if g := wantGrant(t, x.do(f.endpoints())); g.Scope == nil || *g.Scope != "" {
		t.Errorf("scope %v, want an empty string", g.Scope)
	}
}

func TestTokenEndpointBaseURL(t *testing.T) {
	f := newOAuthFixture(t)
	e := f.endpointsAt("https://presence.example.com")
	x := oauthCall{query: f.query(), header: makeHeader("Authorization", f.basic())}
	if g := wantGrant(t, x.do(e)); g.APIURL != "https://presence.example.com" {
		t.Errorf("api_url %q", g.APIURL)
	}
}

func TestRotatedSecret(t *testing.T) {
	f := newOAuthFixture(t)
	old := oauthCall{query: f.query(), header: makeHeader("Authorization", f.basic())}
	token := wantGrant(t, old.do(f.endpoints())).AccessToken
	secret, err := f.Authority.RotateSecret(t.Context(), f.account, f.app.ID)
	apptest.Check(t, err)
	wantOAuth(t, old.do(f.endpoints()), 400, `{"reason":"Invalid client_id or client_secret","error":"invalid_client"}`)
	wantGrant(t, oauthCall{query: f.query(), header: makeHeader("Authorization", basicAuth(string(f.app.ID), secret))}.do(f.endpoints()))
	f.principal(t, token)
	apptest.Check(t, f.Authority.DeleteApp(t.Context(), f.account, f.app.ID))
	wantOAuth(t, oauthCall{query: f.query(), header: makeHeader("Authorization", basicAuth(string(f.app.ID), secret))}.do(f.endpoints()),
		400, `{"reason":"Invalid client_id or client_secret","error":"invalid_client"}`)
}

func TestFailuresAreLimited(t *testing.T) {
	f := newOAuthFixture(t)
	e := f.endpoints()
	wrong := func(id string) oauthCall {
		return oauthCall{query: f.query(), header: makeHeader("Authorization", basicAuth(id, "x"))}
	}
	id := string(f.app.ID)
	const refused = `{"reason":"Invalid client_id or client_secret","error":"invalid_client"}`
	for range 20 {
		wantOAuth(t, wrong(id).do(e), 400, refused)
	}
	f.clock.Advance(500 * time.Millisecond)
	w := wrong(id).do(e)
	wantOAuth(t, w, 429, `{"reason":"Invalid client_id or client_secret; it failed too often, try again in 3 seconds","error":"invalid_client"}`)
	if got := w.Header().Get("Retry-After"); got != "3" {
		t.Errorf("Retry-After: %q, want 3", got)
	}
	wantOAuth(t, wrong("another").do(e), 400, refused)
	wantGrant(t, oauthCall{query: f.query(), header: makeHeader("Authorization", f.basic())}.do(e)) // an app cannot be locked out
	f.clock.Advance(2*time.Second + 500*time.Millisecond)
	wantOAuth(t, wrong(id).do(e), 400, refused)
	for i := range 5000 { // more than the limit counts
		wrong(fmt.Sprint("client", i)).do(e)
	}
}

func TestRevokeEndpoint(t *testing.T) {
	f := newOAuthFixture(t)
	e := f.endpoints()
	const unknown = `{"reason":"Invalid Token!","error":"invalid_request"}`
	other, otherSecret := f.App(f.account, "presence:read")
	revoke := func(token string, parts ...string) oauthCall {
		return oauthCall{path: "/oauth/revoke", body: "token=" + url.QueryEscape(token), header: makeHeader(append(parts, "Content-Type", formType)...)}
	}
	text := f.issue(f.ann.ID, time.Hour)
	f.principal(t, text)

	wantOAuth(t, revoke(text).do(e), 400, `{"reason":"Invalid client_id or client_secret","error":"invalid_client"}`)
	wantOAuth(t, revoke("", "Authorization", f.basic()).do(e), 400, `{"reason":"Missing required parameter: token","error":"invalid_request"}`)
	wantOAuth(t, revoke(text, "Authorization", basicAuth(string(other.ID), otherSecret)).do(e), 400, unknown)
	wantOAuth(t, revoke("nope", "Authorization", f.basic()).do(e), 400, unknown)
	f.principal(t, text)

	w := revoke(text, "Authorization", f.basic()).do(e)
	wantOAuth(t, w, 200, `{"status":"success"}`)
	f.refuses(t, text, auth.ErrInvalidToken)
	wantOAuth(t, revoke(text, "Authorization", f.basic()).do(e), 400, unknown)
	if tokens, err := f.Authority.Tokens(t.Context(), f.account, "", 10); err != nil || len(tokens) != 0 {
		t.Errorf("tokens %v, %v; want none", tokens, err)
	}

	text = f.issue("", time.Hour)
	inQuery := oauthCall{path: "/oauth/revoke", query: "token=" + text, header: makeHeader("Authorization", f.basic())}
	wantOAuth(t, inQuery.do(e), 200, `{"status":"success"}`)
	f.refuses(t, text, auth.ErrInvalidToken)

	text = f.issue("", time.Hour)
	f.clock.Advance(2 * time.Hour)
	f.refuses(t, text, auth.ErrExpiredToken)
	wantOAuth(t, revoke(text, "Authorization", f.basic()).do(e), 200, `{"status":"success"}`)
	f.refuses(t, text, auth.ErrInvalidToken)
	wantOAuth(t, oauthCall{path: "/oauth/revoke", method: "DELETE"}.do(e), 405, `{"reason":"this path allows POST","error":"invalid_request"}`)
}

func TestEndpointsHideDetailsOfFailures(t *testing.T) {
	f := newOAuthFixture(t)
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{errors.New("secret detail"), 500, `{"reason":"Internal error","error":"server_error"}`},
		{store.ErrFailed, 503, `{"reason":"The server cannot answer at the moment, try again","error":"temporarily_unavailable"}`},
		{store.ErrFull, 507, `{"reason":"The disk is almost full: nothing is written until space is free","error":"server_error"}`},
	} {
		f.docs.Down(c.err)
		wantOAuth(t, oauthCall{query: f.query(), header: makeHeader("Authorization", f.basic())}.do(f.endpoints()), c.status, c.body)
	}
}

func FuzzTokenEndpoint(f *testing.F) {
	fix := newOAuthFixture(f)
	e := fix.endpoints()
	f.Add(fix.query(), "", "application/json", fix.basic())
	f.Add("", fix.query()+"&client_id=a&client_secret=b", formType, "")
	f.Add("a=1&a=2", "%zz", formType+"; charset=x", "Basic Og==")
	f.Add("scope=\xff", "{}", "", "basic "+strings.Repeat("A", 100))
	f.Fuzz(func(t *testing.T, query, body, contentType, authorization string) {
		x := oauthCall{query: query, body: body, header: makeHeader("Content-Type", contentType, "Authorization", authorization)}
		w := x.do(e)
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		_, token := answer["access_token"]
		_, reason := answer["reason"]
		if token != (w.Code == 200) || reason != (w.Code >= 400 && w.Code < 500) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if token && authorization == "" && !strings.Contains(body, "client_secret") {
			t.Fatalf("a token without credentials: %s", w.Body)
		}
	})
}
