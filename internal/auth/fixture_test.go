package auth_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// A testClock is moved by hand.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A watchedStore counts loads and fails writes when told to.
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

// fixture is an account with an owner, a user, and an app that may do all.
type fixture struct {
	*Authority
	users   *directory.Directory
	clock   *testClock
	docs    *watchedStore
	account presence.AccountID
	owner   presence.UserID
	ann     directory.User
	app     App
	secret  string
}

const everything = "presence:read:admin presence:write:admin session:read:admin session:write:admin claim:read:admin " +
	"claim:write:admin contact:read:admin directory:read:admin directory:write:admin"

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	clock := &testClock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	docs := &watchedStore{Store: enginetest.Open(tb, clock.Now)}
	users := directory.New(docs, clock.Now)
	f := &fixture{Authority: New(docs, users, clock.Now), users: users, clock: clock, docs: docs}
	f.account = f.newAccount(tb)
	f.owner = f.newUser(tb, "owner@example.com").ID
	check(tb, users.SetOwner(tb.Context(), f.account, f.owner))
	f.ann = f.newUser(tb, "ann@example.com")
	f.app, f.secret = f.newApp(tb, f.account, everything)
	return f
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func scopes(tb testing.TB, names string) Scopes {
	tb.Helper()
	s, err := ParseScopes(names)
	check(tb, err)
	return s
}

func (f *fixture) newAccount(tb testing.TB) presence.AccountID {
	tb.Helper()
	account, err := f.users.CreateAccount(tb.Context(), "Example")
	check(tb, err)
	return account.ID
}

func (f *fixture) newUser(tb testing.TB, email string) directory.User {
	tb.Helper()
	u, err := f.users.Create(tb.Context(), f.account, directory.User{Email: email, Active: true})
	check(tb, err)
	return u
}

func (f *fixture) newApp(tb testing.TB, account presence.AccountID, names string) (App, string) {
	tb.Helper()
	app, secret, err := f.CreateApp(tb.Context(), account, "App", scopes(tb, names))
	check(tb, err)
	return app, secret
}

func (f *fixture) issue(tb testing.TB, user presence.UserID, lasts time.Duration) (Token, string) {
	tb.Helper()
	t, text, err := f.Issue(tb.Context(), f.account, Token{App: f.app.ID, User: user, Name: "test", Scopes: scopes(tb, "presence:read")}, lasts)
	check(tb, err)
	return t, text
}

// otherNode is an authority on the same store, with caches of its own.
func (f *fixture) otherNode() *Authority {
	return New(f.docs, directory.New(f.docs, f.clock.Now), f.clock.Now)
}
