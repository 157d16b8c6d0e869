package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

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

	changes []store.Doc
}

// createWriters is how many writes of CreateMany are made at once.
const createWriters = 16

// CreateMany is Create for many users. It reads what all of them depend on at once, and
// creates several in each write. No write can give an address or an external id to two
// users; those of a write that lost a race for one are created one by one.
func (d *Directory) CreateMany(ctx context.Context, account presence.AccountID, users []*Creation) error {
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
		return ctx.Err()
	}
	if err := d.prepare(ctx, account, users); err != nil {
		return err
	}
	writers := new(errgroup.Group)
	writers.SetLimit(createWriters)
	for _, some := range writesOf(users) {
		writers.Go(func() error {
			d.createTogether(ctx, account, some)
			return nil
		})
	}
	_ = writers.Wait() // errors are those of users
	return ctx.Err()
}

// prepare makes the documents of new users. It sets the errors of those who cannot be
// created.
func (d *Directory) prepare(ctx context.Context, account presence.AccountID, users []*Creation) error {
	groups, err := d.createGroups(ctx, account, users)
	if err != nil {
		return err
	}
	now := d.now()
	checks := make([]*UserChange, len(users))
	for i, c := range users {
		c.Err = c.User.Clean(&User{})
		c.User.ID, c.User.Created, c.User.Modified = presence.UserID(NewID()), now, now
		checks[i] = &UserChange{Before: &User{}, After: &c.User, Err: c.Err}
	}
	if err := d.CheckMany(ctx, account, checks); err != nil {
		return err
	}
	for i, c := range users {
		if c.Err = checks[i].Err; c.Err != nil {
			continue
		}
		if c.Err = d.checkOlderForms(ctx, account, c.User.Email); c.Err != nil {
			continue
		}
		if c.changes, c.Err = d.withGroups(groups, &User{}, &c.User); c.Err != nil {
			continue
		}
		for _, key := range c.User.identifiers() {
			c.changes = append(c.changes, document.New(key, "", claimValue{document.Current(), c.User.ID}))
		}
		c.changes = append(c.changes, c.User.doc(""), claimDoc(emailForm(c.User.Email), c.User.ID))
	}
	return nil
}

// checkOlderForms refuses an address that a user has in a form of older servers. The claim
// to the present form does not.
func (d *Directory) checkOlderForms(ctx context.Context, account presence.AccountID, email string) error {
	if len(olderForms(email)) == 0 {
		return nil
	}
	taken, err := d.emailClaims(ctx, account, email)
	if err == nil && len(taken) > 0 {
		err = ErrEmailTaken
	}
	return err
}

// writesOf divides users into those who are written together.
func writesOf(users []*Creation) (writes [][]*Creation) {
	n := store.MaxWrite // documents in the last write
	for _, c := range users {
		if c.Err != nil {
			continue
		}
		if n+len(c.changes) > store.MaxWrite {
			writes, n = append(writes, nil), 0
		}
		last := &writes[len(writes)-1]
		*last, n = append(*last, c), n+len(c.changes)
	}
	return writes
}

// createTogether creates users in one write.
func (d *Directory) createTogether(ctx context.Context, account presence.AccountID, users []*Creation) {
	var docs []store.Doc
	for _, c := range users {
		docs = append(docs, c.changes...)
	}
	err := d.docs.Write(ctx, account, docs...)
	for _, c := range users {
		d.emails.Invalidate(address{account, emailForm(c.User.Email)})
	}
	if err != nil {
		d.createEach(ctx, account, users) // one of them lost a race, or the store tells why
	}
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
// the users need not. It returns the names of all of them.
func (d *Directory) createGroups(ctx context.Context, account presence.AccountID, users []*Creation) (map[string]groupNameDoc, error) {
	var names []string
	seen := make(map[string]bool)
	for _, c := range users {
		groups, err := cleanGroups(c.User.Groups)
		if err != nil {
			continue // Clean tells why
		}
		for _, name := range groups {
			if key := GroupKey(name); !seen[key] {
				seen[key], names = true, append(names, name)
			}
		}
	}
	for some := range slices.Chunk(names, store.MaxWrite/2) {
		if err := document.Again(func() error { return d.createMissing(ctx, account, some) }); err != nil {
			return nil, fmt.Errorf("create groups: %w", err)
		}
	}
	return d.groupNames(ctx, account, groupKeys(names))
}

// A UserChange is a user before a change, and after it.
type UserChange struct {
	Before, After *User // Before is empty for a new user
	Err           error // why the change is refused
}

// CheckMany is CheckIdentifiers for many changes, with one read. It passes over those that
// have an error, and sets that of those it refuses.
func (d *Directory) CheckMany(ctx context.Context, account presence.AccountID, changes []*UserChange) error {
	var keys []store.Key
	for _, c := range changes {
		if c.Err == nil {
			keys = append(keys, c.reads()...)
		}
	}
	claims, err := d.identifierClaims(ctx, account, keys)
	if err != nil {
		return err
	}
	holders := make(map[store.Key]presence.UserID, len(claims))
	for i := range claims {
		holders[claims[i].doc.Key] = claims[i].user
	}
	for _, c := range changes {
		if c.Err == nil && slices.ContainsFunc(c.reads(), func(k store.Key) bool {
			holder, claimed := holders[k]
			return claimed && holder != c.After.ID
		}) || c.Err == nil && isEmail(c.After.UserName) {
			c.Err = d.CheckIdentifiers(ctx, account, c.Before, c.After)
		}
	}
	return nil
}

// reads are the identifiers that the change depends on: its own, and the user name that
// its e-mail address would be.
func (c *UserChange) reads() []store.Key {
	was, keys := c.Before.identifiers(), c.After.identifiers()
	keys = slices.DeleteFunc(keys, func(k store.Key) bool { return slices.Contains(was, k) })
	if c.After.UserName == "" && c.After.Email != c.Before.Email {
		keys = append(keys, identifierKey(userNames, emailForm(c.After.Email)))
	}
	return keys
}
