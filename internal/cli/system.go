package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// systemCommands are "porchlight system …".
type systemCommands struct {
	Account systemAccountCommands `cmd:"" help:"Manage the accounts of a server."`
	Token   systemTokenCommands   `cmd:"" help:"Manage system tokens, with which an operator manages accounts."`
}

type systemAccountCommands struct {
	List     systemAccountList     `cmd:"" help:"List the accounts." example:"system account list"`
	Show     systemAccountShow     `cmd:"" help:"Show an account, its limits and how much of them it uses." example:"system account show ID"`
	Create   systemAccountCreate   `cmd:"" help:"Create an account with an owner and an app, and print the app's secrets."`
	Update   systemAccountUpdate   `cmd:"" help:"Change an account's name, plan or limits."`
	Suspend  systemAccountSuspend  `cmd:"" help:"Suspend an account: refuse its tokens and sign-ins until it is resumed." example:"system account suspend ID"`
	Resume   systemAccountResume   `cmd:"" help:"Resume a suspended account." example:"system account resume ID"`
	Delete   systemAccountDelete   `cmd:"" help:"Delete an account and all its data."`
	Deletion systemAccountDeletion `cmd:"" help:"Show the progress or the report of the deletion of an account." example:"system account deletion ID"`
}

type systemAccountList struct {
	Remote
}

// Run implements the command.
func (*systemAccountList) Run(s *shell, cl *client.Client) error {
	return list(s, cl.SystemAccounts(s.ctx), "ID\tNAME\tCREATED\tPLAN\tSTATE", func(a api.SystemAccount) []string {
		return []string{a.ID, a.Name, clock(a.Created), planShown(&a), stateShown(&a)}
	})
}

func planShown(a *api.SystemAccount) string { return cmp.Or(a.Plan, "(server's)") }

func stateShown(a *api.SystemAccount) string {
	if a.Suspended {
		return "suspended"
	}
	return "active"
}

// accountID is the argument of a command about one account.
type accountID struct {
	Remote
	ID string `arg:"" help:"Id of the account."`
}

type systemAccountShow struct{ accountID }

// Run implements the command.
func (c *systemAccountShow) Run(s *shell, cl *client.Client) error {
	a, err := cl.SystemAccount(s.ctx, c.ID)
	if err != nil {
		return err
	}
	usage := cmp.Or(a.Usage, &api.AccountUsage{})
	return s.print(a, "id             %s\nname           %s\nstate          %s\nowner          %s\ncreated        %s\nplan           %s\nusers          %s\napps           %s\nsubscriptions  %s\nstreams        %s\n",
		a.ID, printable(a.Name), stateShown(&a), printable(a.Owner), clock(a.Created), planShown(&a), used(usage.Users, a.Limits.Users),
		used(usage.Apps, a.Limits.Apps), used(usage.Subscriptions, a.Limits.Subscriptions), atMost(a.Limits.Streams))
}

func used(n, most int) string { return fmt.Sprintf("%d (%s)", n, atMost(most)) }

func atMost(most int) string {
	if most == 0 {
		return "no limit"
	}
	return fmt.Sprintf("at most %d", most)
}

// accountTerms are the flags for the plan and the limits of an account.
type accountTerms struct {
	Plan             string `name:"plan" placeholder:"PLAN" help:"Plan whose rate limits apply to Zoom's routes: off, free, pro or business, or \"server\" for the plan of the server."`
	MaxUsers         int    `name:"max-users" placeholder:"N" help:"Maximum number of users. 0 means no limit."`
	MaxApps          int    `name:"max-apps" placeholder:"N" help:"Maximum number of apps. 0 means no limit."`
	MaxSubscriptions int    `name:"max-subscriptions" placeholder:"N" help:"Maximum number of subscriptions. 0 means no limit."`
	MaxStreams       int    `name:"max-streams" placeholder:"N" help:"Maximum number of open streams on each node. 0 means no limit."`
}

// plan is the plan that a flag names, nil without the flag.
func (t *accountTerms) plan(s *shell) *string {
	if !s.given("plan") {
		return nil
	}
	if t.Plan == "server" {
		return new(string)
	}
	return &t.Plan
}

// limits are those that flags name, nil without any.
func (t *accountTerms) limits(s *shell) *api.UpdateAccountLimits {
	var l api.UpdateAccountLimits
	for _, flag := range []struct {
		name  string
		value *int
		to    **int
	}{
		{"max-users", &t.MaxUsers, &l.Users},
		{"max-apps", &t.MaxApps, &l.Apps},
		{"max-subscriptions", &t.MaxSubscriptions, &l.Subscriptions},
		{"max-streams", &t.MaxStreams, &l.Streams},
	} {
		if s.given(flag.name) {
			*flag.to = flag.value
		}
	}
	if l == (api.UpdateAccountLimits{}) {
		return nil
	}
	return &l
}

type systemAccountCreate struct {
	Remote
	accountTerms
	Name       string `arg:"" help:"Name of the account."`
	OwnerEmail string `name:"owner-email" required:"" placeholder:"EMAIL" help:"E-mail address of the owner."`
	OwnerName  string `name:"owner-name" placeholder:"NAME" help:"First and last name of the owner."`
	AppName    string `name:"app-name" default:"Administration" placeholder:"NAME" help:"Name of the first app, which has every scope."`
}

// Help is shown by --help.
func (*systemAccountCreate) Help() string {
	return "The token must be a system token: see \"porchlight system token create --help\".\n\nExample:\n\n    porchlight system account create Acme --owner-email ada@example.com --plan pro --max-users 500"
}

// Run implements the command.
func (c *systemAccountCreate) Run(s *shell, cl *client.Client) error {
	asked := api.CreateAccount{Name: c.Name, OwnerEmail: c.OwnerEmail, OwnerName: c.OwnerName, AppName: c.AppName, Limits: c.limits(s)}
	if plan := c.plan(s); plan != nil {
		asked.Plan = *plan
	}
	made, err := cl.CreateAccount(s.ctx, asked)
	if err != nil {
		return err
	}
	return s.print(made, "Created the account %s. The secrets are shown only once:\n\n  account_id      %s\n  owner_id        %s\n  client_id       %s\n  client_secret   %s\n  webhook_secret  %s\n",
		printable(c.Name), made.AccountID, made.OwnerID, made.ClientID, made.ClientSecret, made.WebhookSecret)
}

type systemAccountUpdate struct {
	accountID
	accountTerms
	Name string `name:"name" placeholder:"NAME" help:"New name of the account."`
}

// Help is shown by --help.
func (*systemAccountUpdate) Help() string {
	return "A limit that is lower than the current number deletes nothing: it only prevents more. A change takes effect within 5 seconds.\n\nExample:\n\n    porchlight system account update ID --plan business --max-users 1000"
}

// Run implements the command.
func (c *systemAccountUpdate) Run(s *shell, cl *client.Client) error {
	change := api.UpdateSystemAccount{Plan: c.plan(s), Limits: c.limits(s)}
	if s.given("name") {
		change.Name = &c.Name
	}
	if change == (api.UpdateSystemAccount{}) {
		return &usageError{"nothing to change: give --name, --plan or a limit"}
	}
	a, err := cl.UpdateSystemAccount(s.ctx, c.ID, change)
	if err != nil {
		return err
	}
	return s.print(a, "Changed the account %s\n", printable(a.Name))
}

type systemAccountSuspend struct{ accountID }

// Run implements the command.
func (c *systemAccountSuspend) Run(s *shell, cl *client.Client) error {
	return setSuspended(s, cl, c.ID, true)
}

type systemAccountResume struct{ accountID }

// Run implements the command.
func (c *systemAccountResume) Run(s *shell, cl *client.Client) error {
	return setSuspended(s, cl, c.ID, false)
}

func setSuspended(s *shell, cl *client.Client, id string, suspended bool) error {
	a, err := cl.UpdateSystemAccount(s.ctx, id, api.UpdateSystemAccount{Suspended: &suspended})
	if err != nil {
		return err
	}
	return s.print(a, "The account %s is %s\n", printable(a.Name), stateShown(&a))
}

type systemAccountDelete struct {
	accountID
	confirmation
	Wait bool `name:"wait" help:"Wait until everything is deleted."`
}

// Help is shown by --help.
func (*systemAccountDelete) Help() string {
	return "The account stops working at once. Its users, apps, tokens, subscriptions, history and audit log are deleted afterwards. To confirm, type the name of the account, or give --yes.\n\nExample:\n\n    porchlight system account delete ID --wait"
}

// Run implements the command.
func (c *systemAccountDelete) Run(s *shell, cl *client.Client) error {
	if err := c.ask(s, cl); err != nil {
		return err
	}
	d, err := cl.DeleteAccount(s.ctx, c.ID)
	for err == nil && c.Wait && d.State != api.DeletionDone {
		select {
		case <-time.After(500 * time.Millisecond):
			d, err = cl.AccountDeletion(s.ctx, c.ID)
		case <-s.ctx.Done():
			return fmt.Errorf("%w; the deletion continues: see \"porchlight system account deletion\"", context.Cause(s.ctx))
		}
	}
	if err != nil {
		return err
	}
	return printDeletion(s, &d)
}

// ask has the name of the account typed.
func (c *systemAccountDelete) ask(s *shell, cl *client.Client) error {
	if c.Yes {
		return nil
	}
	a, err := cl.SystemAccount(s.ctx, c.ID)
	if err != nil {
		return err
	}
	users := 0
	if a.Usage != nil {
		users = a.Usage.Users
	}
	what := fmt.Sprintf("delete the account %s with %s and all its data, permanently", printable(a.Name), counted(int64(users), "user", "users"))
	if file, ok := s.stdin.(*os.File); !ok || !isTTY(file) {
		return &usageError{fmt.Sprintf("this would %s: add --yes to confirm (the command has no terminal to ask on)", what)}
	}
	if _, err := fmt.Fprintf(s.stderr, "This will %s.\nType the name of the account to confirm: ", what); err != nil {
		return err
	}
	answer, _ := bufio.NewReader(s.stdin).ReadString('\n') // no answer is another name
	if strings.TrimSpace(answer) != a.Name {
		return errors.New("cancelled: nothing was changed")
	}
	return nil
}

type systemAccountDeletion struct{ accountID }

// Run implements the command.
func (c *systemAccountDeletion) Run(s *shell, cl *client.Client) error {
	d, err := cl.AccountDeletion(s.ctx, c.ID)
	if err != nil {
		return err
	}
	return printDeletion(s, &d)
}

func printDeletion(s *shell, d *api.AccountDeletion) error {
	state := d.State
	if d.State == api.DeletionPending {
		state += " (" + d.Phase + ")"
	}
	if d.Delay != "" {
		state += ": " + printable(d.Delay)
	}
	n := &d.Deleted
	return s.print(d, "account        %s\ndeletion       %s\nusers          %d\napps           %d\ntokens         %d\nsubscriptions  %d\naudit events   %d\nrecords        %d\nlog entries    %d\ndocuments      %d\n",
		d.Account, state, n.Users, n.Apps, n.Tokens, n.Subscriptions, n.AuditEvents, n.Records, n.LogEntries, n.Documents)
}

// systemTokenCommands are "porchlight system token …". They work on a data directory or a
// store, whether a server runs or not.
type systemTokenCommands struct {
	Create systemTokenCreate `cmd:"" help:"Create a system token and print it."`
	List   systemTokenList   `cmd:"" help:"List system tokens." example:"system token list --data-dir /var/lib/porchlight"`
	Revoke systemTokenRevoke `cmd:"" help:"Revoke a system token." example:"system token revoke ID --data-dir /var/lib/porchlight"`
}

// storeFlags name the store of a server, running or not.
type storeFlags struct {
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory of the server. Also PORCHLIGHT_DATA_DIR."`
	Store   string `name:"store" placeholder:"URL" help:"URL of the server's store on NATS (nats://HOST:4222). Also PORCHLIGHT_STORE."`
	storeAccess
}

func (d *storeFlags) load(s *shell) (config.Config, error) {
	variables := []string{"PORCHLIGHT_DATA_DIR", "PORCHLIGHT_DURABILITY", "PORCHLIGHT_LOG_RETENTION"}
	if !s.given("data-dir") {
		variables = append(variables, placeVariables()...)
	}
	return config.Load(config.Sources{
		Base: config.Default(), Getenv: only(s.getenv, variables...),
		Flags: place{d.Store, d.storeAccess}.settings(config.Config{DataDir: d.DataDir}), Given: s.given,
	})
}

func (d *storeFlags) do(s *shell, asked server.SystemTokenRequest) ([]server.SystemToken, error) {
	cfg, err := d.load(s)
	if err != nil {
		return nil, err
	}
	return server.SystemTokens(s.ctx, cfg, asked)
}

type systemTokenCreate struct {
	storeFlags
	Name  string        `arg:"" optional:"" help:"What the token is for."`
	Lasts time.Duration `name:"for" placeholder:"TIME" help:"How long the token is valid, such as 30d. By default it does not expire."`
}

// Help is shown by --help.
func (*systemTokenCreate) Help() string {
	return "A system token can create, change and delete accounts, and read the audit log of the server. It can do nothing else. Anybody who can read the data directory, or has the credentials of the store on NATS, can create one.\n\nExample:\n\n    porchlight system token create billing --data-dir /var/lib/porchlight\n    export PORCHLIGHT_TOKEN=…\n    porchlight system account list"
}

// Run implements the command.
func (c *systemTokenCreate) Run(s *shell) error {
	made, err := c.do(s, server.SystemTokenRequest{Create: true, Name: c.Name, Lasts: c.Lasts})
	if err != nil {
		return err
	}
	return s.print(made[0], "The system token is shown only once:\n\n  id      %s\n  token   %s\n\nTo use it, paste this into the terminal where you run commands:\n\n  export PORCHLIGHT_TOKEN=%s\n", made[0].ID, made[0].Secret, made[0].Secret)
}

type systemTokenList struct{ storeFlags }

// Run implements the command.
func (c *systemTokenList) Run(s *shell) error {
	found, err := c.do(s, server.SystemTokenRequest{})
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b server.SystemToken) int { return a.Created.Compare(b.Created) })
	return table(s, found, "ID\tNAME\tCREATED\tEXPIRES", func(t server.SystemToken) []string {
		expires := "never"
		if !t.Expires.IsZero() {
			expires = clock(api.At(t.Expires))
		}
		return []string{t.ID, t.Name, clock(api.At(t.Created)), expires}
	})
}

type systemTokenRevoke struct {
	storeFlags
	ID string `arg:"" help:"Id of the token."`
}

// Run implements the command.
func (c *systemTokenRevoke) Run(s *shell) error {
	_, err := c.do(s, server.SystemTokenRequest{Revoke: c.ID})
	return s.printDone("Revoked", c.ID, err)
}
