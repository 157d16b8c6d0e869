package api

// Frames of GET /v1/stream are JSON objects with a "type". docs/streaming.md defines
// the protocol. A client ignores types and members that it does not know.

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

// MaxFollowed bounds the users that one stream follows, MaxFollowFrame those that one
// frame names, and MaxStreamUsers those in a URL.
const (
	MaxFollowed    = 10_000
	MaxFollowFrame = 1_000
	MaxStreamUsers = 100
)

// ClientFrame is any frame that a client sends. Type determines which members are
// used. ID, if set, is returned in the answer.
type ClientFrame struct {
	Type string `json:"type"`
	ID   string `json:"id,omitempty"` // at most 64 bytes

	// follow, unfollow: users by id, e-mail or "me"; the user's contacts; all active users
	// of the account; the active members of a group.
	Users    []string `json:"users,omitempty"`
	Contacts bool     `json:"contacts,omitempty"`
	Everyone bool     `json:"everyone,omitempty"`
	Group    string   `json:"group,omitempty"`
	// follow: where to resume; "" means from the current state. It covers the users
	// that were followed when the server sent it.
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

// ServerFrame is any frame that a server sends, for clients that decode all frames
// into one type.
type ServerFrame struct {
	Type   string `json:"type"`
	ID     string `json:"id,omitempty"`
	Cursor string `json:"cursor,omitempty"` // where to resume

	// hello
	Epoch       string `json:"epoch,omitempty"`
	PingSeconds int    `json:"ping_seconds,omitempty"`

	// snapshot. Partial: only the users that changed since the given cursor. More:
	// another part follows.
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
	Coalesced bool   `json:"coalesced,omitempty"` // versions in between were not sent
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
	GoneMemberRemoved  = "member_removed"  // left the group that is followed, or was deactivated
	ResetEpoch         = "epoch"           // the cursor is from another store, or from before a restore
	ResetUnreadable    = "unreadable"      // the cursor was altered or was not issued by this store
	ResetContacts      = "contacts"        // more contacts were removed since than the server remembers
	ResetMembers       = "members"         // the log does not tell who joined or left since
)

// Close codes. After a code from 3000 to 3499 a client reconnects, after retry_ms if
// that is set. After a code from 3500 to 3999 it must first fix the cause.
const (
	CloseDraining     = 3000 // the server is stopping
	CloseSlow         = 3001 // the client did not keep up
	CloseUnavailable  = 3002 // the store is unavailable
	CloseSilent       = 3003 // the client sent nothing, not even a pong
	CloseIsolated     = 3004 // the server cannot reach the store; another node may
	CloseUnauthorized = 3500 // the token was revoked or has expired, or its user or app is gone
	CloseTooFast      = 3501 // the client sent too many bytes or frames
	CloseTooMany      = 3502 // what is followed has grown past MaxFollowed users
	CloseReplaced     = 3503 // of a socket of events: another client has connected
	CloseEnded        = 3504 // of a socket of events: the subscription was deleted, or has a URL
	CloseSuspended    = 3505 // the operator suspended the account
)

// FrameEvent is the type of the frames of GET /v1/subscriptions/{subscription}/events.
const FrameEvent = "event"

// EventFrame is one event of a subscription without URL.
type EventFrame struct {
	Type  string `json:"type"`
	ID    string `json:"id"` // the same whenever the event is sent again
	Event string `json:"event_type"`
	// Headers are those that a request with the event would have, in lower case: the
	// content type and the signatures among them.
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// CloseReason is the text of a close frame: JSON.
type CloseReason struct {
	Reason  string `json:"reason"`
	RetryMS int    `json:"retry_ms,omitempty"`
}

// Ticket opens one stream, once, for clients that cannot send headers.
type Ticket struct {
	Ticket  string `json:"ticket"`
	Expires Time   `json:"expires"`
}

// Changes is the response to a long poll.
type Changes struct {
	Cursor    string     `json:"cursor"`
	Reset     bool       `json:"reset"` // the cursor could not be used: the response is complete
	Presences []Presence `json:"presences"`
	Gone      []string   `json:"gone"`
	Unknown   []string   `json:"unknown"`
}

// MaxWaitSeconds bounds a long poll; DefaultWaitSeconds is how long it waits.
const (
	DefaultWaitSeconds = 25
	MaxWaitSeconds     = 60
)
