package directory

import (
	"context"
	"fmt"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
)

// Resolve finds the id behind ref, an id or an e-mail (any case), without
// reading more than it must: an id is returned as it is, unchecked, when the
// presence record will show whether it exists. ErrNoUser for an unknown e-mail,
// and for what cannot be an id.
func (d *Directory) Resolve(ctx context.Context, account presence.AccountID, ref string) (presence.UserID, error) {
	if !isEmail(ref) {
		if !plausibleID(ref) {
			return "", ErrNoUser
		}
		return presence.UserID(ref), nil
	}
	if len(ref) > MaxEmailBytes {
		return "", ErrNoUser
	}
	folded, now := foldEmail(ref), d.clock()
	if id, ok := d.emails.get(account, folded, now); ok {
		return id, nil
	}
	if checkEmail(ref) != nil {
		return "", ErrNoUser
	}
	entry := located{account: account, email: folded, read: now, turn: d.emails.turn(account, folded)}
	docs, err := d.docs.Load(ctx, account, emailKey(folded))
	if err != nil {
		return "", fmt.Errorf("find user: %w", err)
	}
	if len(docs) == 0 {
		return "", ErrNoUser
	}
	var v claimValue
	if err := document.Decode(&docs[0], &v); err != nil {
		return "", err
	}
	entry.user = v.User
	d.emails.put(&entry)
	return v.User, nil
}

// Find reads a user by id or e-mail.
func (d *Directory) Find(ctx context.Context, account presence.AccountID, ref string) (User, error) {
	id, err := d.Resolve(ctx, account, ref)
	if err != nil {
		return User{}, err
	}
	return d.User(ctx, account, id)
}
