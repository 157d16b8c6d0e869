package httpapi_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/egress"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/seal"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/signage"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/streamapi"
	"porchlight.dev/porchlight/internal/systemapi"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/tenant"
	"porchlight.dev/porchlight/internal/watch"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/zoomapi"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/api/apitest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
)

// shared is the validator of all tests of this package, so that TestMain can report
// operations that no test calls.
var shared *apitest.Validator

// validatorErrors passes the validator's errors to the running test.
type validatorErrors struct {
	mu sync.Mutex
	t  testing.TB
}

func (c *validatorErrors) Helper() {}
func (c *validatorErrors) Errorf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t.Errorf(format, args...)
}

var reported validatorErrors

func TestMain(m *testing.M) {
	var err error
	if shared, err = apitest.New(&reported); err != nil {
		panic(err)
	}
	code := m.Run()
	filtered := flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.fuzz").Value.String() != ""
	if missed := shared.Missed(); code == 0 && !filtered && len(missed) > 0 {
		fmt.Fprintln(os.Stderr, "no test calls", strings.Join(missed, ", "))
		code = 1
	}
	if invented := shared.Invented(); code == 0 && !filtered && len(invented) > 0 {
		fmt.Fprintln(os.Stderr, "the examples of responses in openapi.yaml differ from what the tests got:\n"+strings.Join(invented, "\n"))
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // TestMain is the main function of a test
}

// A world is a server with two accounts, on a clock that is advanced by hand.
type world struct {
	t         testing.TB
	api       *httpapi.API
	hub       *hub.Hub
	streams   *streamapi.API
	tenants   *tenant.Registry
	members   *membership.Members
	router    *wire.Router
	handler   http.Handler
	store     store.Store
	endpoint  *endpoint
	directory *directory.Directory
	authority *auth.Authority
	*apptest.People
	*apptest.Clock

	account, other presence.AccountID
	app            presence.AppID
	owner          presence.UserID
	alice, bob     directory.User
	deleted        presence.UserID
	stranger       directory.User // of the other account
}

func (w *world) clock() time.Time        { return w.Now() }
func (w *world) advance(d time.Duration) { w.Advance(d) }

const everything = apptest.Everything

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, Clock: apptest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))}
	st := enginetest.Open(t, w.clock)
	w.store = st
	w.People = apptest.On(t, st, w.clock, zoomapi.Scopes()...)
	w.directory, w.authority = w.Directory, w.Authority
	known := func(ctx context.Context, u store.User) error {
		_, err := w.directory.User(ctx, u.Account, u.ID)
		return err
	}
	policy := presence.DefaultPolicy()
	policy.Damping = 0
	log := slog.New(slog.DiscardHandler)
	w.hub = server.NewHub(st, w.directory, w.authority, nil, w.clock, log, nil)
	w.api = &httpapi.API{
		Publisher: publish.New(publish.Options{Store: st, Policy: policy, Known: known, Clock: w.clock, Log: log}),
		Views:     &view.Reader{Store: st, Known: known, ErrGone: directory.ErrNoUser},
		Watches:   &watch.Registry{Store: st, Known: known, Clock: w.clock, Log: log},
		Directory: w.directory, Authority: w.authority, Clock: w.clock, Log: log,
		Cursors: w.hub, Histories: history.Reader{Log: st}, Erasures: erasure.New(st, alone{st}, w.clock, log),
	}
	w.addWebhooks(log)
	w.api.Events = audit.New(st, w.clock)
	w.api.Audit = w.api.Events
	w.api.SignIns = signin.New(signin.Options{
		Store: st, Directory: w.directory, Authority: w.authority, Audit: w.api.Audit, Clock: w.clock, Log: log,
		Params: signin.Params{MemoryKiB: 64, Passes: 1, Lanes: 1}, // the costs are not what is tested
	})
	w.api.Signage = signage.New(signage.Options{Store: st, Directory: w.directory, Views: w.api.Views, Audit: w.api.Audit, Clock: w.clock})
	w.api.Provisioner = &provision.Provisioner{
		Directory: w.directory, Authority: w.authority, Publisher: w.api.Publisher, Records: st, Subscriptions: w.api.Subscriptions, SignIns: w.api.SignIns, Audit: w.api.Audit,
	}
	w.api.OAuth = &oauthapi.API{Authority: w.authority, Audit: w.api.Audit, BaseURL: func(w http.ResponseWriter) string { return wire.ClientOf(w).URL() }, Clock: w.clock}
	w.runHub()
	w.router = wire.NewRouter(newObserver(w.clock), w.api)
	w.api.Mount(w.router)
	w.streams = &streamapi.API{Native: w.api, Hub: w.hub}
	w.streams.Mount(w.router)
	w.tenants = tenant.New(tenant.Parts{
		Store: st, Directory: w.directory, Authority: w.authority, Provisioner: w.api.Provisioner, Subscriptions: w.api.Subscriptions,
		Eraser: alone{st}, Audit: w.api.Events, Plans: zoomapi.PlanNames(), Grace: 10 * time.Second, Clock: w.clock, Log: log,
	})
	w.members = membership.New(membership.Options{
		Store: st, Exclusive: true, Clock: w.clock, Log: log,
		Facts: membership.Facts{Version: "0.1.0", Host: "a.example.com", Address: "127.0.0.1:8080", Reads: membership.ThisVersion()},
	})
	w.api.Subscriptions.Nodes = w.members
	(&systemapi.API{Native: w.api, Authority: w.authority, Tenants: w.tenants, Members: w.members}).Mount(w.router)
	(&streamapi.Events{API: w.streams, Sockets: &eventsocket.Sockets{Access: w.authority, Clock: w.clock, Log: log}}).Mount(w.router)
	w.handler = w.router
	if t, ok := t.(*testing.T); ok {
		w.validate(t)
	}
	w.populate()
	return w
}

// addWebhooks adds subscriptions, whose endpoints accept everything unless the test says
// otherwise.
func (w *world) addWebhooks(log *slog.Logger) {
	client := egress.NewClient(egress.Options{})
	w.t.Cleanup(client.Close)
	catalog := webhook.Catalog{
		Forms: []webhook.Form{httpapi.EventForm{}, zoomapi.EventForm{}}, Profiles: []webhook.Profile{webhook.Durable(), zoomapi.EventProfile()},
	}
	w.endpoint = &endpoint{}
	w.api.Subscriptions = &webhook.Registry{
		Store: w.store, Sealer: &seal.Sealer{Store: w.store}, Directory: w.directory, Client: client, Clock: w.clock, Log: log,
		Catalog: catalog, Validate: w.endpoint.Validate, HasApp: w.authority.HasApp, Consented: w.authority.Consented,
	}
	w.authority.OnGrantEnd(w.api.Subscriptions.EndConsent)
	w.api.Deliverer = webhook.NewDeliverer(webhook.DelivererOptions{
		Store: w.store, Subscriptions: w.api.Subscriptions.Snapshot, SetHealth: w.api.Subscriptions.SetHealth, SetReplay: w.api.Subscriptions.SetReplay,
		People: webhook.NewPeople(w.directory, w.store, w.clock), Catalog: catalog,
		Sender: w.endpoint, Clock: w.clock, Log: log,
	})
}

// An endpoint stands for all endpoints of subscriptions.
type endpoint struct {
	mu       sync.Mutex
	refusal  error           // of validations
	failed   webhook.Attempt // what attempts come to
	received []webhook.Request
}

func (e *endpoint) Validate(context.Context, *webhook.Subscription) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refusal
}

func (e *endpoint) Send(_ context.Context, r *webhook.Request) webhook.Attempt {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.received = append(e.received, *r)
	return e.failed
}

// fail lets the attempts that follow come to a.
func (e *endpoint) fail(a webhook.Attempt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed = a
}

// runWebhooks delivers events until the test ends.
func (w *world) runWebhooks() {
	ctx, stop := context.WithCancel(context.WithoutCancel(w.t.Context()))
	consumers := tail.New(tail.Options{Store: w.store, Clock: w.clock, Log: slog.New(slog.DiscardHandler)}, w.api.Deliverer.Consumer())
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{w.api.Subscriptions.Run, w.api.Deliverer.Run, consumers.Run} {
		group.Go(func() error { return run(ctx) })
	}
	w.t.Cleanup(func() {
		stop()
		if err := group.Wait(); err != nil {
			w.t.Error(err)
		}
	})
}

// awaitDelivering waits until the deliverer has a subscription.
func (w *world) awaitDelivering(id string) {
	w.t.Helper()
	s, err := w.api.Subscriptions.Get(w.t.Context(), w.account, id)
	w.must(err)
	for deadline := time.Now().Add(2 * time.Minute); ; {
		_, err := w.api.Deliverer.Status(s)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
		runtime.Gosched()
	}
}

// alone is a log without consumers.
type alone struct{ store.Log }

func (alone) AwaitConsumers(context.Context) error { return nil }

// runHub runs the hub until the test ends.
func (w *world) runHub() {
	ctx, stop := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.hub.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
}

func newObserver(clock func() time.Time) *wire.Observer {
	return wire.NewObserver(nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), clock)
}

// validate passes every exchange to the validator.
func (w *world) validate(t *testing.T) {
	reported.mu.Lock()
	reported.t = t
	reported.mu.Unlock()
	w.handler = shared.Wrap(w.router)
}

func (w *world) must(err error) {
	w.t.Helper()
	apptest.Check(w.t, err)
}

func (w *world) populate() {
	ctx := w.t.Context()
	create := func(account presence.AccountID, email string) directory.User {
		u := w.User(account, email)
		w.setUserState(account, u.ID, presence.UserActive)
		return u
	}
	account, owner := w.Account("owner@example.com")
	other, stranger := w.Account("stranger@example.net")
	w.account, w.owner, w.other, w.stranger = account, owner.ID, other, stranger
	w.setUserState(w.account, w.owner, presence.UserActive)
	w.setUserState(w.other, w.stranger.ID, presence.UserActive)
	w.alice, w.bob = create(w.account, "alice@example.com"), create(w.account, "bob@example.com")
	gone := create(w.account, "gone@example.com")
	w.setUserState(w.account, gone.ID, presence.UserDeleted)
	w.must(w.directory.Delete(ctx, w.account, gone.ID))
	w.deleted = gone.ID

	app, _ := w.App(w.account, everything)
	w.app = app.ID
}

func (w *world) setUserState(account presence.AccountID, id presence.UserID, s presence.UserState) {
	w.t.Helper()
	_, err := w.api.Publisher.Publish(w.t.Context(), store.User{Account: account, ID: id}, store.Actor{}, presence.SetUserState{State: s})
	w.must(err)
}

// token returns a token of a user, or of the account for "".
func (w *world) token(user presence.UserID, names string) string {
	w.t.Helper()
	return w.tokenFor(user, names, 0)
}

func (w *world) tokenFor(user presence.UserID, names string, lifetime time.Duration) string {
	w.t.Helper()
	_, text := w.Token(w.account, w.app, user, names, lifetime)
	return text
}

// admin returns an account-level token with all scopes.
func (w *world) admin() string { return w.token("", everything) }

// An exchange is a request and its response.
type exchange struct {
	w      *world
	asked  string
	status int
	header http.Header
	body   string
}

// do sends a request. Headers come in pairs.
func (w *world) do(method, path, token, body string, headers ...string) *exchange {
	w.t.Helper()
	var reader io.Reader = http.NoBody
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(w.t.Context(), method, path, reader)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	x := &exchange{w: w, asked: method + " " + path + " " + body, status: recorder.Code, header: recorder.Header(), body: recorder.Body.String()}
	x.checkHeaders()
	x.trimLineFeed()
	return x
}

// checkHeaders checks the headers that every response must have.
func (x *exchange) checkHeaders() {
	x.w.t.Helper()
	native := !strings.Contains(x.asked, " /v2/") && !strings.Contains(x.asked, " /oauth/") && !strings.Contains(x.asked, " /ws?")
	if native && x.header.Get("X-Content-Type-Options") != "nosniff" {
		x.w.t.Errorf("%s: no nosniff", x.asked)
	}
	if x.header.Get("X-Request-Id") == "" {
		x.w.t.Errorf("%s: no request id", x.asked)
	}
	if strings.Contains(x.asked, " /v1/") && x.header.Get("Cache-Control") != "no-store" {
		x.w.t.Errorf("%s: Cache-Control is %q", x.asked, x.header.Get("Cache-Control"))
	}
}

// trimLineFeed checks that a JSON response ends in one line feed, and removes it.
func (x *exchange) trimLineFeed() {
	x.w.t.Helper()
	if length := x.header.Get("Content-Length"); length != "" && length != strconv.Itoa(len(x.body)) {
		x.w.t.Errorf("%s: Content-Length is %s, but the body has %d bytes", x.asked, length, len(x.body))
	}
	if x.body == "" || !strings.Contains(x.header.Get("Content-Type"), "json") {
		return
	}
	text, ok := strings.CutSuffix(x.body, "\n")
	if !ok || strings.HasSuffix(text, "\n") {
		x.w.t.Errorf("%s: the response does not end in one line feed: %q", x.asked, x.body)
	}
	x.body = text
}

// want checks the status.
func (x *exchange) want(status int) *exchange {
	x.w.t.Helper()
	if x.status != status {
		x.w.t.Fatalf("%s: got %d, want %d\n%s", x.asked, x.status, status, x.body)
	}
	return x
}

// read decodes the response into v.
func (x *exchange) read(v any) *exchange {
	x.w.t.Helper()
	if err := json.Unmarshal([]byte(x.body), v); err != nil {
		x.w.t.Fatalf("%s: %v\n%s", x.asked, err, x.body)
	}
	return x
}

// problem checks that the response is a problem of that kind, and returns it.
func (x *exchange) problem(kind *api.Kind) api.Problem {
	x.w.t.Helper()
	var p api.Problem
	if x.header.Get("Content-Type") != "application/problem+json" {
		x.w.t.Fatalf("%s: got %d of type %q, want the problem %s\n%s", x.asked, x.status, x.header.Get("Content-Type"), kind.Slug, x.body)
	}
	x.read(&p)
	if p.Type != kind.Type() || x.status != kind.Status || p.Status != kind.Status || p.Title != kind.Title || p.WhatToDo != kind.WhatToDo {
		x.w.t.Fatalf("%s: got %d %s, want the problem %s", x.asked, x.status, x.body, kind.Slug)
	}
	if p.Instance != x.header.Get("X-Request-Id") || p.Detail == "" {
		x.w.t.Errorf("%s: instance or detail is wrong: %s", x.asked, x.body)
	}
	return p
}
