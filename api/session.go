package api

// SignIn begins a session.
type SignIn struct {
	ClientType    string `json:"client_type"`
	ClientVersion string `json:"client_version,omitempty"`
	LeaseSeconds  *int   `json:"lease_seconds,omitempty"` // 30 to 3600; nil: 120
	Active        *bool  `json:"active,omitempty"`        // false: idle from the start; nil: active
}

// Session is one signed-in client of a user.
type Session struct {
	ID            string `json:"id"`
	User          string `json:"user"`
	ClientType    string `json:"client_type"`
	ClientVersion string `json:"client_version"`
	App           string `json:"app"` // that signed the user in; "" for the user's own client
	Since         Time   `json:"since"`
	Active        bool   `json:"active"`
	IdleAt        Time   `json:"idle_at"` // without activity; null: never
	EndsAt        Time   `json:"ends_at"` // without a refresh
	LeaseSeconds  int    `json:"lease_seconds"`
}

// SessionUpdate refreshes a session for another lease, and may say whether the
// user is active at it.
type SessionUpdate struct {
	Active       *bool `json:"active,omitempty"`
	LeaseSeconds *int  `json:"lease_seconds,omitempty"`
}

// Sessions is a page of a user's live sessions.
type Sessions struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"`
}

// MaxRefreshItems bounds a batch of refreshes.
const MaxRefreshItems = 1_000

// SessionRefresh refreshes many sessions; each succeeds or fails alone.
type SessionRefresh struct {
	Sessions []RefreshItem `json:"sessions"`
}

// RefreshItem is one of a batch.
type RefreshItem struct {
	ID     string `json:"id"`
	Active *bool  `json:"active,omitempty"`
}

// RefreshResults answers a batch, in its order.
type RefreshResults struct {
	Results []RefreshResult `json:"results"`
}

// RefreshResult is what became of one item: EndsAt, or Problem.
type RefreshResult struct {
	ID      string   `json:"id"`
	Status  int      `json:"status"` // 200, or the problem's
	EndsAt  Time     `json:"ends_at,omitzero"`
	Problem *Problem `json:"problem,omitempty"`
}
