package api

import "encoding/json"

// AuditEvents is a page of the audit log. Its items are kept as text, because their hashes
// are over it: decode them into AuditEvent.
type AuditEvents struct {
	Events []json.RawMessage `json:"events"`
	// Older and Newer are the before and the after of the neighbouring pages; "": there is none.
	Older string `json:"older,omitempty"`
	Newer string `json:"newer,omitempty"`
}

// AuditEvent is an event of the audit log. docs/audit.md explains the members.
type AuditEvent struct {
	Format   int             `json:"v"`
	Sequence uint64          `json:"sequence"`
	Time     Time            `json:"time"`
	Action   string          `json:"action"`
	Target   string          `json:"target"`
	User     string          `json:"user"`
	App      string          `json:"app"`
	Token    string          `json:"token"`
	Address  string          `json:"address"`
	Request  string          `json:"request"`
	Denied   bool            `json:"denied"`
	Reason   string          `json:"reason"`
	Before   json.RawMessage `json:"before"`
	After    json.RawMessage `json:"after"`
	Count    int             `json:"count"`
	Previous string          `json:"previous"`
	Hash     string          `json:"hash"`
}

// AuditCheckpoints is a page of checkpoints, oldest first, as text, which is what is signed.
type AuditCheckpoints struct {
	Checkpoints []json.RawMessage `json:"checkpoints"`
	// Next is the after of the next page; "": there is none.
	Next string `json:"next,omitempty"`
}
