package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// EmailKey is the form in which an e-mail address is compared with others.
func EmailKey(email string) string { return emailForm(email) }

// FindMany reads the users with these e-mail addresses, by the EmailKey of each. Those who
// do not exist are left out.
func (d *Directory) FindMany(ctx context.Context, account presence.AccountID, emails []string) (map[string]User, error) {
	keys := make([]store.Key, 0, len(emails))
	found := make(map[string]User, len(emails))
	for _, email := range emails {
		if len(olderForms(email)) == 0 {
			keys = append(keys, emailKey(emailForm(email)))
			continue
		}
		switch u, err := d.Find(ctx, account, email); {
		case err == nil:
			found[emailForm(email)] = u
		case !errors.Is(err, ErrNoUser):
			return nil, err
		}
	}
	docs, err := d.docs.Load(ctx, account, keys...)
	if err != nil {
		return nil, fmt.Errorf("find users: %w", err)
	}
	ids := make([]presence.UserID, len(docs))
	for i := range docs {
		var v claimValue
		if err := document.Decode(&docs[i], &v); err != nil {
			return nil, err
		}
		ids[i] = v.User
	}
	users, err := d.UsersByID(ctx, account, ids)
	for _, u := range users {
		found[emailForm(u.Email)] = u
	}
	return found, err
}

// A Creation is a user whom CreateMany adds: User is what Create takes, and then what it
// returns.
type Creation struct {
	User User
	Err  error // why the user was not created
}

// CreateMany is Create for many users, with several in each write.
func (d *Directory) CreateMany(ctx context.Context, account presence.AccountID, users []*Creation) error {
	if err := d.createGroups(ctx, account, users); err != nil {
		return err
	}
	found, err := d.Account(ctx, account)
	if err != nil {
		return err
	}
	counted, err := d.docs.Load(ctx, account, countKey)
	if err != nil {
		return fmt.Errorf("create users: %w", err)
	}
	if found.Limits.Users > 0 || len(counted) > 0 { // each changes the count
		d.createEach(ctx, account, users)
		return nil
	}
	now := d.now()
	var batch []*Creation
	var docs []store.Doc
	flush := func() {
		if len(batch) > 0 && d.docs.Write(ctx, account, docs...) != nil {
			d.createEach(ctx, account, batch) // one of them lost a race, or the store tells why
		}
		batch, docs = batch[:0], docs[:0]
	}
	for _, c := range users {
		c.User.Created, c.User.Modified = now, now
		changes, err := d.creation(ctx, account, &c.User)
		if err != nil {
			c.Err = err
			continue
		}
		if len(docs)+len(changes) > store.MaxWrite {
			flush()
		}
		batch, docs = append(batch, c), append(docs, changes...)
	}
	flush()
	for _, c := range users {
		d.emails.Invalidate(address{account, emailForm(c.User.Email)})
	}
	return ctx.Err()
}

// creation are the documents of a new user, whose groups exist.
func (d *Directory) creation(ctx context.Context, account presence.AccountID, u *User) ([]store.Doc, error) {
	if err := u.Clean(&User{}); err != nil {
		return nil, err
	}
	u.ID = presence.UserID(NewID())
	identifiers, err := d.identifierChanges(ctx, account, &User{}, u)
	if err != nil {
		return nil, err
	}
	groups, err := d.newGroups(ctx, account, &User{}, u)
	return slices.Concat(groups, identifiers, []store.Doc{u.doc(""), claimDoc(emailForm(u.Email), u.ID)}), err
}

func (d *Directory) createEach(ctx context.Context, account presence.AccountID, users []*Creation) {
	for _, c := range users {
		if c.Err != nil {
			continue
		}
		if u, err := d.Create(ctx, account, c.User); err != nil {
			c.Err = err
		} else {
			c.User = u
		}
	}
}

// createGroups creates the groups of users that do not exist yet, so that the writes of
// the users need not.
func (d *Directory) createGroups(ctx context.Context, account presence.AccountID, users []*Creation) error {
	var names []string
	seen := make(map[string]bool)
	for _, c := range users {
		groups, err := cleanGroups(c.User.Groups)
		if err != nil {
			continue // creation says why
		}
		for _, name := range groups {
			if key := GroupKey(name); !seen[key] {
				seen[key], names = true, append(names, name)
			}
		}
	}
	for some := range slices.Chunk(names, store.MaxWrite/2) {
		if err := document.Again(func() error { return d.createMissing(ctx, account, some) }); err != nil {
			return fmt.Errorf("create groups: %w", err)
		}
	}
	return nil
}
