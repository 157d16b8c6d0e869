package cli

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// appCommands are "porchlight app …".
type appCommands struct {
	Create  appCreate        `cmd:"" help:"Create an app and print its secret."`
	Update  appUpdate        `cmd:"" help:"Change an app's name, scopes, redirect URIs or kind."`
	List    appList          `cmd:"" help:"List apps." example:"app list"`
	Remove  appRemove        `cmd:"" help:"Remove an app and its tokens." example:"app remove CLIENT_ID"`
	Rotate  appRotate        `cmd:"" help:"Replace an app's secret."`
	Signing appRotateWebhook `cmd:"" name:"rotate-webhook-secret" help:"Replace the secret that signs an app's webhooks."`
}

type appCreate struct {
	Remote
	Name     string   `arg:"" help:"Name of the app."`
	Scope    []string `name:"scope" required:"" placeholder:"SCOPE" help:"Scope to grant. Repeat the flag or separate scopes with commas."`
	Redirect []string `name:"redirect-uri" sep:"none" placeholder:"URI" help:"URI to which the authorization endpoint may send browsers back. Repeat it for several."`
	Public   bool     `name:"public" help:"The app gets no secret, because it cannot keep one: for example an app on a phone."`
}

func (*appCreate) Help() string {
	return `The most common scopes are presence:read, and session, claim, contact, subscription and directory, each followed by :read or :write. With :admin at the end, as in presence:read:admin, they also cover the objects of other users. Zoom's scope names work too. The server's page /help/scopes (docs/scopes.md) lists all scopes and what each allows.

Example:

    porchlight app create "Door sign" --scope presence:read:admin
    porchlight app create "Phone" --scope presence:read --public --redirect-uri http://127.0.0.1/callback`
}

// An app is an app as --json prints it. The secret is set only by the commands that
// create it.
type app struct {
	ClientID     string   `json:"client_id"`
	Name         string   `json:"name"`
	Scopes       []string `json:"scopes"`
	Created      api.Time `json:"created"`
	ClientSecret string   `json:"client_secret,omitempty"`
	// WebhookSecret is set only by the command that creates the app.
	WebhookSecret string `json:"webhook_secret,omitempty"`
}

func appOf(a api.App) app { return app{a.ID, a.Name, a.Scopes, a.Created, a.Secret, a.WebhookSecret} }

func (c *appCreate) Run(s *shell, cl *client.Client) error {
	a, err := cl.CreateApp(s.ctx, api.CreateApp{Name: c.Name, Scopes: c.Scope, RedirectURIs: c.Redirect, Public: c.Public})
	if err != nil {
		return err
	}
	if a.Secret == "" {
		return s.print(appOf(a), "Created the app %q. It is public and has no secret.\n\n  client_id  %s\n", a.Name, a.ID)
	}
	return s.print(appOf(a), "Created the app %q. The secrets are shown only once:\n\n  client_id       %s\n  client_secret   %s\n  webhook_secret  %s\n", a.Name, a.ID, a.Secret, a.WebhookSecret)
}

type appUpdate struct {
	Remote
	ID          string   `arg:"" help:"Client id of the app."`
	Name        *string  `name:"name" placeholder:"NAME" help:"Name of the app."`
	Scope       []string `name:"scope" placeholder:"SCOPE" help:"Scope to grant. Repeat the flag or separate scopes with commas. These replace the app's scopes."`
	Redirect    []string `name:"redirect-uri" sep:"none" placeholder:"URI" xor:"redirects" help:"URI to which the authorization endpoint may send browsers back. Repeat it for several. These replace the URIs of the app."`
	NoRedirects bool     `name:"no-redirect-uris" xor:"redirects" help:"Remove all redirect URIs."`
	Public      *bool    `name:"public" negatable:"" help:"The app has no secret, because it cannot keep one. --no-public gives it one."`
}

func (*appUpdate) Help() string {
	return "Without a flag, the value stays as it is. A scope that the app loses is taken from its tokens too.\n\nExample:\n\n    porchlight app update CLIENT_ID --name \"Door sign\" --scope presence:read:admin\n    porchlight app update CLIENT_ID --no-public"
}

func (c *appUpdate) Run(s *shell, cl *client.Client) error {
	change := api.UpdateApp{Name: c.Name, Public: c.Public}
	if len(c.Scope) > 0 {
		change.Scopes = &c.Scope
	}
	if len(c.Redirect) > 0 || c.NoRedirects {
		redirects := append([]string{}, c.Redirect...) // not nil: that would leave them as they are
		change.RedirectURIs = &redirects
	}
	if change == (api.UpdateApp{}) {
		return &usageError{"nothing to change: give --name, --scope, --redirect-uri or --public"}
	}
	a, err := cl.UpdateApp(s.ctx, c.ID, change)
	if err != nil {
		return err
	}
	return s.print(appOf(a), "Updated the app %q\n", a.Name)
}

type appList struct {
	Remote
	stopped
}

func (*appList) Help() string {
	return "With --data-dir or --store, the command reads the store of a stopped server.\n\nExample:\n\n    porchlight app list\n    porchlight app list --data-dir /var/lib/porchlight"
}

func (c *appList) Run(s *shell) error {
	apps, err := c.apps(s)
	if err != nil {
		return err
	}
	return list(s, apps, "CLIENT ID\tNAME\tCREATED\tSCOPES", func(a app) []string {
		return []string{a.ClientID, a.Name, clock(a.Created), briefly(a.Scopes)}
	})
}

func (c *appList) apps(s *shell) (iter.Seq2[app, error], error) {
	if c.isGiven(s) {
		found, err := c.storedApps(s)
		return func(yield func(app, error) bool) {
			for _, a := range found {
				if !yield(app{ClientID: a.ID, Name: a.Name, Scopes: a.Scopes, Created: api.At(a.Created)}, nil) {
					return
				}
			}
		}, err
	}
	cl, err := c.connect(s)
	if err != nil {
		return nil, err
	}
	return func(yield func(app, error) bool) {
		for a, err := range cl.Apps(s.ctx) {
			if !yield(appOf(a), err) {
				return
			}
		}
	}, nil
}

// briefly lists the first few of many words.
func briefly(words []string) string {
	const most = 4
	if len(words) > most {
		return strings.Join(words[:most], " ") + " …"
	}
	return cmp.Or(strings.Join(words, " "), "-")
}

type appRemove struct {
	Remote
	confirmation
	ID string `arg:"" help:"Client id of the app."`
}

func (c *appRemove) Run(s *shell, cl *client.Client) error {
	if err := c.confirm(s, "remove the app %s and revoke its tokens", c.ID); err != nil {
		return err
	}
	return s.printDone("Removed", c.ID, cl.DeleteApp(s.ctx, c.ID))
}

type appRotate struct {
	Remote
	stopped
	confirmation
	ID string `arg:"" optional:"" help:"Client id of the app. With --data-dir or --store, it is optional if there is only one app."`
}

func (*appRotate) Help() string {
	return `The old secret stops working at once. Existing tokens stay valid.

With --data-dir or --store, the command works on the store of a stopped server and needs no credentials. Use this if every secret is lost.

Example:

    porchlight app rotate CLIENT_ID
    porchlight app rotate --data-dir /var/lib/porchlight`
}

func (c *appRotate) Run(s *shell) error {
	if c.isGiven(s) {
		return c.rotateStored(s)
	}
	if c.ID == "" {
		return &usageError{"client id missing: \"porchlight app list\" lists the apps"}
	}
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	if err := c.ask(s, c.ID); err != nil {
		return err
	}
	me, err := cl.Me(s.ctx)
	if err != nil {
		return err
	}
	a, err := cl.RotateApp(s.ctx, c.ID)
	if err != nil {
		return err
	}
	dropTokens(cacheDir(s.getenv), a.ID)
	return s.print(appOf(a), `The new secret is shown only once:

  client_id      %s
  client_secret  %s

To use it, paste this into the terminal where you run commands:

%s`, a.ID, a.Secret, s.exports(me.Account, a.ID, a.Secret, credentialVariables()))
}

// newWebhookSecret is the result of "app rotate-webhook-secret".
type newWebhookSecret struct {
	ClientID      string `json:"client_id"`
	WebhookSecret string `json:"webhook_secret"`
}

type appRotateWebhook struct {
	Remote
	ID      string        `arg:"" help:"Client id of the app."`
	Overlap time.Duration `name:"overlap" default:"24h" placeholder:"TIME" help:"How long the old secret signs as well, at most 7d."`
}

func (*appRotateWebhook) Help() string {
	return "The secret signs the webhooks of those of the app's subscriptions that have no secret of their own, such as all that were made with Zoom's API. Until the overlap ends, requests also have a Standard Webhooks signature of the old secret. Zoom's signature is of the new secret at once.\n\nExample:\n\n    porchlight app rotate-webhook-secret CLIENT_ID --overlap 1h"
}

func (c *appRotateWebhook) Run(s *shell, cl *client.Client) error {
	secret, err := cl.RotateWebhookSecret(s.ctx, c.ID, c.Overlap)
	if err != nil {
		return err
	}
	return s.print(newWebhookSecret{c.ID, secret}, "The new webhook secret is shown only once:\n\n  client_id       %s\n  webhook_secret  %s\n", c.ID, secret)
}

func (c *appRotate) ask(s *shell, app string) error {
	return c.confirm(s, "replace the secret of the app %s; the old one stops working at once", app)
}

// rotateStored replaces the secret in the store of a stopped server.
func (c *appRotate) rotateStored(s *shell) error {
	apps, err := c.storedApps(s)
	if err != nil {
		return err
	}
	app, err := choose(apps, c.ID)
	if err != nil {
		return err
	}
	if err := c.ask(s, fmt.Sprintf("%s (%s)", app.ID, app.Name)); err != nil {
		return err
	}
	secret, err := c.rotateSecret(s, app.ID)
	if err != nil {
		return err
	}
	dropTokens(cacheDir(s.getenv), app.ID)
	return s.print(newSecret{app.AccountID, app.ID, app.Name, secret}, `The new secret is shown only once:

  account_id     %s
  client_id      %s
  client_secret  %s

Start the server again. Then paste this into the terminal where you run commands:

%s`, app.AccountID, app.ID, secret, s.exports(app.AccountID, app.ID, secret, credentialVariables()))
}

// newSecret has the credentials of an app, under the names that init prints.
type newSecret struct {
	AccountID    string `json:"account_id"`
	ClientID     string `json:"client_id"`
	Name         string `json:"name"`
	ClientSecret string `json:"client_secret"`
}

// choose finds the app with an id, or the only one if there is no id.
func choose(apps []server.App, id string) (server.App, error) {
	var others []string
	for _, a := range apps {
		if a.ID == id || id == "" && len(apps) == 1 {
			return a, nil
		}
		others = append(others, fmt.Sprintf("%s (%s)", a.ID, printable(a.Name)))
	}
	switch {
	case len(apps) == 0:
		return server.App{}, errors.New("the store has no app: \"porchlight init\" with the same flags creates one")
	case id == "":
		return server.App{}, &usageError{"client id missing, and the store has several apps: " + strings.Join(others, ", ")}
	}
	return server.App{}, fmt.Errorf("the store has no app %s, only %s", printable(id), strings.Join(others, ", "))
}
