package cli

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

// subscriptionCommands are "porchlight subscription …".
type subscriptionCommands struct {
	Create     subscriptionCreate     `cmd:"" help:"Subscribe an endpoint to events, and print its secret."`
	List       subscriptionList       `cmd:"" help:"List subscriptions." example:"subscription list"`
	Show       subscriptionShow       `cmd:"" help:"Show a subscription and the state of its delivery." example:"subscription show ID"`
	Update     subscriptionUpdate     `cmd:"" help:"Change a subscription."`
	Delete     subscriptionDelete     `cmd:"" help:"Delete a subscription."`
	Test       subscriptionTest       `cmd:"" help:"Send a sample event, and print what the endpoint answers."`
	Deliveries subscriptionDeliveries `cmd:"" help:"List attempts to deliver events, the newest first."`
	Replay     subscriptionReplay     `cmd:"" help:"Deliver events again."`
	Rotate     subscriptionRotate     `cmd:"" name:"rotate-secret" help:"Replace the secret that signs events."`
	Pause      subscriptionPause      `cmd:"" help:"Stop the delivery to a subscription until it is resumed." example:"subscription pause ID"`
	Resume     subscriptionResume     `cmd:"" help:"Resume the delivery to a subscription where it was paused." example:"subscription resume ID"`
	Enable     subscriptionEnable     `cmd:"" help:"Enable a subscription that the server has disabled." example:"subscription enable ID"`
}

// eventChoice has the flags that choose the events of a subscription.
type eventChoice struct {
	Events []string `name:"events" placeholder:"TYPE" help:"Types of events. Repeat the flag or separate types with commas. By default all types."`
	User   []string `name:"user" placeholder:"USER" help:"Only events about this user (id or e-mail address). Repeat it for several."`
	Group  []string `name:"group" placeholder:"NAME" sep:"none" help:"Only events about members of this group. Repeat it for several."`
}

type subscriptionCreate struct {
	Remote
	eventChoice
	endpointAuth
	URL         string `arg:"" optional:"" help:"URL of the endpoint. Without one, events wait for a client that connects."`
	Name        string `name:"name" placeholder:"NAME" help:"What the subscription is for."`
	Form        string `name:"form" placeholder:"native|zoom|cloudevents|cloudevents-binary" help:"Form of the events. By default native."`
	Profile     string `name:"retry-profile" placeholder:"durable|zoom" help:"Schedule of retries. By default that of the form."`
	LatestOnly  bool   `name:"latest-only" help:"Drop the retry of an event when a newer one of the same user was sent."`
	Concurrency int    `name:"concurrency" placeholder:"N" help:"Number of requests to the endpoint at a time. By default 8."`
	SecretFile  string `name:"secret-file" xor:"secret" placeholder:"FILE" help:"File with the secret to sign events with. By default the server makes one."`
	AppSecret   bool   `name:"app-secret" xor:"secret" help:"Sign with the webhook secret of the app, as Zoom does, instead of a secret of the subscription."`
}

func (*subscriptionCreate) Help() string {
	return `The server asks the endpoint to prove that it wants events before it creates the subscription. It refuses private addresses unless its setting webhook-allow permits them. docs/webhooks.md describes the events, the retries and how to verify a signature.

To receive events on a machine that the server cannot reach, use "porchlight listen".

Example:

    porchlight subscription create https://example.com/hook --name "Desk lamps" --group Support
    porchlight subscription create https://example.com/hook --auth basic --auth-username lamps --auth-secret-file password`
}

func (c *subscriptionCreate) Run(s *shell, cl *client.Client) error {
	secret := ""
	authentication, err := c.authentication()
	if err == nil && c.SecretFile != "" {
		secret, err = readSecret("--secret-file", c.SecretFile)
	}
	if err != nil {
		return err
	}
	made, err := cl.CreateSubscription(s.ctx, api.CreateSubscription{
		Name: c.Name, URL: c.URL, Form: c.Form, Events: c.Events, Users: c.User, Groups: c.Group,
		Profile: c.Profile, LatestOnly: c.LatestOnly, Concurrency: c.Concurrency, AppSecret: c.AppSecret, Secret: secret,
		Authentication: authentication,
	})
	if err != nil {
		return err
	}
	return s.printSecret("Created the subscription", &made)
}

// printSecret prints a subscription with its secret, unless the secret of its app signs
// the events.
func (s *shell) printSecret(done string, of *api.Subscription) error {
	if of.Secret == "" {
		return s.print(of, "%s %s. The webhook secret of its app signs the events.\n", done, of.ID)
	}
	return s.print(of, "%s. The secret is shown only once:\n\n  id      %s\n  secret  %s\n", done, of.ID, of.Secret)
}

type subscriptionList struct{ Remote }

func (*subscriptionList) Run(s *shell, cl *client.Client) error {
	return list(s, cl.Subscriptions(s.ctx), "ID\tNAME\tURL\tFORM\tEVENTS\tSTATE", func(x api.Subscription) []string {
		return []string{x.ID, cmp.Or(x.Name, "-"), cmp.Or(x.URL, "-"), x.Form, orAll(x.Events), healthOf(&x)}
	})
}

func orAll(words []string) string {
	if len(words) == 0 {
		return "all"
	}
	return briefly(words)
}

// healthOf says whether the endpoint still proves that it wants events.
func healthOf(x *api.Subscription) string {
	switch {
	case !x.Disabled.IsZero():
		return "disabled"
	case x.Paused:
		return "paused"
	case x.Failures > 0:
		return "validation fails"
	default:
		return "enabled"
	}
}

type subscriptionShow struct {
	Remote
	whichSubscription
}

// whichSubscription is the argument of a command about one subscription.
type whichSubscription struct {
	ID string `arg:"" help:"Id of the subscription, from \"porchlight subscription list\"."`
}

// A shownSubscription is a subscription and the state of its delivery, as --json prints
// it.
type shownSubscription struct {
	api.Subscription
	Delivery *api.DeliveryState `json:"delivery,omitempty"`
}

func (c *subscriptionShow) Run(s *shell, cl *client.Client) error {
	x, err := cl.Subscription(s.ctx, c.ID)
	if err != nil {
		return err
	}
	state, err := cl.DeliveryState(s.ctx, c.ID)
	if err != nil {
		return err
	}
	names := &names{client: cl}
	for i, user := range x.Users {
		x.Users[i] = names.email(s.ctx, user)
	}
	return s.print(shownSubscription{x, state}, "%s", describeSubscription(&x, state))
}

func describeSubscription(x *api.Subscription, state *api.DeliveryState) string {
	lines := [][2]string{
		{"id", x.ID},
		{"name", x.Name},
		{"url", x.URL},
		{"form", x.Form},
		{"events", orAll(x.Events)},
		{"users", strings.Join(x.Users, ", ")},
		{"groups", strings.Join(x.Groups, ", ")},
		{"auth", authShown(&x.Authentication)},
		{"profile", x.Profile},
		{"requests", fmt.Sprintf("up to %d at a time", x.Concurrency)},
		{"created", clock(x.Created)},
		{"validated", clock(x.Validated)},
		{"state", healthOf(x)},
		{"reason", x.Reason},
		{"delivery", describeDelivery(x, state)},
	}
	var b strings.Builder
	for _, line := range lines {
		if line[1] != "" {
			_, _ = fmt.Fprintf(&b, "%-10s  %s\n", line[0], printable(line[1])) // a Builder does not fail
		}
	}
	return b.String()
}

// authShown describes an authentication, whose secrets the server does not show.
func authShown(a *api.Authentication) string {
	switch a.Kind {
	case "none":
		return ""
	case "oauth":
		return "oauth, token URL " + a.TokenURL + ", client id " + a.ClientID
	default:
		return a.Kind + ", " + cmp.Or(a.Username, a.HeaderName)
	}
}

// describeDelivery says how far the delivery is.
func describeDelivery(x *api.Subscription, state *api.DeliveryState) string {
	if state == nil {
		return "by another server"
	}
	var parts []string
	switch {
	case !x.Disabled.IsZero() || x.Paused:
		parts = append(parts, "stopped")
	case state.Down:
		parts = append(parts, "the endpoint is down, next probe "+clock(state.NextProbe))
	case x.URL == "" && !state.Attached:
		parts = append(parts, "no client is connected")
	case state.Behind:
		parts = append(parts, "catching up")
	default:
		parts = append(parts, "up to date")
	}
	if !state.Oldest.IsZero() {
		parts = append(parts, "oldest event to send from "+clock(state.Oldest))
	}
	if state.Pending > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting for a retry", state.Pending))
	}
	if state.Replaying {
		parts = append(parts, "replaying")
	}
	return strings.Join(parts, "; ")
}

type subscriptionUpdate struct {
	Remote
	whichSubscription
	eventChoice
	endpointAuth
	URL         *string `name:"endpoint" placeholder:"URL" help:"Another URL of the endpoint, which the server validates."`
	Name        *string `name:"name" placeholder:"NAME" help:"What the subscription is for."`
	AllEvents   bool    `name:"all-events" help:"Send all types of events."`
	AllUsers    bool    `name:"all-users" help:"Send the events of all users."`
	Profile     *string `name:"retry-profile" placeholder:"durable|zoom" help:"Schedule of retries."`
	LatestOnly  *bool   `name:"latest-only" negatable:"" help:"Drop the retry of an event when a newer one of the same user was sent."`
	Concurrency *int    `name:"concurrency" placeholder:"N" help:"Number of requests to the endpoint at a time."`
}

func (*subscriptionUpdate) Help() string {
	return "--events, --user and --group each replace what was chosen with the same flag before. If --endpoint names another scheme, host or port, the server needs the flags for its authentication again: it does not send stored credentials to another server.\n\nExample:\n\n    porchlight subscription update ID --endpoint https://example.com/hook2 --events presence.changed"
}

func (c *subscriptionUpdate) Run(s *shell, cl *client.Client) error {
	change := c.change()
	var err error
	if change.Authentication, err = c.authentication(); err != nil {
		return err
	}
	if change == (api.UpdateSubscription{}) {
		return &usageError{"nothing to change: add a flag such as --endpoint or --events; see \"porchlight subscription update --help\""}
	}
	x, err := cl.UpdateSubscription(s.ctx, c.ID, change)
	if err != nil {
		return err
	}
	return s.print(x, "Updated the subscription %s\n", x.ID)
}

func (c *subscriptionUpdate) change() api.UpdateSubscription {
	change := api.UpdateSubscription{
		URL: c.URL, Name: c.Name, AllEvents: c.AllEvents, AllUsers: c.AllUsers,
		Profile: c.Profile, LatestOnly: c.LatestOnly, Concurrency: c.Concurrency,
	}
	if len(c.Events) > 0 {
		change.Events = &c.Events
	}
	if len(c.User) > 0 {
		change.Users = &c.User
	}
	if len(c.Group) > 0 {
		change.Groups = &c.Group
	}
	return change
}

type subscriptionPause struct {
	Remote
	whichSubscription
}

func (c *subscriptionPause) Run(s *shell, cl *client.Client) error {
	x, err := cl.PauseSubscription(s.ctx, c.ID)
	if err != nil {
		return err
	}
	return s.print(x, "Paused the subscription %s. Resume it before the log's retention is over, or it misses events.\n", x.ID)
}

type subscriptionResume struct {
	Remote
	whichSubscription
}

func (c *subscriptionResume) Run(s *shell, cl *client.Client) error {
	x, err := cl.ResumeSubscription(s.ctx, c.ID)
	if err != nil {
		return err
	}
	return s.print(x, "Resumed the subscription %s\n", x.ID)
}

type subscriptionDelete struct {
	Remote
	confirmation
	whichSubscription
}

func (*subscriptionDelete) Help() string {
	return "Events that were not delivered yet are not sent any more.\n\nExample:\n\n    porchlight subscription delete ID"
}

func (c *subscriptionDelete) Run(s *shell, cl *client.Client) error {
	if err := c.confirm(s, "delete the subscription %s and the events that wait for its endpoint", c.ID); err != nil {
		return err
	}
	return s.printDone("Deleted", c.ID, cl.DeleteSubscription(s.ctx, c.ID))
}

// errNotAccepted makes the exit code of a test that fails. What went wrong was printed.
var errNotAccepted = errors.New("the endpoint did not accept the event")

type subscriptionTest struct {
	Remote
	whichSubscription
	Event string `name:"event" placeholder:"TYPE" help:"Type of the event. By default the first that the subscription has."`
}

func (*subscriptionTest) Help() string {
	return "The sample is signed and sent like an event, once. The command exits with code 1 if the endpoint does not accept it.\n\nExample:\n\n    porchlight subscription test ID"
}

func (c *subscriptionTest) Run(s *shell, cl *client.Client) error {
	attempt, err := cl.TestSubscription(s.ctx, c.ID, c.Event)
	if err != nil {
		return err
	}
	if err := s.print(attempt, "%s  %s in %s\n", attempt.Type, resultOf(&attempt), milliseconds(attempt.DurationMS)); err != nil {
		return err
	}
	if attempt.Reason != "" {
		return errNotAccepted
	}
	return nil
}

type subscriptionDeliveries struct {
	Remote
	whichSubscription
	Failed bool `name:"failed" help:"Only attempts that failed."`
	Limit  int  `name:"limit" default:"50" placeholder:"N" help:"Maximum number of attempts to list."`
}

func (*subscriptionDeliveries) Help() string {
	return "The server keeps the attempts of 7 days, at most 10,000 of each subscription.\n\nExample:\n\n    porchlight subscription deliveries ID --failed --limit 20"
}

func (c *subscriptionDeliveries) Run(s *shell, cl *client.Client) error {
	names := &names{client: cl}
	attempts := withNames(names, firstOf(c.Limit, cl.Deliveries(s.ctx, c.ID, c.Failed)), func(a *api.Delivery) string { return a.User })
	return list(s, attempts, "TIME\tEVENT\tUSER\tATTEMPT\tTOOK\tRESULT\tNEXT\tID", func(a api.Delivery) []string {
		return []string{
			clock(a.Started), a.Type, names.email(s.ctx, a.User), strconv.Itoa(a.Attempt), milliseconds(a.DurationMS), resultOf(&a), clock(a.Next), a.Event,
		}
	})
}

// firstOf limits a sequence.
func firstOf[T any](n int, items iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		left := n
		for item, err := range items {
			if left--; left < 0 || !yield(item, err) {
				return
			}
		}
	}
}

func milliseconds(n int) string {
	if n == 0 {
		return "<1ms"
	}
	return (time.Duration(n) * time.Millisecond).String()
}

// resultOf is what came of an attempt.
func resultOf(a *api.Delivery) string {
	return cmp.Or(a.Reason, strconv.Itoa(a.Status))
}

type subscriptionReplay struct {
	Remote
	whichSubscription
	From string `name:"from" required:"" placeholder:"TIME" help:"Where to begin: an age such as 2h, a time such as 2026-03-01T10:00:00Z, a position from \"subscription deliveries --json\", or a cursor."`
}

func (*subscriptionReplay) Help() string {
	return "The events have the same ids as before, so that receivers recognise those that they have.\n\nExample:\n\n    porchlight subscription replay ID --from 2h"
}

func (c *subscriptionReplay) Run(s *shell, cl *client.Client) error {
	replay, err := cl.ReplaySubscription(s.ctx, c.ID, c.start(time.Now()))
	if err != nil {
		return err
	}
	if replay.From == replay.To {
		return s.print(replay, "Nothing to replay: nothing has changed since %s\n", c.From)
	}
	return s.print(replay, "Replaying the log from position %d to %d\n", replay.From, replay.To)
}

// start turns an age into a time.
func (c *subscriptionReplay) start(now time.Time) string {
	age, err := config.ParseDuration(c.From)
	if err != nil || c.From == "0" {
		return c.From
	}
	return now.Add(-age).UTC().Format(time.RFC3339Nano)
}

type subscriptionRotate struct {
	Remote
	whichSubscription
	Overlap time.Duration `name:"overlap" default:"24h" placeholder:"TIME" help:"How long the old secret signs as well."`
}

func (*subscriptionRotate) Help() string {
	return "Until the overlap ends, events have a signature of both secrets, so that receivers can change theirs without losing events.\n\nExample:\n\n    porchlight subscription rotate-secret ID --overlap 1h"
}

func (c *subscriptionRotate) Run(s *shell, cl *client.Client) error {
	x, err := cl.RotateSubscriptionSecret(s.ctx, c.ID, c.Overlap)
	if err != nil {
		return err
	}
	return s.printSecret("Replaced the secret", &x)
}

type subscriptionEnable struct {
	Remote
	whichSubscription
}

func (c *subscriptionEnable) Run(s *shell, cl *client.Client) error {
	x, err := cl.EnableSubscription(s.ctx, c.ID)
	if err != nil {
		return err
	}
	return s.print(x, "Enabled the subscription %s\n", x.ID)
}
