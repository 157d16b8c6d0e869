package cli

import (
	"context"
	"fmt"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// erasePoll is how often the command asks how far an erasure is.
const erasePoll = 500 * time.Millisecond

// erase removes a user and waits until the history is erased.
func (c *userRemove) erase(s *shell, cl *client.Client) error {
	e, err := cl.EraseUser(s.ctx, c.User)
	for delay := ""; err == nil && e.State != api.ErasureDone && !c.NoWait; {
		if e.Delay != delay && !s.json {
			delay = e.Delay
			_, _ = fmt.Fprintf(s.stderr, "porchlight: waiting: %s\n", printable(delay)) // informational
		}
		if wait(s.ctx, erasePoll) != nil {
			return fmt.Errorf("stopped waiting; the erasure continues: see \"porchlight user erasure %s\"", e.User)
		}
		e, err = cl.Erasure(s.ctx, e.User)
	}
	if err != nil {
		return err
	}
	return s.printErasure(&e)
}

// wait waits, or returns the error of a context that ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *shell) printErasure(e *api.Erasure) error {
	switch {
	case e.State == api.ErasureDone:
		return s.print(e, "Removed %s and erased the history\n", e.User)
	case e.Delay != "":
		return s.print(e, "Removed %s. The history is being erased. Waiting: %s\n", e.User, printable(e.Delay))
	default:
		return s.print(e, "Removed %s. The history is being erased.\n", e.User)
	}
}

type userErasure struct {
	Remote
	User string `arg:"" help:"Id of the removed user."`
}

func (c *userErasure) Run(s *shell, cl *client.Client) error {
	e, err := cl.Erasure(s.ctx, c.User)
	if err != nil {
		return err
	}
	return s.printErasure(&e)
}
