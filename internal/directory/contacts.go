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

// Bounds of the contacts of one user: with all of them the document still fits
// into the store.
const (
	MaxContacts      = 1_000
	MaxContactGroups = 100
	MaxGroupBytes    = 64
	MaxEnded         = 500 // tombstones
)

// ErrNoContact: the user does not follow that one.
var ErrNoContact = errors.New("the user has no such contact")

// A Contact is a user whom another user follows.
type Contact struct {
	User  presence.UserID
	Group string // "" for none
	Added time.Time
	Gen   uint64 // of the write that added it
}

// An Ended is what stays of a contact who was removed, so that whoever followed
// along learns of it.
type Ended struct {
	User presence.UserID
	Gen  uint64 // of the write that removed it
}

// Contacts are those of one user. Gen rises with every change of them: who knew
// them at a Gen of at least Pruned learns all that happened since from the
// greater ones in List and Ended.
type Contacts struct {
	Gen     uint64
	List    []Contact // by User
	Ended   []Ended   // by Gen; nobody who is in List
	Pruned  uint64    // the highest Gen of an Ended that was dropped
	Version string    // of the document; opaque
}

// OnContacts has fn called after each change of a user's contacts that was made
// here; changes of other nodes show in Contacts only. Set it once, before
// anything is served. fn must not wait.
func (d *Directory) OnContacts(fn func(presence.AccountID, presence.UserID)) { d.onContacts = fn }

// Contacts are those of owner; the zero value when there never were any.
func (d *Directory) Contacts(ctx context.Context, account presence.AccountID, owner presence.UserID) (Contacts, error) {
	all, err := d.ContactsOf(ctx, account, []presence.UserID{owner})
	return all[owner], err
}

// ContactVersions is the Version of each user's contacts, for who has read them
// before: it costs a fraction of reading them. Those who never had any are left out.
func (d *Directory) ContactVersions(ctx context.Context, account presence.AccountID, owners []presence.UserID) (map[presence.UserID]string, error) {
	docs, err := d.docs.Load(ctx, account, keysOf(owners, contactsKey)...)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	versions := make(map[presence.UserID]string, len(docs))
	for i := range docs {
		versions[presence.UserID(docs[i].Key.Key)] = docs[i].Version
	}
	return versions, nil
}

// ContactsOf is Contacts of many users at once. Those who never had any are left
// out.
func (d *Directory) ContactsOf(ctx context.Context, account presence.AccountID, owners []presence.UserID) (map[presence.UserID]Contacts, error) {
	docs, err := d.docs.Load(ctx, account, keysOf(owners, contactsKey)...)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	all := make(map[presence.UserID]Contacts, len(docs))
	for i := range docs {
		contacts, err := contactsOf(&docs[i])
		if err != nil {
			return nil, err
		}
		all[presence.UserID(docs[i].Key.Key)] = contacts
	}
	return all, nil
}

// A ContactsCheck forbids a change of contacts, by an error.
type ContactsCheck func(before *Contacts) error

// allowed is the first error of checks.
func allowed[T any, F ~func(*T) error](checks []F, before *T) error {
	for _, check := range checks {
		if err := check(before); err != nil {
			return err
		}
	}
	return nil
}

// SetContact adds a user of the account to those whom owner follows, or moves
// one who is there to another group, if checks allow it. Where rules of
// visibility name the group, the caller then has them published anew.
func (d *Directory) SetContact(
	ctx context.Context, account presence.AccountID, owner, contact presence.UserID, group string, checks ...ContactsCheck,
) (Contact, error) {
	group, err := Group("group", group)
	if err != nil {
		return Contact{}, err
	}
	if owner == contact {
		return Contact{}, &presence.FieldError{Field: "contact", Reason: "must be another user"}
	}
	known, err := d.Named(ctx, account, []presence.UserID{owner, contact})
	if err != nil {
		return Contact{}, err
	}
	if len(known) < 2 {
		return Contact{}, ErrNoUser
	}
	var set Contact
	err = d.editContacts(ctx, account, owner, func(c *Contacts) (err error) {
		if err := allowed(checks, c); err != nil {
			return err
		}
		set, err = c.set(contact, group, d.now())
		return err
	})
	return set, err
}

// RemoveContact ends it that owner follows contact, or answers ErrNoContact. The
// contact may be gone from the account. Rules of visibility are as with
// SetContact.
func (d *Directory) RemoveContact(
	ctx context.Context, account presence.AccountID, owner, contact presence.UserID, checks ...ContactsCheck,
) error {
	if !plausibleID(string(owner)) {
		return ErrNoContact
	}
	return d.editContacts(ctx, account, owner, func(c *Contacts) error {
		if _, found := c.Find(contact); !found {
			return ErrNoContact
		}
		if err := allowed(checks, c); err != nil {
			return err
		}
		return c.remove(contact)
	})
}

// errSame: there is nothing to write.
var errSame = errors.New("the contacts stay as they are")

// editContacts changes what owner's document says. Rules for groups bind the
// two documents together: neither is written but against the other as it was
// read, so that the rules that come of both are never too many.
func (d *Directory) editContacts(
	ctx context.Context, account presence.AccountID, owner presence.UserID, edit func(*Contacts) error,
) error {
	err := document.Again(func() error {
		contacts, visibility, err := d.outlook(ctx, account, owner)
		if err != nil {
			return err
		}
		if err := edit(&contacts); err != nil {
			return err
		}
		changes := []store.Doc{contacts.doc(owner)}
		if len(changes[0].Value) > store.MaxDocBytes {
			return &presence.LimitError{What: "bytes of contacts and the names of their groups", Limit: store.MaxDocBytes}
		}
		if len(visibility.Groups) > 0 {
			if err := tooMany(visibility.expand(contacts.List)); err != nil {
				return err
			}
			changes = append(changes, visibility.doc(owner))
		}
		if err := d.docs.Write(ctx, account, changes...); err != nil {
			return fmt.Errorf("change the contacts of %s: %w", owner, err)
		}
		return nil
	})
	switch {
	case errors.Is(err, errSame):
		return nil
	case err == nil && d.onContacts != nil:
		d.onContacts(account, owner)
	}
	return err
}

// Find is where a contact is in List, or would be, and whether it is there.
func (c *Contacts) Find(user presence.UserID) (int, bool) {
	return slices.BinarySearchFunc(c.List, user, func(c Contact, user presence.UserID) int {
		return strings.Compare(string(c.User), string(user))
	})
}

func (c *Contacts) set(user presence.UserID, group string, now time.Time) (Contact, error) {
	i, found := c.Find(user)
	switch {
	case found && c.List[i].Group == group:
		return c.List[i], errSame
	case found:
		c.List[i].Group = group
	case len(c.List) == MaxContacts:
		return Contact{}, &presence.LimitError{What: "contacts", Limit: MaxContacts}
	default:
		c.List = slices.Insert(c.List, i, Contact{User: user, Group: group, Added: now, Gen: c.Gen + 1})
		c.Ended = slices.DeleteFunc(c.Ended, func(e Ended) bool { return e.User == user })
	}
	c.Gen++
	if len(c.groups()) > MaxContactGroups {
		return Contact{}, &presence.LimitError{What: "groups of contacts", Limit: MaxContactGroups}
	}
	return c.List[i], nil
}

func (c *Contacts) remove(user presence.UserID) error {
	i, found := c.Find(user)
	if !found {
		return ErrNoContact
	}
	c.Gen++
	c.List = slices.Delete(c.List, i, i+1)
	c.Ended = append(c.Ended, Ended{user, c.Gen})
	if excess := len(c.Ended) - MaxEnded; excess > 0 {
		c.Pruned = c.Ended[excess-1].Gen
		c.Ended = c.Ended[excess:]
	}
	return nil
}

// groups lists the groups that contacts are in, in order.
func (c *Contacts) groups() []string {
	var all []string
	for i := range c.List {
		if group := c.List[i].Group; group != "" && !slices.Contains(all, group) {
			all = append(all, group)
		}
	}
	slices.Sort(all)
	return all
}

// Group is the normalized name of a group; "" is no group.
func Group(field, given string) (string, error) { return textOf(field, given, MaxGroupBytes) }
