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
)

type statusWait struct {
	Remote
	awaited
	User    string        `arg:"" help:"Id, e-mail address or \"me\"."`
	Timeout time.Duration `name:"timeout" placeholder:"TIME" help:"Give up after this time, such as 30m. By default the command waits forever."`
}

func (*statusWait) Help() string {
	return `The command exits with code 0 as soon as the user, as visible to you, has one of the statuses, which may be at once. It reconnects when the connection is lost. The exit code is 3 when --timeout passes, and 1 when the command is interrupted or the user is removed.

Example:

    porchlight status wait grace@example.com --until available,away --timeout 30m && echo "Call Grace"`
}

func (c *statusWait) Run(s *shell) error {
	until, err := c.statuses()
	if err != nil {
		return err
	}
	if s.given("timeout") && c.Timeout == 0 {
		return &usageError{"--timeout must be more than 0: omit it to wait without a limit"}
	}
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, cmp.Or(c.Timeout, math.MaxInt64))
	defer cancel()
	w := &waiter{ticker: ticker{shell: s}, user: c.User, until: until}
	err = w.wait(ctx, cl)
	switch {
	case w.met:
		return w.printErr
	case s.ctx.Err() != nil:
		return fmt.Errorf("stopped before %s was %s", printable(w.user), joined(w.until, " or "))
	case ctx.Err() != nil:
		return w.timedOut()
	default:
		return err
	}
}

// A waiter prints one line when a user has one of the statuses.
type waiter struct {
	ticker
	user  string // as asked for
	until []api.Status

	last     api.Presence
	notified bool // that the command waits
	met      bool
	printErr error // of printing the result
}

// wait reads the presence first, so that an error ends the command at once (see
// statusWatch.options). It then follows the user by id, because the e-mail address
// may move to another user.
func (w *waiter) wait(ctx context.Context, cl *client.Client) error {
	first, err := cl.Presence(ctx, w.user)
	if err != nil || w.check(&first) {
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
		if w.check(&change.Presence) {
			return nil
		}
		w.notice()
	}
	return nil
}

// check reports whether the wait is over, and prints the presence if it is.
func (w *waiter) check(p *api.Presence) bool {
	w.last, w.met = *p, slices.Contains(w.until, p.Status)
	if !w.met {
		return false
	}
	shown := *p
	shown.Cursor = "" // presences from a stream have none
	if w.user != p.User {
		shown.AskedAs = w.user
	}
	s := w.shell
	w.printErr = s.print(shown, "%s  %s\n", printable(w.user), s.presence(&shown))
	return true
}

// notice prints once, on standard error, that the command waits.
func (w *waiter) notice() {
	if w.notified || w.shell.json {
		return
	}
	w.notified = true
	_, _ = fmt.Fprintf(w.shell.stderr, "porchlight: %s is %s; waiting for %s\n",
		printable(w.user), w.last.Status, joined(w.until, " or ")) // informational
}

func (w *waiter) gone() error {
	return &advice{errors.New("user removed"), printable(w.user) + " was removed while the command waited.", "\"porchlight user list\" lists the users."}
}

func (w *waiter) timedOut() error {
	user := printable(w.user)
	text := fmt.Sprintf("timed out before %s was %s", user, joined(w.until, " or "))
	if w.last.Status != "" {
		text += fmt.Sprintf(" (current status: %s)", w.last.Status)
	}
	return &timeoutError{fmt.Sprintf("%s.\nUse a longer --timeout, or create a watch: \"porchlight watch create %s --until %s\".", text, user, joined(w.until, ","))}
}
