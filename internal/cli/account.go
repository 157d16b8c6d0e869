package cli

import (
	"fmt"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

// accountCommands are "porchlight account …".
type accountCommands struct {
	Show    accountShow    `cmd:"" help:"Show the account and its owner." example:"account show"`
	Owner   accountOwner   `cmd:"" help:"Make another user the account's owner."`
	History accountHistory `cmd:"" help:"Set how much history of its users the account shows."`
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
	return s.print(a, "id       %s\nname     %s\nowner    %s\ncreated  %s\nhistory  %s\n", a.ID, printable(a.Name), ownerOf(s, cl, a), clock(a.Created), historyShown(a.HistoryDays))
}

// historyShown says how much history an account shows.
func historyShown(days int) string {
	switch days {
	case 0:
		return "off"
	case api.MaxHistoryDays:
		return "all"
	default:
		return fmt.Sprintf("%d days", days)
	}
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

type accountHistory struct {
	Remote
	Shows string `arg:"" help:"all, off, or a number of days such as 30d."`
}

// Help is shown by --help.
func (*accountHistory) Help() string {
	return "The setting applies to every user of the account, administrators included. It changes what is shown, not what the server keeps: that is the server's setting log-retention.\n\nExample:\n\n    porchlight account history 30d\n    porchlight account history off"
}

// Run implements the command.
func (c *accountHistory) Run(s *shell) error {
	days, err := c.days()
	if err != nil {
		return err
	}
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	a, err := cl.UpdateAccount(s.ctx, api.UpdateAccount{HistoryDays: &days})
	if err != nil {
		return err
	}
	return s.print(a, "The account %s shows history: %s\n", printable(a.Name), historyShown(a.HistoryDays))
}

func (c *accountHistory) days() (int, error) {
	switch c.Shows {
	case "all":
		return api.MaxHistoryDays, nil
	case "off":
		return 0, nil
	}
	const day = 24 * time.Hour
	lasts, err := config.ParseDuration(c.Shows)
	if err != nil || lasts < day || lasts%day != 0 {
		return 0, &usageError{fmt.Sprintf("<shows>: %q is not all, off or a number of days such as 30d", c.Shows)}
	}
	return int(lasts / day), nil
}
