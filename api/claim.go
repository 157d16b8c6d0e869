package api

// Claim is one source's statement about a user.
type Claim struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Status Status `json:"status"`
	Note   string `json:"note"`
	Since  Time   `json:"since"`
	Until  Time   `json:"until"` // null: until it is ended
	App    string `json:"app"`   // that made it; "" for the user's own
}

// SetClaim states a claim. Until and DurationSeconds exclude each other; without
// either, the rule for the status says when it ends.
type SetClaim struct {
	Source          string `json:"source"`
	Status          Status `json:"status"`
	Note            string `json:"note,omitempty"`
	Since           Time   `json:"since,omitzero"`
	Until           Time   `json:"until,omitzero"`
	DurationSeconds *int64 `json:"duration_seconds,omitempty"`
}

// ClaimResult is a claim that was stated and what came of it. Claim is nil for
// manual available, which removes the manual claim.
type ClaimResult struct {
	Claim    *Claim   `json:"claim"`
	Why      string   `json:"why"` // what the claim's part is in the presence
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
	Until Time   `json:"until"` // null: until it is changed
}

// SetNote sets the user's own note.
type SetNote struct {
	Text  string `json:"text"`
	Until Time   `json:"until,omitzero"`
}

// NoteResult is a note that was set and what is shown now.
type NoteResult struct {
	Note     *Note    `json:"note"`
	Presence Presence `json:"presence"`
}
