package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

type userValue struct {
	document.Format
	Email       string    `json:"email"`
	FirstName   string    `json:"first_name,omitempty"`
	LastName    string    `json:"last_name,omitempty"`
	DisplayName string    `json:"display_name,omitempty"`
	Department  string    `json:"department,omitempty"`
	Groups      []string  `json:"groups,omitempty"`
	Active      bool      `json:"active"`
	Role        string    `json:"role,omitempty"` // "" in documents of older servers
	ExternalID  string    `json:"external_id,omitempty"`
	UserName    string    `json:"user_name,omitempty"`
	Created     time.Time `json:"created"`
	Modified    time.Time `json:"modified,omitzero"` // zero in documents of older servers
}

// A claimValue is the document whose key is the form of an e-mail address. It makes
// the address unique and names its user.
type claimValue struct {
	document.Format
	User presence.UserID `json:"user"`
}

// A tombstoneValue remains of a deleted user, so that the id is never used again.
type tombstoneValue struct {
	document.Format
	Deleted time.Time `json:"deleted"`
}

func userKey(id presence.UserID) store.Key { return store.Key{Collection: "user", Key: string(id)} }
func emailKey(form string) store.Key       { return store.Key{Collection: "email", Key: form} }
func tombstoneKey(id presence.UserID) store.Key {
	return store.Key{Collection: "burnt", Key: string(id)}
}

// Create adds a user with a new id. It ignores ID, Created and Version of u. The
// caller then records the user's state.
func (d *Directory) Create(ctx context.Context, account presence.AccountID, u User) (User, error) {
	if err := u.Clean(&User{}); err != nil {
		return User{}, err
	}
	found, err := d.Account(ctx, account)
	if err != nil {
		return User{}, err
	}
	if found.Limits.Users > 0 { // creations change one document
		d.counting.Lock()
		defer d.counting.Unlock()
	}
	u.Created = d.now()
	u.Modified = u.Created
	err = document.Again(func() error { return d.create(ctx, account, found.Limits.Users, &u) })
	if err != nil {
		return User{}, err
	}
	return d.User(ctx, account, u.ID)
}

// create tries one id.
func (d *Directory) create(ctx context.Context, account presence.AccountID, most int, u *User) error {
	u.ID = presence.UserID(NewID())
	form := emailForm(u.Email)
	taken, err := d.emailClaims(ctx, account, u.Email)
	if err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	if len(taken) > 0 {
		return ErrEmailTaken
	}
	found, err := d.docs.Load(ctx, account, tombstoneKey(u.ID), countKey)
	if err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	var counted *store.Doc
	for i := range found {
		if found[i].Key != countKey {
			return store.ErrConflict // the id was used: draw another
		}
		counted = &found[i]
	}
	groups, err := d.newGroups(ctx, account, &User{}, u)
	if err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	identifiers, err := d.identifierChanges(ctx, account, &User{}, u)
	if err != nil {
		return err
	}
	changes, err := d.countNew(ctx, account, counted, most)
	if err != nil {
		return err
	}
	err = d.docs.Write(ctx, account, slices.Concat(changes, groups, identifiers, []store.Doc{u.doc(""), claimDoc(form, u.ID)})...)
	d.emails.Invalidate(address{account, form})
	if err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	return nil
}

// User reads a user by id, or answers ErrNoUser.
func (d *Directory) User(ctx context.Context, account presence.AccountID, id presence.UserID) (User, error) {
	if !isValidID(string(id)) {
		return User{}, ErrNoUser
	}
	docs, err := d.docs.Load(ctx, account, userKey(id))
	if err != nil {
		return User{}, fmt.Errorf("read user: %w", err)
	}
	if len(docs) == 0 {
		return User{}, ErrNoUser
	}
	return userOf(&docs[0])
}

// UsersByID reads many users at once. Those who do not exist are left out.
func (d *Directory) UsersByID(
	ctx context.Context, account presence.AccountID, ids []presence.UserID,
) (map[presence.UserID]User, error) {
	docs, err := d.docs.Load(ctx, account, keysOf(ids, userKey)...)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	users := make(map[presence.UserID]User, len(docs))
	for i := range docs {
		u, err := userOf(&docs[i])
		if err != nil {
			return nil, err
		}
		users[u.ID] = u
	}
	return users, nil
}

// Users pages by id: those above after, at most limit.
func (d *Directory) Users(ctx context.Context, account presence.AccountID, after presence.UserID, limit int) ([]User, error) {
	docs, err := d.docs.List(ctx, account, "user", string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return document.All(docs, userOf)
}

// Update replaces a user's document (names, groups, e-mail, Active), under its Version:
// store.ErrConflict if it has another by now. ID and Created stay. The result
// has the new Version.
func (d *Directory) Update(ctx context.Context, account presence.AccountID, u User) (User, error) {
	for range document.Attempts {
		before, err := d.User(ctx, account, u.ID)
		if err != nil {
			return User{}, err
		}
		if before.Version != u.Version {
			return User{}, fmt.Errorf("update user %s: %w", u.ID, store.ErrConflict)
		}
		if err := u.Clean(&before); err != nil {
			return User{}, err
		}
		u.Created, u.Modified = before.Created, d.now()
		err = d.replace(ctx, account, &before, &u)
		if err == nil {
			return d.User(ctx, account, u.ID)
		}
		if !errors.Is(err, store.ErrConflict) {
			return User{}, err
		}
	}
	return User{}, fmt.Errorf("update user %s: %w", u.ID, store.ErrConflict)
}

// replace writes u over before and moves the claim to its e-mail along with it.
func (d *Directory) replace(ctx context.Context, account presence.AccountID, before, u *User) error {
	from, to := emailForm(before.Email), emailForm(u.Email)
	changes, err := d.newGroups(ctx, account, before, u)
	if err != nil {
		return err
	}
	unlogged, err := d.unlogged(ctx, account, before, u)
	if err != nil {
		return err
	}
	identifiers, err := d.identifierChanges(ctx, account, before, u)
	if err != nil {
		return err
	}
	changes = slices.Concat(changes, unlogged, identifiers, []store.Doc{u.doc(before.Version)})
	if from != to {
		taken, err := d.emailClaims(ctx, account, u.Email)
		if err != nil {
			return fmt.Errorf("update user %s: %w", u.ID, err)
		}
		if len(taken) > 0 {
			return ErrEmailTaken
		}
		freed, err := d.emailDeletions(ctx, account, before)
		if err != nil {
			return fmt.Errorf("update user %s: %w", u.ID, err)
		}
		changes = append(append(changes, freed...), claimDoc(to, u.ID))
	}
	err = d.docs.Write(ctx, account, changes...)
	d.emails.Invalidate(address{account, from})
	d.emails.Invalidate(address{account, to})
	if before.Active != u.Active || before.Role != u.Role {
		d.notifyUserState(account, u.ID)
	}
	if err != nil {
		return fmt.Errorf("update user %s: %w", u.ID, err)
	}
	return nil
}

// emailDeletions are the deletions of a user's claims to an address.
func (d *Directory) emailDeletions(ctx context.Context, account presence.AccountID, u *User) ([]store.Doc, error) {
	claims, err := d.emailClaims(ctx, account, u.Email)
	var deletions []store.Doc
	for i := range claims {
		if claims[i].user == u.ID {
			deletions = append(deletions, document.Deletion(&claims[i].doc))
		}
	}
	return deletions, err
}

// Delete removes a user with its contacts and declared visibility. The e-mail address
// can be used again, the id cannot. The user stays in the contacts of others until
// they remove it.
func (d *Directory) Delete(ctx context.Context, account presence.AccountID, id presence.UserID) error {
	return document.Again(func() error {
		u, err := d.User(ctx, account, id)
		if err != nil {
			return err
		}
		own, err := d.docs.Load(ctx, account, contactsKey(id), visibilityKey(id), unloggedKey(id), countKey)
		if err != nil {
			return fmt.Errorf("delete user %s: %w", id, err)
		}
		changes, err := d.emailDeletions(ctx, account, &u)
		if err != nil {
			return fmt.Errorf("delete user %s: %w", id, err)
		}
		identifiers, err := d.identifierChanges(ctx, account, &u, &User{ID: id, Email: u.Email})
		if err != nil {
			return fmt.Errorf("delete user %s: %w", id, err)
		}
		changes = append(append(changes, identifiers...), store.Doc{Key: userKey(id), Version: u.Version},
			document.New(tombstoneKey(id), "", tombstoneValue{document.Current(), d.now()}))
		for i := range own {
			change := document.Deletion(&own[i])
			if own[i].Key == countKey {
				if change, err = countGone(&own[i]); err != nil {
					return err
				}
			}
			changes = append(changes, change)
		}
		err = d.docs.Write(ctx, account, changes...)
		d.emails.Invalidate(address{account, emailForm(u.Email)})
		d.notifyUserState(account, id)
		if err != nil {
			return fmt.Errorf("delete user %s: %w", id, err)
		}
		return nil
	})
}

// Clean normalises and checks the fields of u that differ from before, as Create (with
// an empty before) and Update do. Unchanged fields are not checked, because they may
// be older than the rules.
func (u *User) Clean(before *User) error {
	if u.Email != before.Email || u.Email == "" {
		var err error
		if u.Email, err = cleanEmail(u.Email); err != nil {
			return err
		}
	}
	for _, name := range [...]struct {
		field  string
		value  *string
		before string
	}{
		{"first_name", &u.FirstName, before.FirstName},
		{"last_name", &u.LastName, before.LastName},
		{"display_name", &u.DisplayName, before.DisplayName},
		{"department", &u.Department, before.Department},
		{"external_id", &u.ExternalID, before.ExternalID},
	} {
		if *name.value == name.before {
			continue
		}
		var err error
		if *name.value, err = cleanName(name.field, *name.value); err != nil {
			return err
		}
	}
	if err := u.cleanUserName(before); err != nil {
		return err
	}
	if slices.Equal(u.Groups, before.Groups) {
		return nil
	}
	var err error
	u.Groups, err = cleanGroups(u.Groups)
	return err
}

// FullName is the first and the last name.
func (u *User) FullName() string { return strings.TrimSpace(u.FirstName + " " + u.LastName) }

func (u *User) doc(version string) store.Doc {
	return document.New(userKey(u.ID), version, userValue{
		Format: document.Current(), Email: u.Email, Active: u.Active, Created: u.Created,
		FirstName: u.FirstName, LastName: u.LastName, DisplayName: u.DisplayName, Department: u.Department, Groups: u.Groups,
		Role: u.Role.String(), ExternalID: u.ExternalID, UserName: u.UserName, Modified: u.Modified,
	})
}

func claimDoc(form string, id presence.UserID) store.Doc {
	return document.New(emailKey(form), "", claimValue{document.Current(), id})
}

func userOf(doc *store.Doc) (User, error) {
	var v userValue
	if err := document.Decode(doc, &v); err != nil {
		return User{}, err
	}
	role, err := ParseRole(v.Role)
	if err != nil {
		return User{}, fmt.Errorf("a document of %q is damaged: %w", doc.Collection, err)
	}
	if v.Modified.IsZero() {
		v.Modified = v.Created
	}
	return User{
		ID: presence.UserID(doc.Key.Key), Email: v.Email, Active: v.Active, Created: v.Created, Version: doc.Version,
		FirstName: v.FirstName, LastName: v.LastName, DisplayName: v.DisplayName, Department: v.Department, Groups: v.Groups,
		Role: role, ExternalID: v.ExternalID, UserName: v.UserName, Modified: v.Modified,
	}, nil
}

func isAbsent(err error) bool { return errors.Is(err, ErrNoUser) }

// isEmail reports whether a reference is an e-mail: no id has an "@".
func isEmail(ref string) bool { return strings.IndexByte(ref, '@') >= 0 }
