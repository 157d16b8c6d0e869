package auth

import (
	"context"
	"errors"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/store"
)

// Authority knows apps and tokens.
type Authority struct {
	// Live bounds the tokens that are valid at a time. Set it before serving.
	Live LiveTokens

	docs      documents
	directory *directory.Directory
	clock     func() time.Time
	cache     *tokenCache
	issued    issuance
	scopes    scopeTable
	onRevoke  func(*Revocation) // or nil
}

// New is an authority on the documents of st. It hears from dir whose tokens may have
// ended. aliases are what dialects call the scopes.
func New(st store.Store, dir *directory.Directory, clock func() time.Time, aliases ...Alias) *Authority {
	a := &Authority{docs: st, directory: dir, clock: clock, cache: newTokenCache(), scopes: newScopeTable(aliases)}
	dir.OnStanding(a.cache.invalidateAll)
	return a
}

// OnlyWriter says that nobody else changes the store: what was found of a token holds
// until it is changed here, and is not read again for MaxStale. Say it before anything
// is served.
func (a *Authority) OnlyWriter() { a.cache.alone = true }

// now is the instant of a change, as documents keep it.
func (a *Authority) now() time.Time { return a.clock().UTC().Truncate(time.Millisecond) }

// Authenticate finds the principal of an access token, or ErrNoToken,
// ErrInvalidToken or ErrExpiredToken. Verified tokens are cached for at most
// MaxStale; a cached answer allocates nothing.
func (a *Authority) Authenticate(ctx context.Context, token string) (*Principal, error) {
	if token == "" {
		return nil, ErrNoToken
	}
	d, ok := tokenDigest(token)
	if !ok {
		return nil, ErrInvalidToken
	}
	return a.authenticate(ctx, &d)
}

func (a *Authority) authenticate(ctx context.Context, d *digest) (*Principal, error) {
	now := a.clock()
	found := a.cache.get(d, now)
	if found == nil {
		found = a.verify(ctx, []digest{*d}, now)[0]
	}
	if err := found.Value.standing(now); err != nil {
		return nil, err
	}
	return found.Value.principal, nil
}

// Refused reports whether an error of Authenticate says that the token is no good,
// and not that it could not be looked at.
func Refused(err error) bool {
	return errors.Is(err, ErrInvalidToken) || errors.Is(err, ErrExpiredToken) || errors.Is(err, ErrNoToken)
}
