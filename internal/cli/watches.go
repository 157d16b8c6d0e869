package cli

import (
	"fmt"
	"slices"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// watchCommands are "porchlight watch …".
type watchCommands struct {
	Create watchCreate `cmd:"" help:"Create a watch that fires once when a user reaches a status."`
	List   watchList   `cmd:"" help:"List watches that have not fired or have not been delivered."`
	Cancel watchCancel `cmd:"" help:"Cancel a watch." example:"watch cancel ID"`
}

// awaited is the flag with the statuses to wait for.
type awaited struct {
	Until []string `name:"until" default:"available" placeholder:"STATUS" words:"statuses" help:"Status to wait for, including offline. Repeat the flag or separate statuses with commas."`
}

// statuses returns the statuses of the flag, without duplicates.
func (a *awaited) statuses() ([]api.Status, error) {
	wanted, err := parseStatuses(a.Until)
	if err == nil && len(wanted) == 0 {
		err = &usageError{"--until needs a status, such as available"}
	}
	return wanted, err
}

// parseStatuses reads statuses, and drops duplicates.
func parseStatuses(texts []string) ([]api.Status, error) {
	all := slices.Concat(settable, []api.Status{api.Offline})
	var wanted []api.Status
	for _, text := range texts {
		status, err := parseStatus(text, all, "a status")
		if err != nil {
			return nil, err
		}
		if !slices.Contains(wanted, status) {
			wanted = append(wanted, status)
		}
	}
	return wanted, nil
}

type watchCreate struct {
	Remote
	awaited
	User    string        `arg:"" help:"Id, e-mail address or \"me\"."`
	Expires time.Duration `name:"expires" placeholder:"TIME" help:"How long the watch lasts if it does not fire, such as 8h; at most 7d. By default 24h."`
}

func (*watchCreate) Help() string {
	return `The watch belongs to the token's user or, with an account-level token, to the account's owner. The server keeps it even while nobody is connected. When the watch fires, it is delivered once on a stream: "porchlight status watch" shows it. For several statuses the command creates one watch each, and --json prints one object a line.

Example:

    porchlight watch create grace@example.com --until available,away --expires 8h`
}

func (c *watchCreate) Run(s *shell) error {
	until, err := c.statuses()
	if err != nil {
		return err
	}
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	asked := api.CreateWatch{User: c.User}
	if s.given("expires") {
		asked.ExpiresInSeconds = wholeSeconds(c.Expires)
	}
	for _, asked.UntilStatus = range until {
		w, err := cl.CreateWatch(s.ctx, asked)
		if err != nil {
			return err // the watches created before remain
		}
		if err := s.print(w, "%s\n", s.watchCreated(&w, c.User)); err != nil {
			return err
		}
	}
	return nil
}

// watchCreated formats a new watch on one line.
func (s *shell) watchCreated(w *api.Watch, user string) string {
	if !w.Fired.IsZero() {
		return watchFired(w, user)
	}
	return fmt.Sprintf("Created watch %s: fires when %s is %s, expires %s", w.ID, user, s.coloured(w.UntilStatus), clock(w.Expires))
}

// watchFired describes a watch that fired.
func watchFired(w *api.Watch, user string) string {
	text := string(w.Status)
	if w.Note != "" {
		text += fmt.Sprintf("  %q", w.Note)
	}
	return fmt.Sprintf("watch %s fired at %s: %s became %s", w.ID, clock(w.Fired), user, text)
}

type watchList struct{ Remote }

func (*watchList) Help() string {
	return "Lists the watches of the token's user or, with an account-level token, of the account's owner.\n\nExample:\n\n    porchlight watch list"
}

func (c *watchList) Run(s *shell, cl *client.Client) error {
	names := &names{client: cl}
	watches := withNames(names, cl.Watches(s.ctx), func(w *api.Watch) string { return w.User })
	return list(s, watches, "ID\tUSER\tNAME\tUNTIL\tEXPIRES\tFIRED", func(w api.Watch) []string {
		user := names.person(s.ctx, w.User)
		return []string{w.ID, user[0], user[1], string(w.UntilStatus), clock(w.Expires), clock(w.Fired)}
	})
}

type watchCancel struct {
	Remote
	ID string `arg:"" help:"Id of the watch, from \"porchlight watch list\"."`
}

func (c *watchCancel) Run(s *shell, cl *client.Client) error {
	return s.printDone("Cancelled", c.ID, cl.DeleteWatch(s.ctx, c.ID))
}
