package api

// Status is one of the ten words for a user's availability.
type Status string

// The statuses.
const (
	Offline         Status = "offline"
	Available       Status = "available"
	Away            Status = "away"
	Busy            Status = "busy"
	DoNotDisturb    Status = "do_not_disturb"
	InCalendarEvent Status = "in_calendar_event"
	InMeeting       Status = "in_meeting"
	Presenting      Status = "presenting"
	OnCall          Status = "on_call"
	OutOfOffice     Status = "out_of_office"
)

// Presence is what the caller may see of a user.
type Presence struct {
	User   string `json:"user"`
	Status Status `json:"status"`
	Note   string `json:"note"`
	Since  Time   `json:"since"` // when the status last changed; null: never, or hidden from the caller
	Until  Time   `json:"until"` // when the status will change without further input; null: unknown
	// Revision is the number of the last commit that changed what the caller sees.
	Revision uint64 `json:"revision"`
	// Cursor is where to continue reading changes; "" in a list, which has one cursor
	// for all.
	Cursor string `json:"cursor,omitempty"`
	// AskedAs is the e-mail or "me" by which a query named the user; "" for an id.
	AskedAs string `json:"asked_as,omitempty"`
}

// PresenceQuery asks for the presence of many users.
type PresenceQuery struct {
	Users []string `json:"users"` // ids or e-mails, at most MaxQueryUsers
}

// MaxQueryUsers bounds a presence query.
const MaxQueryUsers = 10_000

// Presences is the response to a query, in its order. A user who is named twice is in
// it twice.
type Presences struct {
	Cursor    string     `json:"cursor"`
	Presences []Presence `json:"presences"`
	Unknown   []string   `json:"unknown"` // as asked
}

// UserPresence is a user of a list, and what the caller may see of the user's presence.
type UserPresence struct {
	User        string   `json:"user"` // id
	DisplayName string   `json:"display_name"`
	Email       string   `json:"email"`
	Groups      []string `json:"groups"`
	Status      Status   `json:"status"`
	Note        string   `json:"note"`
	Since       Time     `json:"since"`
	Until       Time     `json:"until"`
	Revision    uint64   `json:"revision"`
}

// PresencePage is a page of the account's active users, by id. It may have a
// NextPageToken even if it has fewer users than the limit, or none.
type PresencePage struct {
	Presences     []UserPresence `json:"presences"`
	NextPageToken string         `json:"next_page_token,omitempty"`
}

// Explanation says why a user's presence is what it is, and how it will change.
type Explanation struct {
	User     string             `json:"user"`
	At       Time               `json:"at"`
	Status   Status             `json:"status"`
	Note     string             `json:"note"`
	Since    Time               `json:"since"`
	Until    Time               `json:"until"`
	Revision uint64             `json:"revision"` // of the record: the ETag
	Because  string             `json:"because"`
	Sessions []ExplainedSession `json:"sessions"`
	Claims   []ExplainedClaim   `json:"claims"` // in order of precedence, those that count first
	OwnNote  *Note              `json:"own_note"`
	Next     []Step             `json:"next"`
	// Change is the change by which a past presence was shown; nil for the present one.
	// Of the past there are no Sessions, Claims and Next: the log does not keep them.
	Change *HistoryEntry `json:"change,omitempty"`
}

// ExplainedSession is a live session and its effect.
type ExplainedSession struct {
	Session
	Why string `json:"why"`
}

// ExplainedClaim is a claim and its effect.
type ExplainedClaim struct {
	Claim
	Row     int    `json:"row"` // the rule of the precedence table (docs/concepts.md), 1 to 5
	Live    bool   `json:"live"`
	Counts  bool   `json:"counts"` // live, and not overridden by a manual available
	Decides bool   `json:"decides"`
	Why     string `json:"why"`
}

// Step is a change that will happen without further input.
type Step struct {
	At     Time   `json:"at"`
	Status Status `json:"status"`
	Note   string `json:"note"`
	Why    string `json:"why"`
}
