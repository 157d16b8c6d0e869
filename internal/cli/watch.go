package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
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
	return `On a terminal it is a board that is kept up to date. Elsewhere each change is a line, and with --json an object: {"type":"presence", "time", …} with the members of a presence, or {"type":"gone", "time", "user"} for who is not watched any more. A watch of "porchlight watch" that came is told, too: {"type":"watch", "time", "watch"}. A connection that is lost is made again. An interrupt ends it.

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
	out := s.display(who.Users, &names{client: cl})
	told := make(map[string]bool) // a watch comes again until the server knows that it was read
	who.OnWatch = func(w api.Watch) {
		if !told[w.ID] {
			told[w.ID] = true
			out.came(s.ctx, &w)
		}
	}
	err = follow(s.ctx, cl, who, out)
	if errors.Is(s.ctx.Err(), context.Canceled) {
		return nil // an interrupt is how it ends
	}
	return err
}

// follow shows a stream until out has seen enough, which is context.Canceled, or
// there is a reason to stop: the cause of ctx, a user who cannot be followed, or the
// end of the stream.
func follow(ctx context.Context, cl *client.Client, who client.StreamOptions, out output) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	who.OnState = func(state client.State) {
		if !state.Ended { // why is said by whoever ended it
			out.state(state)
		}
	}
	who.OnRefused = func(_ []string, err error) { stop(err) }
	stream := cl.Stream(who)
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(ctx) }()
	stop(out.show(ctx, stream.View().Changes(ctx)))
	if over := <-ended; !errors.Is(over, ctx.Err()) {
		return over // by itself, which is why there was no more to show
	}
	return context.Cause(ctx)
}

// whom asks the server first, so that a name that is wrong, a token or a server
// that is not there ends the command at once: the stream would wait for a server.
func (c *statusWatch) whom(ctx context.Context, cl *client.Client) (client.StreamOptions, error) {
	// With an app's credentials "me" is the account's owner, as in all commands.
	who := client.StreamOptions{Users: c.Users, Contacts: c.Contacts, AsOwner: true}
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

// An output is told what a stream brings. state is called while show runs, one at a
// time.
type output interface {
	state(client.State)
	show(ctx context.Context, changes iter.Seq[client.Change]) error // until they end, or nothing more is wanted
}

// A display is also told of watches, as of states.
type display interface {
	output
	came(ctx context.Context, watch *api.Watch)
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
	mu    sync.Mutex // a line at a time
}

// state says on standard error why nothing comes.
func (t *ticker) state(state client.State) {
	switch wait := rounded(state.Wait); {
	case state.Connected:
	case t.shell.json:
		_ = json.NewEncoder(t.shell.stderr).Encode(lostEvent{fmt.Sprint(state.Err), int(wait / time.Second)}) // a message, no more
	default:
		_, _ = fmt.Fprintf(t.shell.stderr, "porchlight: trying again in %s: %v\n", wait, state.Err) // likewise
	}
}

// A lostEvent says on standard error that there is no connection.
type lostEvent struct {
	Error          string `json:"error"`
	RetryInSeconds int    `json:"retry_in_seconds"`
}

// rounded is a duration as a person reads it.
func rounded(d time.Duration) time.Duration { return max(d, time.Second).Round(time.Second) }

func (t *ticker) show(ctx context.Context, changes iter.Seq[client.Change]) error {
	for change := range changes {
		if err := t.line(ctx, eventOf(change, time.Now()), &change.Presence, t.shell.changed(&change)); err != nil {
			return err
		}
	}
	return nil
}

func (t *ticker) came(ctx context.Context, watch *api.Watch) {
	event := watchEvent{Type: api.FrameWatch, Time: api.At(time.Now()), Watch: watch}
	_ = t.line(ctx, event, &api.Presence{User: watch.User}, watchCame(watch)) // whatever is next fails, too
}

// line prints an event with --json, and a text about a user without.
func (t *ticker) line(ctx context.Context, event any, about *api.Presence, text string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shell.json {
		return t.shell.printJSON(event)
	}
	_, err := fmt.Fprintf(t.shell.stdout, "%s  %s\n", printable(t.names.of(ctx, about)), text)
	return err
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

// A watchEvent is a watch that came.
type watchEvent struct {
	Type  string     `json:"type"`
	Time  api.Time   `json:"time"`
	Watch *api.Watch `json:"watch"`
}

func eventOf(c client.Change, now time.Time) any {
	if c.Gone {
		return goneEvent{Type: api.FrameGone, Time: api.At(now), User: c.User, AskedAs: c.AskedAs}
	}
	return presenceEvent{Type: api.FramePresence, Time: api.At(now), Presence: c.Presence}
}

// names tells what to call users: as they were asked for, else by their e-mail if
// the token may read it, else by their id. It is safe for concurrent use.
type names struct {
	client *client.Client

	mu     sync.Mutex
	known  map[string]string
	denied bool
}

func (n *names) of(ctx context.Context, p *api.Presence) string {
	if p.AskedAs != "" {
		return p.AskedAs
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, ok := n.known[p.User]; ok {
		return name
	}
	name := p.User
	if !n.denied {
		user, err := n.client.User(ctx, p.User)
		n.denied = err != nil && !client.Is(err, &api.NoUser) // one who is gone says nothing of the others
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
