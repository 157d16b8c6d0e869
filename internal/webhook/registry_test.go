package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/egress"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/seal"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/tail/tailtest"
	"porchlight.dev/porchlight/internal/webhook"
)

func (plainForm) Types() []string { return []string{"status", "note"} }

// A registryFixture is a registry with an account of two users, of whom the second is in
// the group "Sales".
type registryFixture struct {
	*webhook.Registry
	tb        testing.TB
	store     store.Store
	clock     *apptest.Clock
	people    *apptest.People
	account   presence.AccountID
	ada, bob  presence.UserID
	validated []string // URLs
	refusal   error    // of the next validations
}

func newRegistry(tb testing.TB) *registryFixture {
	f := &registryFixture{tb: tb, clock: apptest.Noon()}
	f.store = enginetest.Open(tb, f.clock.Now)
	f.people = apptest.On(tb, f.store, f.clock.Now)
	account, ada := f.people.Account("ada@example.com")
	f.account, f.ada, f.bob = account, ada.ID, f.people.User(account, "bob@example.com").ID
	bob, err := f.people.Directory.User(f.ctx(), account, f.bob)
	apptest.Check(tb, err)
	bob.Groups = []string{"Sales"}
	_, err = f.people.Directory.Update(f.ctx(), account, bob)
	apptest.Check(tb, err)
	f.Registry = f.node()
	return f
}

func (f *registryFixture) ctx() context.Context { return f.tb.Context() }

// node is a registry of another node on the same store.
func (f *registryFixture) node() *webhook.Registry {
	client := egress.NewClient(egress.Options{})
	f.tb.Cleanup(client.Close)
	return &webhook.Registry{
		Store: f.store, Sealer: &seal.Sealer{Store: f.store}, Directory: f.people.Directory, Client: client,
		Catalog: webhook.Catalog{Forms: []webhook.Form{plainForm{}}, Profiles: []webhook.Profile{webhook.Durable(), {Name: "quick"}}},
		Nodes:   new(tailtest.Cluster).Join(),
		Clock:   f.clock.Now, Log: slog.New(slog.DiscardHandler),
		Validate: func(_ context.Context, s *webhook.Subscription) error {
			f.validated = append(f.validated, s.URL)
			return f.refusal
		},
	}
}

// asked is a subscription that can be created.
func (f *registryFixture) asked() *webhook.Subscription {
	return &webhook.Subscription{
		Account: f.account, App: "app", Name: "test", URL: "https://example.com/events", Form: "plain",
		Secrets: []webhook.Secret{{Value: webhook.NewSecret()}},
	}
}

func (f *registryFixture) create(change func(*webhook.Subscription)) *webhook.Subscription {
	f.tb.Helper()
	s := f.asked()
	change(s)
	created, err := f.Create(f.ctx(), s)
	apptest.Check(f.tb, err)
	return created
}

func same(*webhook.Subscription) {}

func allow(*webhook.Subscription) error { return nil }

func TestCreateAndRead(t *testing.T) {
	f := newRegistry(t)
	asked := f.asked()
	asked.Events, asked.Users, asked.Groups = []string{"note", "note"}, []presence.UserID{f.ada}, []string{" sales "}
	asked.LatestOnly, asked.Concurrency = true, 3
	asked.Auth = webhook.Authentication{Kind: webhook.AuthBasic, Username: "u", Password: "hidden-password"}
	created, err := f.Create(t.Context(), asked)
	apptest.Check(t, err)
	want := *asked
	want.ID, want.Version, want.Created, want.Profile = created.ID, created.Version, f.clock.Now(), "durable"
	want.Events, want.Groups = []string{"note"}, []string{"sales"}
	want.Health.Validated = f.clock.Now()
	got, err := f.Get(t.Context(), f.account, created.ID)
	apptest.Check(t, err)
	for _, s := range []*webhook.Subscription{created, got} {
		if !s.Concerns(&webhook.Person{ID: "x", Groups: []string{"SALES"}}) || s.Concerns(&webhook.Person{ID: "x", Groups: []string{"Support"}}) {
			t.Error("the group is compared by its key")
		}
		if !s.Concerns(&webhook.Person{ID: f.ada}) || !s.Selects("note") || s.Selects("status") {
			t.Error("the filters are not those that were asked for")
		}
		if text, expected := reflect.ValueOf(*s), reflect.ValueOf(want); true {
			for i := range text.NumField() {
				field := text.Type().Field(i)
				if field.IsExported() && !reflect.DeepEqual(text.Field(i).Interface(), expected.Field(i).Interface()) {
					t.Errorf("%s is %v, want %v", field.Name, text.Field(i), expected.Field(i))
				}
			}
		}
	}
	if len(f.validated) != 1 || f.validated[0] != asked.URL {
		t.Errorf("validated %v", f.validated)
	}
}

// What signs and authenticates is not readable in the document.
func TestSecretsAreSealed(t *testing.T) {
	f := newRegistry(t)
	s := f.create(func(s *webhook.Subscription) {
		s.Secrets = []webhook.Secret{{Value: "very-secret-value-of-it"}}
		s.Auth = webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: "X-Key", HeaderValue: "hidden-header-value"}
	})
	docs, err := f.store.List(t.Context(), "", "subscription", "", 10)
	apptest.Check(t, err)
	for _, secret := range []string{"very-secret-value-of-it", "hidden-header-value"} {
		if len(docs) != 1 || bytes.Contains(docs[0].Value, []byte(secret)) {
			t.Errorf("%s is in %s", secret, docs[0].Value)
		}
	}
	// A sealed value that is moved to another document cannot be opened.
	other := f.create(same)
	docs, err = f.store.List(t.Context(), "", "subscription", "", 10)
	apptest.Check(t, err)
	swapped := docs[0]
	swapped.Version, swapped.Value = docs[1].Version, docs[0].Value
	swapped.Key = docs[1].Key
	apptest.Check(t, f.store.Write(t.Context(), "", swapped))
	_, err = f.Get(t.Context(), f.account, s.ID)
	_, err2 := f.Get(t.Context(), f.account, other.ID)
	if !errors.Is(errors.Join(err, err2), seal.ErrOpen) {
		t.Errorf("%v, %v", err, err2)
	}
}

func TestCreateRefuses(t *testing.T) {
	f := newRegistry(t)
	stranger := f.people.User(func() presence.AccountID { a, _ := f.people.Account("eve@example.org"); return a }(), "mallory@example.org").ID
	for field, change := range map[string]func(*webhook.Subscription){
		"name":           func(s *webhook.Subscription) { s.Name = strings.Repeat("n", 129) },
		"form":           func(s *webhook.Subscription) { s.Form = "unknown" },
		"profile":        func(s *webhook.Subscription) { s.Profile = "unknown" },
		"concurrency":    func(s *webhook.Subscription) { s.Concurrency = webhook.MaxConcurrency + 1 },
		"url":            func(s *webhook.Subscription) { s.URL = "https://user:password@example.com/" },
		"url ":           func(s *webhook.Subscription) { s.URL = "https://example.com/#fragment" },
		"url  ":          func(s *webhook.Subscription) { s.URL = "ftp://example.com/" },
		"url   ":         func(s *webhook.Subscription) { s.URL = "https://example.com/" + strings.Repeat("a", 2048) },
		"authentication": func(s *webhook.Subscription) { s.Auth = webhook.Authentication{Kind: webhook.AuthBasic} },
		"authentication ": func(s *webhook.Subscription) {
			s.Auth = webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: "X-Form-Signature", HeaderValue: "mine"}
		},
		"authentication  ": func(s *webhook.Subscription) {
			s.URL = ""
			s.Auth = webhook.Authentication{Kind: webhook.AuthBasic, Username: "u"}
		},
		"events":     func(s *webhook.Subscription) { s.Events = []string{} },
		"events[1]":  func(s *webhook.Subscription) { s.Events = []string{"note", "unknown"} },
		"users":      func(s *webhook.Subscription) { s.Users = []presence.UserID{} },
		"users[1]":   func(s *webhook.Subscription) { s.Users = []presence.UserID{f.ada, stranger} },
		"users[0]":   func(s *webhook.Subscription) { s.Users = []presence.UserID{"no id"} },
		"users ":     func(s *webhook.Subscription) { s.Owner = f.ada },
		"users  ":    func(s *webhook.Subscription) { s.Owner, s.Users = f.ada, []presence.UserID{f.bob} },
		"groups":     func(s *webhook.Subscription) { s.Groups = []string{} },
		"groups[0]":  func(s *webhook.Subscription) { s.Groups = []string{" "} },
		"groups[1]":  func(s *webhook.Subscription) { s.Groups = []string{"Sales", "Support"} },
		"groups[0] ": func(s *webhook.Subscription) { s.Groups = []string{"a\nb"} },
	} {
		s := f.asked()
		change(s)
		_, err := f.Create(t.Context(), s)
		if invalid, ok := errors.AsType[*presence.FieldError](err); !ok || invalid.Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if len(f.validated) > 0 {
		t.Errorf("requests were sent for them: %v", f.validated)
	}
	all, err := f.List(t.Context(), f.account)
	if err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestEndpointMustProve(t *testing.T) {
	f := newRegistry(t)
	f.refusal = &webhook.ValidationError{Method: http.MethodPost, URL: "https://example.com/events", Reason: "no proof", Status: 200}
	if _, err := f.Create(t.Context(), f.asked()); !errors.Is(err, f.refusal) {
		t.Errorf("create: %v", err)
	}
	if all, err := f.List(t.Context(), f.account); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
	waiting := f.create(func(s *webhook.Subscription) { s.URL = "" }) // no endpoint to ask
	if !waiting.Health.Validated.IsZero() {
		t.Error("what has no endpoint is not validated")
	}
	_, err := f.Update(t.Context(), f.account, waiting.ID, func(s *webhook.Subscription) error { s.URL = "https://example.com/"; return nil })
	if !errors.Is(err, f.refusal) {
		t.Errorf("update: %v", err)
	}
	if now, err := f.Get(t.Context(), f.account, waiting.ID); err != nil || now.URL != "" {
		t.Errorf("%+v, %v", now, err)
	}
}

func TestUpdate(t *testing.T) {
	f := newRegistry(t)
	s := f.create(same)
	f.clock.Advance(time.Hour)
	changed, err := f.Update(t.Context(), f.account, s.ID, func(s *webhook.Subscription) error {
		s.Name, s.Events, s.Profile = "other", []string{"status"}, "quick"
		return nil
	})
	apptest.Check(t, err)
	if changed.Name != "other" || changed.Profile != "quick" || len(changed.Events) != 1 || changed.Version == s.Version {
		t.Errorf("%+v", changed)
	}
	if len(f.validated) != 1 || !changed.Health.Validated.Equal(s.Health.Validated) {
		t.Error("the endpoint did not change and was validated again")
	}
	moved, err := f.Update(t.Context(), f.account, s.ID, func(s *webhook.Subscription) error { s.URL += "2"; return nil })
	apptest.Check(t, err)
	if len(f.validated) != 2 || !moved.Health.Validated.Equal(f.clock.Now()) {
		t.Errorf("a new endpoint must be validated: %v", f.validated)
	}
	refused := errors.New("refused")
	if _, err := f.Update(t.Context(), f.account, s.ID, func(*webhook.Subscription) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if _, err := f.Update(t.Context(), f.account, s.ID, func(s *webhook.Subscription) error { s.Events = []string{"x"}; return nil }); err == nil {
		t.Error("an unknown event was accepted")
	}
}

// What exists is not refused because a user or group of its filters is gone.
func TestUpdateKeepsOldFilter(t *testing.T) {
	f := newRegistry(t)
	s := f.create(func(s *webhook.Subscription) { s.Users, s.Groups = []presence.UserID{f.bob}, []string{"Sales"} })
	apptest.Check(t, f.people.Directory.Delete(t.Context(), f.account, f.bob))
	_, err := f.Update(t.Context(), f.account, s.ID, func(s *webhook.Subscription) error { s.Name = "new"; return nil })
	apptest.Check(t, err)
}

func TestHealth(t *testing.T) {
	f := newRegistry(t)
	s := f.create(same)
	f.clock.Advance(time.Hour)
	apptest.Check(t, f.SetHealth(t.Context(), s, webhook.Health{Failures: 6, Reason: "gone", Disabled: f.clock.Now()}))
	now, err := f.Get(t.Context(), f.account, s.ID)
	apptest.Check(t, err)
	if now.Health.Failures != 6 || now.Health.Reason != "gone" || !now.Health.Disabled.Equal(f.clock.Now()) {
		t.Errorf("%+v", now.Health)
	}
	f.refusal = errors.New("still gone")
	if _, err := f.Enable(t.Context(), f.account, s.ID, allow); !errors.Is(err, f.refusal) {
		t.Error(err)
	}
	f.refusal = nil
	enabled, err := f.Enable(t.Context(), f.account, s.ID, allow)
	apptest.Check(t, err)
	if enabled.Health != (webhook.Health{Validated: f.clock.Now()}) {
		t.Errorf("%+v", enabled.Health)
	}
	// What was found of an endpoint says nothing about another.
	_, err = f.Update(t.Context(), f.account, s.ID, func(s *webhook.Subscription) error { s.URL += "2"; return nil })
	apptest.Check(t, err)
	apptest.Check(t, f.SetHealth(t.Context(), s, webhook.Health{Failures: 6, Disabled: f.clock.Now()}))
	if now, err := f.Get(t.Context(), f.account, s.ID); err != nil || !now.Health.Disabled.IsZero() {
		t.Errorf("%+v, %v", now, err)
	}
}

func TestAccountsAreIsolated(t *testing.T) {
	f := newRegistry(t)
	s := f.create(same)
	other, _ := f.people.Account("eve@example.org")
	if _, err := f.Get(t.Context(), other, s.ID); !errors.Is(err, webhook.ErrNoSubscription) {
		t.Errorf("get: %v", err)
	}
	if err := f.Delete(t.Context(), other, s.ID, allow); !errors.Is(err, webhook.ErrNoSubscription) {
		t.Errorf("delete: %v", err)
	}
	if _, err := f.Update(t.Context(), other, s.ID, allow); !errors.Is(err, webhook.ErrNoSubscription) {
		t.Errorf("update: %v", err)
	}
	if all, err := f.List(t.Context(), other); err != nil || len(all) > 0 {
		t.Errorf("list: %v, %v", all, err)
	}
	for _, id := range []string{"", "x/y", string(f.account) + "/" + s.ID, strings.Repeat("a", 600)} {
		if _, err := f.Get(t.Context(), f.account, id); !errors.Is(err, webhook.ErrNoSubscription) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestDelete(t *testing.T) {
	f := newRegistry(t)
	s, other := f.create(same), f.create(func(s *webhook.Subscription) { s.App = "other" })
	refused := errors.New("refused")
	if err := f.Delete(t.Context(), f.account, s.ID, func(*webhook.Subscription) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	apptest.Check(t, f.Delete(t.Context(), f.account, s.ID, allow))
	if _, err := f.Get(t.Context(), f.account, s.ID); !errors.Is(err, webhook.ErrNoSubscription) {
		t.Error(err)
	}
	f.create(same)
	owned := f.create(func(s *webhook.Subscription) { s.App, s.Owner, s.Users = "other", f.ada, []presence.UserID{f.ada} })
	apptest.Check(t, f.DeleteApp(t.Context(), f.account, "app"))
	apptest.Check(t, f.DeleteOwner(t.Context(), f.account, f.bob))
	if all, err := f.List(t.Context(), f.account); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	apptest.Check(t, f.DeleteOwner(t.Context(), f.account, owned.Owner))
	if all, err := f.List(t.Context(), f.account); err != nil || len(all) != 1 || all[0].ID != other.ID {
		t.Errorf("%v, %v", all, err)
	}
}

func TestLimits(t *testing.T) {
	f := newRegistry(t)
	reached := func(name string, change func(*webhook.Subscription)) {
		t.Helper()
		s := f.asked()
		change(s)
		_, err := f.Create(t.Context(), s)
		if limit, ok := errors.AsType[*webhook.LimitError](err); !ok || limit.Name != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	owned := func(s *webhook.Subscription) { s.Owner, s.Users = f.ada, []presence.UserID{f.ada} }
	for range webhook.MaxPerOwner {
		f.create(owned)
	}
	reached("subscriptions-per-user", owned)
	for range webhook.MaxPerApp {
		f.create(same)
	}
	reached("subscriptions-per-app", same)
	for n := range webhook.MaxPerAccount - webhook.MaxPerApp - webhook.MaxPerOwner {
		f.create(func(s *webhook.Subscription) { s.App = presence.AppID("app" + strconv.Itoa(n/webhook.MaxPerApp)) })
	}
	reached("subscriptions-per-account", func(s *webhook.Subscription) { s.App = "last" })
	reached("subscription-users", func(s *webhook.Subscription) { s.Users = make([]presence.UserID, webhook.MaxUsers+1) })
	reached("subscription-groups", func(s *webhook.Subscription) { s.Groups = make([]string, webhook.MaxGroups+1) })
	all, err := f.List(t.Context(), f.account)
	if err != nil || len(all) != webhook.MaxPerAccount {
		t.Errorf("%d, %v", len(all), err)
	}
}

// Of requests at the same time no more succeed than the limit allows, and none fails
// because of another one below it.
func TestLimitHoldsForConcurrentRequests(t *testing.T) {
	for name, exclusive := range map[string]bool{"one node": true, "several nodes": false} {
		t.Run(name, func(t *testing.T) {
			f := newRegistry(t)
			if exclusive {
				f.Nodes = nil
			}
			const at, more = 4, 3 // at a time; above the limit
			create := func(each func(error)) {
				var counted, creating sync.WaitGroup
				counted.Add(at)
				f.Validate = func(context.Context, *webhook.Subscription) error { // after the first count
					counted.Done()
					counted.Wait()
					return nil
				}
				for range at {
					creating.Go(func() { _, err := f.Create(t.Context(), f.asked()); each(err) })
				}
				creating.Wait()
			}
			create(func(err error) {
				if err != nil {
					t.Errorf("below the limit: %v", err)
				}
			})
			f.Validate = func(context.Context, *webhook.Subscription) error { return nil }
			for range webhook.MaxPerApp - 2*at + more {
				f.create(same)
			}
			create(func(err error) {
				if _, ok := errors.AsType[*webhook.LimitError](err); err != nil && !ok {
					t.Errorf("above the limit: %v", err)
				}
			})
			all, err := f.List(t.Context(), f.account)
			if err != nil || len(all) > webhook.MaxPerApp {
				t.Errorf("%d, %v", len(all), err)
			}
		})
	}
}

func TestRotateSecret(t *testing.T) {
	f := newRegistry(t)
	s := f.create(same)
	first := s.Secrets[0].Value
	rotate := func(secret string, overlap time.Duration) []webhook.Secret {
		t.Helper()
		s, err := f.RotateSecret(t.Context(), f.account, s.ID, secret, overlap, allow)
		apptest.Check(t, err)
		return s.Secrets
	}
	start := f.clock.Now()
	got := rotate("the-second-secret", time.Hour)
	want := []webhook.Secret{{Value: "the-second-secret"}, {Value: first, Until: start.Add(time.Hour)}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	f.clock.Advance(30 * time.Minute)
	got = rotate("the-third-secret!", time.Hour)
	want = []webhook.Secret{{Value: "the-third-secret!"}, {Value: "the-second-secret", Until: start.Add(90 * time.Minute)}, {Value: first, Until: start.Add(time.Hour)}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	f.clock.Advance(45 * time.Minute) // the first has ended
	if got = rotate("the-fourth-secret", time.Hour); len(got) != 3 || got[2].Value != "the-second-secret" {
		t.Errorf("%v", got)
	}
	if got = rotate("the-fifth-secret!", 0); len(got) != 1 {
		t.Errorf("%v", got)
	}
	for _, overlap := range []time.Duration{-1, webhook.MaxOverlap + 1} {
		if _, err := f.RotateSecret(t.Context(), f.account, s.ID, webhook.NewSecret(), overlap, allow); err == nil {
			t.Errorf("%v was accepted", overlap)
		}
	}
	if _, err := f.RotateSecret(t.Context(), f.account, s.ID, "short", 0, allow); err == nil {
		t.Error("a short secret was accepted")
	}
}

func TestSecretOfApp(t *testing.T) {
	f := newRegistry(t)
	s := f.create(func(s *webhook.Subscription) { s.Secrets = nil })
	secretsOf := func(r *webhook.Registry) []webhook.Secret {
		t.Helper()
		secrets, err := r.SecretsOf(t.Context(), s)
		apptest.Check(t, err)
		return secrets
	}
	first := secretsOf(f.Registry)
	if len(first) != 1 || !strings.HasPrefix(first[0].Value, "whsec_") || !reflect.DeepEqual(secretsOf(f.Registry), first) || !reflect.DeepEqual(secretsOf(f.node()), first) {
		t.Errorf("%v", first)
	}
	if other, err := f.AppSecrets(t.Context(), f.account, "other"); err != nil || other[0].Value == first[0].Value {
		t.Errorf("%v, %v", other, err)
	}
	second, err := f.RotateAppSecret(t.Context(), f.account, "app", time.Hour)
	apptest.Check(t, err)
	want := []webhook.Secret{{Value: second}, {Value: first[0].Value, Until: f.clock.Now().Add(time.Hour)}}
	if got := secretsOf(f.Registry); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, err := f.RotateSecret(t.Context(), f.account, s.ID, webhook.NewSecret(), 0, allow); !errors.Is(err, webhook.ErrAppSecret) {
		t.Error(err)
	}
	own := f.create(same)
	if got, err := f.SecretsOf(t.Context(), own); err != nil || !reflect.DeepEqual(got, own.Secrets) {
		t.Errorf("%v, %v", got, err)
	}
	apptest.Check(t, f.DeleteApp(t.Context(), f.account, "app"))
	if got := secretsOf(f.Registry); len(got) != 1 || got[0].Value == second {
		t.Errorf("a deleted app's secret is used: %v", got)
	}
	docs, err := f.store.List(t.Context(), "", "webhook-app", "", 10)
	apptest.Check(t, err)
	for _, doc := range docs {
		if bytes.Contains(doc.Value, []byte("whsec_")) {
			t.Errorf("%s is not sealed", doc.Value)
		}
	}
}

// A secret that was rotated on another node is used soon.
func TestSecretOfAppOnAnotherNode(t *testing.T) {
	f := newRegistry(t)
	there := f.node()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { apptest.Check(t, there.Run(ctx)) })
	defer running.Wait()
	defer stop()
	_, err := there.AppSecrets(t.Context(), f.account, "app")
	apptest.Check(t, err)
	second, err := f.RotateAppSecret(t.Context(), f.account, "app", 0)
	apptest.Check(t, err)
	deadline := time.After(2 * time.Minute)
	for {
		_, changed := there.Snapshot()
		got, err := there.AppSecrets(t.Context(), f.account, "app")
		apptest.Check(t, err)
		if len(got) == 1 && got[0].Value == second {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%v", got)
		}
	}
}

// A snapshot has what is stored before it begins, what changes here, and what changes on
// other nodes.
func TestSnapshot(t *testing.T) {
	f := newRegistry(t)
	before := f.create(same)
	here, there := f.node(), f.node()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, node := range []*webhook.Registry{here, there} {
		running.Go(func() { apptest.Check(t, node.Run(ctx)) })
	}
	defer running.Wait()
	defer stop()
	awaitSnapshot(t, here, func(all []*webhook.Subscription) bool { return len(all) == 1 && all[0].ID == before.ID })
	awaitSnapshot(t, there, func(all []*webhook.Subscription) bool { return len(all) == 1 && all[0].ID == before.ID })
	_, changed := here.Snapshot()
	created, err := here.Create(t.Context(), f.asked())
	apptest.Check(t, err)
	select {
	case <-changed:
	default:
		t.Error("a change on this node is not notified at once")
	}
	if all, _ := here.Snapshot(); len(all) != 2 {
		t.Errorf("%d are known at once", len(all))
	}
	awaitSnapshot(t, there, func(all []*webhook.Subscription) bool { return len(all) == 2 })
	_, err = here.Update(t.Context(), f.account, created.ID, func(s *webhook.Subscription) error { s.Name = "renamed"; return nil })
	apptest.Check(t, err)
	apptest.Check(t, here.Delete(t.Context(), f.account, before.ID, allow))
	awaitSnapshot(t, there, func(all []*webhook.Subscription) bool { return len(all) == 1 && all[0].Name == "renamed" })
}

// TestPaused: the subscriptions of a deactivated user, and all of a suspended account, are
// paused on every node.
func TestPaused(t *testing.T) {
	f := newRegistry(t)
	accounts := f.create(same)
	owned := f.create(func(s *webhook.Subscription) { s.Owner, s.Users = f.bob, []presence.UserID{f.bob} })
	there := f.node()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { apptest.Check(t, there.Run(ctx)) })
	defer running.Wait()
	defer stop()
	await := func(want ...string) {
		t.Helper()
		awaitSnapshot(t, there, func(all []*webhook.Subscription) bool {
			var paused []string
			for _, s := range all {
				if s.Suspended {
					paused = append(paused, s.ID)
				}
			}
			slices.Sort(paused)
			slices.Sort(want)
			return len(all) == 2 && slices.Equal(paused, want)
		})
	}
	setActive := func(active bool) {
		t.Helper()
		bob, err := f.people.Directory.User(t.Context(), f.account, f.bob)
		apptest.Check(t, err)
		bob.Active = active
		_, err = f.people.Directory.Update(t.Context(), f.account, bob)
		apptest.Check(t, err)
		apptest.Check(t, f.OwnerChanged(t.Context(), f.account, f.bob))
	}
	await()
	setActive(false)
	await(owned.ID)
	_, err := there.Update(t.Context(), f.account, owned.ID, func(s *webhook.Subscription) error { s.Name = "renamed"; return nil })
	apptest.Check(t, err)
	await(owned.ID)
	suspend := func(suspended bool) {
		t.Helper()
		account, err := f.people.Directory.Account(t.Context(), f.account)
		apptest.Check(t, err)
		_, err = f.people.Directory.UpdateAccount(t.Context(), account, directory.AccountChange{Suspended: &suspended})
		apptest.Check(t, err)
		apptest.Check(t, f.AccountChanged(t.Context()))
	}
	suspend(true)
	await(owned.ID, accounts.ID)
	suspend(false)
	await(owned.ID)
	setActive(true)
	await()
}

// TestEnded: a subscription that a crash left behind, after its app or its consent ended, is in
// no snapshot and is deleted; also if the consent was given again meanwhile. None can be made.
func TestEnded(t *testing.T) {
	f := newRegistry(t)
	since := f.clock.Now().Truncate(time.Millisecond)
	consent := webhook.Consent{User: f.bob, Since: since}
	stays := f.create(same)
	for _, change := range []func(*webhook.Subscription){
		func(s *webhook.Subscription) { s.App = "gone" },
		func(s *webhook.Subscription) { s.Consent = consent },
		func(s *webhook.Subscription) { s.Consent, s.Owner, s.Users = consent, f.bob, []presence.UserID{f.bob} },
	} {
		f.create(change)
	}
	there := f.node()
	there.HasApp = func(_ context.Context, _ presence.AccountID, app presence.AppID) (bool, error) {
		return app != "gone", nil
	}
	there.Consented = func(context.Context, presence.AccountID, presence.UserID, presence.AppID) (time.Time, error) {
		return since.Add(time.Minute), nil
	}
	asked := f.asked()
	asked.Consent = consent
	if _, err := there.Create(t.Context(), asked); !errors.Is(err, webhook.ErrEnded) {
		t.Errorf("made under a consent that has ended: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { apptest.Check(t, there.Run(ctx)) })
	defer running.Wait()
	defer stop()
	awaitSnapshot(t, there, func(all []*webhook.Subscription) bool { return len(all) == 1 && all[0].ID == stays.ID })
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		all, err := f.List(t.Context(), f.account)
		apptest.Check(t, err)
		if len(all) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are stored", len(all))
		}
	}
}

// TestPausePersists: a pause is stored, every node learns of it, and nothing else that changes a
// subscription ends it.
func TestPausePersists(t *testing.T) {
	f := newRegistry(t)
	s := f.create(same)
	set := func(paused bool) {
		t.Helper()
		_, err := f.Update(t.Context(), f.account, s.ID, func(s *webhook.Subscription) error {
			s.Paused = paused
			return nil
		})
		apptest.Check(t, err)
	}
	set(true)
	_, err := f.Enable(t.Context(), f.account, s.ID, allow)
	apptest.Check(t, err)
	_, err = f.RotateSecret(t.Context(), f.account, s.ID, webhook.NewSecret(), 0, allow)
	apptest.Check(t, err)
	apptest.Check(t, f.SetHealth(t.Context(), s, webhook.Health{Failures: 1}))
	there := f.node()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { apptest.Check(t, there.Run(ctx)) })
	defer running.Wait()
	defer stop()
	await := func(paused bool) {
		t.Helper()
		awaitSnapshot(t, there, func(all []*webhook.Subscription) bool { return len(all) == 1 && all[0].Paused == paused })
	}
	await(true)
	set(false)
	await(false)
}

// TestConsentOfFormerAdministrator: what an app subscribed to for the account is paused while
// the person who allowed it is no administrator.
func TestConsentOfFormerAdministrator(t *testing.T) {
	f := newRegistry(t)
	f.create(func(s *webhook.Subscription) { s.Consent = webhook.Consent{User: f.bob, Since: f.clock.Now()} })
	there := f.node()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { apptest.Check(t, there.Run(ctx)) })
	defer running.Wait()
	defer stop()
	for _, role := range []directory.Role{directory.Member, directory.Admin} {
		bob, err := f.people.Directory.User(t.Context(), f.account, f.bob)
		apptest.Check(t, err)
		bob.Role = role
		_, err = f.people.Directory.Update(t.Context(), f.account, bob)
		apptest.Check(t, err)
		apptest.Check(t, f.OwnerChanged(t.Context(), f.account, f.bob))
		awaitSnapshot(t, there, func(all []*webhook.Subscription) bool {
			return len(all) == 1 && all[0].Suspended == (role == directory.Member)
		})
	}
}

// afterLoad calls do once, after the first read of an account.
type afterLoad struct {
	store.Store
	once sync.Once
	do   func()
}

func (s *afterLoad) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	docs, err := s.Store.Load(ctx, account, keys...)
	if slices.ContainsFunc(keys, func(k store.Key) bool { return k.Collection == "account" }) {
		s.once.Do(s.do)
	}
	return docs, err
}

// TestPausedWhileRead: an account that is suspended while the subscriptions are read is
// read again.
func TestPausedWhileRead(t *testing.T) {
	for name, exclusive := range map[string]bool{"one node": true, "several nodes": false} {
		t.Run(name, func(t *testing.T) {
			f := newRegistry(t)
			f.create(same)
			there := f.node()
			if exclusive {
				there.Nodes = nil
			}
			there.Directory = directory.New(&afterLoad{Store: f.store, do: func() {
				account, err := f.people.Directory.Account(t.Context(), f.account)
				apptest.Check(t, err)
				suspended := true
				_, err = f.people.Directory.UpdateAccount(t.Context(), account, directory.AccountChange{Suspended: &suspended})
				apptest.Check(t, err)
				apptest.Check(t, there.AccountChanged(t.Context()))
			}}, f.clock.Now)
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { apptest.Check(t, there.Run(ctx)) })
			defer running.Wait()
			defer stop()
			awaitSnapshot(t, there, func(all []*webhook.Subscription) bool { return len(all) == 1 && all[0].Suspended })
		})
	}
}

func awaitSnapshot(t *testing.T, r *webhook.Registry, ok func([]*webhook.Subscription) bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		all, changed := r.Snapshot()
		if ok(all) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the snapshot has %d", len(all))
		}
	}
}

// damage replaces the values of documents of subscriptions.
func (f *registryFixture) damage(value func(old string) string, of ...*webhook.Subscription) {
	f.tb.Helper()
	for _, s := range of {
		docs, err := f.store.Load(f.ctx(), "", store.Key{Collection: "subscription", Key: string(s.Account) + "/" + s.ID})
		apptest.Check(f.tb, err)
		docs[0].Value = []byte(value(string(docs[0].Value)))
		apptest.Check(f.tb, f.store.Write(f.ctx(), "", docs[0]))
	}
}

// TestEndPastDamage: a subscription that cannot be decoded does not keep others from ending, and
// one whose secrets are unreadable ends as well.
func TestEndPastDamage(t *testing.T) {
	f := newRegistry(t)
	theirs := func(s *webhook.Subscription) { s.Consent = webhook.Consent{User: f.bob, Since: f.clock.Now()} }
	damaged, unsealed := f.create(theirs), f.create(theirs)
	f.create(theirs)
	stays := f.create(func(s *webhook.Subscription) { s.App = "other" })
	f.damage(func(string) string { return "{" }, damaged)
	f.damage(func(old string) string { return strings.Replace(old, `"sealed":"`, `"sealed":"AAAA`, 1) }, unsealed)
	apptest.Check(t, f.OwnerChanged(t.Context(), f.account, f.bob))
	f.EndConsent(t.Context(), f.account, f.bob, "app")
	docs, err := f.store.List(t.Context(), "", "subscription", "", 10)
	apptest.Check(t, err)
	left := make(map[string]bool)
	for _, doc := range docs {
		_, id, _ := strings.Cut(doc.Key.Key, "/")
		left[id] = true
	}
	if len(left) != 2 || !left[damaged.ID] || !left[stays.ID] {
		t.Errorf("%v stay, want %s and %s", left, damaged.ID, stays.ID)
	}
}

// TestUnreadableConsent: a consent that is unreadable suspends the subscriptions under it until
// it can be read, and holds up no other. It is read once for all of them.
func TestUnreadableConsent(t *testing.T) {
	f := newRegistry(t)
	since := f.clock.Now().Truncate(time.Millisecond)
	for range 3 {
		f.create(func(s *webhook.Subscription) {
			s.Consent, s.Owner, s.Users = webhook.Consent{User: f.bob, Since: since}, f.bob, []presence.UserID{f.bob}
		})
	}
	stays := f.create(same)
	there := f.node()
	var reads atomic.Int32
	var readable atomic.Bool
	there.Consented = func(context.Context, presence.AccountID, presence.UserID, presence.AppID) (time.Time, error) {
		reads.Add(1)
		if readable.Load() {
			return since, nil
		}
		return time.Time{}, errors.New("damaged")
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { apptest.Check(t, there.Run(ctx)) })
	defer running.Wait()
	defer stop()
	suspended := func(all []*webhook.Subscription) (n int) {
		for _, s := range all {
			if s.Suspended && s.ID != stays.ID {
				n++
			}
		}
		return n
	}
	awaitSnapshot(t, there, func(all []*webhook.Subscription) bool { return len(all) == 4 && suspended(all) == 3 })
	all, _ := there.Snapshot()
	for _, s := range all {
		if s.ID == stays.ID && s.Suspended {
			t.Error("another one is suspended")
		}
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("%d reads of one consent", n)
	}
	readable.Store(true)
	f.clock.Advance(time.Minute)
	awaitSnapshot(t, there, func(all []*webhook.Subscription) bool { return len(all) == 4 && suspended(all) == 0 })
}
