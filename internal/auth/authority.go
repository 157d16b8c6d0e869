package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
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
}

// New is an authority on the documents of st.
func New(st store.Store, dir *directory.Directory, clock func() time.Time) *Authority {
	return &Authority{docs: st, directory: dir, clock: clock, cache: new(tokenCache)}
}

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
		var err error
		if found, err = a.verify(ctx, d, now); err != nil {
			return nil, err
		}
	}
	if found.err != nil {
		return nil, found.err
	}
	if expires := found.principal.Expires; !expires.IsZero() && !now.Before(expires) {
		return nil, ErrExpiredToken
	}
	return found.principal, nil
}

// Again finds the principal of the token that p came from as it is now, or the
// error of Authenticate.
func (a *Authority) Again(ctx context.Context, p *Principal) (*Principal, error) {
	return a.authenticate(ctx, &p.digest)
}

// Refused reports whether an error of Authenticate says that the token is no good,
// and not that it could not be looked at.
func Refused(err error) bool {
	return errors.Is(err, ErrInvalidToken) || errors.Is(err, ErrExpiredToken) || errors.Is(err, ErrNoToken)
}

// verify reads what there is about a token and remembers the answer. An error is
// the store's.
func (a *Authority) verify(ctx context.Context, d *digest, now time.Time) (*answer, error) {
	found := &answer{digest: *d, read: now, turn: a.cache.turn(d).Load()}
	found.principal, found.err = a.principal(ctx, d, now)
	if found.err != nil && !errors.Is(found.err, ErrInvalidToken) && !errors.Is(found.err, ErrExpiredToken) {
		return nil, found.err
	}
	a.cache.put(found)
	return found, nil
}

// principal reads a token, its app, and its user.
func (a *Authority) principal(ctx context.Context, d *digest, now time.Time) (*Principal, error) {
	docs, err := a.docs.Load(ctx, system, secretKey(d.hex()))
	if err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	if len(docs) == 0 {
		return nil, ErrInvalidToken
	}
	var v secretValue
	if err := document.Decode(&docs[0], &v); err != nil {
		return nil, err
	}
	if !v.Expires.IsZero() && !now.Before(v.Expires) {
		return nil, ErrExpiredToken
	}
	if _, err := a.App(ctx, v.Account, v.App); errors.Is(err, ErrNoApp) {
		return nil, ErrInvalidToken
	} else if err != nil {
		return nil, err
	}
	user, err := a.actsFor(ctx, v.Account, v.User)
	if err != nil {
		return nil, err
	}
	scopes, _ := readScopes(v.Scopes) // a name that is not known here allows nothing
	return &Principal{
		Account: v.Account, App: v.App, User: user, AccountLevel: v.User == "",
		Scopes: scopes, Expires: v.Expires, TokenID: v.ID, digest: *d,
	}, nil
}

// actsFor is whom "me" means for a token of user, or for one of nobody: the
// owner. ErrInvalidToken if the user is gone or deactivated.
func (a *Authority) actsFor(ctx context.Context, account presence.AccountID, user presence.UserID) (presence.UserID, error) {
	if user == "" {
		owned, err := a.directory.Account(ctx, account)
		if errors.Is(err, directory.ErrNoAccount) {
			return "", ErrInvalidToken
		}
		return owned.Owner, err
	}
	u, err := a.directory.User(ctx, account, user)
	if errors.Is(err, directory.ErrNoUser) || err == nil && !u.Active {
		return "", ErrInvalidToken
	}
	return u.ID, err
}
