package cli

import (
	"cmp"
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
	return "The output also shows the app, the account, the token's scopes and expiry, the server and the profile. The command works with any valid token.\n\nExample:\n\n    porchlight whoami"
}

// An identity is the owner of a token, as --json prints it.
type identity struct {
	Server  string `json:"server"`
	Profile string `json:"profile,omitempty"`
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
	profileLine := ""
	if s.target.Profile != "" {
		profileLine = "profile      " + s.target.profileText() + "\n"
	}
	scopes, zoom := scopeLines(me.Scopes)
	return s.print(identity{Server: s.target.URL, Profile: s.target.Profile, Me: me, TokenID: me.Token},
		"acts for     %s\nuser         %s\napp          %s (%s)\naccount      %s\ntoken        %s\nexpires      %s\nscopes       %s\n%sserver       %s\n%s",
		actsFor, me.User, printable(me.AppName), me.App, me.Account, me.Token, expires, scopes, zoom, s.target.server(), profileLine)
}

// scopeLines returns Porchlight's names of scopes, and a line with Zoom's if there are any.
func scopeLines(all []string) (own, zoom string) {
	var owns, zooms []string
	for _, scope := range all {
		if strings.HasPrefix(scope, "user:") {
			zooms = append(zooms, scope)
		} else {
			owns = append(owns, scope)
		}
	}
	if len(zooms) > 0 {
		zoom = "zoom scopes  " + wrapped(zooms) + "\n"
	}
	return cmp.Or(wrapped(owns), "-"), zoom
}

// wrapped joins words into lines of up to 80 columns, in the second column of whoami.
func wrapped(words []string) string {
	const indent, width = 13, 80
	var b strings.Builder
	column := indent
	for i, word := range words {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// named is an e-mail address with the person's name.
func named(email, name string) string {
	if name == "" {
		return printable(email)
	}
	return fmt.Sprintf("%s (%s)", printable(email), printable(name))
}

// profileText names the profile in use, and says what of it is.
func (t *target) profileText() string {
	if t.saved == nil {
		return t.Profile + " (only its server: the credentials are from " + t.credentialsOrigin() + ")"
	}
	return t.Profile
}
