package api

// Contact is another user whom a user follows.
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

// VisibilityLevel is how much a watcher may see.
type VisibilityLevel string

// The levels of visibility.
const (
	VisibilityAll     VisibilityLevel = "all"
	VisibilityStatus  VisibilityLevel = "status"  // no note, no times
	VisibilityOffline VisibilityLevel = "offline" // the user appears offline
)

// Visibility is a user's visibility rules. A rule for a watcher overrides the rule for
// the group of the user's contacts that the watcher is in, which overrides Everyone.
type Visibility struct {
	Everyone VisibilityLevel            `json:"everyone"`
	Groups   map[string]VisibilityLevel `json:"groups"`
	Watchers map[string]VisibilityLevel `json:"watchers"` // by id
}

// MaxVisibilityWatchers bounds the watchers that rules name, directly and through
// groups.
const MaxVisibilityWatchers = 500

// Watch fires once, when a user reaches a status.
type Watch struct {
	ID          string `json:"id"`
	User        string `json:"user"`
	UntilStatus Status `json:"until_status"`
	Expires     Time   `json:"expires"`
	Created     Time   `json:"created"`
	// Fired is when the watch fired, null until then. Status and Note are the user's at
	// that time, as the owner of the watch may see them.
	Fired  Time   `json:"fired"`
	Status Status `json:"status,omitempty"`
	Note   string `json:"note,omitempty"`
}

// CreateWatch creates a watch that fires when User reaches UntilStatus (default:
// available).
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
