package cli

import (
	"cmp"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// userCommands are "porchlight user …".
type userCommands struct {
	Add           userAdd           `cmd:"" help:"Add a user." example:"user add grace@example.com --name \"Grace Mensah\" --group Support"`
	Update        userUpdate        `cmd:"" help:"Change a user's e-mail address, name, department, groups or role." example:"user update grace@example.com --group Support --group Night"`
	List          userList          `cmd:"" help:"List users." example:"user list --query grace --active"`
	Show          userShow          `cmd:"" help:"Show a user." example:"user show grace@example.com"`
	Import        userImport        `cmd:"" help:"Create and change users from a CSV file."`
	Export        userExport        `cmd:"" help:"Export users as CSV or JSON lines."`
	Deactivate    userDeactivate    `cmd:"" help:"Deactivate a user, end the user's sessions and disable the user's tokens." example:"user deactivate grace@example.com"`
	Activate      userActivate      `cmd:"" help:"Reactivate a user." example:"user activate grace@example.com"`
	Invite        userInvite        `cmd:"" help:"Create a link with which a user chooses a password and signs in." example:"user invite grace@example.com"`
	ResetPassword userResetPassword `cmd:"" help:"Create a link with which a user chooses a new password." example:"user reset-password grace@example.com"`
	SignIns       userSignIns       `cmd:"" help:"List the browsers in which a user is signed in, or sign the user out of all of them." example:"user sign-ins grace@example.com --end"`
	Remove        userRemove        `cmd:"" help:"Remove a user permanently."`
	Erasure       userErasure       `cmd:"" help:"Show whether the history of a removed user is erased." example:"user erasure KDcuGIm1QgePTO8WbOqwIQ"`
}

type userAdd struct {
	Remote
	Email      string   `arg:"" help:"E-mail address, unique in the account."`
	Name       string   `name:"name" placeholder:"NAME" help:"First and last name."`
	Department string   `name:"department" placeholder:"NAME" help:"Department."`
	Group      []string `name:"group" placeholder:"NAME" sep:"none" help:"Group that the user is in. Repeat it for several."`
}

func (c *userAdd) Run(s *shell, cl *client.Client) error {
	first, last, _ := strings.Cut(c.Name, " ")
	u, err := cl.CreateUser(s.ctx, api.CreateUser{Email: c.Email, FirstName: first, LastName: last, DisplayName: c.Name, Department: c.Department, Groups: c.Group})
	if err != nil {
		return err
	}
	return s.print(u, "Added %s (id %s)\n", u.Email, u.ID)
}

type userUpdate struct {
	Remote
	User       string   `arg:"" help:"Id or e-mail address."`
	Email      *string  `name:"email" placeholder:"ADDRESS" help:"New e-mail address, unique in the account. For an administrator, your token needs all rights of an administrator."`
	Name       *string  `name:"name" placeholder:"NAME" help:"First and last name."`
	Department *string  `name:"department" placeholder:"NAME" help:"Department."`
	Group      []string `name:"group" placeholder:"NAME" sep:"none" xor:"groups" help:"Group that the user is in. Repeat it for several. These replace the user's groups."`
	NoGroups   bool     `name:"no-groups" xor:"groups" help:"Remove the user from all groups."`
	Role       *string  `name:"role" placeholder:"ROLE" help:"Role: member or admin."`
}

func (c *userUpdate) Run(s *shell, cl *client.Client) error {
	change := api.UpdateUser{Email: c.Email, DisplayName: c.Name, Department: c.Department, Role: c.Role}
	if c.Name != nil {
		first, last, _ := strings.Cut(*c.Name, " ")
		change.FirstName, change.LastName = &first, &last
	}
	if len(c.Group) > 0 || c.NoGroups {
		groups := append([]string{}, c.Group...) // not nil: that would leave them as they are
		change.Groups = &groups
	}
	u, err := cl.UpdateUser(s.ctx, c.User, change)
	if err != nil {
		return err
	}
	return s.print(u, "Updated %s\n", u.Email)
}

// userFilter are the flags that select users.
type userFilter struct {
	Query  string `name:"query" placeholder:"WORDS" help:"Only users with each of these words in a name or in the e-mail address."`
	Email  string `name:"email" placeholder:"ADDRESS" help:"Only the user with this e-mail address."`
	Group  string `name:"group" placeholder:"NAME" help:"Only members of this group."`
	Role   string `name:"role" placeholder:"ROLE" help:"Only users with this role: member or admin."`
	Active *bool  `name:"active" negatable:"" help:"Only active users, or only deactivated ones."`
}

type userList struct {
	Remote
	userFilter
}

func (c *userList) Run(s *shell, cl *client.Client) error {
	found := cl.FindUsers(s.ctx, client.UserFilter(c.userFilter))
	return list(s, found, "ID\tE-MAIL\tNAME\tDEPARTMENT\tGROUPS\tSTATE", func(u api.User) []string {
		return []string{u.ID, u.Email, cmp.Or(u.DisplayName, "-"), cmp.Or(u.Department, "-"), cmp.Or(strings.Join(u.Groups, ", "), "-"), stateOf(u.Active)}
	})
}

func stateOf(active bool) string {
	if active {
		return "active"
	}
	return "deactivated"
}

type userShow struct {
	Remote
	User string `arg:"" help:"Id, e-mail address or \"me\"."`
}

func (c *userShow) Run(s *shell, cl *client.Client) error {
	u, err := cl.User(s.ctx, c.User)
	if err != nil {
		return err
	}
	return s.print(u, "id          %s\ne-mail      %s\nname        %s\ndepartment  %s\ngroups      %s\nrole        %s\nstate       %s\ncreated     %s\n",
		u.ID, u.Email, cmp.Or(u.DisplayName, "-"), cmp.Or(u.Department, "-"), cmp.Or(strings.Join(u.Groups, ", "), "-"), roleOf(s, cl, &u), stateOf(u.Active), clock(u.Created))
}

// roleOf is what the user may do: the owner may do what an administrator may, whatever the
// role in the directory.
func roleOf(s *shell, cl *client.Client, u *api.User) string {
	if account, err := cl.Account(s.ctx); err == nil && account.Owner == u.ID {
		return "owner"
	}
	return u.Role // without the scope to read the account
}

type userDeactivate struct {
	Remote
	User string `arg:"" help:"Id or e-mail address."`
}

func (c *userDeactivate) Run(s *shell, cl *client.Client) error {
	return s.setActive(cl, c.User, false)
}

type userActivate userDeactivate

func (c *userActivate) Run(s *shell, cl *client.Client) error { return s.setActive(cl, c.User, true) }

func (s *shell) setActive(cl *client.Client, user string, active bool) error {
	u, err := cl.UpdateUser(s.ctx, user, api.UpdateUser{Active: &active})
	if err != nil {
		return err
	}
	return s.print(u, "%s is %s\n", u.Email, stateOf(u.Active))
}

type userRemove struct {
	userDeactivate
	confirmation
	Erase  bool `name:"erase" help:"Erase the user's history from the server's log, and wait until that is done."`
	NoWait bool `name:"no-wait" help:"With --erase, do not wait."`
}

func (*userRemove) Help() string {
	return "The user's sessions, claims, contacts and tokens are removed too. The e-mail address can be used again. The id cannot.\n\nThe server keeps the user's history for its log-retention, unless --erase is given. A user who was removed before can still be erased, by id. An erasure continues when the command is interrupted or the server restarts.\n\nExample:\n\n    porchlight user remove grace@example.com\n    porchlight user remove grace@example.com --erase"
}

func (c *userRemove) Run(s *shell, cl *client.Client) error {
	what := "remove the user %s permanently"
	if c.Erase {
		what += ", and erase the user's history"
	}
	if err := c.confirm(s, what, c.User); err != nil {
		return err
	}
	if c.Erase {
		return c.erase(s, cl)
	}
	return s.printDone("Removed", c.User, cl.DeleteUser(s.ctx, c.User))
}

// tokenCommands are "porchlight token …".
type tokenCommands struct {
	Create tokenCreate `cmd:"" help:"Create an access token and print it." example:"token create laptop --user grace@example.com --for 30d"`
	List   tokenList   `cmd:"" help:"List access tokens." example:"token list --user grace@example.com"`
	Revoke tokenRevoke `cmd:"" help:"Revoke an access token, or all tokens of a user or an app."`
}

type tokenCreate struct {
	Remote
	Name  string        `arg:"" help:"What the token is for."`
	User  string        `name:"user" placeholder:"USER" help:"User that the token acts for (id or e-mail address). By default the user or the account that the caller's token acts for."`
	Scope []string      `name:"scope" placeholder:"SCOPE" default:"presence:read,claim:read,claim:write,session:read,session:write,contact:read,contact:write,directory:read" help:"Scope to grant. Repeat the flag or separate scopes with commas. The server's page /help/scopes (docs/scopes.md) lists what each allows."`
	App   string        `name:"app" placeholder:"CLIENT_ID" help:"App that the token belongs to. The default is the app of the caller's token. With --app and without --user, the token acts for the account."`
	Lasts time.Duration `name:"for" placeholder:"TIME" help:"How long the token is valid, such as 30d. By default it does not expire. If the caller's token may not administer tokens, the new one expires together with it."`
}

// A createdToken is a new token as --json prints it.
type createdToken struct {
	api.Token
	Secret      string `json:"secret,omitempty"` // hides the field of api.Token
	AccessToken string `json:"token"`
}

func (c *tokenCreate) Run(s *shell, cl *client.Client) error {
	asked := api.CreateToken{App: c.App, User: c.User, Name: c.Name, Scopes: c.Scope}
	if c.Lasts > 0 {
		asked.ExpiresInSeconds = wholeSeconds(c.Lasts)
	}
	t, err := cl.CreateToken(s.ctx, asked)
	if err != nil {
		return err
	}
	return s.print(createdToken{Token: t, AccessToken: t.Secret}, "The token is shown only once. To revoke it, use its id, %s:\n\n  %s\n", t.ID, t.Secret)
}

// tokenFilter are the flags that select tokens.
type tokenFilter struct {
	User string `name:"user" placeholder:"USER" help:"Only tokens that act for this user (id or e-mail address)."`
	App  string `name:"app" placeholder:"CLIENT_ID" help:"Only tokens of this app."`
}

type tokenList struct {
	Remote
	tokenFilter
}

func (c *tokenList) Run(s *shell, cl *client.Client) error {
	names := &names{client: cl}
	tokens := withNames(names, cl.FindTokens(s.ctx, client.TokenFilter(c.tokenFilter)), func(t *api.Token) string { return t.User })
	return list(s, tokens, "ID\tNAME\tAPP\tUSER\tCREATED\tEXPIRES\tSCOPES", func(t api.Token) []string {
		return []string{t.ID, cmp.Or(t.Name, "-"), names.app(s.ctx, t.App), cmp.Or(names.email(s.ctx, t.User), "-"), clock(t.Created), clock(t.Expires), briefly(t.Scopes)}
	})
}

type tokenRevoke struct {
	Remote
	tokenFilter
	confirmation
	ID string `arg:"" optional:"" help:"Id of the token, not the token itself."`
}

func (*tokenRevoke) Help() string {
	return `With --user, --app or both, the command revokes all tokens that these select. That ends sign-ins and the access of apps, too: the user must sign in and allow apps again.

Example:

    porchlight token revoke ID
    porchlight token revoke --user grace@example.com
    porchlight token revoke --app CLIENT_ID --yes`
}

func (c *tokenRevoke) Run(s *shell, cl *client.Client) error {
	filter := client.TokenFilter(c.tokenFilter)
	if (c.ID == "") == (filter == client.TokenFilter{}) {
		return &usageError{"give the id of a token, or else --user, --app or both"}
	}
	if c.ID == "" {
		return c.revokeAll(s, cl, filter)
	}
	return s.printDone("Revoked", c.ID, cl.RevokeToken(s.ctx, c.ID))
}

func (c *tokenRevoke) revokeAll(s *shell, cl *client.Client, filter client.TokenFilter) error {
	what := "revoke all tokens"
	if filter.User != "" {
		what += " of the user " + filter.User
	}
	if filter.App != "" {
		what += " of the app " + filter.App
	}
	if err := c.confirm(s, "%s", what); err != nil {
		return err
	}
	n, err := cl.RevokeTokens(s.ctx, filter)
	if err != nil {
		return err
	}
	return s.print(api.RevokedTokens{Revoked: n}, "Tokens revoked: %d\n", n)
}
