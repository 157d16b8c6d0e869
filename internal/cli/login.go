package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

// loginCommand is "porchlight login".
type loginCommand struct {
	URL     string   `name:"url" group:"Connection" placeholder:"URL" help:"URL of the server. By default that of the profile."`
	CAFile  string   `name:"ca-file" group:"Connection" placeholder:"FILE" help:"PEM file with the certificates to trust in place of the system's."`
	Pinned  string   `name:"pinned-pubkey" group:"Connection" placeholder:"sha256//KEY" help:"SHA-256 of the only key of the server to trust, as \"porchlight certificate\" prints it."`
	Profile string   `name:"profile" group:"Connection" placeholder:"NAME" help:"Profile for the login. By default the profile of this server, which is created with the name of the server if there is none."`
	Scope   []string `name:"scope" placeholder:"SCOPE" help:"Scope to request. Repeat the flag or separate scopes with commas. By default all that your role allows."`
}

// Help is shown by --help.
func (*loginCommand) Help() string {
	return `Prints the address of a page and a code. Open the page in any browser, on this machine or another one, sign in, and enter the code. Commands then act for you until you run "porchlight logout", or for 90 days without a command.

The login is kept in a profile, which becomes the current one: commands use it if no flag or variable names another server or other credentials. PORCHLIGHT_TOKEN and the other credentials take precedence over a login.

Example:

    porchlight login --url https://presence.example.com
    porchlight login --url https://test.example.com --profile test`
}

// A loginPrompt is what a person needs to log in, as --json prints it.
type loginPrompt struct {
	VerificationURL string   `json:"verification_url"`
	CompleteURL     string   `json:"verification_url_complete"`
	UserCode        string   `json:"user_code"`
	Expires         api.Time `json:"expires"`
}

// loggedIn is the result of "porchlight login".
type loggedIn struct {
	Profile string `json:"profile"`
	Server  string `json:"server"`
	User    string `json:"user,omitempty"`
	Email   string `json:"email,omitempty"`
}

// Run implements the command.
func (c *loginCommand) Run(s *shell) error {
	store := s.profiles()
	name, made, old, err := c.plan(s, store)
	if err != nil {
		return err
	}
	app, transport, err := s.loginApp(name, made)
	if err != nil {
		return err
	}
	if err := store.locked(s.ctx, func() error { return nil }); err != nil { // before a person logs in to no avail
		return err
	}
	login, err := c.ask(s, app)
	if err != nil {
		return err
	}
	made.storeTokens(login)
	err = store.locked(context.WithoutCancel(s.ctx), func() error {
		return errors.Join(store.save(name, made), store.setCurrent(name))
	})
	if err != nil {
		return errors.Join(err, app.Revoke(context.WithoutCancel(s.ctx), login.RefreshToken))
	}
	if old != nil && old.RefreshToken != "" {
		_ = app.Revoke(s.ctx, old.RefreshToken) // it expires by itself
	}
	return c.report(s, name, made, transport)
}

// plan returns the profile for the login without tokens, its name, and the profile that it
// replaces, if any.
func (c *loginCommand) plan(s *shell, store profiles) (name string, made, old *profile, err error) {
	server := cmp.Or(c.URL, s.getenv("PORCHLIGHT_URL"))
	name = cmp.Or(c.Profile, s.getenv("PORCHLIGHT_PROFILE"))
	if name == "" {
		name = store.nameFor(server)
	}
	if name == "" {
		name = hostName(cmp.Or(server, config.DefaultURL))
	}
	old, err = store.load(name)
	damaged := errors.Is(err, errDamagedProfile) && server != ""
	switch {
	case errors.Is(err, errNoProfile) || damaged:
		old = &profile{URL: cmp.Or(server, config.DefaultURL)}
	case err != nil:
		return "", nil, nil, err
	case server != "" && !old.isFor(server):
		return "", nil, nil, &usageError{fmt.Sprintf("the profile %s is for %s: choose another name with --profile, or remove it first with \"porchlight profile remove %s\"", name, old.URL, name)}
	}
	file, err := absolute(cmp.Or(c.CAFile, s.getenv("PORCHLIGHT_CA_FILE")))
	made = &profile{URL: old.URL, CAFile: old.CAFile, PinnedPubkey: old.PinnedPubkey}
	made.trust(file, cmp.Or(c.Pinned, s.getenv("PORCHLIGHT_PINNED_PUBKEY")))
	return name, made, old, err
}

// trust sets what is trusted: the certificates in a file, or one key. Without either it
// stays as it is.
func (p *profile) trust(caFile, pinned string) {
	if caFile != "" || pinned != "" {
		p.CAFile, p.PinnedPubkey = caFile, pinned
	}
}

// nameFor returns the profile of a server, the current one first, or the current one if no
// server is given; "" if there is none.
func (p profiles) nameFor(server string) string {
	current := p.current()
	if server == "" {
		return current
	}
	for _, name := range append([]string{current}, p.names()...) {
		if v, err := p.load(name); err == nil && v.isFor(server) {
			return name
		}
	}
	return ""
}

// hostName is the name of a new profile for a server.
func hostName(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	return strings.Trim(strings.NewReplacer(":", "-", "[", "", "]", "").Replace(u.Host), "-")
}

func absolute(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	return filepath.Abs(file)
}

// storeTokens puts the tokens of a login into the profile.
func (p *profile) storeTokens(login *client.Login) {
	p.AccessToken, p.RefreshToken, p.Expires = login.AccessToken, login.RefreshToken, login.Expires.UTC()
}

// loginApp returns the app of the command line at the server of a profile, and makes the
// server the one that errors are about.
func (s *shell) loginApp(name string, p *profile) (*client.LoginApp, *http.Client, error) {
	s.target = &target{Connection: config.Connection{URL: p.URL, CAFile: p.CAFile, PinnedPubkey: p.PinnedPubkey, Profile: name}, from: config.Origins{"url": profileOrigin(name), "ca-file": profileOrigin(name), "pinned-pubkey": profileOrigin(name)}, saved: p}
	transport, err := s.target.transport()
	if err != nil {
		return nil, nil, &usageError{err.Error()}
	}
	app, err := client.NewLoginApp(p.URL, api.CommandLineApp, transport)
	if err != nil {
		return nil, nil, &usageError{err.Error()}
	}
	return app, transport, nil
}

func profileOrigin(name string) string { return "the profile " + name }

// ask has a person allow the login.
func (c *loginCommand) ask(s *shell, app *client.LoginApp) (*client.Login, error) {
	code, err := app.Start(s.ctx, c.Scope...)
	if err != nil {
		return nil, err
	}
	if s.json {
		err = s.printJSON(loginPrompt{code.VerificationURL, code.CompleteURL, code.UserCode, api.At(code.Expires)})
	} else {
		_, err = fmt.Fprintf(s.stderr, "To log in, open this page and enter the code %s:\n\n  %s\n\nOr open the page with the code in it, and check that it shows the same code:\n\n  %s\n\nThe code is valid until %s. Waiting. Press Ctrl-C to cancel.\n",
			printable(code.UserCode), printable(code.VerificationURL), printable(code.CompleteURL), clock(api.At(code.Expires)))
	}
	if err != nil {
		return nil, err
	}
	login, err := app.Await(s.ctx, code)
	switch {
	case s.ctx.Err() != nil:
		return nil, errors.New("cancelled: you are not logged in")
	case errors.Is(err, client.ErrLoginDenied):
		return nil, &advice{err, err.Error(), "Nothing was changed."}
	case errors.Is(err, client.ErrLoginExpired):
		return nil, &advice{err, err.Error(), "Run the command again for a new code."}
	default:
		return login, err
	}
}

func (c *loginCommand) report(s *shell, name string, p *profile, transport *http.Client) error {
	done := loggedIn{Profile: name, Server: p.URL}
	as := ""
	if cl, err := client.New(p.URL, client.StaticToken(p.AccessToken), transport); err == nil {
		if me, err := cl.Me(s.ctx); err == nil { // otherwise the login is still valid
			done.User, done.Email = me.User, me.Email
			as = " as " + named(me.Email, me.DisplayName)
		}
	}
	for _, variable := range append(credentialVariables(), "PORCHLIGHT_ACCOUNT_ID", "PORCHLIGHT_CLIENT_ID", "PORCHLIGHT_CLIENT_SECRET") {
		if s.getenv(variable) != "" {
			s.warnOf(variable + " is set and takes precedence over the login. To use the login, unset it.")
			break
		}
	}
	return s.print(done, "Logged in to %s%s. The current profile is %s.\n", p.URL, as, name)
}

// logoutCommand is "porchlight logout".
type logoutCommand struct {
	Profile string `name:"profile" group:"Connection" placeholder:"NAME" help:"Profile to log out. By default the current one."`
	Local   bool   `name:"local" help:"Only remove the tokens from this machine. The login stays valid at the server until it expires."`
}

// Help is shown by --help.
func (*logoutCommand) Help() string {
	return `Ends the login at the server, and removes its tokens from this machine. The profile keeps the server's URL for the next login. A token that you saved with "porchlight profile set" is only removed here and stays valid: to revoke it, use "porchlight token revoke".

Example:

    porchlight logout`
}

// Run implements the command.
func (c *logoutCommand) Run(s *shell) error {
	store := s.profiles()
	name := cmp.Or(c.Profile, s.getenv("PORCHLIGHT_PROFILE"), store.current())
	if name == "" {
		return &usageError{"you are not logged in"}
	}
	var p *profile
	err := store.locked(s.ctx, func() (err error) {
		if p, err = store.load(name); err != nil {
			return err
		}
		if p.AccessToken == "" {
			return &usageError{fmt.Sprintf("you are not logged in to %s (profile %s)", p.URL, name)}
		}
		if err := c.revoke(s, name, p); err != nil {
			return err
		}
		return store.save(name, &profile{URL: p.URL, CAFile: p.CAFile, PinnedPubkey: p.PinnedPubkey})
	})
	if err != nil {
		return err
	}
	return s.print(loggedIn{Profile: name, Server: p.URL}, "Logged out of %s (profile %s).\n", p.URL, name)
}

func (c *logoutCommand) revoke(s *shell, name string, p *profile) error {
	if c.Local || p.RefreshToken == "" {
		return nil
	}
	app, _, err := s.loginApp(name, p)
	if err != nil {
		return err
	}
	err = app.Revoke(s.ctx, p.RefreshToken)
	if err == nil {
		return nil
	}
	why := s.brief(err)
	return &advice{err, fmt.Sprintf("the login was not ended at %s: %s", p.URL, why), "Repeat the command later. To remove the tokens from this machine alone, add --local."}
}
