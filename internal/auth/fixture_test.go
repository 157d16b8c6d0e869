package auth_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	. "porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// A watchedStore counts loads and fails writes on request.
type watchedStore struct {
	store.Store
	loads     atomic.Int64
	failLoad  atomic.Pointer[error]
	failWrite func(account presence.AccountID, docs []store.Doc) (apply bool, err error)
}

func (s *watchedStore) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	s.loads.Add(1)
	if err := s.failLoad.Load(); err != nil {
		return nil, *err
	}
	return s.Store.Load(ctx, account, keys...)
}

func (s *watchedStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if s.failWrite != nil {
		if apply, err := s.failWrite(account, docs); err != nil {
			if apply {
				_ = s.Store.Write(ctx, account, docs...)
			}
			return err
		}
	}
	return s.Store.Write(ctx, account, docs...)
}

// fixture is an account with an owner, a user, and an app with all scopes.
type fixture struct {
	*Authority
	people  *apptest.People
	users   *directory.Directory
	clock   *apptest.Clock
	docs    *watchedStore
	account presence.AccountID
	owner   presence.UserID
	ann     directory.User
	app     App
	secret  string
}

const everything = "presence:read:admin session:read:admin session:write:admin claim:read:admin " +
	"claim:write:admin contact:read:admin directory:read:admin directory:write:admin"

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	clock := apptest.Noon()
	docs := &watchedStore{Store: enginetest.Open(tb, clock.Now)}
	people := apptest.On(tb, docs, clock.Now, zoomapi.Scopes()...)
	f := &fixture{Authority: people.Authority, people: people, users: people.Directory, clock: clock, docs: docs}
	account, owner := people.Account("owner@example.com")
	f.account, f.owner, f.ann = account, owner.ID, people.User(account, "ann@example.com")
	f.app, f.secret = f.newApp(tb, f.account, everything)
	return f
}

func check(tb testing.TB, err error) {
	tb.Helper()
	apptest.Check(tb, err)
}

// scopeParser returns an authority that only parses names of scopes.
func scopeParser() *Authority {
	return New(nil, directory.New(nil, time.Now), time.Now, zoomapi.Scopes()...)
}

func scopes(tb testing.TB, names string) Scopes {
	tb.Helper()
	s, err := scopeParser().ParseScopes(names)
	check(tb, err)
	return s
}

func (f *fixture) newAccount(tb testing.TB) presence.AccountID {
	tb.Helper()
	account, err := f.users.CreateAccount(tb.Context(), "Example")
	check(tb, err)
	return account.ID
}

func (f *fixture) newUser(_ testing.TB, email string) directory.User {
	return f.people.User(f.account, email)
}

func (f *fixture) newApp(_ testing.TB, account presence.AccountID, names string) (App, string) {
	return f.people.App(account, names)
}

func (f *fixture) issue(_ testing.TB, user presence.UserID, lifetime time.Duration) (Token, string) {
	return f.people.Token(f.account, f.app.ID, user, "presence:read", lifetime)
}

// otherNode returns an authority on the same store with its own caches.
func (f *fixture) otherNode() *Authority {
	return New(f.docs, directory.New(f.docs, f.clock.Now), f.clock.Now, zoomapi.Scopes()...)
}
