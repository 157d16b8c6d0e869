package cli

import (
	"fmt"
	"slices"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
)

// watchCommands are "porchlight watch …".
type watchCommands struct {
	Create watchCreate `cmd:"" help:"Ask to be told once when a user comes to a status."`
	List   watchList   `cmd:"" help:"List the watches that did not come yet, or were not told."`
	Cancel watchCancel `cmd:"" help:"End a watch."`
}

// awaited is the flag that says what is waited for.
type awaited struct {
	Until []string `name:"until" default:"available" placeholder:"STATUS" help:"Which status is waited for, offline among them; repeat it or separate with commas."`
}

// statuses are those of the flag, each once.
func (a *awaited) statuses() ([]api.Status, error) {
	all := slices.Concat(settable, []api.Status{api.Offline})
	var wanted []api.Status
	for _, text := range a.Until {
		status, err := parseStatus(text, all, "a status")
		if err != nil {
			return nil, err
		}
		if !slices.Contains(wanted, status) {
			wanted = append(wanted, status)
		}
	}
	if len(wanted) == 0 {
		return nil, &usageError{"--until needs a status, such as available"}
	}
	return wanted, nil
}

type watchCreate struct {
	config.Connection `embed:""`
	awaited           `embed:""`
	User              string        `arg:"" help:"Id, e-mail or \"me\"."`
	Expires           time.Duration `name:"expires" placeholder:"TIME" help:"After how long it ends if nothing came, such as 8h; at most 7d. Without it: 24h."`
}

// Help is shown by --help.
func (*watchCreate) Help() string {
	return `The server keeps the watch for the token's user, or for the account's owner, also while nobody is connected. When it comes it is told once, on a stream: "porchlight status watch" shows it. Several statuses make as many watches, and with --json as many objects, each on a line.

Example:

    porchlight watch create grace@example.com --until available,away --expires 8h`
}

// Run implements the command.
func (c *watchCreate) Run(s *shell) error {
	until, err := c.statuses()
	if err != nil {
		return err
	}
	cl, err := s.connect(&c.Connection)
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
			return err // those before were told, and stand
		}
		if err := s.print(w, "%s\n", s.watchMade(&w, c.User)); err != nil {
			return err
		}
	}
	return nil
}

// watchMade is a new watch on one line.
func (s *shell) watchMade(w *api.Watch, user string) string {
	if !w.Fired.IsZero() {
		return fmt.Sprintf("%s  %s", user, watchCame(w))
	}
	return fmt.Sprintf("Made the watch %s: told once when %s is %s, until %s", w.ID, user, s.coloured(w.UntilStatus), clock(w.Expires))
}

// watchCame is a watch that came, after the name of its user.
func watchCame(w *api.Watch) string {
	text := string(w.Status)
	if w.Note != "" {
		text += fmt.Sprintf("  %q", w.Note)
	}
	return fmt.Sprintf("%s  at %s: the watch %s came", text, clock(w.Fired), w.ID)
}

type watchList struct {
	config.Connection `embed:""`
}

// Help is shown by --help.
func (*watchList) Help() string {
	return "They are those of the token's user, or of the account's owner.\n\nExample:\n\n    porchlight watch list"
}

// Run implements the command.
func (c *watchList) Run(s *shell) error {
	cl, err := s.connect(&c.Connection)
	if err != nil {
		return err
	}
	names := &names{client: cl}
	return list(s, cl.Watches(s.ctx), "ID\tUSER\tUNTIL\tEXPIRES\tCAME", func(w api.Watch) []string {
		name := names.of(s.ctx, &api.Presence{User: w.User})
		return []string{w.ID, printable(name), string(w.UntilStatus), clock(w.Expires), clock(w.Fired)}
	})
}

type watchCancel struct {
	config.Connection `embed:""`
	ID                string `arg:"" help:"The watch's id, as \"porchlight watch list\" has it."`
}

// Help is shown by --help.
func (*watchCancel) Help() string { return "Example:\n\n    porchlight watch cancel ID" }

// Run implements the command.
func (c *watchCancel) Run(s *shell) error {
	cl, err := s.connect(&c.Connection)
	if err != nil {
		return err
	}
	if err := cl.DeleteWatch(s.ctx, c.ID); err != nil {
		return err
	}
	return s.print(map[string]string{"cancelled": c.ID}, "Cancelled %s\n", c.ID)
}
