package directory

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Collections of the documents that make the identifiers of identity providers unique in
// the account. The value of each is a claimValue.
const (
	externalIDs = "external-id"
	userNames   = "user-name"
)

// identifierKey is the key of an identifier, which may be longer than a key and have any
// characters.
func identifierKey(collection, form string) store.Key {
	sum := sha256.Sum256([]byte(form))
	return store.Key{Collection: collection, Key: base64.RawURLEncoding.EncodeToString(sum[:])}
}

// userNameForm is the form in which user names are compared, without regard to case.
func userNameForm(name string) string {
	if isEmail(name) {
		return emailForm(name)
	}
	return GroupKey(name)
}

// identifiers are the keys of a user's identifiers.
func (u *User) identifiers() (keys []store.Key) {
	if u.ExternalID != "" {
		keys = append(keys, identifierKey(externalIDs, u.ExternalID))
	}
	if u.UserName != "" {
		keys = append(keys, identifierKey(userNames, userNameForm(u.UserName)))
	}
	return keys
}

// cleanUserName normalizes the user name, and drops one that repeats the e-mail address.
func (u *User) cleanUserName(before *User) (err error) {
	if u.UserName != before.UserName {
		u.UserName, err = cleanName("user_name", u.UserName)
	}
	if u.UserName != "" && userNameForm(u.UserName) == emailForm(u.Email) {
		u.UserName = ""
	}
	return err
}

// identifierChanges are the documents to write with a change from before to u: claims to
// its new identifiers, and deletions of the claims to those that it no longer has.
func (d *Directory) identifierChanges(ctx context.Context, account presence.AccountID, before, u *User) (changes []store.Doc, err error) {
	was, is := before.identifiers(), u.identifiers()
	if slices.Equal(was, is) && emailForm(before.Email) == emailForm(u.Email) {
		return nil, nil
	}
	if err := d.checkUserName(ctx, account, before, u); err != nil {
		return nil, err
	}
	added := slices.DeleteFunc(slices.Clone(is), func(k store.Key) bool { return slices.Contains(was, k) })
	removed := slices.DeleteFunc(slices.Clone(was), func(k store.Key) bool { return slices.Contains(is, k) })
	claims, err := d.identifierClaims(ctx, account, append(removed, added...))
	if err != nil {
		return nil, err
	}
	for i := range claims {
		switch key := claims[i].doc.Key; {
		case slices.Contains(removed, key) && claims[i].user == u.ID:
			changes = append(changes, document.Deletion(&claims[i].doc))
		case !slices.Contains(added, key):
		case key.Collection == externalIDs:
			return nil, ErrExternalIDTaken
		default:
			return nil, ErrUserNameTaken
		}
	}
	for _, key := range added {
		changes = append(changes, document.New(key, "", claimValue{document.Current(), u.ID}))
	}
	return changes, nil
}

// CheckIdentifiers refuses a change from before to u whose identifiers another user has.
func (d *Directory) CheckIdentifiers(ctx context.Context, account presence.AccountID, before, u *User) error {
	_, err := d.identifierChanges(ctx, account, before, u)
	return err
}

// checkUserName refuses a user name that is the e-mail address, and so the user name, of
// another user, and an e-mail address that is the user name of another user.
func (d *Directory) checkUserName(ctx context.Context, account presence.AccountID, before, u *User) error {
	switch {
	case u.UserName != "" && u.UserName != before.UserName && isEmail(u.UserName):
		other, err := d.Find(ctx, account, u.UserName)
		if isAbsent(err) || err == nil && (other.ID == u.ID || other.UserName != "") {
			return nil
		}
		if err == nil {
			err = ErrUserNameTaken
		}
		return err
	case u.UserName == "" && emailForm(u.Email) != emailForm(before.Email):
		claims, err := d.identifierClaims(ctx, account, []store.Key{identifierKey(userNames, emailForm(u.Email))})
		if err == nil && len(claims) > 0 && claims[0].user != u.ID {
			err = ErrEmailTaken
		}
		return err
	}
	return nil
}

// identifierClaims are the claims that exist to the identifiers with these keys.
func (d *Directory) identifierClaims(ctx context.Context, account presence.AccountID, keys []store.Key) ([]emailClaim, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	docs, err := d.docs.Load(ctx, account, keys...)
	if err != nil {
		return nil, fmt.Errorf("read identifiers: %w", err)
	}
	return document.All(docs, func(doc *store.Doc) (emailClaim, error) {
		var v claimValue
		err := document.Decode(doc, &v)
		return emailClaim{doc: *doc, user: v.User}, err
	})
}

// FindByExternalID reads the user with an identity provider's id, which is compared
// exactly.
func (d *Directory) FindByExternalID(ctx context.Context, account presence.AccountID, id string) (User, error) {
	return d.findClaimed(ctx, account, identifierKey(externalIDs, id))
}

// FindByUserName reads the user with a user name. Users without one have their e-mail
// address as such.
func (d *Directory) FindByUserName(ctx context.Context, account presence.AccountID, name string) (User, error) {
	u, err := d.findClaimed(ctx, account, identifierKey(userNames, userNameForm(name)))
	if !isAbsent(err) || !isEmail(name) {
		return u, err
	}
	if u, err = d.Find(ctx, account, name); err == nil && u.UserName != "" {
		return User{}, ErrNoUser
	}
	return u, err
}

func (d *Directory) findClaimed(ctx context.Context, account presence.AccountID, key store.Key) (User, error) {
	claims, err := d.identifierClaims(ctx, account, []store.Key{key})
	if err != nil {
		return User{}, err
	}
	if len(claims) == 0 {
		return User{}, ErrNoUser
	}
	return d.User(ctx, account, claims[0].user)
}
