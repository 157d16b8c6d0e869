package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// statusCommands are "porchlight status …".
type statusCommands struct {
	List    statusList    `cmd:"" help:"Show everybody's status."`
	Get     statusGet     `cmd:"" help:"Show the status of one or more users."`
	Set     statusSet     `cmd:"" help:"Set a user's status."`
	Clear   statusClear   `cmd:"" help:"Remove the status that was set." example:"status clear"`
	Explain statusExplain `cmd:"" help:"Explain a status and the changes that will follow, or a past status."`
	History statusHistory `cmd:"" help:"Show a user's past statuses as a timeline, list them, or export them."`
	Watch   statusWatch   `cmd:"" help:"Show statuses and their changes until interrupted."`
	Wait    statusWait    `cmd:"" help:"Wait until a user reaches a status."`
}

type statusList struct {
	Remote
	Status []string `name:"status" placeholder:"STATUS" words:"statuses" help:"Show only users with this status. Repeat the flag or separate statuses with commas."`
	Group  string   `name:"group" placeholder:"NAME" help:"Show only the members of this group."`
}

func (*statusList) Help() string {
	return `Lists the account's active users by name. You see of each what the user's visibility rules allow.

Example:

    porchlight status list --status available,away
    porchlight status list --group Support`
}

func (c *statusList) Run(s *shell) error {
	statuses, err := parseStatuses(c.Status)
	if err != nil {
		return err
	}
	if s.given("group") && c.Group == "" {
		return &usageError{"--group is empty"}
	}
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	found, err := collect(cl.List(s.ctx, client.ListOptions{Status: statuses, Group: c.Group}))
	if err != nil {
		return err
	}
	if len(found) == 0 && !s.json {
		_, _ = fmt.Fprintf(s.stderr, "porchlight: nobody matches%s\n", c.filters(statuses)) // informational
	}
	slices.SortFunc(found, func(a, b api.UserPresence) int {
		return cmp.Or(cmp.Compare(a.DisplayName, b.DisplayName), cmp.Compare(a.Email, b.Email))
	})
	return table(s, found, "NAME\tE-MAIL\t"+presenceHeader, func(u api.UserPresence) []string {
		p := api.Presence{Status: u.Status, Note: u.Note, Since: u.Since, Until: u.Until}
		return append([]string{cmp.Or(u.DisplayName, "-"), u.Email}, presenceCells(&p)...)
	})
}

// filters names the flags that limit the list.
func (c *statusList) filters(statuses []api.Status) string {
	text := ""
	if len(statuses) > 0 {
		text += " --status " + joined(statuses, ",")
	}
	if c.Group != "" {
		text += fmt.Sprintf(" --group %q", c.Group)
	}
	return text
}

const presenceHeader = "STATUS\tNOTE\tSINCE\tUNTIL"

func presenceCells(p *api.Presence) []string {
	return []string{string(p.Status), cmp.Or(p.Note, "-"), clock(p.Since), clock(p.Until)}
}

type statusGet struct {
	Remote
	Users []string `arg:"" optional:"" default:"me" name:"user" help:"Ids, e-mail addresses or \"me\" (default)."`
}

func (*statusGet) Help() string {
	return `With --json the output is an object for one user, and a list for several users.

Example:

    porchlight status get grace@example.com
    porchlight status get grace@example.com ada@example.com`
}

func (c *statusGet) Run(s *shell, cl *client.Client) error {
	if len(c.Users) > 1 {
		return c.several(s, cl)
	}
	p, err := cl.Presence(s.ctx, c.Users[0])
	if err != nil {
		return err
	}
	return s.print(p, "%s%s\n", s.whose(cl, c.Users[0]), s.presence(&p))
}

// whose names the user that "me" is, before the status: with the token of an app, that is
// the account's owner.
func (s *shell) whose(cl *client.Client, user string) string {
	if user != "me" || s.json {
		return ""
	}
	me, err := cl.Me(s.ctx)
	if err != nil {
		return "" // the command itself succeeded
	}
	return printable(cmp.Or(me.DisplayName, me.Email)) + ": "
}

// several prints the users in the order of the command line.
func (c *statusGet) several(s *shell, cl *client.Client) error {
	found, err := cl.Query(s.ctx, c.Users)
	if err != nil {
		return err
	}
	if err := table(s, found.Presences, "USER\t"+presenceHeader, func(p api.Presence) []string {
		return append([]string{cmp.Or(p.AskedAs, p.User)}, presenceCells(&p)...)
	}); err != nil {
		return err
	}
	if len(found.Unknown) > 0 {
		return &advice{errors.New("unknown users"), "no such user: " + printable(strings.Join(found.Unknown, ", ")), hints[&api.NoUser].action}
	}
	return nil
}

// presence formats a presence on one line.
func (s *shell) presence(p *api.Presence) string {
	text := s.coloured(p.Status)
	if p.Note != "" {
		text += fmt.Sprintf("  %q", p.Note)
	}
	if !p.Since.IsZero() {
		text += "  since " + clock(p.Since)
	}
	if !p.Until.IsZero() {
		text += "  until " + clock(p.Until)
	}
	return text
}

type statusSet struct {
	Remote
	Status string        `arg:"" words:"settable" help:"available, away, busy, do_not_disturb (or dnd), in_calendar_event, in_meeting, presenting, on_call or out_of_office."`
	User   string        `arg:"" optional:"" default:"me" help:"Id, e-mail address or \"me\" (default)."`
	Note   string        `name:"note" placeholder:"TEXT" help:"Text to show with the status, at most 280 characters."`
	Lasts  time.Duration `name:"for" xor:"end" placeholder:"TIME" help:"How long the status lasts, such as 30m."`
	Until  string        `name:"until" xor:"end" placeholder:"TIME" help:"When the status expires: an RFC 3339 time, or the next HH:MM."`
}

func (*statusSet) Help() string {
	return `Without --for or --until, do_not_disturb lasts 20 minutes, busy and in_calendar_event last 24 hours, and in_meeting, presenting and on_call last for the server's meeting-timeout (24 hours by default). "available" removes the status that was set and overrides current calendar and schedule claims.

Example:

    porchlight status set busy --note "Writing" --for 90m`
}

func (c *statusSet) Run(s *shell) error {
	status, err := parseStatus(c.Status, settable, "a status that you can set")
	if err != nil {
		return err
	}
	claim := api.SetClaim{Source: "manual", Status: status, Note: c.Note}
	if c.Lasts > 0 {
		claim.DurationSeconds = wholeSeconds(c.Lasts)
	}
	if c.Until != "" {
		until, err := parseUntil(c.Until, time.Now())
		if err != nil {
			return err
		}
		claim.Until = api.At(until)
	}
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	result, err := cl.SetClaim(s.ctx, c.User, "manual", claim)
	if err != nil {
		return err
	}
	text := s.whose(cl, c.User) + s.presence(&result.Presence)
	if result.Presence.Status != status && result.Why != "" {
		text += fmt.Sprintf("\nThe displayed status is not %s: the manual claim %s. See \"porchlight status explain %s\".", status, result.Why, c.User)
		if result.Presence.Status == api.Offline {
			text += fmt.Sprintf(" To sign in, open %s/me, or run \"porchlight session keep %s\".", strings.TrimSuffix(s.target.URL, "/"), c.User)
		}
	}
	return s.print(result, "%s\n", text)
}

// settable are the statuses that a user may choose.
var settable = []api.Status{
	api.Available, api.Away, api.Busy, api.DoNotDisturb, api.InCalendarEvent, api.InMeeting, api.Presenting, api.OnCall, api.OutOfOffice,
}

// parseStatus reads a status that is one of allowed. An error calls them what.
func parseStatus(text string, allowed []api.Status, what string) (api.Status, error) {
	word := api.Status(strings.ReplaceAll(strings.ToLower(text), "-", "_"))
	if word == "dnd" {
		word = api.DoNotDisturb
	}
	if slices.Contains(allowed, word) {
		return word, nil
	}
	return "", &usageError{fmt.Sprintf("%q is not %s: use one of %s", text, what, joined(allowed, ", "))}
}

// joined lists statuses in a text.
func joined(statuses []api.Status, by string) string {
	words := make([]string, len(statuses))
	for i, status := range statuses {
		words[i] = string(status)
	}
	return strings.Join(words, by)
}

// wholeSeconds rounds a duration up to seconds, the unit of requests.
func wholeSeconds(d time.Duration) *int64 {
	seconds := int64((d + time.Second - 1) / time.Second)
	return &seconds
}

// parseUntil reads an instant: RFC 3339, or the next HH:MM.
func parseUntil(text string, now time.Time) (time.Time, error) {
	if at, err := api.ParseTime(text); err == nil {
		return at, nil
	}
	clock, err := time.Parse("15:04", text)
	if err != nil {
		return time.Time{}, &usageError{fmt.Sprintf("--until: %q is not a time: expected a form such as 2026-03-01T09:30:00Z or 17:30", text)}
	}
	now = now.Local()
	at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, time.Local)
	if !at.After(now) {
		at = at.AddDate(0, 0, 1)
	}
	return at, nil
}

type statusClear whichUser

func (c *statusClear) Run(s *shell, cl *client.Client) error {
	if err := cl.EndClaim(s.ctx, c.User, "manual"); err != nil {
		return err
	}
	return (&statusGet{c.Remote, []string{c.User}}).Run(s, cl)
}

type statusExplain struct {
	whichUser
	At string `name:"at" placeholder:"TIME" help:"Explain what was shown at this time: an RFC 3339 time, YYYY-MM-DD HH:MM, or the last HH:MM."`
}

func (*statusExplain) Help() string {
	return `With --at, the command shows what the status was then and which change led to it. Claims and sessions of that time that did not decide are not kept.

Example:

    porchlight status explain grace@example.com
    porchlight status explain grace@example.com --at 09:30`
}

func (c *statusExplain) Run(s *shell) error {
	var at time.Time
	var err error
	if s.given("at") {
		if at, err = parsePast(c.At, time.Now()); err != nil {
			return err
		}
	}
	cl, err := c.connect(s)
	if err != nil {
		return err
	}
	if !at.IsZero() {
		return c.past(s, cl, at)
	}
	x, err := cl.Explain(s.ctx, c.User)
	if err != nil {
		return err
	}
	return s.print(x, "%s", s.explanation(&x))
}

func (c *statusExplain) past(s *shell, cl *client.Client, at time.Time) error {
	x, err := cl.ExplainAt(s.ctx, c.User, at)
	if err != nil {
		return err
	}
	p := api.Presence{Status: x.Status, Note: x.Note, Since: x.Since, Until: x.Until}
	text := fmt.Sprintf("At %s: %s\n", clock(x.At), s.presence(&p))
	if x.Change == nil {
		return s.print(x, "%s%s\n", text, x.Because)
	}
	names := &names{client: cl}
	return s.print(x, "%s%s\nCause: %s. By: %s.\n", text, localTimes(x.Because, x.Change.Time), causeText(x.Change), actorText(s, names, x.Change))
}

// parsePast reads an instant of the past: RFC 3339, a local date and time, or the last
// HH:MM.
func parsePast(text string, now time.Time) (time.Time, error) {
	if at, err := api.ParseTime(text); err == nil {
		return at, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	clock, err := time.Parse("15:04", text)
	if err != nil {
		return time.Time{}, &usageError{fmt.Sprintf("--at: %q is not a time: expected a form such as 2026-03-01T09:30:00Z, \"2026-03-01 09:30\" or 09:30", text)}
	}
	now = now.Local()
	at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, time.Local)
	if at.After(now) {
		at = at.AddDate(0, 0, -1)
	}
	return at, nil
}

// localTimes replaces the given times in a text of the server by local ones.
func localTimes(text string, times ...api.Time) string {
	for _, t := range times {
		if !t.IsZero() {
			text = strings.ReplaceAll(text, t.String(), clock(t))
		}
	}
	return text
}

// explanation formats an explanation as text.
func (s *shell) explanation(x *api.Explanation) string {
	var b strings.Builder
	p := api.Presence{Status: x.Status, Note: x.Note, Since: x.Since, Until: x.Until}
	fmt.Fprintf(&b, "%s\n%s\n", s.presence(&p), x.Because)
	if len(x.Claims) > 0 {
		b.WriteString("\nClaims, in order of precedence:\n")
	}
	for _, c := range x.Claims {
		mark := " "
		if c.Decides {
			mark = "*"
		}
		fmt.Fprintf(&b, "%s rule %d  %s  %s (%s)", mark, c.Row, c.Status, c.ID, c.Source)
		if c.Note != "" {
			fmt.Fprintf(&b, "  %q", c.Note)
		}
		fmt.Fprintf(&b, "\n            %s\n", localTimes(c.Why, c.Since, c.Until))
	}
	if len(x.Sessions) > 0 {
		b.WriteString("\nSessions:\n")
	}
	for _, session := range x.Sessions {
		fmt.Fprintf(&b, "  %s  %s\n", session.ClientType, localTimes(session.Why, session.IdleAt, session.EndsAt))
	}
	if x.OwnNote != nil {
		fmt.Fprintf(&b, "\nThe user's own note: %q\n", x.OwnNote.Text)
	}
	b.WriteString("\nNext changes:\n")
	if len(x.Next) == 0 {
		b.WriteString("  none\n")
	}
	for _, step := range x.Next {
		fmt.Fprintf(&b, "  %s  %s: %s\n", clock(step.At), s.coloured(step.Status), step.Why)
	}
	fmt.Fprintf(&b, "\nThe rules: %s/help/concepts#precedence\n", strings.TrimSuffix(s.target.URL, "/"))
	return b.String()
}
