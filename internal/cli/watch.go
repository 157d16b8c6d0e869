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
)

type statusWatch struct {
	Remote
	Users    []string `arg:"" optional:"" name:"user" help:"Ids, e-mail addresses or \"me\". By default your contacts, or yourself if you have none."`
	Contacts bool     `name:"contacts" help:"Also show your contacts, including those added later."`
}

func (*statusWatch) Help() string {
	return `On a terminal the command shows a board and keeps it up to date. Otherwise it prints a line for each change. With --json each line is an object: {"type":"presence", "time", …} with the members of a presence, {"type":"gone", "time", "user"} for a user who is no longer followed, or {"type":"watch", "time", "watch"} for a watch that fired. The command reconnects when the connection is lost. Press Ctrl-C to stop.

Example:

    porchlight status watch grace@example.com ada@example.com
    porchlight status watch --contacts --json`
}

func (c *statusWatch) Run(s *shell, cl *client.Client) error {
	who, err := c.options(s.ctx, cl)
	if err != nil {
		return err
	}
	out := s.display(who.Users, &names{client: cl})
	delivered := make(map[string]bool) // a watch is sent again until the server knows that it was read
	who.OnWatch = func(w api.Watch) {
		if !delivered[w.ID] {
			delivered[w.ID] = true
			out.fired(s.ctx, &w)
		}
	}
	err = follow(s.ctx, cl, who, out)
	if errors.Is(s.ctx.Err(), context.Canceled) {
		return nil // interrupted by the user, as intended
	}
	return err
}

// follow shows a stream until out returns, which gives context.Canceled, or until
// there is another reason to stop: the cause of ctx, a user who cannot be followed,
// or the end of the stream.
func follow(ctx context.Context, cl *client.Client, who client.StreamOptions, out output) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	who.OnState = func(state client.State) {
		if !state.Ended { // follow's error has the reason
			out.state(state)
		}
	}
	who.OnRefused = func(_ []string, err error) { stop(err) }
	stream := cl.Stream(who)
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(ctx) }()
	stop(out.show(ctx, stream.View().Changes(ctx)))
	if err := <-ended; !errors.Is(err, ctx.Err()) {
		return err // the stream ended first
	}
	return context.Cause(ctx)
}

// options reads from the server first, so that a wrong user or token, or a server
// that does not answer, ends the command at once. A stream would retry.
func (c *statusWatch) options(ctx context.Context, cl *client.Client) (client.StreamOptions, error) {
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

// An output shows what a stream delivers. state is called while show runs, one call
// at a time.
type output interface {
	state(client.State)
	show(ctx context.Context, changes iter.Seq[client.Change]) error // returns when changes end, or when the output needs no more
}

// A display also shows watches. fired is called like state.
type display interface {
	output
	fired(ctx context.Context, watch *api.Watch)
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

func (t *ticker) state(state client.State) { t.shell.connectionState(state) }

// connectionState reports a lost connection on standard error.
func (s *shell) connectionState(state client.State) {
	switch wait := rounded(state.RetryAfter); {
	case state.Connected:
	case s.json:
		_ = json.NewEncoder(s.stderr).Encode(lostEvent{s.brief(state.Err), int(wait / time.Second)}) // informational
	default:
		_, _ = fmt.Fprintf(s.stderr, "porchlight: connection lost; retrying in %s: %s\n", wait, s.brief(state.Err)) // likewise
	}
}

// A lostEvent is a lost connection, as --json prints it on standard error.
type lostEvent struct {
	Error          string `json:"error"`
	RetryInSeconds int    `json:"retry_in_seconds"`
}

// rounded is a duration in whole seconds, at least one.
func rounded(d time.Duration) time.Duration { return max(d, time.Second).Round(time.Second) }

func (t *ticker) show(ctx context.Context, changes iter.Seq[client.Change]) error {
	for change := range changes {
		if err := t.line(ctx, eventOf(change, time.Now()), &change.Presence, func(name string) string {
			return name + "  " + t.shell.changed(&change)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (t *ticker) fired(ctx context.Context, watch *api.Watch) {
	event := watchEvent{Type: api.FrameWatch, Time: api.At(time.Now()), Watch: watch}
	_ = t.line(ctx, event, &api.Presence{User: watch.User}, func(name string) string { return watchFired(watch, name) }) // the next line fails as well
}

// line prints an event with --json, and otherwise a text, given the user's name.
func (t *ticker) line(ctx context.Context, event any, about *api.Presence, text func(name string) string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shell.json {
		return t.shell.printJSON(event)
	}
	_, err := fmt.Fprintln(t.shell.stdout, text(printable(t.names.of(ctx, about))))
	return err
}

// changed formats a change on one line.
func (s *shell) changed(c *client.Change) string {
	if c.Gone {
		return "no longer followed"
	}
	return s.presence(&c.Presence)
}

// A presenceEvent is a change as --json prints it.
type presenceEvent struct {
	Type string   `json:"type"`
	Time api.Time `json:"time"` // of receipt
	api.Presence
}

// A goneEvent is a user who is no longer followed.
type goneEvent struct {
	Type    string   `json:"type"`
	Time    api.Time `json:"time"`
	User    string   `json:"user"`
	AskedAs string   `json:"asked_as,omitempty"`
}

// A watchEvent is a watch that fired.
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
