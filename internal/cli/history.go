package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

type statusHistory struct {
	whichUser
	Day     string `name:"day" placeholder:"DATE" help:"Show this day in detail, such as 2026-03-29 or today."`
	From    string `name:"from" placeholder:"DATE" help:"First day. By default six days before the last one; with --changes and --export, the oldest."`
	To      string `name:"to" placeholder:"DATE" help:"Last day (default today)."`
	Zone    string `name:"zone" placeholder:"ZONE" help:"Time zone of the days, such as Europe/Berlin. By default that of this machine."`
	Changes bool   `name:"changes" help:"List the changes, newest first, instead of a timeline."`
	All     bool   `name:"all" help:"With --changes or --export, include changes of which nothing was shown, such as renewed sessions."`
	Export  string `name:"export" enum:",csv,jsonl" default:"" help:"Print all changes in this format, newest first."`
	Output  string `name:"output" short:"o" placeholder:"FILE" help:"Write the export to this file (default standard output)."`
	Quiet   bool   `name:"quiet" short:"q" help:"Do not show the progress of an export."`
}

func (*statusHistory) Help() string {
	return `Shows what the user's status was, as far as the server keeps it and the account shows it. Only the user and administrators may see it.

A line of the timeline is a day of the time zone, from 0 to 24 o'clock on its clocks. Where clocks skip an hour, the line has a hole. --json prints the time in each status and its spans.

Example:

    porchlight status history grace@example.com
    porchlight status history grace@example.com --day today
    porchlight status history --from 2026-03-01 --to 2026-03-31 --zone Europe/Berlin
    porchlight status history grace@example.com --export csv --output grace.csv`
}

func (c *statusHistory) Run(s *shell) error {
	zone, err := c.location(s)
	if err != nil {
		return err
	}
	if err := c.checkFlags(s, zone); err != nil {
		return err
	}
	cl, err := c.connect(s)
	switch {
	case err != nil:
		return err
	case c.Export != "":
		return c.export(s, cl, zone)
	case c.Changes:
		return c.list(s, cl, zone)
	default:
		return c.timeline(s, cl, zone)
	}
}

// checkFlags refuses invalid and useless flags, and replaces "today".
func (c *statusHistory) checkFlags(s *shell, zone *time.Location) error {
	for _, only := range []string{"output", "quiet"} {
		if c.Export == "" && s.given(only) {
			return &usageError{fmt.Sprintf("--%s needs --export", only)}
		}
	}
	if c.All && c.Export == "" && !c.Changes {
		return &usageError{"--all needs --changes or --export"}
	}
	for _, pair := range [][2]string{{"day", "from"}, {"day", "to"}, {"changes", "export"}} {
		if s.given(pair[0]) && s.given(pair[1]) {
			return &usageError{fmt.Sprintf("--%s and --%s cannot be used together", pair[0], pair[1])}
		}
	}
	for name, date := range map[string]*string{"day": &c.Day, "from": &c.From, "to": &c.To} {
		if *date == "today" {
			*date = time.Now().In(zone).Format(time.DateOnly)
		}
		if _, err := time.Parse(time.DateOnly, *date); *date != "" && err != nil {
			return &usageError{fmt.Sprintf("--%s: %q is not a date: expected a form such as 2026-03-29, or today", name, *date)}
		}
	}
	if c.Day != "" {
		c.From, c.To = c.Day, c.Day
	}
	return nil
}

// location is the zone of the days.
func (c *statusHistory) location(s *shell) (*time.Location, error) {
	name := cmp.Or(c.Zone, s.localZone())
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, &usageError{fmt.Sprintf("--zone: %q is not a time zone: expected a name such as Europe/Berlin", name)}
	}
	return zone, nil
}

// localZone is the name of the machine's time zone, or UTC if it has none.
func (s *shell) localZone() string {
	const database = "zoneinfo" + string(filepath.Separator)
	name := strings.TrimPrefix(s.getenv("TZ"), ":")
	if name == "" {
		target, err := os.Readlink("/etc/localtime")
		if err != nil {
			return "UTC"
		}
		name = target
	}
	if _, after, ok := strings.Cut(name, database); ok {
		name = after
	}
	if _, err := time.LoadLocation(name); err != nil || name == "" {
		return "UTC"
	}
	return name
}

// bounds are the instants of the first and the last day; zero: not given.
func (c *statusHistory) bounds(zone *time.Location) (from, to time.Time) {
	midnight := func(date string, days int) time.Time {
		t, err := time.Parse(time.DateOnly, date)
		if err != nil {
			return time.Time{} // it is empty
		}
		return time.Date(t.Year(), t.Month(), t.Day()+days, 0, 0, 0, 0, zone)
	}
	return midnight(c.From, 0), midnight(c.To, 1)
}

func (c *statusHistory) options(zone *time.Location) client.HistoryOptions {
	from, to := c.bounds(zone)
	return client.HistoryOptions{From: from, To: to, All: c.All}
}

// list prints the changes as a table.
func (c *statusHistory) list(s *shell, cl *client.Client, zone *time.Location) error {
	names := &names{client: cl}
	changes := withNames(names, cl.History(s.ctx, c.User, c.options(zone)), func(e *api.HistoryEntry) string {
		if e.Actor == nil {
			return ""
		}
		return e.Actor.User
	})
	return list(s, changes, "TIME\tSTATUS\tNOTE\tCAUSE\tBY", func(e api.HistoryEntry) []string {
		status, note := shownBy(&e)
		at := "-"
		if !e.Time.IsZero() {
			at = e.Time.In(zone).Format(time.DateTime)
		}
		return []string{at, status, cmp.Or(note, "-"), causeText(&e), actorText(s, names, &e)}
	})
}

// shownBy is what a change led to.
func shownBy(e *api.HistoryEntry) (status, note string) {
	switch {
	case e.Damaged:
		return "(unreadable)", ""
	case e.Erased || e.After == nil:
		return "(erased)", ""
	case e.Gap:
		return string(e.After.Status) + " (earlier changes are missing)", e.After.Note
	default:
		return string(e.After.Status), e.After.Note
	}
}

func causeText(e *api.HistoryEntry) string {
	text := strings.ReplaceAll(cmp.Or(e.Cause, "-"), "_", " ")
	switch {
	case e.Claim == "manual" && e.Source == "manual":
		return text + " manual"
	case e.Claim != "":
		return fmt.Sprintf("%s %s (%s)", text, e.Claim, e.Source)
	case e.Client != nil:
		return fmt.Sprintf("%s (%s)", text, e.Client.Type)
	default:
		return text
	}
}

func actorText(s *shell, names *names, e *api.HistoryEntry) string {
	switch {
	case e.Actor == nil:
		return "-"
	case e.Actor.User != "":
		return names.email(s.ctx, e.Actor.User)
	default:
		return "app " + names.app(s.ctx, e.Actor.App)
	}
}

// timeline draws the days, and lists what was shown if there is only one.
func (c *statusHistory) timeline(s *shell, cl *client.Client, zone *time.Location) error {
	summary, err := cl.HistorySummary(s.ctx, c.User, client.SummaryOptions{From: c.From, To: c.To, Zone: zone.String(), Spans: true})
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(summary)
	}
	width := 80
	if size, ok := s.screen(); ok {
		width = size().width
	}
	t := timeline{zone: zone, width: width, colour: s.isTerminal(s.stdout)}
	text := fmt.Sprintf("%s%s\n\n", cmp.Or(s.whose(cl, c.User), printable(c.User)+": "), zone) + t.draw(&summary)
	if c.Day != "" {
		text += "\n" + t.detail(&summary)
	}
	_, err = fmt.Fprint(s.stdout, text)
	return err
}
