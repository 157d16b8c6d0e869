package api

// SystemAccount is an account as the operator of the server sees it.
type SystemAccount struct {
	Account

	// Usage is set where one account is read.
	Usage *AccountUsage `json:"usage,omitempty"`
}

// AccountUsage is what an account has. Deactivated users count.
type AccountUsage struct {
	Users         int `json:"users"`
	Apps          int `json:"apps"`
	Subscriptions int `json:"subscriptions"`
}

// SystemAccounts is a page of accounts, by id.
type SystemAccounts struct {
	Accounts []SystemAccount `json:"accounts"`
	Next     string          `json:"next,omitempty"`
}

// CreateAccount makes an account with an owner and an app.
type CreateAccount struct {
	Name       string               `json:"name"`
	OwnerEmail string               `json:"owner_email"`
	OwnerName  string               `json:"owner_name,omitempty"` // first and last
	AppName    string               `json:"app_name,omitempty"`   // "": Administration
	Plan       string               `json:"plan,omitempty"`
	Limits     *UpdateAccountLimits `json:"limits,omitempty"`
}

// CreatedAccount has the credentials of a new account's app. The secrets are shown only
// here.
type CreatedAccount struct {
	AccountID     string        `json:"account_id"`
	OwnerID       string        `json:"owner_id"`
	ClientID      string        `json:"client_id"`
	ClientSecret  string        `json:"client_secret"`
	WebhookSecret string        `json:"webhook_secret"`
	Account       SystemAccount `json:"account"`
}

// UpdateSystemAccount changes the fields that are not nil.
type UpdateSystemAccount struct {
	Name      *string              `json:"name,omitempty"`
	Plan      *string              `json:"plan,omitempty"`
	Suspended *bool                `json:"suspended,omitempty"`
	Limits    *UpdateAccountLimits `json:"limits,omitempty"`
}

// UpdateAccountLimits changes the limits that are not nil; 0 removes one.
type UpdateAccountLimits struct {
	Users         *int `json:"users,omitempty"`
	Apps          *int `json:"apps,omitempty"`
	Subscriptions *int `json:"subscriptions,omitempty"`
	Streams       *int `json:"streams,omitempty"`
}

// AccountDeletion is the report of the deletion of an account.
type AccountDeletion struct {
	Account   string         `json:"account"` // id
	State     string         `json:"state"`   // pending or done
	Phase     string         `json:"phase"`
	Requested Time           `json:"requested"`
	Done      Time           `json:"done"`  // null: pending
	Delay     string         `json:"delay"` // why the last attempt failed; "" if none did
	Deleted   DeletionCounts `json:"deleted"`
}

// DeletionCounts are what a deletion deletes. Users to AuditEvents are what the account
// had when it began; the others grow until it is done.
type DeletionCounts struct {
	Users         int `json:"users"`
	Apps          int `json:"apps"`
	Tokens        int `json:"tokens"`
	Subscriptions int `json:"subscriptions"`
	AuditEvents   int `json:"audit_events"`
	// Records are those of all users that the account ever had.
	Records    int `json:"records"`
	LogEntries int `json:"log_entries"`
	Documents  int `json:"documents"`
}

// The states of a deletion.
const (
	DeletionPending = "pending"
	DeletionDone    = "done"
)

// SystemNodes are the nodes that serve a store, as the node that was asked sees them.
type SystemNodes struct {
	Level int          `json:"level"` // of formats that nodes may write
	Nodes []SystemNode `json:"nodes"`
}

// SystemNode is one run of a node, from its start until a day after its end.
type SystemNode struct {
	ID          string     `json:"id"`
	Self        bool       `json:"self"` // it answers
	State       string     `json:"state"`
	Host        string     `json:"host"`
	Address     string     `json:"address"` // where it listens
	Version     string     `json:"version"`
	Since       Time       `json:"since"`
	BeatSeconds float64    `json:"beat_seconds"` // age of its last heartbeat
	Streams     int        `json:"streams"`
	Consumers   int        `json:"consumers"`
	Reads       LevelRange `json:"reads"`
}

// LevelRange are the levels of formats that a node reads.
type LevelRange struct {
	Oldest int `json:"oldest"`
	Newest int `json:"newest"`
}

// The states of a node. A suspected one was silent for 15 s, a dead one was declared dead by
// another.
const (
	NodeLive      = "live"
	NodeLeaving   = "leaving"
	NodeSuspected = "suspected"
	NodeDead      = "dead"
)

// NodesUpgrade is the level after an upgrade.
type NodesUpgrade struct {
	Level int `json:"level"`
	// Prevented is which node prevents the next level, and why; "": none does.
	Prevented string `json:"prevented"`
}
