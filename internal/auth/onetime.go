package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A oneTimeValue is what the documents of authorization codes and of device codes have in
// common. They are documents of the system, and their key is the digest of the code. They
// remain for a day after the code was used, so that a second use can be told from a mistake
// and ends the tokens of the first.
type oneTimeValue struct {
	document.Format
	Account presence.AccountID `json:"account,omitempty"` // "": that of whoever approves it
	User    presence.UserID    `json:"user,omitempty"`
	App     presence.AppID     `json:"app"`
	Scopes  string             `json:"scopes"`
	Expires time.Time          `json:"expires"`
	Family  string             `json:"family_sha256,omitempty"` // once it was used
}

func (v *oneTimeValue) common() *oneTimeValue { return v }

// oneTime is a *codeValue or a *deviceValue.
type oneTime interface {
	document.Value
	common() *oneTimeValue
}

// A oneTimeKind is a kind of codes that an app exchanges for tokens once.
type oneTimeKind struct {
	name       string
	collection string
	prefix     string
	expiredFor time.Duration // how long an app learns that its code is expired
	unknown    error         // for a code that does not exist, or belongs to another app
}

// digest is the key of a code, or the error for what cannot be one.
func (k *oneTimeKind) digest(code string) (string, error) {
	if len(code) != len(k.prefix)+secretLen || !strings.HasPrefix(code, k.prefix) {
		return "", k.unknown
	}
	return digestOf(code).hex(), nil
}

func (k *oneTimeKind) key(digest string) store.Key {
	return store.Key{Collection: k.collection, Key: digest}
}

// doc is the document of v, which replaces the given version.
func (k *oneTimeKind) doc(v oneTime, digest, version string) store.Doc {
	doc, c := document.New(k.key(digest), version, v), v.common()
	doc.Until = c.Expires.Add(k.expiredFor)
	if c.Family != "" {
		doc.Until = c.Expires.Add(knownAfter)
	}
	return doc
}

// newOneTime stores a new code and returns it with its digest.
func (a *Authority) newOneTime(ctx context.Context, k *oneTimeKind, v oneTime) (code, digest string, err error) {
	code = k.prefix + newSecret()
	digest = digestOf(code).hex()
	if err := a.docs.Write(ctx, system, k.doc(v, digest, "")); err != nil {
		return "", "", fmt.Errorf("make a %s: %w", k.name, err)
	}
	a.announceIssued()
	return code, digest, nil
}

// readOneTime reads the document of a code into v.
func (a *Authority) readOneTime(ctx context.Context, k *oneTimeKind, digest string, v oneTime) (*store.Doc, error) {
	doc, err := a.find(ctx, k.key(digest), k.unknown)
	if err != nil {
		return nil, err
	}
	return doc, document.Decode(doc, v)
}

// redeem uses a code of an app up, after check has allowed it. v is empty. Of concurrent
// calls one succeeds; the others find the code used. The family is there before it is
// named, so that whoever finds it named can end it.
func (a *Authority) redeem(ctx context.Context, k *oneTimeKind, app presence.AppID, code string, v oneTime, check func() error) (*Access, error) {
	digest, err := k.digest(code)
	if err != nil {
		return nil, err
	}
	doc, err := a.readOneTime(ctx, k, digest, v)
	if err != nil {
		return nil, err
	}
	c := v.common()
	switch {
	case c.App != app:
		return nil, k.unknown
	case c.Family != "":
		return nil, a.endReused(ctx, k, c)
	}
	if err := check(); err != nil {
		return nil, err
	}
	f := &familyValue{Account: c.Account, App: c.App, User: c.User, Scopes: c.Scopes}
	scopes, err := a.familyScopes(ctx, f)
	if err != nil {
		return nil, err
	}
	id, refresh, err := a.beginFamily(ctx, f)
	if err != nil {
		return nil, err
	}
	c.Family = id
	if err := a.docs.Write(ctx, system, k.doc(v, digest, doc.Version)); err != nil {
		if errors.Is(err, store.ErrConflict) {
			err = a.lostRace(ctx, k, digest, v)
		}
		return nil, errors.Join(err, a.endFamily(ctx, f.Account, f.User, id))
	}
	return a.access(ctx, f, id, refresh, scopes)
}

// lostRace is the error for a code that another call has used meanwhile.
func (a *Authority) lostRace(ctx context.Context, k *oneTimeKind, digest string, v oneTime) error {
	if _, err := a.readOneTime(ctx, k, digest, v); err != nil {
		return err
	}
	return a.endReused(ctx, k, v.common())
}

// endReused ends the tokens of a code that is used again, because somebody else may have
// used it first.
func (a *Authority) endReused(ctx context.Context, k *oneTimeKind, c *oneTimeValue) error {
	reuse := &ReuseError{What: k.name, Account: c.Account, User: c.User, App: c.App}
	return errors.Join(reuse, a.endFamily(ctx, c.Account, c.User, c.Family))
}
