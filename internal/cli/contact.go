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

// whose is the flag with the user whose contacts or rules are meant.
type whose struct {
	Of string `name:"of" default:"me" placeholder:"USER" help:"User to act on (id, e-mail address or \"me\")."`
}

type contactList struct {
	Remote
	whose
}

func (c *contactList) Run(s *shell, cl *client.Client) error {
	return list(s, cl.Contacts(s.ctx, c.Of), "USER\tGROUP\tADDED", func(x api.Contact) []string {
		return []string{x.User, cmp.Or(printable(x.Group), "-"), clock(x.Added)}
	})
}

type contactAdd struct {
	Remote
	whose
	User  string `arg:"" help:"Id or e-mail address of the contact."`
	Group string `name:"group" placeholder:"NAME" help:"Group of the contact. By default none."`
}

func (c *contactAdd) Run(s *shell, cl *client.Client) error {
	set, err := cl.SetContact(s.ctx, c.Of, c.User, api.SetContact{Group: c.Group})
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
	User string `arg:"" help:"Id or e-mail address of the contact."`
}

func (c *contactRemove) Run(s *shell, cl *client.Client) error {
	return s.printDone("Removed", c.User, cl.RemoveContact(s.ctx, c.Of, c.User))
}
