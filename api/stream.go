package api

// Frames of GET /v1/stream: JSON objects with a "type". docs/streaming.md says
// how they follow each other. A client ignores types and members that it does not
// know.

// The types of frames that a server sends.
const (
	FrameHello    = "hello"
	FrameSnapshot = "snapshot"
	FramePresence = "presence"
	FrameGone     = "gone"
	FrameReset    = "reset"
	FrameWatch    = "watch"
	FrameDone     = "done"
	FrameError    = "error"
	FramePong     = "pong"
	FrameClose    = "close" // over SSE; over WebSocket it is the close frame
)

// The types of frames that a client sends.
const (
	FrameFollow   = "follow"
	FrameUnfollow = "unfollow"
	FrameSignIn   = "sign_in"
	FrameActivity = "activity"
	FrameClaim    = "claim"
	FrameEndClaim = "end_claim"
	FrameSignOut  = "sign_out"
	FramePing     = "ping"
)

// MaxFollowed is how many users one stream follows, MaxFollowFrame how many one
// frame may name, and MaxStreamUsers how many a URL may.
const (
	MaxFollowed    = 10_000
	MaxFollowFrame = 1_000
	MaxStreamUsers = 100
)

// SnapshotChunk is how many presences one snapshot frame holds at most.
const SnapshotChunk = 1_000

// ClientFrame is any frame that a client sends: which members count depends on
// Type. ID, if given, comes back in the answer.
type ClientFrame struct {
	Type string `json:"type"`
	ID   string `json:"id,omitempty"` // at most 64 bytes

	// follow, unfollow: users by id, e-mail or "me", or the user's contacts.
	Users    []string `json:"users,omitempty"`
	Contacts bool     `json:"contacts,omitempty"`
	// follow: from where; "": everything. It counts for users that were followed
	// when it was given.
	Cursor string `json:"cursor,omitempty"`

	// sign_in: Session is the id that the client chooses, or the id of a session to
	// resume. Active defaults to true for a new session; without it, a resumed
	// session stays as it is.
	// activity: Active.
	ClientType    string `json:"client_type,omitempty"`
	ClientVersion string `json:"client_version,omitempty"`
	Session       string `json:"session,omitempty"`
	Active        *bool  `json:"active,omitempty"`

	// claim, end_claim: as PUT and DELETE /v1/users/me/claims/{claim}.
	Claim           string `json:"claim,omitempty"`
	Source          string `json:"source,omitempty"`
	Status          Status `json:"status,omitempty"`
	Note            string `json:"note,omitempty"`
	Since           Time   `json:"since,omitzero"`
	Until           Time   `json:"until,omitzero"`
	DurationSeconds *int64 `json:"duration_seconds,omitempty"`
}

// ServerFrame is any frame that a server sends, for clients that read them into
// one type.
type ServerFrame struct {
	Type   string `json:"type"`
	ID     string `json:"id,omitempty"`
	Cursor string `json:"cursor,omitempty"` // a low-water mark: where to go on from

	// hello
	Epoch       string `json:"epoch,omitempty"`
	PingSeconds int    `json:"ping_seconds,omitempty"`

	// snapshot. Partial: only what changed since the cursor that was given; all
	// else stands. More: another part follows.
	Presences []Presence `json:"presences,omitempty"`
	Gone      []string   `json:"gone,omitempty"`
	Unknown   []string   `json:"unknown,omitempty"` // as asked
	Partial   bool       `json:"partial,omitempty"`
	More      bool       `json:"more,omitempty"`

	// presence, gone
	User      string `json:"user,omitempty"`
	Status    Status `json:"status,omitempty"`
	Note      string `json:"note,omitempty"`
	Since     Time   `json:"since,omitzero"`
	Until     Time   `json:"until,omitzero"`
	Revision  uint64 `json:"revision,omitempty"`
	Coalesced bool   `json:"coalesced,omitempty"` // versions between were left out
	Reason    string `json:"reason,omitempty"`    // of gone, reset and close

	// watch
	Watch *Watch `json:"watch,omitempty"`

	// done: of sign_in, the session's id.
	Session string `json:"session,omitempty"`

	// error: the slug of a problem of the catalogue.
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`

	// close
	CloseCode int `json:"close_code,omitempty"`
	RetryMS   int `json:"retry_ms,omitempty"`
}

// Reasons of gone and reset.
const (
	GoneDeleted        = "deleted"         // the user
	GoneContactRemoved = "contact_removed" // from the contacts that are followed
	ResetEpoch         = "epoch"           // the cursor is of another store, or of before a restore
	ResetUnreadable    = "unreadable"      // the cursor's text
	ResetContacts      = "contacts"        // more were removed since than are remembered
)

// Close codes. From 3000 to 3499 a client connects again, after retry_ms if the
// reason has it; from 3500 to 3999 it must not before it has changed something.
const (
	CloseDraining     = 3000 // the server stops: another takes over, or it comes back
	CloseSlow         = 3001 // the client did not read for 10 s
	CloseUnavailable  = 3002 // the store cannot be read now
	CloseSilent       = 3003 // no sign of life
	CloseUnauthorized = 3500 // the token was revoked or has expired, or its user is gone
	CloseTooFast      = 3501 // more bytes or frames than a client needs to send
)

// CloseReason is the text of a close frame: JSON.
type CloseReason struct {
	Reason  string `json:"reason"`
	RetryMS int    `json:"retry_ms,omitempty"`
}

// Ticket opens one stream, once, for who cannot send headers.
type Ticket struct {
	Ticket  string `json:"ticket"`
	Expires Time   `json:"expires"`
}

// Changes answers a long poll.
type Changes struct {
	Cursor    string     `json:"cursor"`
	Reset     bool       `json:"reset"` // the cursor could not be used: these are all
	Presences []Presence `json:"presences"`
	Gone      []string   `json:"gone"`
	Unknown   []string   `json:"unknown"`
}

// MaxWaitSeconds bounds a long poll; DefaultWaitSeconds is how long it waits.
const (
	DefaultWaitSeconds = 25
	MaxWaitSeconds     = 60
)
