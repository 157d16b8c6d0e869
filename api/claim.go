package api

// Claim is one source's statement about a user.
type Claim struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Status Status `json:"status"`
	Note   string `json:"note"`
	Since  Time   `json:"since"`
	Until  Time   `json:"until"` // null: it does not expire
	App    string `json:"app"`   // that made the claim; "" for the user's own
}

// SetClaim makes a claim. Until and DurationSeconds exclude each other. Without
// either, the claim expires by the rule for its status.
type SetClaim struct {
	Source          string `json:"source"`
	Status          Status `json:"status"`
	Note            string `json:"note,omitempty"`
	Since           Time   `json:"since,omitzero"`
	Until           Time   `json:"until,omitzero"`
	DurationSeconds *int64 `json:"duration_seconds,omitempty"`
}

// ClaimResult is a claim that was made, and the resulting presence. Claim is nil for
// manual available, which removes the manual claim.
type ClaimResult struct {
	Claim    *Claim   `json:"claim"`
	Why      string   `json:"why"` // the claim's effect on the presence
	Presence Presence `json:"presence"`
}

// Claims is a page of a user's claims.
type Claims struct {
	Claims []Claim `json:"claims"`
	Next   string  `json:"next,omitempty"`
}

// Note is the user's own text.
type Note struct {
	Text  string `json:"text"`
	Until Time   `json:"until"` // null: it does not expire
}

// SetNote sets the user's own note.
type SetNote struct {
	Text  string `json:"text"`
	Until Time   `json:"until,omitzero"`
}

// NoteResult is a note that was set, and the resulting presence.
type NoteResult struct {
	Note     *Note    `json:"note"`
	Presence Presence `json:"presence"`
}
