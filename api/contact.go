package api

// Contact is somebody whom a user follows.
type Contact struct {
	User  string `json:"user"`  // id
	Group string `json:"group"` // "" for none
	Added Time   `json:"added"`
}

// SetContact adds a contact, or moves one to another group.
type SetContact struct {
	Group string `json:"group,omitempty"` // at most 64 bytes
}

// MaxContacts bounds a user's contacts.
const MaxContacts = 1_000

// Contacts is a page of contacts, by the id of the user.
type Contacts struct {
	Contacts []Contact `json:"contacts"`
	Next     string    `json:"next,omitempty"`
}

// Sight is how much a watcher may see.
type Sight string

// The sights.
const (
	SeesAll     Sight = "all"
	SeesStatus  Sight = "status"  // no note, no times
	SeesOffline Sight = "offline" // the user appears offline
)

// Visibility is who sees what of a user: the rule for a watcher counts before those for
// the groups of the user's contacts that the watcher is in, and these before
// Everyone.
type Visibility struct {
	Everyone Sight            `json:"everyone"`
	Groups   map[string]Sight `json:"groups"`
	Watchers map[string]Sight `json:"watchers"` // by id
}

// MaxVisibilityWatchers bounds the watchers that rules name, by themselves and
// through groups.
const MaxVisibilityWatchers = 500

// Watch tells once when a user comes to a status.
type Watch struct {
	ID          string `json:"id"`
	User        string `json:"user"`
	UntilStatus Status `json:"until_status"`
	Expires     Time   `json:"expires"`
	Created     Time   `json:"created"`
	// Fired is when it came, null until then; Status and Note are what was seen.
	Fired  Time   `json:"fired"`
	Status Status `json:"status,omitempty"`
	Note   string `json:"note,omitempty"`
}

// CreateWatch asks to be told when User is UntilStatus (default: available).
type CreateWatch struct {
	User             string `json:"user"`
	UntilStatus      Status `json:"until_status,omitempty"`
	Expires          Time   `json:"expires,omitzero"` // default: in 24 hours; at most 7 days
	ExpiresInSeconds *int64 `json:"expires_in_seconds,omitempty"`
}

// MaxWatches bounds the watches of a user.
const MaxWatches = 100

// Watches is a page of watches, by id.
type Watches struct {
	Watches []Watch `json:"watches"`
	Next    string  `json:"next,omitempty"`
}
