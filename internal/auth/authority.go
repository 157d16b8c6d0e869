package auth

import (
	"context"
	"errors"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Authority manages apps and tokens.
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
	onChange  func(*Revocation) // or nil

	onGrantEnd func(context.Context, presence.AccountID, presence.UserID, presence.AppID) // or nil
}

// New returns an authority on the documents of st. dir reports changes that may end
// tokens. aliases are the dialects' names of scopes.
func New(st store.Store, dir *directory.Directory, clock func() time.Time, aliases ...Alias) *Authority {
	a := &Authority{docs: st, directory: dir, clock: clock, cache: newTokenCache(), scopes: newScopeTable(aliases)}
	dir.OnUserState(func(account presence.AccountID, user presence.UserID) {
		changed := &Revocation{Account: account, User: user, All: user == ""}
		a.cache.evict(changed)
		a.announce(changed)
	})
	return a
}

// OnlyWriter declares that no other node changes the store. Cached tokens are then valid
// until this node changes them, and are not read again. Call it before serving.
func (a *Authority) OnlyWriter() { a.cache.alone = true }

// now is the instant of a change, in the precision of documents.
func (a *Authority) now() time.Time { return a.clock().UTC().Truncate(time.Millisecond) }

// Authenticate finds the principal of an access token, or ErrNoToken,
// ErrInvalidToken, ErrExpiredToken or ErrSuspended. Verified tokens are cached for at most
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
	if err := found.Value.check(now); err != nil {
		return nil, err
	}
	a.renewIfDue(ctx, found.Value.principal, now)
	return found.Value.principal, nil
}

// Refused reports whether an error of Authenticate means that the token is not valid,
// and not that it could not be verified.
func Refused(err error) bool {
	return errors.Is(err, ErrInvalidToken) || errors.Is(err, ErrExpiredToken) || errors.Is(err, ErrSuspended) || errors.Is(err, ErrNoToken)
}
