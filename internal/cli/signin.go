package cli

import (
	"cmp"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

type userInvite struct {
	Remote
	User string `arg:"" help:"Id or e-mail address."`
}

func (c *userInvite) Run(s *shell, cl *client.Client) error {
	link, err := cl.InviteUser(s.ctx, c.User)
	if err != nil {
		return err
	}
	return s.printLink(c.User, &link, "Earlier links of the user no longer work.")
}

type userResetPassword userInvite

func (c *userResetPassword) Run(s *shell, cl *client.Client) error {
	link, err := cl.ResetPassword(s.ctx, c.User)
	if err != nil {
		return err
	}
	return s.printLink(c.User, &link, "When it is used, all of the user's sign-ins end and all of the user's tokens are revoked.")
}

func (s *shell) printLink(user string, link *api.Invitation, more string) error {
	return s.print(link, "Send this link to %s. It works once, until %s. %s\n\n  %s\n", user, clock(link.Expires), more, link.URL)
}

type userSignIns struct {
	whichUser
	End bool `name:"end" help:"Sign the user out everywhere."`
}

func (c *userSignIns) Run(s *shell, cl *client.Client) error {
	if c.End {
		return s.printDone("Signed out everywhere:", c.User, cl.EndSignIns(s.ctx, c.User))
	}
	found, err := cl.SignIns(s.ctx, c.User)
	if err != nil {
		return err
	}
	each := func(yield func(api.BrowserSignIn, error) bool) {
		for _, signIn := range found.SignIns {
			if !yield(signIn, nil) {
				return
			}
		}
	}
	return list(s, each, "ID\tBROWSER\tADDRESS\tSIGNED IN\tLAST USED\tEXPIRES", func(x api.BrowserSignIn) []string {
		return []string{x.ID, x.Browser, cmp.Or(x.Address, "-"), clock(x.Created), clock(x.Used), clock(x.Expires)}
	})
}
