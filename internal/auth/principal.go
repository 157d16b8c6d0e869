// Package auth stores apps and tokens, and authenticates requests: a token becomes a
// [Principal] with its scopes.
//
// It is separate from directory because a credential is not a person. Tokens and client
// secrets are opaque, have 256 random bits, and are stored as their SHA-256. Only the
// token determines the account of a request.
//
// It must not know routes or rules of presence: the dialects decide which scope a route
// requires, and ask the Principal for it.
package auth

import (
	"errors"
	"net/netip"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
)

// Why a request has no principal, and why a change to apps and tokens was not
// made. A field that no rule allows is a [presence.FieldError].
var (
	ErrNoToken      = errors.New("no access token")                  // no or malformed Authorization header
	ErrInvalidToken = errors.New("invalid access token")             // unknown, revoked, or of a deleted user or app
	ErrExpiredToken = errors.New("access token is expired")          // known for a while after it expired
	ErrSuspended    = errors.New("the account is suspended")         // its tokens stay, and are refused
	ErrTokenInQuery = errors.New("access token in the query string") // never accepted there
	ErrNoApp        = errors.New("no such app in this account")
	ErrNoSuchToken  = errors.New("no such token in this account")
	ErrNoSuchSignIn = errors.New("the user has no such sign-in")
	// ErrScope: an app cannot give a token a scope that it does not have.
	ErrScope = errors.New("the app was not granted this scope")
)

// A Principal is who a request acts for. Principals are shared and must not be changed.
type Principal struct {
	Account presence.AccountID
	App     presence.AppID
	// User is the user that "me" means: the token's user, or the owner for an
	// account-level token.
	User presence.UserID
	// AccountLevel marks a token of the app itself (account_credentials): it
	// sees the unfiltered presence and is not a watcher.
	AccountLevel bool
	SignIn       bool // a person in a browser
	Scopes       Scopes
	// Plan is the account's plan of rate limits; "" is the server's. MaxStreams is how
	// many streams the account may have open; 0: no limit of its own.
	Plan       string
	MaxStreams int
	Expires    time.Time // zero: never
	Family     string    // of the token; see Token
	TokenID    string    // not secret: names the token in lists and logs

	digest  digest    // of the token, for Recheck
	renewAt time.Time // when the next use renews the sign-in; zero: never
}

// Actor is the principal as the log records it.
func (p *Principal) Actor() store.Actor {
	if p.AccountLevel {
		return store.Actor{App: p.App}
	}
	return store.Actor{App: p.App, User: p.User}
}

// Origin is the app on whose own account the principal acts or, for a user's token, the
// app that the token was made for. The other is "".
func (p *Principal) Origin() (app, via presence.AppID) {
	if p.AccountLevel {
		return p.App, ""
	}
	return "", p.App
}

// Caller is who a request of the principal, from an address, counts for.
func (p *Principal) Caller(address netip.Prefix) quota.Caller {
	c := quota.Caller{Account: string(p.Account), App: string(p.App), User: string(p.User), Address: address, MaxStreams: p.MaxStreams}
	if p.AccountLevel {
		c.User = ""
	}
	return c
}

// May reports whether the principal has the scope for its own user.
func (p *Principal) May(s Scope) bool { return p.Scopes.Has(s) || p.Scopes.HasAdmin(s) }

// MayFor reports whether the principal has the scope for user: its own with the
// plain scope, anybody's with the :admin one.
func (p *Principal) MayFor(s Scope, user presence.UserID) bool {
	return p.Scopes.HasAdmin(s) || (p.Scopes.Has(s) && user == p.User)
}

// MayGrant reports whether the principal may make a credential with scopes that acts for
// user, or for the account when user is "". A credential must not have more rights than
// the principal: for its own user it needs the same scopes. For another user it needs
// their :admin form, and for the account too, because even a plain scope of an
// account-level token gives access to the owner's objects.
func (p *Principal) MayGrant(scopes Scopes, user presence.UserID) bool {
	if user == p.User && user != "" || user == "" && p.AccountLevel {
		return scopes.Within(p.Scopes)
	}
	for _, s := range AllScopes() {
		if (scopes.Has(s) || scopes.HasAdmin(s)) && !p.Scopes.HasAdmin(s) {
			return false
		}
	}
	return true
}

// TurnKey identifies the caller of a large read: a user, or an app that acts for itself.
func (p *Principal) TurnKey() string {
	if p.AccountLevel {
		return string(p.Account) + " app " + string(p.App)
	}
	return string(p.Account) + " user " + string(p.User)
}

// Watcher is the principal as a watcher of target. Users see the truth about themselves;
// :admin readers and account-level tokens see it about everybody.
func (p *Principal) Watcher(target presence.UserID) presence.Watcher {
	truth := p.AccountLevel || p.Scopes.HasAdmin(PresenceRead) || target == p.User
	return presence.Watcher{User: p.User, Truth: truth}
}
