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
	Since  Time   `json:"since"` // when the status last changed; null: never, or not for the caller to see
	Until  Time   `json:"until"` // when it would change by itself; null: not foreseen
	// Revision is of the last commit that changed what the caller sees.
	Revision uint64 `json:"revision"`
	// Cursor is where to go on reading changes from; "" inside a list, which has
	// one for all.
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

// Presences answers a query, in its order. A user is there as often as named.
type Presences struct {
	Cursor    string     `json:"cursor"`
	Presences []Presence `json:"presences"`
	Unknown   []string   `json:"unknown"` // as asked
}

// Explanation says why a user's presence is what it is, and what follows.
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
	Claims   []ExplainedClaim   `json:"claims"` // those that could win first
	OwnNote  *Note              `json:"own_note"`
	Next     []Step             `json:"next"`
}

// ExplainedSession is a live session and its part.
type ExplainedSession struct {
	Session
	Why string `json:"why"`
}

// ExplainedClaim is a claim and its part.
type ExplainedClaim struct {
	Claim
	Row     int    `json:"row"` // of the table of precedence, 1 to 5
	Live    bool   `json:"live"`
	Counts  bool   `json:"counts"` // live, and not silenced
	Decides bool   `json:"decides"`
	Why     string `json:"why"`
}

// Step is a change that comes by itself if nothing else happens.
type Step struct {
	At     Time   `json:"at"`
	Status Status `json:"status"`
	Note   string `json:"note"`
	Why    string `json:"why"`
}
