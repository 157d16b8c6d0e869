package httpapi

import (
	"errors"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) contactRoutes() []route {
	return []route{
		{"GET", "/v1/users/{user}/contacts", needsScope(auth.ContactRead), a.listContacts},
		{"PUT", "/v1/users/{user}/contacts/{contact}", needsScope(auth.ContactWrite), withBody(a.setContact)},
		{"DELETE", "/v1/users/{user}/contacts/{contact}", needsScope(auth.ContactWrite), a.removeContact},

		{"GET", "/v1/users/{user}/visibility", needsScope(auth.ContactRead), a.readVisibility},
		{"PUT", "/v1/users/{user}/visibility", needsScope(auth.ContactWrite), withBody(a.setVisibility)},
		{"DELETE", "/v1/users/{user}/visibility", needsScope(auth.ContactWrite), a.removeVisibility},
	}
}

// existingUserFor is userFor for data of the directory alone. No presence record is
// read there, so it checks that the user exists.
func (a *API) existingUserFor(c *call, scope auth.Scope) (store.User, error) {
	u, err := a.userFor(c, scope)
	if err != nil {
		return u, err
	}
	return u, a.checkExists(c, u)
}

func (a *API) listContacts(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	u, err := a.existingUserFor(c, auth.ContactRead)
	if err != nil {
		return err
	}
	contacts, err := a.Directory.Contacts(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	rest := itemsAbove(contacts.List, presence.UserID(pg.After), func(x *directory.Contact) presence.UserID { return x.User })
	var list api.Contacts
	list.Contacts, list.Next = Fill(pg, rest, asContact, func(x *api.Contact) string { return x.User })
	return c.writeVersion(contactsTag(&contacts), &list)
}

func (a *API) setContact(c *call, body *api.SetContact) error {
	if _, err := directory.GroupName("group", body.Group); err != nil {
		return err
	}
	u, err := a.userFor(c, auth.ContactWrite)
	if err != nil {
		return err
	}
	contact, err := a.targetContact(c)
	if err != nil {
		return err
	}
	set, err := a.Directory.SetContact(c.r.Context(), u.Account, u.ID, contact, body.Group, c.contactConditions(contact))
	if err != nil {
		return err
	}
	if err := a.Provisioner.PublishGroupRules(c.r.Context(), u, c.p.Actor()); err != nil {
		return err
	}
	wired := asContact(&set)
	return c.writeBody(http.StatusOK, &wired)
}

// removeContact serves DELETE /v1/users/{user}/contacts/{contact}. It publishes the
// rules of visibility even if there is no such contact, because an earlier request
// may have been interrupted after it removed the contact.
func (a *API) removeContact(c *call) error {
	u, err := a.existingUserFor(c, auth.ContactWrite)
	if err != nil {
		return err
	}
	contact, err := a.targetContact(c)
	if errors.Is(err, directory.ErrNoUser) {
		err = directory.ErrNoContact
	}
	if err != nil {
		return err
	}
	removed := a.Directory.RemoveContact(c.r.Context(), u.Account, u.ID, contact, c.contactConditions(contact))
	if removed != nil && !errors.Is(removed, directory.ErrNoContact) {
		return removed
	}
	if err := a.Provisioner.PublishGroupRules(c.r.Context(), u, c.p.Actor()); err != nil {
		return err
	}
	if removed != nil {
		return removed
	}
	return c.noContent()
}

// contactsTag is the entity tag of a user's contacts. Each contact has the tag of
// the whole list.
func contactsTag(all *directory.Contacts) string { return tagOf("", all.Gen) }

// contactConditions checks the conditions of a request that changes one contact.
func (c *call) contactConditions(contact presence.UserID) directory.ContactsCheck {
	return func(all *directory.Contacts) error {
		_, found := all.Find(contact)
		return c.checkConditions(contactsTag(all), found)
	}
}

// targetContact is the contact that the path names.
func (a *API) targetContact(c *call) (presence.UserID, error) {
	return a.resolve(c, wire.UserRef(c.r, "contact"))
}

func asContact(c *directory.Contact) api.Contact {
	return api.Contact{User: string(c.User), Group: c.Group, Added: api.At(c.Added)}
}
