package cli

import (
	"cmp"
	"fmt"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// contactCommands are "porchlight contact …".
type contactCommands struct {
	List   contactList   `cmd:"" help:"List a user's contacts." example:"contact list"`
	Add    contactAdd    `cmd:"" help:"Add a contact, or move one to another group." example:"contact add grace@example.com --group team"`
	Remove contactRemove `cmd:"" help:"Remove a contact." example:"contact remove grace@example.com"`
}

// whose is the flag with the user whose contacts change.
type whose struct {
	Owner string `name:"user" default:"me" placeholder:"USER" help:"User whose contacts change (id, e-mail address or \"me\")."`
}

type contactList whichUser

func (c *contactList) Run(s *shell, cl *client.Client) error {
	names := &names{client: cl}
	contacts := withNames(names, cl.Contacts(s.ctx, c.User), func(x *api.Contact) string { return x.User })
	return list(s, contacts, "USER\tNAME\tGROUP\tADDED", func(x api.Contact) []string {
		return append(names.person(s.ctx, x.User), cmp.Or(x.Group, "-"), clock(x.Added))
	})
}

type contactAdd struct {
	Remote
	whose
	User  string `arg:"" name:"contact" help:"Id or e-mail address of the contact."`
	Group string `name:"group" placeholder:"NAME" help:"Group of the contact. By default none."`
}

func (c *contactAdd) Run(s *shell, cl *client.Client) error {
	set, err := cl.SetContact(s.ctx, c.Owner, c.User, api.SetContact{Group: c.Group})
	if err != nil {
		return err
	}
	text := fmt.Sprintf("Added %s", c.User)
	if set.Group != "" {
		text += fmt.Sprintf(" to the group %q", set.Group)
	}
	return s.print(set, "%s\n", text)
}

type contactRemove struct {
	Remote
	whose
	User string `arg:"" name:"contact" help:"Id or e-mail address of the contact."`
}

func (c *contactRemove) Run(s *shell, cl *client.Client) error {
	return s.printDone("Removed", c.User, cl.RemoveContact(s.ctx, c.Owner, c.User))
}
