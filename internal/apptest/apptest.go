// Package apptest has what the tests of several packages begin with: a clock that
// is moved by hand, and accounts, users, apps and tokens on a store.
//
// It is separate so that packages do not each make their own. It must hold nothing
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

// NewClock is a clock that shows start.
func NewClock(start time.Time) *Clock { return &Clock{now: start} }

// Noon is a clock that shows noon of 22 November 2026.
func Noon() *Clock { return NewClock(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)) }

// Now is what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Check ends the test if err is not nil.
func Check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Everything is all native scopes, for every user.
const Everything = "presence:read:admin presence:write:admin session:read:admin session:write:admin claim:read:admin " +
	"claim:write:admin contact:read:admin contact:write:admin subscription:read:admin subscription:write:admin " +
	"directory:read:admin directory:write:admin"

// People makes accounts, users, apps and tokens. A failure ends the test.
type People struct {
	TB        testing.TB
	Directory *directory.Directory
	Authority *auth.Authority
}

// On is People on a store, with the scope names of dialects.
func On(tb testing.TB, st store.Store, clock func() time.Time, aliases ...auth.Alias) *People {
	dir := directory.New(st, clock)
	return &People{tb, dir, auth.New(st, dir, clock, aliases...)}
}

// Account makes an account with an owner of that address.
func (p *People) Account(ownerEmail string) (presence.AccountID, directory.User) {
	p.TB.Helper()
	account, err := p.Directory.CreateAccount(p.TB.Context(), "Example")
	Check(p.TB, err)
	owner := p.User(account.ID, ownerEmail)
	Check(p.TB, p.Directory.SetOwner(p.TB.Context(), account.ID, owner.ID))
	return account.ID, owner
}

// User makes an active user.
func (p *People) User(account presence.AccountID, email string) directory.User {
	p.TB.Helper()
	u, err := p.Directory.Create(p.TB.Context(), account, directory.User{Email: email, DisplayName: email, Active: true})
	Check(p.TB, err)
	return u
}

// Scopes are those of names.
func (p *People) Scopes(names string) auth.Scopes {
	p.TB.Helper()
	scopes, err := p.Authority.ParseScopes(names)
	Check(p.TB, err)
	return scopes
}

// App makes an app, and gives its secret.
func (p *People) App(account presence.AccountID, scopes string) (auth.App, string) {
	p.TB.Helper()
	app, secret, err := p.Authority.CreateApp(p.TB.Context(), account, "App", p.Scopes(scopes))
	Check(p.TB, err)
	return app, secret
}

// Token makes a token of an app for a user, or for the account if user is "", that
// lasts so long, or for ever if lasts is zero.
func (p *People) Token(account presence.AccountID, app presence.AppID, user presence.UserID, scopes string, lasts time.Duration) (auth.Token, string) {
	p.TB.Helper()
	asked := auth.Token{App: app, User: user, Name: "test", Scopes: p.Scopes(scopes)}
	token, text, err := p.Authority.Issue(p.TB.Context(), account, asked, lasts)
	Check(p.TB, err)
	return token, text
}
