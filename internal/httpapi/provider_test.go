package httpapi_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/wire"
)

// people are the persons whom the provider of these tests knows.
type people map[string]*storage.User

func (p people) GetUserByID(id string) *storage.User         { return p[id] }
func (p people) GetUserByUsername(name string) *storage.User { return p[name] }
func (people) ExampleClientID() string                       { return storage.ServiceUserID }

func person(id, email string, verified bool) *storage.User {
	return &storage.User{ID: id, Username: id, Password: "secret", FirstName: "Grace", LastName: "Mensah", Email: email, EmailVerified: verified}
}

// A foreign is an OpenID provider that other people wrote, with a login page that asks
// nothing, and a server of ours that knows it.
type foreign struct {
	*world
	provider, site *httptest.Server
	storage        *storage.Storage
	who            atomic.Pointer[string] // who sits before the login page
	down           atomic.Bool
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{world: newWorld(t)}
	f.Advance(time.Since(f.Now())) // the provider has no other clock
	handler := new(http.ServeMux)
	f.provider = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(f.provider.Close)
	f.api.BaseURL = func(http.ResponseWriter) string { return f.site.URL }
	f.api.Provider = signin.NewProvider(signin.ProviderOptions{
		Issuer: f.provider.URL, ClientID: "porchlight", ClientSecret: "client secret", Name: "Foreign", CreateUsers: true, Account: f.account,
		Registry: f.api.SignIns, Users: f.api.Provisioner,
	})
	router := wire.NewRouter(newObserver(f.clock), f.api)
	f.api.Mount(router)
	f.site = httptest.NewServer(router)
	t.Cleanup(f.site.Close)
	f.mountProvider(handler)
	return f
}

// mountProvider serves the provider, once its client's redirect URI is known.
func (f *foreign) mountProvider(mux *http.ServeMux) {
	client := storage.WebClient("porchlight", "client secret", f.site.URL+"/signin/oidc/callback")
	users := people{
		"grace": person("grace", "grace@example.com", true), "alice": person("alice", "alice@example.com", true),
		"mallory": person("mallory", "owner@example.com", false), "another-alice": person("another-alice", "alice@example.com", true),
	}
	f.storage = storage.NewStorageWithClients(users, map[string]*storage.Client{"porchlight": client})
	log := slog.New(slog.DiscardHandler)
	provider, err := op.NewProvider(&op.Config{CodeMethodS256: true}, f.storage, op.StaticIssuer(f.provider.URL), op.WithAllowInsecure(), op.WithLogger(log))
	f.must(err)
	issuer := op.NewIssuerInterceptor(provider.IssuerFromRequest)
	mux.HandleFunc("/login/username", issuer.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("authRequestID")
		if err := f.storage.CheckUsernamePassword(*f.who.Load(), "secret", id); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, op.AuthCallbackURL(provider)(r.Context(), id), http.StatusFound)
	}))
	mux.Handle("/", provider)
}

// A surfer is a browser with its own cookies, which follows redirects one by one.
type surfer struct {
	f   *foreign
	jar *cookiejar.Jar
}

func (f *foreign) surfer() *surfer {
	jar, _ := cookiejar.New(nil) // it never fails
	return &surfer{f, jar}
}

// A page is what a browser shows, or where it is sent.
type page struct {
	*http.Response
	text string
}

func (s *surfer) get(address string, headers ...string) *page {
	t := s.f.t
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	s.f.must(err)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Jar: s.jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	s.f.must(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	s.f.must(err)
	return &page{answer, string(body)}
}

// callback begins a sign-in as somebody, and returns the URL by which the provider sends
// the browser back.
func (s *surfer) callback(who, next string) string {
	s.f.t.Helper()
	s.f.who.Store(&who)
	begin := s.get(s.f.site.URL + "/signin/oidc?" + url.Values{"next": {next}}.Encode())
	to := s.follow(begin)
	for range 5 {
		if strings.HasPrefix(to, s.f.site.URL+"/signin/oidc/callback?") {
			return to
		}
		to = s.follow(s.get(to))
	}
	s.f.t.Fatalf("the provider does not send the browser back, but to %s", to)
	return ""
}

// follow is where a page sends the browser.
func (s *surfer) follow(p *page) string {
	s.f.t.Helper()
	to, err := p.Location()
	if err != nil {
		s.f.t.Fatalf("%s %s: no redirect\n%s", p.Request.URL, p.Status, p.text)
	}
	return to.String()
}

// enter signs somebody in and returns the page to which the server then sends the browser.
func (s *surfer) enter(who, next string) string {
	s.f.t.Helper()
	to, err := url.Parse(s.follow(s.get(s.callback(who, next))))
	s.f.must(err)
	if "http://"+to.Host != s.f.site.URL {
		s.f.t.Errorf("next=%q sends the browser to %s", next, to)
	}
	return to.RequestURI()
}

// me is the user as whom the browser acts, "" for nobody.
func (s *surfer) me() string {
	s.f.t.Helper()
	answer := s.get(s.f.site.URL+"/v1/me", "Accept", "application/json", "Sec-Fetch-Site", "same-origin")
	var me api.Me
	if answer.StatusCode == http.StatusOK {
		s.f.must(json.Unmarshal([]byte(answer.text), &me))
	}
	return me.Email
}

// refused checks that an address shows a page for people, and leaves nobody signed in.
func (s *surfer) refused(address string, kind *api.Kind) {
	s.f.t.Helper()
	p := s.get(address)
	if p.StatusCode != kind.Status || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") || !strings.Contains(p.text, kind.Title) || !strings.Contains(p.text, `href="/signin"`) {
		s.f.t.Errorf("got %s %s, want a page that says %q and leads to /signin\n%s", p.Status, p.Header.Get("Content-Type"), kind.Title, p.text)
	}
	if me := s.me(); me != "" {
		s.f.t.Errorf("%s is signed in", me)
	}
}

// changed is an address with another parameter of the query, "" for none.
func (s *surfer) changed(address, name, value string) string {
	u, err := url.Parse(address)
	s.f.must(err)
	q := u.Query()
	if q.Set(name, value); value == "" {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// TestProvider: a person comes in through the provider, to the page where they wanted to
// go, and the sign-in that the browser had before ends.
func TestProvider(t *testing.T) {
	f := newForeign(t)
	s := f.surfer()
	if to := s.enter("grace", "/me?team=a%20b"); to != "/me?team=a%20b" {
		t.Errorf("then the browser is sent to %s", to)
	}
	if me := s.me(); me != "grace@example.com" {
		t.Errorf("signed in as %q", me)
	}
	site, err := url.Parse(f.site.URL)
	f.must(err)
	before := s.jar.Cookies(site)
	if len(before) != 1 || before[0].Name != "porchlight" {
		t.Fatalf("the browser has the cookies %v", before)
	}
	s.enter("alice", "/")
	if me := s.me(); me != "alice@example.com" {
		t.Errorf("then signed in as %q", me)
	}
	old := f.surfer()
	old.jar.SetCookies(site, before)
	if me := old.me(); me != "" {
		t.Errorf("the cookie from before is still that of %s", me)
	}
	for _, next := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "javascript:alert(1)", "evil.example", ""} {
		if to := f.surfer().enter("grace", next); to != "/" {
			t.Errorf("next=%q leads to %s", next, to)
		}
	}
}

// TestProviderRefusals: an answer counts once, for the browser that began. Who cannot sign
// in gets a page that says why.
func TestProviderRefusals(t *testing.T) {
	f := newForeign(t)
	mine, theirs := f.surfer(), f.surfer()
	back, other := mine.callback("grace", "/"), theirs.callback("grace", "/")
	u, _ := url.Parse(other)
	mine.refused(mine.changed(back, "state", u.Query().Get("state")), &api.SignInExpired)
	mine.refused(mine.changed(back, "state", "made-up-state"), &api.SignInExpired)
	mine.refused(mine.changed(back, "state", ""), &api.SignInExpired)
	mine.refused(other, &api.SignInExpired)
	theirs.refused(theirs.changed(other, "code", "made-up"), &api.SignInExpired)
	theirs.refused(other, &api.SignInExpired) // the flow was used up

	site, _ := url.Parse(f.site.URL)
	kept := mine.jar.Cookies(site) // as somebody keeps them who replays
	mine.follow(mine.get(back))
	if me := mine.me(); me != "grace@example.com" {
		t.Errorf("signed in as %q", me)
	}
	again := f.surfer()
	again.refused(back, &api.SignInExpired)
	again.jar.SetCookies(site, kept)
	again.refused(back, &api.SignInExpired)

	denied := f.surfer()
	back = denied.callback("grace", "/")
	denied.refused(denied.changed(denied.changed(back, "code", ""), "error", "access_denied"), &api.IdentityRefused)
	denied = f.surfer()
	denied.refused(denied.callback("mallory", "/"), &api.IdentityRefused)
	f.surfer().enter("alice", "/")
	denied = f.surfer()
	denied.refused(denied.callback("another-alice", "/"), &api.IdentityRefused)
	f.setActive(f.alice.ID, false)
	denied.refused(denied.callback("alice", "/"), &api.IdentityRefused)
}

// TestProviderDown: the page says so, before and in the middle of a sign-in, and the next
// one after the outage works.
func TestProviderDown(t *testing.T) {
	f := newForeign(t)
	s := f.surfer()
	f.down.Store(true)
	s.refused(f.site.URL+"/signin/oidc", &api.ProviderDown)
	f.down.Store(false)
	f.advance(time.Minute)
	back := s.callback("grace", "/")
	f.down.Store(true)
	s.refused(back, &api.ProviderDown)
	f.down.Store(false)
	s.enter("grace", "/")
	if me := s.me(); me != "grace@example.com" {
		t.Errorf("signed in as %q", me)
	}
}

func (w *world) setActive(user presence.UserID, active bool) {
	w.t.Helper()
	w.do("PATCH", "/v1/users/"+string(user), w.admin(), `{"active":`+map[bool]string{true: "true", false: "false"}[active]+`}`).want(200)
}
