package zoomapi_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
	. "porchlight.dev/porchlight/internal/zoomapi"
)

// noon is when every test begins, a little after the second.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 250_000_000, time.UTC)

// A handClock is moved by hand.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A world is the real thing from the router down to a store in memory: an
// account with an owner, Ann and Ben, who are signed in, and Cyd, of whom nothing
// is recorded; and another account with Eve.
type world struct {
	http.Handler
	tb        testing.TB
	clock     *handClock
	api       *API
	store     *faultyStore
	publisher *publish.Publisher
	authority *auth.Authority
	directory *directory.Directory
	account   presence.AccountID

	owner, ann, ben, cyd, eve directory.User
	// The tokens: of the app, of Ann, of Ann for reading alone and without any
	// scope, of an account-level app without :admin, and of Eve's account.
	app, annToken, annReads, annNothing, plainApp, eveApp string
}

const (
	appScopes = "user:update:presence_status:admin user:read:presence_status:admin"
	annScopes = "user:update:presence_status user:read:presence_status"
)

type options struct {
	policy func(*presence.Policy)
	plan   Plan
	access io.Writer // of the access log; nil: none
}

func newWorld(tb testing.TB, o options) *world {
	tb.Helper()
	w := &world{tb: tb, clock: &handClock{now: noon}}
	opened := enginetest.Open(tb, w.clock.Now)
	w.store = &faultyStore{Store: opened}
	w.directory = directory.New(opened, w.clock.Now)
	w.authority = auth.New(opened, w.directory, w.clock.Now)
	w.serve(o)
	w.populate()
	return w
}

// serve wires what a server wires.
func (w *world) serve(o options) {
	policy := presence.DefaultPolicy()
	if o.policy != nil {
		o.policy(&policy)
	}
	known := func(ctx context.Context, u store.User) error {
		_, err := w.directory.User(ctx, u.Account, u.ID)
		return err
	}
	log := slog.New(slog.DiscardHandler)
	w.publisher = publish.New(publish.Options{Store: w.store, Policy: policy, Known: known, Clock: w.clock.Now, Log: log})
	w.api = &API{
		Auth:      w.authority,
		Directory: w.directory,
		Publisher: w.publisher,
		Views:     &view.Reader{Store: w.store, Known: known, ErrGone: directory.ErrNoUser},
		Limits:    NewLimits(o.plan, w.clock.Now),
		Clock:     w.clock.Now,
	}
	var access *wire.AccessLog
	if o.access != nil {
		access = wire.NewAccessLog(o.access)
		w.tb.Cleanup(access.Close)
	}
	router := wire.NewRouter(wire.NewObserver(access, log, prometheus.NewRegistry(), w.clock.Now), w.api)
	w.api.Mount(router)
	w.Handler = router
}

func (w *world) populate() {
	ctx := context.Background()
	account, err := w.directory.CreateAccount(ctx, "Example")
	w.must(err)
	other, err := w.directory.CreateAccount(ctx, "Elsewhere")
	w.must(err)
	w.account = account.ID
	w.owner = w.user(account.ID, "owner@example.com")
	w.ann = w.user(account.ID, "ann+desk@example.com")
	w.ben = w.user(account.ID, "ben@example.com")
	w.cyd = w.user(account.ID, "cyd@example.com")
	w.eve = w.user(other.ID, "eve@example.com")
	w.must(w.directory.SetOwner(ctx, account.ID, w.owner.ID))
	w.signIn(w.ann.ID, presence.SignIn{Session: "ann-1", Client: presence.Desktop})
	w.signIn(w.ben.ID, presence.SignIn{Session: "ben-1", Client: presence.Desktop})

	w.app = w.token(account.ID, "", appScopes)
	w.annToken = w.token(account.ID, w.ann.ID, annScopes)
	w.annReads = w.token(account.ID, w.ann.ID, "user:read:presence_status")
	w.annNothing = w.token(account.ID, w.ann.ID, "user:read:user")
	w.plainApp = w.token(account.ID, "", annScopes)
	w.eveApp = w.token(other.ID, "", appScopes)
}

func (w *world) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) user(account presence.AccountID, email string) directory.User {
	u, err := w.directory.Create(context.Background(), account, directory.User{Email: email, Active: true})
	w.must(err)
	return u
}

func (w *world) signIn(id presence.UserID, e presence.SignIn) {
	if e.Lease == 0 {
		e.Lease = time.Hour
	}
	w.publish(id, e)
}

func (w *world) publish(id presence.UserID, e presence.Event) publish.Result {
	w.tb.Helper()
	result, err := w.publisher.Publish(context.Background(), store.User{Account: w.account, ID: id}, store.Actor{}, e)
	w.must(err)
	return result
}

func (w *world) token(account presence.AccountID, user presence.UserID, names string) string {
	w.tb.Helper()
	scopes, err := auth.ParseScopes(names)
	w.must(err)
	app, _, err := w.authority.CreateApp(context.Background(), account, "app", scopes)
	w.must(err)
	_, secret, err := w.authority.Issue(context.Background(), account, auth.Token{App: app.ID, User: user, Scopes: scopes}, 0)
	w.must(err)
	return secret
}

// A call is one request.
type call struct {
	method, path, token string
	kind, body          string // content type and body
	header              map[string]string
}

func (w *world) do(c call) *httptest.ResponseRecorder {
	r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
	if c.kind != "" {
		r.Header.Set("Content-Type", c.kind)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

func path(ref string) string { return "/v2/users/" + ref + "/presence_status" }

// put and get are the common calls.
func (w *world) put(token, ref, body string) *httptest.ResponseRecorder {
	return w.do(call{method: "PUT", path: path(ref), token: token, kind: "application/json", body: body})
}

func (w *world) get(token, ref string) *httptest.ResponseRecorder {
	return w.do(call{method: "GET", path: path(ref), token: token})
}

// want checks status and whole body.
func want(tb testing.TB, rec *httptest.ResponseRecorder, status int, body string) {
	tb.Helper()
	if body != "" {
		body += "\n" // as every answer in JSON
	}
	if rec.Code != status || rec.Body.String() != body {
		tb.Errorf("got  %d %s\nwant %d %s", rec.Code, rec.Body, status, body)
	}
	if id := rec.Header().Get("X-Request-Id"); id == "" || rec.Header().Get("x-zm-trackingid") != "WEB_"+id {
		tb.Errorf("tracking id %q of request %q", rec.Header().Get("x-zm-trackingid"), id)
	}
}

// wantHeader checks one header; "" is none.
func wantHeader(tb testing.TB, rec *httptest.ResponseRecorder, name, value string) {
	tb.Helper()
	if got := strings.Join(rec.Header().Values(name), "|"); got != value {
		tb.Errorf("header %s: got %q, want %q", name, got, value)
	}
}

// A faultyStore fails when told to, before or after it has done the work.
type faultyStore struct {
	store.Store
	fail    error
	applies bool
}

func (f *faultyStore) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	if f.fail == nil {
		return f.Store.Update(ctx, u, fn)
	}
	if f.applies {
		_, _ = f.Store.Update(ctx, u, fn)
	}
	return store.Record{}, f.fail
}

func (f *faultyStore) Read(ctx context.Context, us []store.User) ([]store.Record, store.Cursor, error) {
	if f.fail != nil {
		return nil, store.Cursor{}, f.fail
	}
	return f.Store.Read(ctx, us)
}
