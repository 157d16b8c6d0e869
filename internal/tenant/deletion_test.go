package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/seal"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/tenant"
	"porchlight.dev/porchlight/internal/webhook"
)

var errCrash = errors.New("the server crashed")

// A mortal store accepts some writes, and then none.
type mortal struct {
	store.Store
	left int
}

func (m *mortal) die() error {
	if m.left--; m.left < 0 {
		return errCrash
	}
	return nil
}

func (m *mortal) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if err := m.die(); err != nil {
		return err
	}
	return m.Store.Write(ctx, account, docs...)
}

func (m *mortal) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	if err := m.die(); err != nil {
		return store.Record{}, err
	}
	return m.Store.Update(ctx, u, fn)
}

func (m *mortal) Begin(u store.User, fn store.Decide, reply store.Reply) {
	if err := m.die(); err != nil {
		reply(store.Record{}, err)
		return
	}
	m.Store.Begin(u, fn, reply)
}

func (m *mortal) Erase(ctx context.Context, u store.User) error {
	if err := m.die(); err != nil {
		return err
	}
	return m.Store.Erase(ctx, u)
}

// alone is an eraser without consumers of the log.
type alone struct{ store.Log }

func (alone) AwaitConsumers(context.Context) error { return nil }

// node is what one run of a server has, on a store that outlives it.
func node(t *testing.T, st store.Store, clock *apptest.Clock) (*tenant.Registry, *apptest.People) {
	t.Helper()
	people := apptest.On(t, st, clock.Now)
	log := slog.New(slog.DiscardHandler)
	known := func(ctx context.Context, u store.User) error {
		_, err := people.Directory.User(ctx, u.Account, u.ID)
		return err
	}
	subscriptions := &webhook.Registry{Store: st, Sealer: &seal.Sealer{Store: st}, Directory: people.Directory, Clock: clock.Now, Log: log}
	record := audit.New(st, clock.Now)
	users := &provision.Provisioner{
		Directory: people.Directory, Authority: people.Authority, Records: st, Subscriptions: subscriptions, Audit: record,
		Publisher: publish.New(publish.Options{Store: st, Policy: presence.DefaultPolicy(), Known: known, Clock: clock.Now, Log: log}),
	}
	return tenant.New(tenant.Parts{
		Store: st, Directory: people.Directory, Authority: people.Authority, Provisioner: users, Subscriptions: subscriptions,
		Eraser: alone{st}, Audit: record, Clock: clock.Now, Log: log,
	}), people
}

// found creates an account with a user of each kind, a group, an app, tokens, and what users
// leave behind.
func found(t *testing.T, r *tenant.Registry, people *apptest.People, name string) presence.AccountID {
	t.Helper()
	ctx := t.Context()
	made, err := r.Create(ctx, &audit.Actor{}, &tenant.Founding{Name: name, OwnerEmail: name + "@example.com", OwnerName: name, AppName: name})
	apptest.Check(t, err)
	by := &provision.By{Account: made.Account.ID}
	for i := range 3 {
		u, err := r.Provisioner.Create(ctx, by, directory.User{
			Email: fmt.Sprintf("%s.%d@example.com", name, i), DisplayName: name, ExternalID: fmt.Sprint(name, i), Groups: []string{name},
		})
		apptest.Check(t, err)
		people.Token(made.Account.ID, made.App.ID, u.ID, "presence:read", 0)
		if i == 0 { // who left before has entries in the log, too
			apptest.Check(t, r.Provisioner.Delete(ctx, by, u.ID, nil, nil))
		}
	}
	return made.Account.ID
}

// documents are all documents of an account.
func documents(t *testing.T, st store.Store, account presence.AccountID) map[string]string {
	t.Helper()
	all := make(map[string]string)
	collections, err := st.Collections(t.Context(), account)
	apptest.Check(t, err)
	for _, collection := range collections {
		docs, err := st.List(t.Context(), account, collection, "", 1000)
		apptest.Check(t, err)
		for i := range docs {
			all[collection+" "+docs[i].Key.Key] = string(docs[i].Value)
		}
	}
	return all
}

// recorded is how often the audit log of the server has the end of a deletion.
func recorded(t *testing.T, st store.Store) (n int) {
	t.Helper()
	for _, value := range documents(t, st, "") {
		n += strings.Count(value, `"account.deleted"`)
	}
	return n
}

// TestDeletionSurvivesCrashes: a server that crashes again and again, each time a little
// later, completes a deletion. The report counts what there was, nothing of the account is
// left, and another account is as before.
func TestDeletionSurvivesCrashes(t *testing.T) {
	for _, writes := range []int{1, 2, 3, 5, 8} {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			clock := apptest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
			st := enginetest.Open(t, clock.Now)
			r, people := node(t, st, clock)
			const canary, other = "Xq7canary", "Xq7neighbour"
			gone, kept := found(t, r, people, canary), found(t, r, people, other)
			before := documents(t, st, kept)
			if len(documents(t, st, gone)) < 10 {
				t.Fatalf("INVALID: the account has only %v", documents(t, st, gone))
			}
			_, err := r.Delete(t.Context(), &audit.Actor{}, gone)
			apptest.Check(t, err)
			crashes := 0
			var d tenant.Deletion
			for lives := writes; d.Done.IsZero(); lives++ {
				if crashes++; crashes > 100 {
					t.Fatalf("the deletion is not done: %+v", d)
				}
				again, _ := node(t, &mortal{st, lives}, clock)
				_, _ = again.Complete(t.Context())
				d, err = r.Deletion(t.Context(), gone)
				apptest.Check(t, err)
			}
			if crashes < 3 {
				t.Errorf("INVALID: it crashed only %d times", crashes)
			}
			if d.Phase != tenant.PhaseDone || d.Counts.Users != 3 || d.Counts.Apps != 1 || d.Counts.Records != 4 || d.Counts.Tokens < 2 || d.Counts.AuditEvents < 4 || d.Counts.Documents == 0 {
				t.Errorf("the report is %+v", d)
			}
			if n := recorded(t, st); n != 1 {
				t.Errorf("the deletion is recorded %d times", n)
			}
			if left := documents(t, st, gone); len(left) > 0 {
				t.Errorf("left of the account: %v", left)
			}
			for key, value := range documents(t, st, "") {
				if strings.Contains(key+value, canary) {
					t.Errorf("left on the server: %s %s", key, value)
				}
			}
			after := documents(t, st, kept)
			for key, value := range before {
				if after[key] != value {
					t.Errorf("another account: %s was %s, is %s", key, value, after[key])
				}
			}
			if len(after) != len(before) {
				t.Errorf("another account has %d documents, had %d", len(after), len(before))
			}
		})
	}
}

// A late store has something happen before the end of a deletion is recorded.
type late struct {
	store.Store
	before func()
}

func (l *late) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if before := l.before; before != nil && strings.Contains(string(docs[0].Value), `"account.deleted"`) {
		l.before = nil
		before()
	}
	return l.Store.Write(ctx, account, docs...)
}

// TestTwoNodesDelete: the end of a deletion is recorded once, although another node completes
// it at the same time.
func TestTwoNodesDelete(t *testing.T) {
	clock := apptest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	st := enginetest.Open(t, clock.Now)
	there, people := node(t, st, clock)
	slow := &late{Store: st}
	slow.before = func() {
		if _, err := there.Complete(t.Context()); err != nil {
			t.Error(err)
		}
	}
	here, _ := node(t, slow, clock)
	gone := found(t, there, people, "acme")
	_, err := there.Delete(t.Context(), &audit.Actor{}, gone)
	apptest.Check(t, err)
	_, err = here.Complete(t.Context())
	apptest.Check(t, err)
	if d, err := here.Deletion(t.Context(), gone); err != nil || d.Done.IsZero() || slow.before != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	if n := recorded(t, st); n != 1 {
		t.Errorf("recorded %d times", n)
	}
}

// TestOneNodeDeletes: a deletion is left to the node that it falls to, until it falls to this
// one.
func TestOneNodeDeletes(t *testing.T) {
	clock := apptest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	st := enginetest.Open(t, clock.Now)
	r, people := node(t, st, clock)
	preferred := false
	r.Preferred = func(string) bool { return preferred }
	gone := found(t, r, people, "acme")
	_, err := r.Delete(t.Context(), &audit.Actor{}, gone)
	apptest.Check(t, err)
	for _, preferred = range []bool{false, true} {
		_, err := r.Complete(t.Context())
		apptest.Check(t, err)
		if d, err := r.Deletion(t.Context(), gone); err != nil || d.Done.IsZero() == preferred {
			t.Errorf("preferred: %t, %+v, %v", preferred, d, err)
		}
	}
}
