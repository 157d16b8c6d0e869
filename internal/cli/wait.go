package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

type statusWait struct {
	config.Connection `embed:""`
	awaited           `embed:""`
	User              string        `arg:"" help:"Id, e-mail or \"me\"."`
	Timeout           time.Duration `name:"timeout" placeholder:"TIME" help:"Give up after this time, such as 30m. Without it: never."`
}

// Help is shown by --help.
func (*statusWait) Help() string {
	return `It ends with code 0 as soon as the user has one of the statuses, as far as you may see it: at once if that is so already. A connection that is lost is made again. It ends with code 3 when --timeout is over, and with code 1 when it is interrupted or the user is removed.

Example:

    porchlight status wait grace@example.com --until available,away --timeout 30m && echo "Call Grace"`
}

// Run implements the command.
func (c *statusWait) Run(s *shell) error {
	until, err := c.statuses()
	if err != nil {
		return err
	}
	if s.given("timeout") && c.Timeout == 0 {
		return &usageError{"--timeout must be more than 0: leave it out to wait for as long as it takes"}
	}
	cl, err := s.connect(&c.Connection)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, cmp.Or(c.Timeout, math.MaxInt64))
	defer cancel()
	w := &waiter{ticker: ticker{shell: s}, user: c.User, until: until}
	err = w.wait(ctx, cl)
	switch {
	case w.met:
		return w.printed
	case s.ctx.Err() != nil:
		return fmt.Errorf("stopped before %s was %s", printable(w.user), joined(w.until, " or "))
	case ctx.Err() != nil:
		return w.late()
	default:
		return err
	}
}

// A waiter is a ticker that prints one line, when a user has one of the statuses.
type waiter struct {
	ticker
	user  string // as asked for
	until []api.Status

	last    api.Presence // seen
	noticed bool         // that it waits
	met     bool
	printed error // what came of it
}

// wait asks first, as statusWatch.whom does and why it does. Who answers then is
// followed by id: somebody else may have the e-mail address later.
func (w *waiter) wait(ctx context.Context, cl *client.Client) error {
	first, err := cl.Presence(ctx, w.user)
	if err != nil || w.see(&first) {
		return err
	}
	err = follow(ctx, cl, client.StreamOptions{Users: []string{first.User}}, w)
	if client.Is(err, &api.NoUser) {
		return w.gone() // while there was no connection
	}
	return err
}

func (w *waiter) show(_ context.Context, changes iter.Seq[client.Change]) error {
	for change := range changes {
		if change.Gone {
			return w.gone()
		}
		if w.see(&change.Presence) {
			return nil
		}
		w.notice()
	}
	return nil
}

// see reports whether the wait is over, and says so.
func (w *waiter) see(p *api.Presence) bool {
	w.last, w.met = *p, slices.Contains(w.until, p.Status)
	if !w.met {
		return false
	}
	said := *p
	said.Cursor = "" // a stream has none to give
	if w.user != p.User {
		said.AskedAs = w.user
	}
	s := w.shell
	w.printed = s.print(said, "%s  %s\n", printable(w.user), s.presence(&said))
	return true
}

// notice says once, on standard error, that it waits.
func (w *waiter) notice() {
	if w.noticed || w.shell.json {
		return
	}
	w.noticed = true
	_, _ = fmt.Fprintf(w.shell.stderr, "porchlight: %s is %s: waiting until that is %s\n",
		printable(w.user), w.last.Status, joined(w.until, " or ")) // a message, no more
}

func (w *waiter) gone() error {
	return &advice{errors.New(printable(w.user) + " was removed while this waited."), "Nothing comes of that user any more; \"porchlight user list\" shows who is there."}
}

func (w *waiter) late() error {
	user := printable(w.user)
	text := fmt.Sprintf("%s was not %s in time", user, joined(w.until, " or "))
	if w.last.Status != "" {
		text += fmt.Sprintf(": the status is %s", w.last.Status)
	}
	return &timeoutError{fmt.Sprintf("%s.\nWait longer with --timeout, or be told later: \"porchlight watch create %s --until %s\".", text, user, joined(w.until, ","))}
}
