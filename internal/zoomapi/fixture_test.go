package zoomapi_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/fastpath"
	"porchlight.dev/porchlight/internal/framer"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
	. "porchlight.dev/porchlight/internal/zoomapi"
)

// noon is the start of every test, slightly after a full second.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 250_000_000, time.UTC)

// A fixture is a complete API from the router to a store in memory: an account with an
// owner, Ann and Ben, who are signed in, and Cyd, who has no record; and another
// account with Eve.
type fixture struct {
	http.Handler
	tb        testing.TB
	clock     *apptest.Clock
	api       *API
	observer  *wire.Observer
	store     *faultyStore
	publisher *publish.Publisher
	audit     *audit.Log
	*apptest.People
	account presence.AccountID

	owner, ann, ben, cyd, eve directory.User
	// The tokens of the app, of Ann, of Ann with read access only and without any
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
	events *Events
}

func newFixture(tb testing.TB, o options) *fixture {
	tb.Helper()
	w := &fixture{tb: tb, clock: apptest.NewClock(noon)}
	opened := enginetest.Open(tb, w.clock.Now)
	w.store = &faultyStore{Store: opened}
	w.People = apptest.On(tb, opened, w.clock.Now, Scopes()...)
	w.serve(o)
	w.populate()
	return w
}

// serve wires the API as a server does.
func (w *fixture) serve(o options) {
	policy := presence.DefaultPolicy()
	policy.ClientVersions = ClientVersions()
	if o.policy != nil {
		o.policy(&policy)
	}
	known := func(ctx context.Context, u store.User) error {
		_, err := w.Directory.User(ctx, u.Account, u.ID)
		return err
	}
	log := slog.New(slog.DiscardHandler)
	w.publisher = publish.New(publish.Options{Store: w.store, Policy: policy, Known: known, Clock: w.clock.Now, Log: log})
	w.api = &API{
		Auth:      w.Authority,
		Directory: w.Directory,
		Publisher: w.publisher,
		Views:     &view.Reader{Store: w.store, Known: known, ErrGone: directory.ErrNoUser},
		Limits:    NewLimits(o.plan, w.clock.Now),
		Clock:     w.clock.Now,
		Events:    o.events,
	}
	w.audit = audit.New(w.store, w.clock.Now)
	if o.events != nil {
		o.events.Audit = w.audit
	}
	w.api.Users = &Users{Authority: w.Authority, Provisioner: &provision.Provisioner{
		Directory: w.Directory, Authority: w.Authority, Publisher: w.publisher, Records: w.store, Subscriptions: w, Audit: w.audit,
	}}
	var access *wire.AccessLog
	if o.access != nil {
		access = wire.NewAccessLog(o.access)
		w.tb.Cleanup(access.Close)
	}
	w.observer = wire.NewObserver(access, log, prometheus.NewRegistry(), w.clock.Now)
	router := wire.NewRouter(w.observer, w.api)
	w.api.Mount(router)
	w.Handler = router
}

// DeleteOwner implements provision.Subscriptions: there are none.
func (*fixture) DeleteOwner(context.Context, presence.AccountID, presence.UserID) error { return nil }

// OwnerChanged implements provision.Subscriptions.
func (*fixture) OwnerChanged(context.Context, presence.AccountID, presence.UserID) error { return nil }

// serveFast serves the API with the fast path, and returns the address.
func (w *fixture) serveFast() string {
	w.tb.Helper()
	l, err := new(net.ListenConfig).Listen(w.tb.Context(), "tcp", "127.0.0.1:0")
	w.must(err)
	fast := fastpath.New(w.observer, w.Authority)
	w.api.MountFast(fast)
	server := &framer.Server{HTTP2: new(http.Server), HTTP1: &http.Server{Handler: w, ReadHeaderTimeout: time.Minute}, Fast: fast, Log: slog.New(slog.DiscardHandler)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	w.tb.Cleanup(func() {
		_ = server.Close() // Serve returns what matters
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			w.tb.Error(err)
		}
	})
	return l.Addr().String()
}

func (w *fixture) populate() {
	w.account, w.owner = w.People.Account("owner@example.com")
	elsewhere, err := w.Directory.CreateAccount(w.tb.Context(), "Elsewhere") // without an owner
	w.must(err)
	w.eve = w.User(elsewhere.ID, "eve@example.com")
	w.ann = w.People.User(w.account, "ann+desk@example.com")
	w.ben = w.People.User(w.account, "ben@example.com")
	w.cyd = w.People.User(w.account, "cyd@example.com")
	w.signIn(w.ann.ID, presence.SignIn{Session: "ann-1", Client: presence.Desktop})
	w.signIn(w.ben.ID, presence.SignIn{Session: "ben-1", Client: presence.Desktop})

	w.app = w.token(w.account, "", appScopes)
	w.annToken = w.token(w.account, w.ann.ID, annScopes)
	w.annReads = w.token(w.account, w.ann.ID, "user:read:presence_status")
	w.annNothing = w.token(w.account, w.ann.ID, "user:read:user")
	w.plainApp = w.token(w.account, "", annScopes)
	w.eveApp = w.token(elsewhere.ID, "", appScopes)
}

func (w *fixture) must(err error) {
	w.tb.Helper()
	apptest.Check(w.tb, err)
}

func (w *fixture) signIn(id presence.UserID, e presence.SignIn) {
	if e.Lease == 0 {
		e.Lease = time.Hour
	}
	w.publish(id, e)
}

func (w *fixture) publish(id presence.UserID, e presence.Event) publish.Result {
	w.tb.Helper()
	result, err := w.publisher.Publish(context.Background(), store.User{Account: w.account, ID: id}, store.Actor{}, e)
	w.must(err)
	return result
}

func (w *fixture) token(account presence.AccountID, user presence.UserID, names string) string {
	w.tb.Helper()
	app, _ := w.People.App(account, names)
	_, text := w.People.Token(account, app.ID, user, names, 0)
	return text
}

// A call is one request.
type call struct {
	method, path, token string
	kind, body          string // content type and body
	header              map[string]string
}

func (w *fixture) do(c call) *httptest.ResponseRecorder {
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

// put and get make the common calls.
func (w *fixture) put(token, ref, body string) *httptest.ResponseRecorder {
	return w.do(call{method: "PUT", path: path(ref), token: token, kind: "application/json", body: body})
}

func (w *fixture) get(token, ref string) *httptest.ResponseRecorder {
	return w.do(call{method: "GET", path: path(ref), token: token})
}

// want checks status and whole body.
func want(tb testing.TB, rec *httptest.ResponseRecorder, status int, body string) {
	tb.Helper()
	if body != "" {
		body += "\n" // like every JSON answer
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

// A faultyStore fails on request, before or after it has done the work.
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

func (f *faultyStore) Begin(u store.User, fn store.Decide, reply store.Reply) {
	switch fail := f.fail; {
	case fail == nil:
		f.Store.Begin(u, fn, reply)
	case f.applies:
		f.Store.Begin(u, fn, func(store.Record, error) { reply(store.Record{}, fail) })
	default:
		reply(store.Record{}, fail)
	}
}

func (f *faultyStore) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if f.fail != nil {
		return nil, store.Cursor{}, f.fail
	}
	return f.Store.Read(ctx, us, fresh)
}
