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
		{"GET", "/v1/users/{user}/contacts", plain(auth.ContactRead), a.listContacts},
		{"PUT", "/v1/users/{user}/contacts/{contact}", plain(auth.ContactWrite), withBody(a.setContact)},
		{"DELETE", "/v1/users/{user}/contacts/{contact}", plain(auth.ContactWrite), a.removeContact},

		{"GET", "/v1/users/{user}/visibility", plain(auth.ContactRead), a.readVisibility},
		{"PUT", "/v1/users/{user}/visibility", plain(auth.ContactWrite), withBody(a.setVisibility)},
		{"DELETE", "/v1/users/{user}/visibility", plain(auth.ContactWrite), a.removeVisibility},
	}
}

// knownFor is userFor for what is kept in the directory alone, where no record
// shows that the user exists.
func (a *API) knownFor(c *call, scope auth.Scope) (store.User, error) {
	u, err := a.userFor(c, scope)
	if err != nil {
		return u, err
	}
	return u, a.known(c, u)
}

// listContacts serves GET /v1/users/{user}/contacts.
func (a *API) listContacts(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	u, err := a.knownFor(c, auth.ContactRead)
	if err != nil {
		return err
	}
	contacts, err := a.Directory.Contacts(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	rest := above(contacts.List, presence.UserID(pg.after), func(x *directory.Contact) presence.UserID { return x.User })
	var list api.Contacts
	list.Contacts, list.Next = fill(pg, rest, asContact, func(x *api.Contact) string { return x.User })
	return c.representAs(contactsTag(&contacts), &list)
}

// setContact serves PUT /v1/users/{user}/contacts/{contact}.
func (a *API) setContact(c *call, body *api.SetContact) error {
	if _, err := directory.Group("group", body.Group); err != nil {
		return err
	}
	u, err := a.userFor(c, auth.ContactWrite)
	if err != nil {
		return err
	}
	contact, err := a.contact(c)
	if err != nil {
		return err
	}
	set, err := a.Directory.SetContact(c.r.Context(), u.Account, u.ID, contact, body.Group, c.ofContact(contact))
	if err != nil {
		return err
	}
	if err := a.regroup(c, u); err != nil {
		return err
	}
	wired := asContact(&set)
	return c.answer(http.StatusOK, &wired)
}

// removeContact serves DELETE /v1/users/{user}/contacts/{contact}. Also who finds
// nothing to remove carries out what a removal that was cut short left undone.
func (a *API) removeContact(c *call) error {
	u, err := a.knownFor(c, auth.ContactWrite)
	if err != nil {
		return err
	}
	contact, err := a.contact(c)
	if errors.Is(err, directory.ErrNoUser) {
		err = directory.ErrNoContact
	}
	if err != nil {
		return err
	}
	removed := a.Directory.RemoveContact(c.r.Context(), u.Account, u.ID, contact, c.ofContact(contact))
	if removed != nil && !errors.Is(removed, directory.ErrNoContact) {
		return removed
	}
	if err := a.regroup(c, u); err != nil {
		return err
	}
	if removed != nil {
		return removed
	}
	return c.nothing()
}

// contactsTag is the entity tag of a user's contacts: each of them has that of all.
func contactsTag(all *directory.Contacts) string { return tagOf("", all.Gen) }

// ofContact holds a change of one contact to the conditions of the request.
func (c *call) ofContact(contact presence.UserID) directory.ContactsCheck {
	return func(all *directory.Contacts) error {
		_, found := all.Find(contact)
		return c.meets(contactsTag(all), found)
	}
}

// contact is whom the path names as one.
func (a *API) contact(c *call) (presence.UserID, error) {
	return a.resolve(c, wire.UserRef(c.r, "contact"))
}

func asContact(c *directory.Contact) api.Contact {
	return api.Contact{User: string(c.User), Group: c.Group, Added: api.At(c.Added)}
}
