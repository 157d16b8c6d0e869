package api

// SignIn starts a session.
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
	App           string `json:"app"` // the app that signed the user in; "" for the user's own client
	Since         Time   `json:"since"`
	Active        bool   `json:"active"`
	IdleAt        Time   `json:"idle_at"` // when it becomes idle if no activity is reported; null: never
	EndsAt        Time   `json:"ends_at"` // unless the session is renewed; null: a connection holds it
	LeaseSeconds  int    `json:"lease_seconds"`
}

// SessionUpdate renews a session for another lease. It can also report whether the
// user is active.
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

// SessionRefresh renews many sessions. Each succeeds or fails independently.
type SessionRefresh struct {
	Sessions []RefreshItem `json:"sessions"`
}

// RefreshItem is one session of a batch.
type RefreshItem struct {
	ID     string `json:"id"`
	Active *bool  `json:"active,omitempty"`
}

// RefreshResults is the response to a batch, in its order.
type RefreshResults struct {
	Results []RefreshResult `json:"results"`
}

// RefreshResult is the result of one item: EndsAt, unless a connection holds the session, or
// Problem.
type RefreshResult struct {
	ID      string   `json:"id"`
	Status  int      `json:"status"` // 200, or the problem's
	EndsAt  Time     `json:"ends_at,omitzero"`
	Problem *Problem `json:"problem,omitempty"`
}
