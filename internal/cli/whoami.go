package cli

import (
	"fmt"
	"strings"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// whoamiCommand is "porchlight whoami".
type whoamiCommand struct {
	Remote `embed:""`
}

// Help is shown by --help.
func (*whoamiCommand) Help() string {
	return "The output also shows the app, the account, the token's scopes and expiry, and the server. The command works with any valid token.\n\nExample:\n\n    porchlight whoami"
}

// An identity is the owner of a token, as --json prints it.
type identity struct {
	Server string `json:"server"`
	api.Me
	Token   string `json:"token,omitempty"` // hides the field of api.Me, which is an id
	TokenID string `json:"token_id"`
}

// Run implements the command.
func (c *whoamiCommand) Run(s *shell, cl *client.Client) error {
	me, err := cl.Me(s.ctx)
	if err != nil {
		return err
	}
	actsFor := named(me.Email, me.DisplayName)
	if me.AccountLevel {
		actsFor = fmt.Sprintf("the account; \"me\" is its owner, %s", actsFor)
	}
	expires := "never"
	if !me.Expires.IsZero() {
		expires = clock(me.Expires)
	}
	return s.print(identity{Server: s.target.URL, Me: me, TokenID: me.Token},
		"acts for  %s\nuser      %s\napp       %s (%s)\naccount   %s\ntoken     %s\nexpires   %s\nscopes    %s\nserver    %s\n",
		actsFor, me.User, printable(me.AppName), me.App, me.Account, me.Token, expires, strings.Join(me.Scopes, " "), s.target.server())
}

// named is an e-mail address with the person's name.
func named(email, name string) string {
	if name == "" {
		return printable(email)
	}
	return fmt.Sprintf("%s (%s)", printable(email), printable(name))
}
