package cli

import (
	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// accountCommands are "porchlight account …".
type accountCommands struct {
	Show  accountShow  `cmd:"" help:"Show the account and its owner." example:"account show"`
	Owner accountOwner `cmd:"" help:"Make another user the account's owner."`
}

type accountShow struct {
	Remote `embed:""`
}

// Run implements the command.
func (*accountShow) Run(s *shell, cl *client.Client) error {
	a, err := cl.Account(s.ctx)
	if err != nil {
		return err
	}
	return s.print(a, "id       %s\nname     %s\nowner    %s\ncreated  %s\n", a.ID, printable(a.Name), ownerOf(s, cl, a), clock(a.Created))
}

// ownerOf names the owner, by id alone for callers who may not read other users.
func ownerOf(s *shell, cl *client.Client, a api.Account) string {
	u, err := cl.User(s.ctx, a.Owner)
	if err != nil {
		return printable(a.Owner)
	}
	return named(u.Email, u.DisplayName) + ", id " + u.ID
}

type accountOwner struct {
	Remote `embed:""`
	User   string `arg:"" help:"New owner, an active user: id, e-mail address or \"me\"."`
}

// Help is shown by --help.
func (*accountOwner) Help() string {
	return "Account-level access tokens then act for the new owner, and \"me\" means the new owner. The owner cannot be deactivated or removed.\n\nExample:\n\n    porchlight account owner grace@example.com"
}

// Run implements the command.
func (c *accountOwner) Run(s *shell, cl *client.Client) error {
	a, err := cl.UpdateAccount(s.ctx, api.UpdateAccount{Owner: &c.User})
	if err != nil {
		return err
	}
	return s.print(a, "The owner of the account %s is now %s\n", printable(a.Name), ownerOf(s, cl, a))
}
