package scim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/publish"
	. "porchlight.dev/porchlight/internal/scim"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/wire"
)

// A fixture is SCIM from the router to a store: an account with an owner, and another
// account with Eve.
type fixture struct {
	http.Handler
	t     testing.TB
	clock *apptest.Clock
	api   *API
	store store.Store
	*apptest.People
	account, other presence.AccountID
	owner, eve     directory.User
	app            presence.AppID
	// Tokens of the account with SCIM's scope alone, and of the other account.
	token, foreign string
}

type noSubscriptions struct{}

func (noSubscriptions) DeleteOwner(context.Context, presence.AccountID, presence.UserID) error {
	return nil
}

func (noSubscriptions) OwnerChanged(context.Context, presence.AccountID, presence.UserID) error {
	return nil
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: apptest.Noon()}
	f.store = enginetest.Open(t, f.clock.Now)
	f.People = apptest.On(t, f.store, f.clock.Now)
	known := func(ctx context.Context, u store.User) error {
		_, err := f.Directory.User(ctx, u.Account, u.ID)
		return err
	}
	log := slog.New(slog.DiscardHandler)
	publisher := publish.New(publish.Options{Store: f.store, Policy: presence.DefaultPolicy(), Known: known, Clock: f.clock.Now, Log: log})
	f.api = &API{
		Authority: f.Authority, Directory: f.Directory, BaseURL: func(http.ResponseWriter) string { return "https://presence.example.com" },
		Provisioner: &provision.Provisioner{
			Directory: f.Directory, Authority: f.Authority, Publisher: publisher, Records: f.store, Subscriptions: noSubscriptions{},
			Audit: audit.New(f.store, f.clock.Now),
		},
	}
	observer := wire.NewObserver(nil, log, prometheus.NewRegistry(), f.clock.Now)
	router := wire.NewRouter(observer, f.api)
	f.api.Mount(router)
	f.Handler = router
	f.account, f.owner = f.Account("owner@example.com")
	f.other, f.eve = f.Account("eve@example.com")
	app, _ := f.App(f.account, "scim:write:admin")
	f.app = app.ID
	_, f.token = f.Token(f.account, app.ID, "", "scim:write:admin", 0)
	foreign, _ := f.App(f.other, "scim:write:admin")
	_, f.foreign = f.Token(f.other, foreign.ID, "", "scim:write:admin", 0)
	return f
}

// An answer is a response to a request.
type answer struct {
	t      testing.TB
	asked  string
	status int
	header http.Header
	text   string
	body   map[string]any
}

// do sends a request, with a body if it is not "". Other headers follow as pairs.
func (f *fixture) do(method, path, body string, headers ...string) *answer {
	return f.as(f.token, method, path, body, headers...)
}

func (f *fixture) as(token, method, path, body string, headers ...string) *answer {
	f.t.Helper()
	r := httptest.NewRequest(method, "/scim/v2"+strings.ReplaceAll(path, " ", "%20"), strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/scim+json; charset=utf-8")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	a := &answer{t: f.t, asked: method + " " + path + " " + body, status: w.Code, header: w.Header(), text: w.Body.String()}
	if a.text == "" {
		return a
	}
	if got := w.Header().Get("Content-Type"); got != "application/scim+json" {
		f.t.Errorf("%s: Content-Type %q", a.asked, got)
	}
	if err := json.Unmarshal([]byte(a.text), &a.body); err != nil {
		f.t.Fatalf("%s: %v: %s", a.asked, err, a.text)
	}
	if strings.Contains(a.text, "null") && !strings.Contains(body, "null") {
		f.t.Errorf("%s: a member is null: %s", a.asked, a.text)
	}
	return a
}

// want fails the test if the response has another status.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.asked, a.status, status, a.text)
	}
	return a
}

// fails checks that the response is an error of SCIM.
func (a *answer) fails(status int, scimType string) *answer {
	a.t.Helper()
	a.want(status)
	got, _ := a.body["scimType"].(string)
	detail, _ := a.body["detail"].(string)
	if fmt.Sprint(a.body["schemas"]) != "[urn:ietf:params:scim:api:messages:2.0:Error]" || a.body["status"] != fmt.Sprint(status) || detail == "" || got != scimType {
		a.t.Errorf("%s: the error is %s; want scimType %q", a.asked, a.text, scimType)
	}
	return a
}

// at is a value in the response, by a path such as emails.0.value; nil if it is absent.
func (a *answer) at(path string) any {
	a.t.Helper()
	return valueAt(a.body, path)
}

func valueAt(value any, path string) any {
	for _, name := range strings.Split(path, "/") {
		switch in := value.(type) {
		case map[string]any:
			value = in[name]
		case []any:
			var i int
			if n, err := fmt.Sscan(name, &i); n != 1 || err != nil || i >= len(in) {
				return nil
			}
			value = in[i]
		default:
			return nil
		}
	}
	return value
}

// has checks values by path, given in pairs; "" is an absent value.
func (a *answer) has(pairs ...any) *answer {
	a.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		got, want := a.at(pairs[i].(string)), pairs[i+1] //nolint:errcheck // a type assertion that panics fails the test
		if want == "" {
			want = nil
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			a.t.Errorf("%s: %s is %v, want %v: %s", a.asked, pairs[i], got, want, a.text)
		}
	}
	return a
}

func (a *answer) id() string {
	a.t.Helper()
	id, ok := a.body["id"].(string)
	if !ok {
		a.t.Fatalf("%s: no id: %s", a.asked, a.text)
	}
	return id
}

// create adds a user with an e-mail address, whose name and external id follow from it.
func (f *fixture) create(name string) string {
	f.t.Helper()
	return f.do("POST", "/Users", user(name)).want(201).id()
}

func user(name string) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"%[1]s@example.com","externalId":"ext-%[1]s",`+
		`"name":{"givenName":"%[1]s","familyName":"Okafor"},"emails":[{"value":"%[1]s@example.com","type":"work","primary":true}],"active":true}`, name)
}

// patch is the body of a PATCH with operations.
func patch(operations ...string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + strings.Join(operations, ",") + `]}`
}

func escape(text string) string { return url.QueryEscape(text) }

func sortStrings(list []string) { slices.Sort(list) }
