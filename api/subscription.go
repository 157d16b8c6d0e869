package api

// Subscription is an endpoint that is sent events, or, without a URL, a queue of events
// for a client that connects.
type Subscription struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	App   string `json:"app"`   // that made it
	Owner string `json:"owner"` // the user whose it is; "": the account's
	// ConsentBy is the user who allowed the app to act for them when it made the
	// subscription, which ends with that consent; "": it needs none.
	ConsentBy string `json:"consent_by"`
	URL       string `json:"url"`
	Form      string `json:"form"` // in which events are written
	// Events, Users and Groups are filters; an empty one does not filter. An event passes
	// if its user is one of Users or in one of Groups.
	Events         []string       `json:"events"`
	Users          []string       `json:"users"`
	Groups         []string       `json:"groups"`
	Profile        string         `json:"profile"` // of retries
	LatestOnly     bool           `json:"latest_only"`
	Concurrency    int            `json:"concurrency"` // requests at a time
	Authentication Authentication `json:"authentication"`
	AppSecret      bool           `json:"app_secret"` // signed with the secret of the app
	Created        Time           `json:"created"`
	Validated      Time           `json:"validated"` // when the endpoint last proved that it wants events
	Failures       int            `json:"failures"`  // validations in a row that failed
	Reason         string         `json:"reason"`    // of the last failure
	Disabled       Time           `json:"disabled"`  // since when it is sent nothing, because its endpoint failed
	Paused         bool           `json:"paused"`    // it is sent nothing until it is resumed
	// Secret is set only in the response that creates or rotates it.
	Secret string `json:"secret,omitempty"`
}

// Authentication is how the server authenticates itself to an endpoint, besides the
// signature. Responses have no passwords, secrets and values.
type Authentication struct {
	Kind         string `json:"kind"`                    // "none", "basic", "oauth" or "header"
	Username     string `json:"username,omitempty"`      // basic
	Password     string `json:"password,omitempty"`      // basic
	TokenURL     string `json:"token_url,omitempty"`     // oauth, client credentials
	ClientID     string `json:"client_id,omitempty"`     // oauth
	ClientSecret string `json:"client_secret,omitempty"` // oauth
	Scope        string `json:"scope,omitempty"`         // oauth
	HeaderName   string `json:"header_name,omitempty"`   // header
	HeaderValue  string `json:"header_value,omitempty"`  // header
}

// CreateSubscription subscribes an endpoint. Everything but the URL has a default.
type CreateSubscription struct {
	Name           string          `json:"name,omitempty"`
	URL            string          `json:"url,omitempty"` // "": for a client that connects
	Form           string          `json:"form,omitempty"`
	Events         []string        `json:"events,omitempty"`
	Users          []string        `json:"users,omitempty"` // ids or e-mail addresses
	Groups         []string        `json:"groups,omitempty"`
	Profile        string          `json:"profile,omitempty"`
	LatestOnly     bool            `json:"latest_only,omitempty"`
	Concurrency    int             `json:"concurrency,omitempty"`
	Authentication *Authentication `json:"authentication,omitempty"`
	Secret         string          `json:"secret,omitempty"`     // "": the server makes one
	AppSecret      bool            `json:"app_secret,omitempty"` // instead of a secret
}

// UpdateSubscription changes the fields that are not nil.
type UpdateSubscription struct {
	Name           *string         `json:"name,omitempty"`
	URL            *string         `json:"url,omitempty"`
	Events         *[]string       `json:"events,omitempty"`
	AllEvents      bool            `json:"all_events,omitempty"` // removes the filter
	Users          *[]string       `json:"users,omitempty"`
	Groups         *[]string       `json:"groups,omitempty"`
	AllUsers       bool            `json:"all_users,omitempty"` // removes the filters by user and group that are not given
	Profile        *string         `json:"profile,omitempty"`
	LatestOnly     *bool           `json:"latest_only,omitempty"`
	Concurrency    *int            `json:"concurrency,omitempty"`
	Authentication *Authentication `json:"authentication,omitempty"`
	Paused         *bool           `json:"paused,omitempty"`
}

// Subscriptions is a page of subscriptions, by id.
type Subscriptions struct {
	Subscriptions []Subscription `json:"subscriptions"`
	Next          string         `json:"next,omitempty"`
}

// RotateSecret replaces a secret. The old one signs beside the new one for the overlap,
// by default a day.
type RotateSecret struct {
	Secret         string `json:"secret,omitempty"` // "": the server makes one
	OverlapSeconds *int   `json:"overlap_seconds,omitempty"`
}

// RotateWebhookSecret replaces the secret of an app, as RotateSecret does.
type RotateWebhookSecret struct {
	OverlapSeconds *int `json:"overlap_seconds,omitempty"`
}

// WebhookSecret is the new secret of an app.
type WebhookSecret struct {
	WebhookSecret string `json:"webhook_secret"`
}

// Delivery is one attempt to deliver an event.
type Delivery struct {
	Event      string `json:"event"` // id; the same in all attempts
	Type       string `json:"type"`
	User       string `json:"user"`
	Position   uint64 `json:"position"` // of the event in the log, for Replay
	Attempt    int    `json:"attempt"`  // 1 is the first
	Started    Time   `json:"started"`
	DurationMS int    `json:"duration_ms"`
	Status     int    `json:"status"` // of the answer; 0: there was none
	Answer     string `json:"answer"` // its first bytes
	// Reason says in words why the attempt failed, and Failure names the kind; "": it was
	// accepted.
	Reason   string `json:"reason"`
	Failure  string `json:"failure"`
	Stale    bool   `json:"stale"`    // a newer event of the user had been sent
	Replayed bool   `json:"replayed"` // it was sent again by Replay
	Next     Time   `json:"next"`     // when the next attempt follows
}

// Deliveries is a page of attempts, the newest first, and how far the delivery is.
type Deliveries struct {
	Deliveries []Delivery `json:"deliveries"`
	Next       string     `json:"next,omitempty"`
	// State is nil if another server delivers the events.
	State *DeliveryState `json:"state,omitempty"`
}

// DeliveryState is how far the delivery to a subscription is.
type DeliveryState struct {
	Position  uint64 `json:"position"`   // every event up to it was accepted, given up, or waits for a retry
	Pending   int    `json:"pending"`    // events that wait for a retry
	Behind    bool   `json:"behind"`     // it reads older events from the log
	Down      bool   `json:"down"`       // the endpoint fails, and is probed
	NextProbe Time   `json:"next_probe"` // when it is down
	Attached  bool   `json:"attached"`   // a client is connected
	Oldest    Time   `json:"oldest"`     // the time of the oldest event that was not attempted
	Replaying bool   `json:"replaying"`
}

// TestSubscription asks for a sample of an event.
type TestSubscription struct {
	Event string `json:"event,omitempty"` // type; "": the first that the subscription has
}

// ReplayRequest says where a replay begins: a time in RFC 3339 format, the position of
// a delivery, or a cursor.
type ReplayRequest struct {
	From string `json:"from"`
}

// Replay is the range of positions that is sent again: above From, up to To.
type Replay struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}
