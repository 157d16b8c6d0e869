// Package apptest has the fixtures that tests of several packages share: a clock that
// is advanced by hand, and accounts, users, apps and tokens in a store.
//
// It is separate so that each package need not define its own. It must contain nothing
// that only one package's tests need.
package apptest

import (
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Clock stands still until it is advanced.
type Clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

// NewClock returns a clock that shows start.
func NewClock(start time.Time) *Clock { return &Clock{now: start} }

// Noon returns a clock that shows noon of 22 November 2026.
func Noon() *Clock { return NewClock(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)) }

// Now returns the time of the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance advances the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Check fails the test if err is not nil.
func Check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Everything lists all native scopes, for every user.
const Everything = "presence:read:admin session:read:admin session:write:admin claim:read:admin " +
	"claim:write:admin contact:read:admin contact:write:admin subscription:read:admin subscription:write:admin " +
	"directory:read:admin directory:write:admin audit:read:admin scim:write:admin"

// People creates accounts, users, apps and tokens. An error fails the test.
type People struct {
	TB        testing.TB
	Directory *directory.Directory
	Authority *auth.Authority
}

// On returns People on a store, with the scope names of dialects.
func On(tb testing.TB, st store.Store, clock func() time.Time, aliases ...auth.Alias) *People {
	dir := directory.New(st, clock)
	return &People{tb, dir, auth.New(st, dir, clock, aliases...)}
}

// Account creates an account whose owner has that address.
func (p *People) Account(ownerEmail string) (presence.AccountID, directory.User) {
	p.TB.Helper()
	account, err := p.Directory.CreateAccount(p.TB.Context(), "Example")
	Check(p.TB, err)
	owner := p.User(account.ID, ownerEmail)
	Check(p.TB, p.Directory.SetOwner(p.TB.Context(), account.ID, owner.ID))
	return account.ID, owner
}

// User creates an active user.
func (p *People) User(account presence.AccountID, email string) directory.User {
	p.TB.Helper()
	u, err := p.Directory.Create(p.TB.Context(), account, directory.User{Email: email, DisplayName: email, Active: true})
	Check(p.TB, err)
	return u
}

// Scopes parses the names of scopes.
func (p *People) Scopes(names string) auth.Scopes {
	p.TB.Helper()
	scopes, err := p.Authority.ParseScopes(names)
	Check(p.TB, err)
	return scopes
}

// App creates an app and returns its secret.
func (p *People) App(account presence.AccountID, scopes string) (auth.App, string) {
	p.TB.Helper()
	app, secret, err := p.Authority.CreateApp(p.TB.Context(), account, "App", p.Scopes(scopes))
	Check(p.TB, err)
	return app, secret
}

// Token creates a token of an app for a user, or for the account if user is "". The
// token expires after lifetime, or never if lifetime is zero.
func (p *People) Token(account presence.AccountID, app presence.AppID, user presence.UserID, scopes string, lifetime time.Duration) (auth.Token, string) {
	p.TB.Helper()
	asked := auth.Token{App: app, User: user, Name: "test", Scopes: p.Scopes(scopes)}
	token, text, err := p.Authority.Issue(p.TB.Context(), account, asked, lifetime)
	Check(p.TB, err)
	return token, text
}
