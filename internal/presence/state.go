package presence

import "time"

// The kinds of identifier. Ids are opaque text, unique within an account.
type (
	AccountID string
	UserID    string
	SessionID string
	ClaimID   string
	AppID     string
)

// A Revision numbers a commit to a user: max(previous + 1, commit time in
// microseconds since 1970). Gaps mean nothing; zero means "none yet".
type Revision uint64

// Limits on what one user's state holds. A request past one is refused with a
// [LimitError] that names it.
const (
	MaxSessions       = 128 // in all
	MaxSessionsPerApp = 32
	MaxClaims         = 256 // in all, beside the manual claim, which always has its place
	MaxClaimsPerApp   = 64
	MaxAnswers        = 64 // in all
	MaxAnswersPerApp  = 8
	MaxReplaced       = 32 // sessions of which it is remembered that they were replaced
	MaxNoteRunes      = 280
	MaxIDBytes        = 128
	MaxRules          = 500 // watchers who are named; as many again are remembered
)

// AnswersKeptFor is how long an answer to an idempotency key is remembered.
const AnswersKeptFor = 24 * time.Hour

// A State is all that is recorded about one user's presence: facts, and the
// instants that settings became when the facts were recorded. The zero State is
// a user about whom nothing is recorded. Values are shared between readers:
// nobody writes into a State's slices or Rules.
type State struct {
	Revision Revision // of the last commit
	At       Instant  // its instant

	Sessions []Session  // those not ended at At, by id
	Replaced []Replaced // oldest first
	Claims   []Claim    // those not ended at At, by id
	Note     Note       // the user's own

	// AvailableAt is when the user last chose available: claims of rank 4 and 5
	// with a since no later than it do not count.
	AvailableAt Instant
	// UpdatedAt is when an API update was last accepted, for MinInterval.
	UpdatedAt Instant
	// DampedSince is when sessions alone last changed the status, for damping.
	DampedSince Instant

	Shown     Shown
	UserState UserState
	Answers   []Answer         // oldest first
	Rules     *VisibilityRules // of visibility; nil: everyone sees all
}

// Exists reports whether anything was ever recorded.
func (s *State) Exists() bool { return s.Revision != 0 }

// Shown is what the facts of one instant do not determine: when the status last
// changed, and which commits changed what is shown.
type Shown struct {
	Status         Status
	Since          Instant  // when the shown status last changed
	StatusRevision Revision // of the commit that did
	Revision       Revision // of the last commit that changed status, note, since or until
}

// UserState is the state of a user in the directory. Numbers are stored: append only.
type UserState uint8

// A deactivated user is always offline. The facts of a deleted user are removed, and
// the id is never used again.
const (
	UserActive UserState = iota
	UserDeactivated
	UserDeleted
)

// A ClientType says what kind of client a session is.
type ClientType string

// The client types with a meaning of their own. Any other short word is kept as
// it is and counts like desktop.
const (
	Desktop ClientType = "desktop"
	Mobile  ClientType = "mobile"
	Pad     ClientType = "pad"
	Web     ClientType = "web"
)

// handheld reports whether the client is a mobile device.
func (c ClientType) handheld() bool { return c == Mobile || c == Pad }

// A Session is one signed-in client. It is live until EndsAt and active until
// IdleAt. A session that a connection holds has no end, and no IdleAt while it is active:
// its holder records when it becomes idle.
type Session struct {
	ID      SessionID
	Client  ClientType
	Version string  // of the client, as it states it, or ""
	Since   Instant // signed in
	IdleAt  Instant // zero: never idles
	EndsAt  Instant
	Lease   time.Duration // what a refresh extends EndsAt by
	App     AppID         // the app that signed the user in, or "" for the user's own client
	Via     AppID         // the app of the user's own token that its client has, or ""
	// Holder is the run of a node whose connection holds the session; "": none does.
	Holder string
}

// Live reports whether the session has not ended.
func (s *Session) Live(now Instant) bool { return now < s.ends() }

// ActiveAt reports whether the session is live and not idle.
func (s *Session) ActiveAt(now Instant) bool {
	return s.Live(now) && (s.IdleAt.IsZero() || now < s.IdleAt)
}

// A Replaced session was ended by a newer one because its app had reached the limit.
// Its client gets ErrSessionReplaced until EndsAt, when it would have expired anyway.
type Replaced struct {
	ID     SessionID
	EndsAt Instant
}

// A Source says who makes a claim. These have a meaning in the rules; any other
// short word counts like App.
type Source string

// The sources with a name of their own.
const (
	Manual   Source = "manual"
	Meeting  Source = "meeting"
	Call     Source = "call"
	Calendar Source = "calendar"
	Schedule Source = "schedule"
	App      Source = "app"
)

// ManualClaim is the id of the one manual claim.
const ManualClaim ClaimID = "manual"

// A Claim is one source's statement about a user, live while Since ≤ now < Until.
type Claim struct {
	ID     ClaimID
	Source Source
	Status Status
	Note   string
	Since  Instant
	Until  Instant // zero: until it is ended
	App    AppID   // the app that made it, or "" for the user's own
	Via    AppID   // the app of the user's own token that made it, or ""
}

func (c *Claim) live(now Instant) bool {
	return now >= c.Since && !c.ended(now)
}

func (c *Claim) ended(now Instant) bool {
	return !c.Until.IsZero() && now >= c.Until
}

// A Note is the user's own text, beside any that a claim carries.
type Note struct {
	Text  string
	Until Instant // zero: until it is changed
}

func (n *Note) live(now Instant) bool {
	return n.Text != "" && (n.Until.IsZero() || now < n.Until)
}

// An Answer remembers a request that carried an idempotency key and succeeded.
type Answer struct {
	App      AppID    // that asked
	Key      [16]byte // of app and key
	Body     [16]byte // of the request, to tell a repeat from a misuse
	At       Instant
	Revision Revision // that the request led to
	Result   string   // what it created, for requests that create
}

// A Presence is what a state shows: the composed result.
type Presence struct {
	Status Status
	Note   string
	Since  Instant // when Status last changed; zero: never
	// Until is when Status would change by itself if all sessions stayed as they
	// are; zero: not foreseen.
	Until Instant
	// Handheld says that only mobile or pad sessions are live, Active that any
	// live session is active. No watcher sees them.
	Handheld, Active bool
	// Revision is of the last commit that changed Status, Note, Since or Until.
	Revision Revision
	// StatusRevision is of the last commit that changed Status.
	StatusRevision Revision
}

// SameFor reports whether a watcher sees the same in p and o: they are equal except for
// revisions.
func (p *Presence) SameFor(o *Presence) bool {
	return p.Status == o.Status && p.Note == o.Note && p.Since == o.Since && p.Until == o.Until
}

// A Policy holds the settings that rules ask for. Settings become instants when
// a fact is recorded, so Compose needs none.
type Policy struct {
	// MinInterval is the least time between two accepted API updates of a user;
	// zero: no limit.
	MinInterval time.Duration
	// SignedInRule refuses API updates of users without a live session.
	SignedInRule bool
	// ClientVersions limits API updates of users whose newest client is old.
	ClientVersions ClientVersionRule
	// IdleAfter is how long after its last activity a session idles; zero: never.
	IdleAfter time.Duration
	// MeetingTimeout is how long a claim in_meeting, presenting or on_call lasts that
	// states no end; zero: until it is withdrawn, or ManualLasts if it is manual.
	MeetingTimeout time.Duration
	// Damping is the least time between two status changes that sessions alone
	// cause; zero: none.
	Damping time.Duration
	// Ahead records the ends of sessions later than they are acknowledged, so that most
	// refreshes need no commit although nothing is kept in memory. It is for stores that
	// several nodes share.
	Ahead bool
	// Ready is when this node began to serve; zero under Ahead, where the record decides. No session idles or expires before
	// Ready plus its lease, because clients could not refresh before.
	Ready Instant
}

// A ClientVersionRule limits the API updates of users whose newest client is older
// than Since to some changes of status. The zero rule limits nobody.
type ClientVersionRule struct {
	Since   Version
	Allowed []Transition
}

// A Version is the first three numbers of a client's version.
type Version [3]int

// A Transition is a change of the status that is shown.
type Transition struct{ From, To Status }

// DefaultPolicy has the defaults of the settings, and no rule on client versions,
// which is a dialect's.
func DefaultPolicy() Policy {
	return Policy{
		MinInterval:    time.Minute,
		SignedInRule:   true,
		IdleAfter:      15 * time.Minute,
		MeetingTimeout: 24 * time.Hour,
		Damping:        time.Second,
	}
}

// Bounds and defaults of the instants that rules set.
const (
	DefaultDoNotDisturb = 20 * time.Minute
	MinDoNotDisturb     = time.Minute
	MaxDoNotDisturb     = 1440 * time.Minute
	ManualLasts         = 24 * time.Hour // busy, in_calendar_event
	MaxClaimLasts       = 366 * 24 * time.Hour
	DefaultLease        = 120 * time.Second
	MinLease            = 30 * time.Second
	MaxLease            = 3600 * time.Second
)
