package api

// A SignageLink opens a page for a display, which shows names and statuses without a sign-in.
type SignageLink struct {
	ID      string `json:"id"` // names the link; it does not open it
	Name    string `json:"name"`
	Group   string `json:"group"` // whose members it shows; "": everybody
	Created Time   `json:"created"`
	// URL is the address of the page. Only the answer to the creation has it.
	URL string `json:"url,omitempty"`
}

// CreateSignageLink makes a link.
type CreateSignageLink struct {
	Name  string `json:"name"`            // for administrators, at most 100 bytes
	Group string `json:"group,omitempty"` // default: everybody
}

// SignageLinks are all links of an account, the oldest first.
type SignageLinks struct {
	SignageLinks []SignageLink `json:"signage_links"`
}

// Signage is what a link shows, to everybody who has it.
type Signage struct {
	Title  string          `json:"title"` // the group, or the account's name
	People []SignagePerson `json:"people"`
}

// SignagePerson is a user on a display.
type SignagePerson struct {
	Name   string `json:"name"` // "": the user has none
	Status Status `json:"status"`
}
