package api

// DefaultPage and MaxPage bound the listings.
const (
	DefaultPage = 50
	MaxPage     = 1_000
)

// User is a person of the account.
type User struct {
	ID          string   `json:"id"`
	Email       string   `json:"email"`
	FirstName   string   `json:"first_name"`
	LastName    string   `json:"last_name"`
	DisplayName string   `json:"display_name"`
	Department  string   `json:"department"`
	Groups      []string `json:"groups"`      // names, compared ignoring case
	Active      bool     `json:"active"`      // false: deactivated
	Role        string   `json:"role"`        // member or admin
	ExternalID  string   `json:"external_id"` // of an identity provider; "" for none
	Created     Time     `json:"created"`
}

// CreateUser adds a user.
type CreateUser struct {
	Email       string   `json:"email"`
	FirstName   string   `json:"first_name,omitempty"`
	LastName    string   `json:"last_name,omitempty"`
	DisplayName string   `json:"display_name,omitempty"`
	Department  string   `json:"department,omitempty"`
	Groups      []string `json:"groups,omitempty"` // at most MaxGroups
	Role        string   `json:"role,omitempty"`   // member (the default) or admin
	ExternalID  string   `json:"external_id,omitempty"`
}

// MaxGroups bounds the groups that one user is in.
const MaxGroups = 32

// UpdateUser changes the fields that are not nil.
type UpdateUser struct {
	Email       *string   `json:"email,omitempty"`
	FirstName   *string   `json:"first_name,omitempty"`
	LastName    *string   `json:"last_name,omitempty"`
	DisplayName *string   `json:"display_name,omitempty"`
	Department  *string   `json:"department,omitempty"`
	Groups      *[]string `json:"groups,omitempty"` // replaces all groups
	Active      *bool     `json:"active,omitempty"`
	Role        *string   `json:"role,omitempty"` // member or admin
	ExternalID  *string   `json:"external_id,omitempty"`
}

// Users is a page of users, by id.
type Users struct {
	Users []User `json:"users"`
	Next  string `json:"next,omitempty"`
}

// App is an OAuth client. Secret is set only in the response that creates or rotates
// it.
type App struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Scopes  []string `json:"scopes"`
	Created Time     `json:"created"`
	// RedirectURIs are where the authorization endpoint may send browsers back to.
	RedirectURIs []string `json:"redirect_uris"`
	// Public: the app cannot keep a secret and has none.
	Public bool   `json:"public"`
	Secret string `json:"secret,omitempty"`
	// WebhookSecret signs the webhooks of the app's subscriptions. It is set only in the
	// response that creates the app.
	WebhookSecret string `json:"webhook_secret,omitempty"`
}

// CreateApp adds an app.
type CreateApp struct {
	Name         string   `json:"name"`
	Scopes       []string `json:"scopes"`
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	Public       bool     `json:"public,omitempty"`
}

// UpdateApp changes the fields that are not nil. Tokens keep at most the app's scopes.
type UpdateApp struct {
	Name         *string   `json:"name,omitempty"`
	Scopes       *[]string `json:"scopes,omitempty"`        // replaces all scopes
	RedirectURIs *[]string `json:"redirect_uris,omitempty"` // replaces all of them
	Public       *bool     `json:"public,omitempty"`
}

// Apps is a page of apps, by id.
type Apps struct {
	Apps []App  `json:"apps"`
	Next string `json:"next,omitempty"`
}

// Token is an access token. Secret, the token itself, is set only in the response
// that creates it.
type Token struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	App     string   `json:"app"`
	User    string   `json:"user"` // "" for an account-level token
	Scopes  []string `json:"scopes"`
	Created Time     `json:"created"`
	Expires Time     `json:"expires"` // null: never
	Secret  string   `json:"secret,omitempty"`
}

// CreateToken creates a token of the caller's app. Without User, the token acts for
// the same user as the caller's, or for the account.
type CreateToken struct {
	App              string   `json:"app,omitempty"`  // client id; by default the caller's app
	User             string   `json:"user,omitempty"` // id, e-mail or "me"
	Name             string   `json:"name"`
	Scopes           []string `json:"scopes"`
	ExpiresInSeconds *int64   `json:"expires_in_seconds,omitempty"` // nil: it does not expire, or expires with the caller's token
}

// Tokens is a page of tokens, by id. It may have a Next even if it has fewer tokens
// than the limit.
type Tokens struct {
	Tokens []Token `json:"tokens"`
	Next   string  `json:"next,omitempty"`
}

// RevokedTokens is how many tokens a request revoked.
type RevokedTokens struct {
	Revoked int `json:"revoked"`
}

// Account is the tenant.
type Account struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Owner   string `json:"owner"`
	Created Time   `json:"created"`
	// HistoryDays is how many days back the history of users is shown; 0: not at all.
	HistoryDays int `json:"history_days"`
	// Plan is the account's plan of rate limits; "": that of the server.
	Plan string `json:"plan"`
	// Suspended is true only where the operator reads the account: its own tokens are refused.
	Suspended bool          `json:"suspended"`
	Limits    AccountLimits `json:"limits"`
	// Rates are the numbers of the plan that applies, where an account reads itself. A plan
	// without limits has none.
	Rates []AccountRate `json:"rates,omitempty"`
}

// An AccountRate is how many requests of a kind the account may make to Zoom's routes.
type AccountRate struct {
	Label     string `json:"label"` // Zoom's word for the kind, such as "Light"
	Requests  int    `json:"requests"`
	Seconds   int    `json:"seconds"`              // in which so many are allowed
	Daily     int    `json:"daily,omitempty"`      // allowed in a day; 0: no limit
	DailyWith string `json:"daily_with,omitempty"` // the kind with which they are counted together for the day
}

// AccountLimits are how many an account may have; 0 is no limit beside those of the server.
type AccountLimits struct {
	Users         int `json:"users"`
	Apps          int `json:"apps"`
	Subscriptions int `json:"subscriptions"`
	Streams       int `json:"streams"` // open on each node
}

// MaxHistoryDays is the default of Account.HistoryDays: all that the server keeps.
const MaxHistoryDays = 3650

// UpdateAccount changes the fields that are not nil.
type UpdateAccount struct {
	Owner       *string `json:"owner,omitempty"` // id, e-mail address or "me"
	HistoryDays *int    `json:"history_days,omitempty"`
}

// Me describes the caller.
type Me struct {
	Account      string   `json:"account"`
	App          string   `json:"app"`
	AppName      string   `json:"app_name"`
	User         string   `json:"user"`         // whom "me" means
	DisplayName  string   `json:"display_name"` // of User, as Email
	Email        string   `json:"email"`
	AccountLevel bool     `json:"account_level"`
	Token        string   `json:"token"` // its id, not the secret
	Scopes       []string `json:"scopes"`
	Expires      Time     `json:"expires"` // null: never
}

// Erasure says how far the erasure of a deleted user is.
type Erasure struct {
	User      string `json:"user"`
	State     string `json:"state"` // pending or done
	Requested Time   `json:"requested"`
	Done      Time   `json:"done"`  // null: pending
	Delay     string `json:"delay"` // why the last attempt did not complete it; "" if there was none
}

// The states of an erasure.
const (
	ErasurePending = "pending"
	ErasureDone    = "done"
)

// Group is a named set of users. The names in User.Groups say who is in it.
type Group struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	ExternalID string `json:"external_id"` // of an identity provider; "" for none
	Created    Time   `json:"created"`
}

// CreateGroup adds a group without members. Groups are also created with the first user
// who is given their name.
type CreateGroup struct {
	Name       string `json:"name"`
	ExternalID string `json:"external_id,omitempty"`
}

// UpdateGroup changes the fields that are not nil. A new name is given to all members.
type UpdateGroup struct {
	Name       *string `json:"name,omitempty"`
	ExternalID *string `json:"external_id,omitempty"`
}

// Groups is a page of groups, by id.
type Groups struct {
	Groups []Group `json:"groups"`
	Next   string  `json:"next,omitempty"`
}
