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
	MaxContacts        = 1_000
	MaxContactGroups   = 100
	MaxGroupBytes      = 64
	MaxRemovedContacts = 500 // tombstones
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

// A RemovedContact is the tombstone of a contact, from which a reader learns of the
// removal.
type RemovedContact struct {
	User presence.UserID
	Gen  uint64 // of the write that removed it
}

// Contacts are those of one user. Gen rises with every change of them. A reader who
// has read them at a Gen of at least Pruned finds all changes since then in the items
// of List and Removed that have a greater Gen.
type Contacts struct {
	Gen     uint64
	List    []Contact        // by User
	Removed []RemovedContact // by Gen; none of them is in List
	Pruned  uint64           // the highest Gen of an Ended that was dropped
	Version string           // of the document; opaque
}

// OnContactsChange has fn called after each change of a user's contacts that was made
// here; changes of other nodes show in Contacts only. Set it once, before
// anything is served. fn must not wait.
func (d *Directory) OnContactsChange(fn func(presence.AccountID, presence.UserID)) {
	d.onContactsChange = fn
}

// Contacts are those of owner; the zero value when there never were any.
func (d *Directory) Contacts(ctx context.Context, account presence.AccountID, owner presence.UserID) (Contacts, error) {
	all, err := d.ContactsOf(ctx, account, []presence.UserID{owner})
	return all[owner], err
}

// ContactVersions is the Version of each user's contacts. A caller that has read the
// contacts before finds out with it, cheaply, whether they changed. Users who never
// had contacts are left out.
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

// runChecks returns the first error of checks.
func runChecks[T any, F ~func(*T) error](checks []F, before *T) error {
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
	group, err := GroupName("group", group)
	if err != nil {
		return Contact{}, err
	}
	if owner == contact {
		return Contact{}, &presence.FieldError{Field: "contact", Reason: "must be another user"}
	}
	known, err := d.UsersByID(ctx, account, []presence.UserID{owner, contact})
	if err != nil {
		return Contact{}, err
	}
	if len(known) < 2 {
		return Contact{}, ErrNoUser
	}
	var set Contact
	err = d.editContacts(ctx, account, owner, func(c *Contacts) (err error) {
		if err := runChecks(checks, c); err != nil {
			return err
		}
		set, err = c.set(contact, group, d.now())
		return err
	})
	return set, err
}

// RemoveContact removes contact from those whom owner follows, or returns
// ErrNoContact. The contact need not exist in the account any more. Rules of
// visibility are as with SetContact.
func (d *Directory) RemoveContact(
	ctx context.Context, account presence.AccountID, owner, contact presence.UserID, checks ...ContactsCheck,
) error {
	if !isValidID(string(owner)) {
		return ErrNoContact
	}
	return d.editContacts(ctx, account, owner, func(c *Contacts) error {
		if _, found := c.Find(contact); !found {
			return ErrNoContact
		}
		if err := runChecks(checks, c); err != nil {
			return err
		}
		return c.remove(contact)
	})
}

// errSame: there is nothing to write.
var errUnchanged = errors.New("the contacts stay as they are")

// editContacts changes owner's contacts. Contacts and rules for groups together must
// not exceed the limit of rules, so each document is written on condition that the
// other has not changed since it was read.
func (d *Directory) editContacts(
	ctx context.Context, account presence.AccountID, owner presence.UserID, edit func(*Contacts) error,
) error {
	err := document.Again(func() error {
		contacts, visibility, err := d.contactsAndVisibility(ctx, account, owner)
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
			if err := checkWatcherCount(visibility.expand(contacts.List)); err != nil {
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
	case errors.Is(err, errUnchanged):
		return nil
	case err == nil && d.onContactsChange != nil:
		d.onContactsChange(account, owner)
	}
	return err
}

// Find returns the index of a contact in List, or where it would be inserted, and
// whether it is there.
func (c *Contacts) Find(user presence.UserID) (int, bool) {
	return slices.BinarySearchFunc(c.List, user, func(c Contact, user presence.UserID) int {
		return strings.Compare(string(c.User), string(user))
	})
}

func (c *Contacts) set(user presence.UserID, group string, now time.Time) (Contact, error) {
	i, found := c.Find(user)
	switch {
	case found && c.List[i].Group == group:
		return c.List[i], errUnchanged
	case found:
		c.List[i].Group = group
	case len(c.List) == MaxContacts:
		return Contact{}, &presence.LimitError{What: "contacts", Limit: MaxContacts}
	default:
		c.List = slices.Insert(c.List, i, Contact{User: user, Group: group, Added: now, Gen: c.Gen + 1})
		c.Removed = slices.DeleteFunc(c.Removed, func(e RemovedContact) bool { return e.User == user })
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
	c.Removed = append(c.Removed, RemovedContact{user, c.Gen})
	if excess := len(c.Removed) - MaxRemovedContacts; excess > 0 {
		c.Pruned = c.Removed[excess-1].Gen
		c.Removed = c.Removed[excess:]
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

// GroupName is the normalized name of a group; "" is no group.
func GroupName(field, given string) (string, error) { return cleanText(field, given, MaxGroupBytes) }
