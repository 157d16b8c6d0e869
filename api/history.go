package api

// History is a page of a user's changes, newest first.
type History struct {
	Entries []HistoryEntry `json:"entries"`
	// Older and Newer are what to send as before and after to read on. Without Older,
	// there are no older entries. Newer may lead to an empty page, until there are newer
	// entries.
	Older string `json:"older,omitempty"`
	Newer string `json:"newer,omitempty"`
	// Since is the time before which the account shows no history; null: it shows all that
	// the server keeps.
	Since Time `json:"since"`
}

// HistoryEntry is one change of a user.
type HistoryEntry struct {
	ID       string         `json:"id"`   // of the entry: what before and after refer to
	Time     Time           `json:"time"` // null: damaged
	Revision uint64         `json:"revision"`
	Cause    string         `json:"cause"`  // such as "claim"; see docs/history.md
	Actor    *HistoryActor  `json:"actor"`  // nil: the server itself
	Source   string         `json:"source"` // of the claim behind the change; "" for none
	Claim    string         `json:"claim"`  // its id
	Client   *HistoryClient `json:"client"` // behind the change; nil: none
	Before   *HistoryState  `json:"before"` // nil: erased, or damaged
	After    *HistoryState  `json:"after"`
	// Gap says that changes before this one are missing: the server no longer has them.
	Gap bool `json:"gap"`
	// Erased says that what changed was erased on request.
	Erased bool `json:"erased"`
	// Damaged says that the entry cannot be read.
	Damaged bool `json:"damaged"`
}

// HistoryActor is who made a change: a user, or an app that acts for the account.
type HistoryActor struct {
	User string `json:"user"`
	App  string `json:"app"`
}

// HistoryClient is the client whose session was begun, refreshed or ended.
type HistoryClient struct {
	Type    string `json:"type"`
	Version string `json:"version"`
	Status  Status `json:"status"` // what this client alone says of the user, after the change
}

// HistoryState is what was shown of a user before or after a change.
type HistoryState struct {
	Status    Status `json:"status"`
	Note      string `json:"note"`
	Since     Time   `json:"since"`
	Until     Time   `json:"until"`
	OwnNote   string `json:"own_note"`
	UserState string `json:"user_state"` // active, deactivated or deleted
}

// MaxSummaryDays bounds the days of a summary.
const MaxSummaryDays = 366

// HistorySummary is the time that a user spent in each status, by day.
type HistorySummary struct {
	User  string       `json:"user"`
	Zone  string       `json:"zone"`  // of the days: a name of the IANA database
	Since Time         `json:"since"` // as in History
	Total Durations    `json:"total_ms"`
	Days  []HistoryDay `json:"days"`
}

// Durations has milliseconds by status, and under Unknown those of which the server does
// not know the status. A status that was not shown is left out.
type Durations map[Status]int64

// Unknown stands for the status in a time of which the server does not know it: before
// the user was created, or because entries were dropped, erased or are damaged.
const Unknown Status = "unknown"

// HistoryDay is a day of a summary. The milliseconds add up to To - From.
type HistoryDay struct {
	Date      string        `json:"date"` // such as 2026-03-29
	From      Time          `json:"from"`
	To        Time          `json:"to"` // the end of the day, or the time of the response
	Durations Durations     `json:"ms"`
	Spans     []HistorySpan `json:"spans,omitempty"` // if asked for
}

// HistorySpan is a time in which a status was shown.
type HistorySpan struct {
	From   Time   `json:"from"`
	To     Time   `json:"to"`
	Status Status `json:"status"` // or Unknown
}
