package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Resolve finds the id for ref, which is an id or an e-mail address (see emailForm).
// An id is returned unchecked, because the caller learns from the presence record
// whether it exists. The error is ErrNoUser for an unknown address and for an invalid
// id.
func (d *Directory) Resolve(ctx context.Context, account presence.AccountID, ref string) (presence.UserID, error) {
	if !isEmail(ref) {
		if !isValidID(ref) {
			return "", ErrNoUser
		}
		return presence.UserID(ref), nil
	}
	if len(ref) > MaxEmailBytes || !utf8.ValidString(ref) || strings.ContainsFunc(ref, unicode.IsControl) {
		return "", ErrNoUser
	}
	at, now := address{account, emailForm(ref)}, d.clock()
	if known := d.emails.Get(at, now, MaxStale); known != nil {
		return known.Value, nil
	}
	entry := d.emails.Begin(at, now)
	claims, err := d.emailClaims(ctx, account, ref)
	if err != nil {
		return "", fmt.Errorf("find user: %w", err)
	}
	if len(claims) == 0 {
		return "", ErrNoUser
	}
	entry.Value = claims[0].user
	d.emails.Put(entry)
	return entry.Value, nil
}

// An emailClaim is the document that makes an address unique, and its user.
type emailClaim struct {
	doc  store.Doc
	user presence.UserID
}

// emailClaims are the claims to an address: none or one, unless older servers stored
// two addresses that are equal by the current rule. The claim with the current form is
// first. A claim with an older form counts only if its user's address is equal by the
// current rule. Forms that are too long for the store were never stored.
func (d *Directory) emailClaims(ctx context.Context, account presence.AccountID, email string) ([]emailClaim, error) {
	form := emailForm(email)
	keys := []store.Key{emailKey(form)}
	for _, older := range olderForms(email) {
		keys = append(keys, emailKey(older))
	}
	keys = slices.DeleteFunc(keys, func(k store.Key) bool { return len(k.Key) > store.MaxKeyBytes })
	docs, err := d.docs.Load(ctx, account, keys...)
	if err != nil {
		return nil, err
	}
	var found []emailClaim
	for i := range docs {
		claim := emailClaim{doc: docs[i]}
		var v claimValue
		if err := document.Decode(&claim.doc, &v); err != nil {
			return nil, err
		}
		claim.user = v.User
		if docs[i].Key == emailKey(form) {
			found = slices.Insert(found, 0, claim)
			continue
		}
		switch u, err := d.User(ctx, account, v.User); {
		case err == nil && emailForm(u.Email) == form:
			found = append(found, claim)
		case err != nil && !errors.Is(err, ErrNoUser):
			return nil, err
		}
	}
	return found, nil
}

// Find reads a user by id or e-mail.
func (d *Directory) Find(ctx context.Context, account presence.AccountID, ref string) (User, error) {
	id, err := d.Resolve(ctx, account, ref)
	if err != nil {
		return User{}, err
	}
	return d.User(ctx, account, id)
}
