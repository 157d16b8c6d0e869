package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// Histories are for the user and administrators: they show what visibility may hide.
func (a *API) historyRoutes() []route {
	return []route{
		{"GET", "/v1/users/{user}/history", needsScope(auth.PresenceRead), a.readHistory},
		{"GET", "/v1/users/{user}/history/summary", needsScope(auth.PresenceRead), a.summarizeHistory},
	}
}

var errHistoryOff = errors.New("the account's administrators have switched off the history of users")

// A pastUser is a user whose history the caller may read, as far back as the account shows
// it.
type pastUser struct {
	store.User
	since time.Time // zero: no limit
}

func (a *API) pastUser(c *call) (pastUser, error) {
	u, err := a.userFor(c, auth.PresenceRead)
	if err == nil {
		err = a.checkExists(c, u)
	}
	if err != nil {
		return pastUser{}, err
	}
	account, err := a.Directory.Account(c.r.Context(), u.Account)
	past := pastUser{User: u}
	switch days := account.HistoryDays; {
	case err != nil:
	case days == 0:
		err = errHistoryOff
	case days < directory.MaxHistoryDays:
		past.since = a.Clock().UTC().Truncate(time.Minute).AddDate(0, 0, -days)
	}
	return past, err
}

// readHistory serves GET /v1/users/{user}/history.
func (a *API) readHistory(c *call) error {
	q, cost, err := c.historyQuery()
	if err != nil {
		return err
	}
	past, err := a.pastUser(c)
	if err != nil {
		return err
	}
	q.User = past.User
	if past.ID != c.p.User {
		a.Audit.Repeated(c.p.Account, &audit.Event{Action: "history.read", Target: "user/" + string(past.ID), By: wire.Actor(c.w, c.p)}, audit.EachHour)
	}
	if q.From.Before(past.since) {
		q.From = past.since
	}
	var page history.Page
	err = a.withTurn(c, cost, func() (err error) {
		page, err = a.Histories.Page(c.r.Context(), q)
		return refineTooMany(err)
	})
	if err != nil {
		return err
	}
	list := &api.History{Entries: make([]api.HistoryEntry, len(page.Entries)), Older: pageMark(page.Older), Newer: pageMark(page.Newer), Since: api.At(past.since)}
	for i := range page.Entries {
		list.Entries[i] = asHistoryEntry(&page.Entries[i])
	}
	return c.writeDigested(list)
}

// historyQuery reads the parameters of a page, and returns how many entries the read
// counts as.
func (c *call) historyQuery() (q history.Query, cost int, err error) {
	values, err := c.query("limit", "before", "after", "from", "to", "changes")
	if err != nil {
		return q, 0, err
	}
	pg, err := PageOf(values, "after")
	if err != nil {
		return q, 0, err
	}
	q.Limit, cost = pg.Limit, pg.Limit
	if q.Before, err = parsePageMark(values.Get("before")); err != nil {
		return q, 0, err
	}
	if q.After, err = parsePageMark(pg.After); err != nil {
		return q, 0, err
	}
	if q.After != 0 {
		cost = quota.LightRead + 1 // it reads from the newest entry
	}
	switch values.Get("changes") {
	case "", "shown":
	case "all":
		q.All = true
	default:
		return q, 0, &presence.FieldError{Field: "changes", Reason: `must be "shown" or "all"`}
	}
	if values.Has("before") && values.Has("after") {
		return q, 0, &presence.FieldError{Field: "before", Reason: "cannot be given together with after"}
	}
	q.From, q.To, err = timeRange(values)
	return q, cost, err
}

// timeRange reads from and to.
func timeRange(values url.Values) (from, to time.Time, err error) {
	if from, err = timeParameter(values, "from"); err != nil {
		return from, to, err
	}
	if to, err = timeParameter(values, "to"); err == nil && !to.IsZero() && !from.Before(to) {
		err = &presence.FieldError{Field: "to", Reason: "must be after from"}
	}
	return from, to, err
}

func timeParameter(values url.Values, name string) (time.Time, error) {
	if !values.Has(name) {
		return time.Time{}, nil
	}
	t, err := api.ParseTime(values.Get(name))
	if err != nil {
		return t, &presence.FieldError{Field: name, Reason: `must be an RFC 3339 time, as in "2026-03-01T09:30:00Z"`}
	}
	return t, nil
}

// A page mark is a position of the log, which clients need not understand.
const markBase = 36

func pageMark(at store.Position) string {
	if at == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(at), markBase)
}

func parsePageMark(text string) (store.Position, error) {
	if text == "" {
		return 0, nil
	}
	at, err := strconv.ParseUint(text, markBase, 64)
	if err != nil || at == 0 {
		return 0, errPageCursor
	}
	return store.Position(at), nil
}

// refineTooMany makes the limit of a read an error of its range.
func refineTooMany(err error) error {
	if errors.Is(err, history.ErrTooMany) {
		return &presence.FieldError{Field: "from", Reason: fmt.Sprintf("must be later: the log has more than %d entries of the user since then", history.MaxEntries)}
	}
	return err
}

func asHistoryEntry(e *store.Entry) api.HistoryEntry {
	wired := api.HistoryEntry{
		ID: pageMark(e.At), Time: api.At(e.Time), Revision: uint64(e.Revision), Cause: e.By.Cause.String(),
		Source: string(e.Origin.Source), Claim: string(e.Origin.Claim), Gap: e.Gap, Erased: e.Erased, Damaged: e.Damaged != nil,
	}
	wired.Actor, wired.Client = asActor(e.By.Actor), asClient(&e.Origin.Client)
	if !wired.Erased && !wired.Damaged {
		wired.Before, wired.After = asHistoryState(&e.Before, &e.UserBefore), asHistoryState(&e.After, &e.UserAfter)
	}
	return wired
}

// asActor is nil if the server itself acted.
func asActor(a store.Actor) *api.HistoryActor {
	if a == (store.Actor{}) {
		return nil
	}
	return &api.HistoryActor{User: string(a.User), App: string(a.App)}
}

// asClient is nil if no client was involved.
func asClient(c *presence.Client) *api.HistoryClient {
	if c.Type == "" {
		return nil
	}
	return &api.HistoryClient{Type: string(c.Type), Version: c.Version, Status: api.Status(c.Status.String())}
}

func asHistoryState(p *presence.Presence, facts *store.UserFacts) *api.HistoryState {
	return &api.HistoryState{
		Status: api.Status(p.Status.String()), Note: p.Note, Since: at(p.Since), Until: at(p.Until), OwnNote: facts.Note, UserState: stateWord(facts.State),
	}
}

func stateWord(s presence.UserState) string {
	switch s {
	case presence.UserDeactivated:
		return "deactivated"
	case presence.UserDeleted:
		return "deleted"
	default:
		return "active"
	}
}

// explainPast serves presence/explain with ?at=: what was shown then, and by which change.
func (a *API) explainPast(c *call, text string) error {
	t, err := timeParameter(url.Values{"at": {text}}, "at")
	if err != nil {
		return err
	}
	past, err := a.pastUser(c)
	switch {
	case err != nil:
		return err
	case t.After(a.Clock()):
		return &presence.FieldError{Field: "at", Reason: "must not be in the future"}
	case t.Before(past.since):
		return &presence.FieldError{Field: "at", Reason: "must not be before " + api.At(past.since).String() + ": the account shows no older history"}
	}
	var shown history.Shown
	err = a.withTurn(c, quota.LightRead+1, func() (err error) {
		shown, err = a.Histories.At(c.r.Context(), past.User, t)
		return refineTooMany(err)
	})
	if err != nil {
		return err
	}
	return c.writeDigested(asPastExplanation(past.ID, t, &shown))
}

func asPastExplanation(u presence.UserID, t time.Time, shown *history.Shown) *api.Explanation {
	p := &shown.Entry.After
	wired := &api.Explanation{
		User: string(u), At: api.At(t), Status: api.Status(p.Status.String()), Note: p.Note,
		Since: at(p.Since), Until: at(p.Until), Revision: uint64(shown.Entry.Revision), Because: becauseOf(shown.Change),
		Sessions: []api.ExplainedSession{}, Claims: []api.ExplainedClaim{}, Next: []api.Step{},
	}
	if text := shown.Entry.UserAfter.Note; text != "" {
		wired.OwnNote = &api.Note{Text: text}
	}
	if shown.Change != nil {
		change := asHistoryEntry(shown.Change)
		wired.Change = &change
	}
	return wired
}

// becauseOf says which change led to what was shown.
func becauseOf(e *store.Entry) string {
	if e == nil {
		return "The log no longer has the change that led to this presence."
	}
	return fmt.Sprintf("At %s, %s. The log keeps the changes and what was shown, but not the claims and sessions that did not decide.",
		api.At(e.Time), happened(e))
}

func happened(e *store.Entry) string {
	claim := fmt.Sprintf("the claim %q (%s)", e.Origin.Claim, e.Origin.Source)
	client := fmt.Sprintf("a %s client", e.Origin.Client.Type)
	switch e.By.Cause {
	case store.CauseSignIn:
		return client + " signed in"
	case store.CauseSignOut:
		return client + " signed out"
	case store.CauseRefresh:
		return client + " reported activity or idleness"
	case store.CauseClaim:
		return claim + " was made"
	case store.CauseEndClaim:
		return claim + " was withdrawn"
	case store.CauseNote:
		return "the user's own note was changed"
	case store.CauseTime:
		return expired(e, claim, client)
	case store.CauseCreated:
		return "the user was created"
	case store.CauseActivated:
		return "the user was activated"
	case store.CauseDeactivated:
		return "the user was deactivated"
	default:
		return "the user's record was changed (" + e.By.Cause.String() + ")"
	}
}

// expired says what the passing of time changed.
func expired(e *store.Entry, claim, client string) string {
	switch {
	case e.Origin.Claim != "":
		return claim + " began or expired"
	case e.Origin.Client.Type != "":
		return "the session of " + client + " became idle or expired"
	default:
		return "something expired"
	}
}

// summarizeHistory serves GET /v1/users/{user}/history/summary.
func (a *API) summarizeHistory(c *call) error {
	q, err := c.query("from", "to", "zone", "spans")
	if err != nil {
		return err
	}
	zone, err := zoneOf(q)
	if err != nil {
		return err
	}
	now := a.Clock().Truncate(time.Millisecond)
	from, to, err := dateRange(q, history.DateOf(now.In(zone)))
	if err != nil {
		return err
	}
	spans, err := Flag(q, "spans")
	if err != nil {
		return err
	}
	past, err := a.pastUser(c)
	if err != nil {
		return err
	}
	days, err := a.daysOf(c, &past, from.Start(zone), earlier(to.Add(1).Start(zone), now), zone)
	if err != nil {
		return err
	}
	return c.writeDigested(asSummary(&past, zone, days, spans))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// daysOf reads the days between two instants.
func (a *API) daysOf(c *call, past *pastUser, from, to time.Time, zone *time.Location) (days []history.Day, err error) {
	if from.Before(past.since) {
		from = past.since
	}
	if !from.Before(to) {
		return nil, nil
	}
	err = a.withTurn(c, quota.LightRead+1, func() error {
		spans, err := a.Histories.Statuses(c.r.Context(), past.User, from, to)
		days = history.Days(spans, zone)
		return refineTooMany(err)
	})
	return days, err
}

// maxZoneName is longer than any name of a zone.
const maxZoneName = 64

func zoneOf(q url.Values) (*time.Location, error) {
	name := q.Get("zone")
	if name == "" {
		return time.UTC, nil
	}
	var zone *time.Location
	err := errors.New("not a zone")
	if name != "Local" && len(name) <= maxZoneName {
		zone, err = time.LoadLocation(name)
	}
	if err != nil {
		return nil, &presence.FieldError{Field: "zone", Reason: "must be a time zone of the IANA database, as in \"Europe/Berlin\""}
	}
	return zone, nil
}

// defaultSummaryDays is how many days a summary has that names none.
const defaultSummaryDays = 7

// dateRange reads from and to, the first day and the last.
func dateRange(q url.Values, today history.Date) (from, to history.Date, err error) {
	if to, err = dateParameter(q, "to", today); err != nil {
		return from, to, err
	}
	if from, err = dateParameter(q, "from", to.Add(1-defaultSummaryDays)); err != nil {
		return from, to, err
	}
	switch days := to.Sub(from) + 1; {
	case from.Sub(today) > 0:
		err = &presence.FieldError{Field: "from", Reason: "must not be in the future"}
	case days < 1:
		err = &presence.FieldError{Field: "to", Reason: "must not be before from"}
	case days > api.MaxSummaryDays:
		err = &presence.FieldError{Field: "from", Reason: fmt.Sprintf("must be at most %d days before to", api.MaxSummaryDays-1)}
	}
	return from, to, err
}

func dateParameter(q url.Values, name string, absent history.Date) (history.Date, error) {
	if !q.Has(name) {
		return absent, nil
	}
	date, err := history.ParseDate(q.Get(name))
	if err != nil {
		return date, &presence.FieldError{Field: name, Reason: `must be a date, as in "2026-03-29"`}
	}
	return date, nil
}

func asSummary(past *pastUser, zone *time.Location, days []history.Day, spans bool) *api.HistorySummary {
	summary := &api.HistorySummary{User: string(past.ID), Zone: zone.String(), Since: api.At(past.since), Total: api.Durations{}, Days: make([]api.HistoryDay, len(days))}
	for i := range days {
		summary.Days[i] = asHistoryDay(&days[i], spans)
		for status, ms := range summary.Days[i].Durations {
			summary.Total[status] += ms
		}
	}
	return summary
}

func asHistoryDay(day *history.Day, spans bool) api.HistoryDay {
	wired := api.HistoryDay{Date: day.Date.String(), From: api.At(day.From), To: api.At(day.To), Durations: api.Durations{}}
	for i := range day.Spans {
		span := &day.Spans[i]
		status := api.Unknown
		if span.Known {
			status = api.Status(span.Status.String())
		}
		wired.Durations[status] += span.To.Sub(span.From).Milliseconds()
		if spans {
			wired.Spans = append(wired.Spans, api.HistorySpan{From: api.At(span.From), To: api.At(span.To), Status: status})
		}
	}
	return wired
}
