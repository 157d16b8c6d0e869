package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

type statusWatch struct {
	config.Connection `embed:""`
	Users             []string `arg:"" optional:"" name:"user" help:"Ids, e-mails or \"me\". Without any: your contacts, or yourself if you have none."`
	Contacts          bool     `name:"contacts" help:"Watch your contacts, too, and whoever becomes one."`
}

// Help is shown by --help.
func (*statusWatch) Help() string {
	return `On a terminal it is a board that is kept up to date. Elsewhere each change is a line, and with --json an object: {"type":"presence", "time", …} with the members of a presence, or {"type":"gone", "time", "user"} for who is not watched any more. A connection that is lost is made again. An interrupt ends it.

Example:

    porchlight status watch grace@example.com ada@example.com
    porchlight status watch --contacts --json`
}

// Run implements the command.
func (c *statusWatch) Run(s *shell) error {
	cl, err := s.connect(&c.Connection)
	if err != nil {
		return err
	}
	who, err := c.whom(s.ctx, cl)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(s.ctx)
	defer stop(nil)
	out := s.display(who.Users, &names{client: cl})
	who.OnState = out.state
	who.OnRefused = func(_ []string, err error) { stop(err) }
	stream := cl.Stream(who)
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(ctx) }()
	err = out.show(ctx, stream.View().Changes(ctx))
	if err != nil {
		stop(err)
	}
	over := <-ended
	switch {
	case s.ctx.Err() != nil:
		return nil // an interrupt is how it ends
	case errors.Is(over, context.Canceled):
		return context.Cause(ctx)
	default:
		return over
	}
}

// whom asks the server first, so that a name that is wrong, a token or a server
// that is not there ends the command at once: the stream would wait for a server.
func (c *statusWatch) whom(ctx context.Context, cl *client.Client) (client.StreamOptions, error) {
	who := client.StreamOptions{Users: c.Users, Contacts: c.Contacts}
	switch {
	case len(who.Users) == 0 && !who.Contacts:
		for _, err := range cl.Contacts(ctx, "me") {
			if err != nil && !client.Is(err, &api.InsufficientScope) {
				return who, err
			}
			who.Contacts = err == nil
			break
		}
		if !who.Contacts {
			who.Users = []string{"me"}
		}
	case len(who.Users) > 0:
		for _, user := range who.Users {
			if _, err := cl.Presence(ctx, user); err != nil {
				return who, err
			}
		}
	}
	return who, nil
}

// A display shows what changes.
type display interface {
	state(client.State)
	show(ctx context.Context, changes iter.Seq[client.Change]) error
}

func (s *shell) display(users []string, names *names) display {
	if size, ok := s.screen(); ok && !s.json {
		return newBoard(s, users, names, size)
	}
	return &ticker{shell: s, names: names}
}

// A ticker prints a line for each change.
type ticker struct {
	shell *shell
	names *names
}

// state says on standard error why nothing comes.
func (t *ticker) state(state client.State) {
	if !state.Connected {
		_, _ = fmt.Fprintf(t.shell.stderr, "porchlight: trying again in %s: %v\n", rounded(state.Wait), state.Err) // a message, no more
	}
}

// rounded is a duration as a person reads it.
func rounded(d time.Duration) time.Duration { return max(d, time.Second).Round(time.Second) }

func (t *ticker) show(ctx context.Context, changes iter.Seq[client.Change]) error {
	for change := range changes {
		var err error
		if t.shell.json {
			err = t.shell.printJSON(eventOf(change, time.Now()))
		} else {
			_, err = fmt.Fprintf(t.shell.stdout, "%s  %s\n", printable(t.names.of(ctx, &change.Presence)), t.shell.changed(&change))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changed is a change on one line.
func (s *shell) changed(c *client.Change) string {
	if c.Gone {
		return "not watched any more"
	}
	return s.presence(&c.Presence)
}

// A presenceEvent is a change as --json has it.
type presenceEvent struct {
	Type string   `json:"type"`
	Time api.Time `json:"time"` // when it came
	api.Presence
}

// A goneEvent is somebody who is not watched any more.
type goneEvent struct {
	Type    string   `json:"type"`
	Time    api.Time `json:"time"`
	User    string   `json:"user"`
	AskedAs string   `json:"asked_as,omitempty"`
}

func eventOf(c client.Change, now time.Time) any {
	if c.Gone {
		return goneEvent{Type: api.FrameGone, Time: api.At(now), User: c.User, AskedAs: c.AskedAs}
	}
	return presenceEvent{Type: api.FramePresence, Time: api.At(now), Presence: c.Presence}
}

// names tells what to call users: as they were asked for, else by their e-mail if
// the token may read it, else by their id.
type names struct {
	client *client.Client
	known  map[string]string
	denied bool
}

func (n *names) of(ctx context.Context, p *api.Presence) string {
	if p.AskedAs != "" {
		return p.AskedAs
	}
	if name, ok := n.known[p.User]; ok {
		return name
	}
	name := p.User
	if !n.denied {
		user, err := n.client.User(ctx, p.User)
		n.denied = err != nil
		if err == nil && user.Email != "" {
			name = user.Email
		}
	}
	if n.known == nil {
		n.known = make(map[string]string)
	}
	n.known[p.User] = name
	return name
}
