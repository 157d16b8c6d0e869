package api

// The types of events, which the server sends to subscriptions in the native form.
const (
	EventPresenceChanged = "presence.changed"
	EventSessionStarted  = "session.started"
	EventSessionEnded    = "session.ended"
	EventNoteChanged     = "note.changed"
	EventUserCreated     = "user.created"
	EventUserUpdated     = "user.updated"
	EventUserActivated   = "user.activated"
	EventUserDeactivated = "user.deactivated"
	EventUserDeleted     = "user.deleted"

	// EventGap says that events were not delivered. It is sent whatever the types of the
	// subscription.
	EventGap = "gap"
	// EventPing asks whether the endpoint wants events: every 2xx response says so. It is
	// sent at the registration and every 72 hours.
	EventPing = "ping"
)

// Event is the body of an event in the native form. The event's id is in the header
// Webhook-Id. docs/events.md has an example of every type.
type Event struct {
	Type    string `json:"type"`
	Time    Time   `json:"time"` // of the change
	Account string `json:"account,omitempty"`
	User    string `json:"user,omitempty"` // id
	// Email is the user's address when the event was sent, and for types user.* at the
	// time of the change. It is missing if the user was erased.
	Email    string `json:"email,omitempty"`
	Revision uint64 `json:"revision,omitzero"` // of the user's record after the change
	// Cause is what kind of change it was, such as "claim"; see docs/history.md.
	Cause string        `json:"cause,omitempty"`
	Actor *HistoryActor `json:"actor,omitempty"` // nil: the server itself
	// Source and Claim are of the claim behind the change.
	Source string         `json:"source,omitempty"`
	Claim  string         `json:"claim,omitempty"`
	Client *HistoryClient `json:"client,omitempty"` // behind the change

	// Presence is set in presence.changed, and so is Before.Presence.
	Presence *EventPresence `json:"presence,omitempty"`
	// Session is set in session.started and session.ended.
	Session *EventSession `json:"session,omitempty"`
	// OwnNote is set in note.changed, and so is Before.OwnNote; "": none.
	OwnNote *string `json:"own_note,omitzero"`
	// Profile is set in the types user.*.
	Profile *EventProfile `json:"profile,omitempty"`
	Before  *EventBefore  `json:"before,omitempty"`

	Gap *EventGapRange `json:"gap,omitempty"`
}

// EventPresence is what a user showed, to watchers who may see everything.
type EventPresence struct {
	Status Status `json:"status"`
	Note   string `json:"note"`
	Since  Time   `json:"since"` // when the status last changed
	Until  Time   `json:"until"` // when it will change without further input; null: unknown
}

// EventSession is a session that began or ended.
type EventSession struct {
	ID            string `json:"id"`
	ClientType    string `json:"client_type"`
	ClientVersion string `json:"client_version"`
	App           string `json:"app"` // that signed the user in, or that the client belongs to
}

// EventProfile is a user of the directory after a change, or before a deletion. Before a
// change it has the fields that changed, and only those.
type EventProfile struct {
	Email       *string   `json:"email,omitzero"`
	FirstName   *string   `json:"first_name,omitzero"`
	LastName    *string   `json:"last_name,omitzero"`
	DisplayName *string   `json:"display_name,omitzero"`
	Department  *string   `json:"department,omitzero"`
	Groups      *[]string `json:"groups,omitzero"`
}

// EventBefore is what was there before the change.
type EventBefore struct {
	Presence *EventPresence `json:"presence,omitempty"`
	OwnNote  *string        `json:"own_note,omitzero"`
	Profile  *EventProfile  `json:"profile,omitempty"`
}

// EventGapRange is a range of the log whose events were not delivered.
type EventGapRange struct {
	Subscription string `json:"subscription"`
	From         string `json:"from"` // the position in the log after which events are missing
	To           string `json:"to"`   // the position of the last one
	Reason       string `json:"reason"`
}
