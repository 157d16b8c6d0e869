package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// listenCommand is "porchlight listen".
type listenCommand struct {
	Remote
	eventChoice
	ForwardTo string `name:"forward-to" placeholder:"URL" help:"Forward each event to this URL, as the server would send it. localhost:3000/hook is short for http://localhost:3000/hook."`
	Form      string `name:"form" placeholder:"native|zoom|cloudevents|cloudevents-binary" help:"Form of the events. By default native."`
	AppSecret bool   `name:"app-secret" help:"Sign with the webhook secret of the app, instead of a secret that the command prints."`
}

func (*listenCommand) Help() string {
	return `The command makes a subscription of its own and receives its events over a WebSocket, so the server does not have to reach this machine. With --forward-to, each event is posted to a local URL with the headers and the signature that the server would send, and the status of the answer is printed. An event is forwarded once, whatever the answer. When you press Ctrl-C, the subscription is deleted.

With --json, the first line is the subscription with its secret, and each further line is an object: {"time", "id", "type", "headers", "body", "forward"}.

Example:

    porchlight listen --forward-to localhost:3000/hook
    porchlight listen --form zoom --app-secret --events user.presence_status_updated --forward-to localhost:3000/hook`
}

// forwardTimeout is longer than the longest time that a server gives an endpoint.
const forwardTimeout = 30 * time.Second

func (c *listenCommand) Run(s *shell) error {
	to, err := parseForward(c.ForwardTo)
	if err != nil {
		return err
	}
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	made, err := cl.CreateSubscription(s.ctx, api.CreateSubscription{
		Name: c.name(), Form: c.Form, Events: c.Events, Users: c.User, Groups: c.Group, AppSecret: c.AppSecret,
	})
	if err != nil {
		return err
	}
	l := &listener{shell: s, client: cl, subscription: made.ID, to: to, queue: make(chan api.EventFrame, maxQueued)}
	err = l.announce(&made)
	if err == nil {
		err = l.listen()
	}
	return errors.Join(err, l.deleteSubscription())
}

// name says whose the subscription is, in case it is left behind.
func (c *listenCommand) name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a computer"
	}
	return strings.TrimSpace(fmt.Sprintf("porchlight listen on %.60s", host))
}

// parseForward reads the value of --forward-to; "" for none.
func parseForward(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if _, err := fmt.Sscanf(text, "%d", new(int)); err == nil && !strings.ContainsAny(text, ".:/") {
		text = "localhost:" + text
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", &usageError{fmt.Sprintf("--forward-to: %q is not a URL such as http://localhost:3000/hook", text)}
	}
	return text, nil
}

// maxQueued is how many events wait to be printed and forwarded.
const maxQueued = 1000

// A listener receives the events of one subscription, prints and forwards them.
type listener struct {
	shell        *shell
	client       *client.Client
	subscription string
	to           string // "": nowhere
	queue        chan api.EventFrame
}

func (l *listener) announce(of *api.Subscription) error {
	text := "Waiting for events. Press Ctrl-C to stop.\n"
	if l.to != "" {
		text = "Forwarding events to " + l.to + ". Press Ctrl-C to stop.\n"
	}
	if of.Secret != "" {
		text += "The secret that signs them is " + of.Secret + "\n"
	}
	s := l.shell
	return s.print(of, "%s", text)
}

// listen works until it is interrupted. Events are received while others are forwarded,
// because the server ends a connection that does not read.
func (l *listener) listen() error {
	ctx, stop := context.WithCancelCause(l.shell.ctx)
	defer stop(nil)
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		stop(l.work(ctx))
	}()
	err := l.client.Listen(ctx, l.subscription, client.ListenOptions{OnEvent: l.enqueue, OnState: l.shell.connectionState})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	stop(err)
	<-worked
	if l.shell.ctx.Err() != nil {
		return nil // interrupted by the user, as intended
	}
	return err
}

func (l *listener) enqueue(ctx context.Context, e *api.EventFrame) error {
	select {
	case l.queue <- *e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work prints and forwards events, in order.
func (l *listener) work(ctx context.Context) error {
	for {
		select {
		case e := <-l.queue:
			if err := l.handle(ctx, &e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A listenedEvent is an event as --json prints it.
type listenedEvent struct {
	Time    api.Time          `json:"time"` // of receipt
	ID      string            `json:"id"`
	Type    string            `json:"type"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Forward *forwarded        `json:"forward,omitempty"`
}

// forwarded is what came of forwarding an event.
type forwarded struct {
	Status     int    `json:"status"` // 0: there was no answer
	DurationMS int    `json:"duration_ms"`
	Error      string `json:"error,omitempty"`
}

func (l *listener) handle(ctx context.Context, e *api.EventFrame) error {
	now := api.At(time.Now())
	event := listenedEvent{Time: now, ID: e.ID, Type: e.Event, Headers: e.Headers, Body: e.Body}
	line := clock(now) + "  " + printable(e.Event) + "  " + e.ID
	if l.to != "" {
		event.Forward = l.forward(ctx, e)
		line += "  " + event.Forward.String()
	}
	if !l.shell.json && l.to == "" {
		line += "\n" + printable(e.Body)
	}
	s := l.shell
	return s.print(event, "%s\n", line)
}

func (f *forwarded) String() string {
	if f.Error != "" {
		return "-> " + f.Error
	}
	return fmt.Sprintf("-> %d %s in %s", f.Status, http.StatusText(f.Status), milliseconds(f.DurationMS))
}

// forward posts an event as the server would.
func (l *listener) forward(ctx context.Context, e *api.EventFrame) *forwarded {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	began := time.Now()
	status, err := l.post(ctx, e)
	f := &forwarded{Status: status, DurationMS: int(time.Since(began) / time.Millisecond)}
	if err != nil {
		f.Error = describeForward(err)
	}
	return f
}

func (l *listener) post(ctx context.Context, e *api.EventFrame) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.to, strings.NewReader(e.Body))
	if err != nil {
		return 0, err
	}
	for name, value := range e.Headers {
		req.Header.Set(name, value)
	}
	// Like the server, do not follow redirects.
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be kept
	return resp.StatusCode, resp.Body.Close()
}

func describeForward(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer within " + forwardTimeout.String()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Sprintf("cannot connect: %v", op.Err)
	}
	return err.Error()
}

// deleteSubscription deletes the subscription, unless somebody else did.
func (l *listener) deleteSubscription() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.shell.ctx), 10*time.Second)
	defer cancel()
	err := l.client.DeleteSubscription(ctx, l.subscription)
	if err == nil || client.Is(err, &api.NoSubscription) {
		return nil
	}
	return fmt.Errorf("the subscription %s remains; delete it with \"porchlight subscription delete\": %w", l.subscription, err)
}
