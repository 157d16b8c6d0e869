// Package webhook delivers events to other systems: it stores subscriptions, follows
// the log as a durable consumer, and sends each event to the endpoints that subscribed
// to it, until they accept it or the retry schedule ends.
//
// It is separate from the dialects because subscriptions of all of them share one
// pipeline: a dialect contributes a Form, which puts log entries into its words. It
// guarantees that an event is sent only after its commit is durable and at least once,
// that first attempts for one endpoint and user are made in the order of commits, that
// a slow, dead or hostile endpoint delays no other, and that what it cannot deliver is
// announced as a gap rather than left out. It must know no vendor's words, and must
// never write inside an update of a user.
package webhook

import (
	"context"
	"net/http"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Subscription is an endpoint and what it is sent. Its delivery state (position and
// pending retries) is a document of its own, which only the deliverer writes.
type Subscription struct {
	ID      string
	Account presence.AccountID
	App     presence.AppID // that made it
	// Owner is the user who is sent the own events, and who may manage the subscription.
	// Empty: it is the account's.
	Owner presence.UserID
	// Consent is that with which App made it: the subscription ends with it. Zero: App or
	// Owner made it with their own permissions.
	Consent Consent
	Name    string
	// URL is the endpoint. Empty: events wait until a client connects and takes them.
	URL  string
	Form string // name of the Form in which events are written
	// Events are types of the form; empty: all of them.
	Events []string
	// Users and Groups filter by whose event it is: any of these users, or any member
	// of these groups. Both empty: every user of the account.
	Users       []presence.UserID
	Groups      []string
	Profile     string // name of the Profile
	LatestOnly  bool   // drop a retry that was overtaken by a newer event of its user
	Concurrency int    // requests to the endpoint at a time
	Auth        Authentication
	// Secrets sign what is sent, the newest first. An older one is used beside it
	// until its Until. Empty: the secret of the app.
	Secrets []Secret
	Created time.Time
	Version string // of its document
	Health  Health
	// Paused: somebody paused it. Nothing is sent, and the position stays.
	Paused bool
	// Suspended has the effect of Paused, for other reasons: the account is suspended, the Owner is
	// deactivated, or the person of the Consent may not follow others any more. It is set in
	// the snapshot alone.
	Suspended bool
	Replay    ReplayRequest

	groupKeys []string // of Groups
}

// stopped reports whether nothing is sent for now.
func (s *Subscription) stopped() bool { return !s.Health.Disabled.IsZero() || s.Paused || s.Suspended }

// A Consent is a person's permission for an app to act for them.
type Consent struct {
	User  presence.UserID
	Since time.Time // distinguishes it from a later one of the same app
}

// Health is what validation found. A subscription that is disabled is sent nothing; its
// position stays, so that it continues where it stopped when it is enabled again.
type Health struct {
	Validated time.Time // the last success; zero: never
	Failures  int       // validations in a row that failed
	Reason    string    // of the last failure
	Disabled  time.Time // zero: enabled
}

// A Secret signs deliveries.
type Secret struct {
	Value string
	Until time.Time // zero: no end
}

// A Profile is a schedule of attempts. Dialects may bring their own.
type Profile struct {
	Name    string
	Timeout time.Duration // of an attempt
	// Delays are the times between attempts: after the last of them, the event is given
	// up. One attempt follows each.
	Delays []time.Duration
	// RetryClientErrors says that answers of 3xx and 4xx are retried as well, and
	// Retry-After is honoured. Otherwise only 5xx and failed connections are.
	RetryClientErrors bool
}

// Durable is the default profile: 8 attempts over 27 h 35 min.
func Durable() Profile {
	return Profile{
		Name: "durable", Timeout: 15 * time.Second, RetryClientErrors: true,
		Delays: []time.Duration{
			5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
		},
	}
}

// AuthenticationKind is how the server authenticates itself to an endpoint, beside the
// signature.
type AuthenticationKind string

// The kinds.
const (
	AuthNone   AuthenticationKind = ""
	AuthBasic  AuthenticationKind = "basic"
	AuthOAuth  AuthenticationKind = "oauth" // client credentials
	AuthHeader AuthenticationKind = "header"
)

// Authentication has the fields of its kind set.
type Authentication struct {
	Kind                    AuthenticationKind
	Username, Password      string // basic
	TokenURL                string // oauth
	ClientID, ClientSecret  string
	Scope                   string
	HeaderName, HeaderValue string // header
}

// A Person is what the directory says of an entry's user: as the user is now, or was
// before its deletion.
type Person struct {
	ID                                     presence.UserID
	Email, FirstName, LastName, Department string
	DisplayName                            string
	Groups                                 []string
}

// People finds who users are, also those who were deleted since.
type People interface {
	// Of gives the arguments of Encode. who is never nil: of a user about whom nothing is
	// known, it has only the ID.
	Of(ctx context.Context, e *store.Entry) (who, actor *Person, err error)
}

// An Event is one message, made from one log entry.
type Event struct {
	Type string
	User presence.UserID
	// At and Index identify the event: the entry, and which of its events this is.
	At       store.Position
	Index    int
	Revision presence.Revision
	Time     time.Time // of the commit
	// Header has what the form adds to the request, Content-Type among it.
	Header http.Header
	Body   []byte
}

// A Form writes entries in the words of a dialect. Its results are functions of the
// arguments, so that a retry sends the same bytes.
type Form interface {
	// Name is the value of Subscription.Form.
	Name() string
	// Types lists the types of events, in the order of the documentation.
	Types() []string
	// Encode gives the events of an entry: none, one or several. actor is the user who
	// made the change; nil: an app, the server, or nobody that is known.
	Encode(e *store.Entry, who, actor *Person) []Event
	// Gap tells the receiver that events after from and up to to were not delivered.
	Gap(account presence.AccountID, subscription string, g *Gap) Event
	// Sample is an event of a type as a receiver may expect it, for tests. at is now.
	Sample(account presence.AccountID, eventType string, who *Person, at time.Time) (Event, bool)
	// Headers are those of the dialect for one attempt, such as its signature. The
	// sender adds those of Standard Webhooks itself, to every form.
	Headers(secret, requestID string, at time.Time, body []byte) http.Header
	// Challenge is the request by which an endpoint proves that it wants events. token
	// is random.
	Challenge(secret, token string, at time.Time) Challenge
}

// A Challenge validates an endpoint.
type Challenge struct {
	Method string // POST, or OPTIONS
	Event  Event  // its Header and Body are sent, with Headers as in any attempt
	// Check is nil if the answer proves that the endpoint wants events, or says what is
	// wrong with it.
	Check func(status int, header http.Header, body []byte) error
}

// A Gap is a range of the log whose events were not delivered.
type Gap struct {
	From, To store.Position // after From, up to To
	Reason   string         // in words: retention, or too many pending retries
	At       time.Time
}

// An Attempt is one try to deliver an event, or to validate an endpoint.
type Attempt struct {
	Event    string // its ID; the same for all attempts of one event
	Type     string
	User     presence.UserID
	At       store.Position
	Number   int // 1 is the first
	Started  time.Time
	Duration time.Duration
	Status   int    // of the answer; 0: there was none
	Answer   []byte // its first bytes
	// Failure is the kind of failure, and Reason says in words why it failed; empty: the
	// endpoint accepted it.
	Failure    Failure
	Reason     string
	RetryAfter time.Duration // that the endpoint asked for
	Stale      bool          // a newer event of the user had been sent before
	Replayed   bool          // it was sent because of a replay
	Next       time.Time     // the next attempt; zero: none follows
}

// A Failure is why an attempt failed. All but FailureStatus mean that there is no answer.
type Failure string

// The failures.
const (
	FailureNone     Failure = ""
	FailureStatus   Failure = "status"   // the endpoint answered, but not with 2xx
	FailureURL      Failure = "url"      // the URL is malformed, or has a port that is refused
	FailureRefused  Failure = "refused"  // the operator does not permit the address
	FailureName     Failure = "name"     // the host's name has no permitted address
	FailureConnect  Failure = "connect"  // no connection
	FailureTLS      Failure = "tls"      // the handshake failed
	FailureTimeout  Failure = "timeout"  // it took too long
	FailureClosed   Failure = "closed"   // the connection ended before the answer
	FailureProtocol Failure = "protocol" // the answer is not valid HTTP
	FailureToken    Failure = "token"    // no access token for the endpoint
	FailureConfig   Failure = "config"   // the subscription cannot be sent to as it is
	FailureInternal Failure = "internal" // the server could not prepare the request
	FailureCanceled Failure = "canceled" // the server is stopping: not the endpoint's fault
)

// A Request is what one attempt sends.
type Request struct {
	Subscription *Subscription
	Event        *Event
	ID           string // of the event: stable over attempts
	Number       int
	Stale        bool
	Replayed     bool
}

// Sender makes attempts. It never follows redirects and never connects to an address
// that the operator did not allow.
type Sender interface {
	Send(ctx context.Context, r *Request) Attempt
	// Validate proves that the endpoint wants events. The error says what was tried and
	// what came back.
	Validate(ctx context.Context, s *Subscription) error
}
