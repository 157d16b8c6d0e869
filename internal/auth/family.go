package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// How long what an app gets for a person is valid.
const (
	AccessLasts  = time.Hour
	RefreshLasts = 90 * 24 * time.Hour // since its last use
	// RefreshRetry is how long a used refresh token still gets the same answer, for a client
	// that lost the answer, or two of its processes that refresh at once.
	RefreshRetry = 10 * time.Second
)

// A GrantError is why a code or a refresh token gives no access.
type GrantError struct{ Reason string }

func (e *GrantError) Error() string { return e.Reason }

var (
	errBadRefresh = &GrantError{"The refresh token is unknown, expired or revoked, or belongs to another app"}
	errNoAccess   = &GrantError{"The user no longer allows this app to act for them, or is not active"}
)

// A ReuseError: a code or a refresh token that was used came again, so that somebody else
// may have it. All tokens of its family have ended.
type ReuseError struct {
	What    string // "code" or "refresh token"
	Account presence.AccountID
	User    presence.UserID
	App     presence.AppID
}

func (e *ReuseError) Error() string {
	return "The " + e.What + " was used before; all tokens that were made with it are revoked"
}

// A familyValue is a document of the system: the tokens that follow from one consent. Its
// key is the digest of a secret that all refresh tokens of the family share. So a token of
// the family that is not the newest is known to have been used, however old it is. Access
// tokens are valid only while the document of their family is there.
type familyValue struct {
	document.Format
	Account presence.AccountID `json:"account"`
	App     presence.AppID     `json:"app"`
	User    presence.UserID    `json:"user"`
	Scopes  string             `json:"scopes"`
	Created time.Time          `json:"created"`
	Expires time.Time          `json:"expires"`
	// Current is the digest of the newest refresh token's own part. Previous is that of the
	// one before, from which Current follows with Salt.
	Current  string    `json:"current_sha256"`
	Previous string    `json:"previous_sha256,omitempty"`
	Salt     string    `json:"salt,omitempty"`
	Rotated  time.Time `json:"rotated,omitzero"`
}

func familyKey(id string) store.Key { return store.Key{Collection: "family", Key: id} }

// refreshPrefix begins a refresh token, which is the family's secret and a part of its own.
const refreshPrefix = tokenPrefix + "refresh_"

func refreshToken(secret, part string) string { return refreshPrefix + secret + part }

// splitRefresh returns the id of the token's family, and the two parts.
func splitRefresh(text string) (id, secret, part string, ok bool) {
	rest, ok := strings.CutPrefix(text, refreshPrefix)
	if !ok || len(rest) != 2*secretLen {
		return "", "", "", false
	}
	secret, part = rest[:secretLen], rest[secretLen:]
	return digestOf(secret).hex(), secret, part, true
}

// successor is the part of the refresh token that follows on another one. Whoever has not
// got that one cannot compute it, even with the salt; so it need not be stored, and the
// server can repeat it to a client that lost the answer.
func successor(part, salt string) string {
	mac := hmac.New(sha256.New, []byte(part))
	mac.Write([]byte(salt))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Access is what an app got for a person.
type Access struct {
	Token   Token
	Text    string // of the access token
	Refresh string
	Account presence.AccountID
}

// beginFamily makes a family within a grant. It has no tokens until completeFamily.
func (a *Authority) beginFamily(ctx context.Context, v *familyValue) (id, refresh string, err error) {
	secret, part := newSecret(), newSecret()
	id = digestOf(secret).hex()
	v.Format, v.Created, v.Current = document.Current(), a.now(), digestOf(part).hex()
	v.Expires = v.Created.Add(RefreshLasts)
	if err := a.docs.Write(ctx, system, v.doc(id, "")); err != nil {
		return "", "", fmt.Errorf("begin tokens: %w", err)
	}
	// The grant comes last: if it is revoked at this moment, the family is not in it.
	surplus, err := a.joinGrant(ctx, v.Account, v, id)
	if err != nil {
		return "", "", errors.Join(grantGone(err), a.endFamily(ctx, v.Account, v.User, id))
	}
	for _, old := range surplus {
		if err := a.endFamily(ctx, v.Account, v.User, old); err != nil {
			return "", "", err
		}
	}
	return id, refreshToken(secret, part), nil
}

func (v *familyValue) doc(id, version string) store.Doc {
	doc := document.New(familyKey(id), version, *v)
	doc.Until = v.Expires
	return doc
}

// grantGone makes the reasons why an app may not act for a person (any more) one.
func grantGone(err error) error {
	if errors.Is(err, ErrNoGrant) || errors.Is(err, ErrNoApp) || errors.Is(err, directory.ErrNoUser) ||
		errors.Is(err, presence.ErrDeactivated) || errors.Is(err, ErrScope) {
		return errNoAccess
	}
	return err
}

// access makes an access token of a family.
func (a *Authority) access(ctx context.Context, v *familyValue, id, refresh string, scopes Scopes) (*Access, error) {
	t := Token{App: v.App, User: v.User, Scopes: scopes, Granted: true, Family: id}
	issued, text, err := a.Issue(ctx, v.Account, t, AccessLasts)
	if err != nil {
		return nil, grantGone(err)
	}
	return &Access{Token: issued, Text: text, Refresh: refresh, Account: v.Account}, nil
}

// family reads a family.
func (a *Authority) family(ctx context.Context, id string) (*familyValue, *store.Doc, error) {
	doc, err := a.find(ctx, familyKey(id), errBadRefresh)
	if err != nil {
		return nil, nil, err
	}
	v := new(familyValue)
	return v, doc, document.Decode(doc, v)
}

// Refresh gives an app a new access token and the next refresh token. choose picks the
// scopes of the access token from those that it may have. A *GrantError, or a *ReuseError
// for a token that was used.
func (a *Authority) Refresh(ctx context.Context, app presence.AppID, text string, choose func(Scopes) (Scopes, error)) (*Access, error) {
	id, secret, part, ok := splitRefresh(text)
	if !ok {
		return nil, errBadRefresh
	}
	var v *familyValue
	var scopes Scopes
	var next string
	rotate := func() error {
		found, doc, err := a.family(ctx, id)
		if err != nil {
			return err
		}
		if v = found; v.App != app || !a.clock().Before(v.Expires) {
			return errBadRefresh
		}
		next, err = a.rotation(v, part)
		if err != nil {
			return err
		}
		if scopes, err = a.familyScopes(ctx, v); err != nil {
			return err
		}
		if scopes, err = choose(scopes); err != nil {
			return err
		}
		if err := a.docs.Write(ctx, system, v.doc(id, doc.Version)); err != nil {
			return fmt.Errorf("rotate refresh token: %w", err)
		}
		return nil
	}
	// A token that seems to be used may be the newest one, which another node just made.
	err := a.confirm(ctx, func() error { return document.Again(rotate) }, isReuse)
	if reuse, ok := errors.AsType[*ReuseError](err); ok {
		return nil, errors.Join(reuse, a.endFamily(ctx, v.Account, v.User, id))
	}
	if err != nil {
		return nil, err
	}
	return a.access(ctx, v, id, refreshToken(secret, next), scopes)
}

func isReuse(err error) bool {
	_, ok := errors.AsType[*ReuseError](err)
	return ok
}

// rotation changes v so that the refresh token that ends in part is used, and returns the
// part of the next one.
func (a *Authority) rotation(v *familyValue, part string) (next string, err error) {
	now := a.now()
	switch d := digestOf(part); {
	case d.matches(v.Current):
		v.Salt, v.Rotated, v.Previous = newSecret(), now, v.Current
		next = successor(part, v.Salt)
		v.Current = digestOf(next).hex()
	case d.matches(v.Previous) && now.Before(v.Rotated.Add(RefreshRetry)):
		next = successor(part, v.Salt)
	default:
		return "", &ReuseError{What: "refresh token", Account: v.Account, User: v.User, App: v.App}
	}
	v.Expires = now.Add(RefreshLasts)
	return next, nil
}

// familyScopes are what the app may do for the person at present.
func (a *Authority) familyScopes(ctx context.Context, v *familyValue) (Scopes, error) {
	app, err := a.App(ctx, v.Account, v.App)
	if err != nil {
		return Scopes{}, grantGone(err)
	}
	given, _, err := a.grant(ctx, v.Account, v.User, v.App)
	if err != nil {
		return Scopes{}, grantGone(err)
	}
	own, _ := a.scopes.read(v.Scopes)
	allowed, _ := a.scopes.read(given.Scopes)
	scopes, err := a.Grantable(ctx, v.Account, v.User, &app, a.scopes.limit(own, allowed))
	return scopes, grantGone(err)
}

// endFamily ends the tokens of a family: at once here, within MaxStale on other nodes. It
// is no error if it has ended.
func (a *Authority) endFamily(ctx context.Context, account presence.AccountID, user presence.UserID, id string) error {
	ended := &Revocation{Account: account, Family: id}
	defer a.cache.evict(ended) // even if it does not exist: an earlier attempt may have succeeded without an answer
	err := document.Again(func() error {
		docs, err := a.docs.Load(ctx, system, familyKey(id))
		if err != nil || len(docs) == 0 {
			return err
		}
		return a.docs.Write(ctx, system, document.Deletion(&docs[0]))
	})
	if err != nil {
		return fmt.Errorf("revoke tokens: %w", err)
	}
	a.revoked(ended)
	return a.removeOfFamily(ctx, account, user, id, 0)
}

// removeOfFamily removes the access tokens of a family, which are in the way in lists,
// except the newest ones.
func (a *Authority) removeOfFamily(ctx context.Context, account presence.AccountID, user presence.UserID, id string, keep int) error {
	live, err := a.liveTokens(ctx, account, &Token{User: user})
	if err != nil {
		return err
	}
	_, err = a.trimFamily(ctx, account, live, id, keep)
	return err
}

// RevokeRefresh ends the family of an app's refresh token, used or not, or answers
// ErrNoSuchToken.
func (a *Authority) RevokeRefresh(ctx context.Context, app presence.AppID, text string) error {
	id, _, _, ok := splitRefresh(text)
	if !ok {
		return ErrNoSuchToken
	}
	v, _, err := a.family(ctx, id)
	switch {
	case errors.Is(err, errBadRefresh):
		return ErrNoSuchToken
	case err != nil:
		return err
	case v.App != app:
		return ErrNoSuchToken
	}
	return a.endFamily(ctx, v.Account, v.User, id)
}
