package presence

import "time"

// An Event is something that happened to a user: one of the types below.
type Event interface{ event() }

// A Request is what an API request adds to an event. The zero Request adds nothing.
type Request struct {
	// Key and Body identify a request with an idempotency key: digests of app
	// and key, and of what was asked. A zero Key: none was given.
	Key, Body [16]byte
	// App is the requesting app; remembered answers are limited per app.
	App AppID
	// Result is remembered with the answer, for requests that create.
	Result string
	// IfMatch, when not empty, lists the revisions that the state may have, and
	// IfNoneMatch those that it must not have. AnyRevision in them asks that what
	// the event is about exists, or does not.
	IfMatch, IfNoneMatch []Revision
	// Update marks an API update, to which the signed-in rule, the client version rule
	// and MinInterval apply.
	Update bool
}

// AnyRevision is the "*" of a condition. No state has this revision.
const AnyRevision = ^Revision(0)

// SignIn begins a session, or resumes a live one of the same app: that of Was, or else
// that of Session. A new session is active unless Activity says otherwise. A resumed
// one takes the new client and lease and stays active or idle unless Activity says
// which. When the app has reached its limit, the new session replaces the one that
// would expire first.
type SignIn struct {
	Request
	Session  SessionID
	Was      SessionID // "": no other
	Client   ClientType
	Version  string
	Lease    time.Duration // zero: DefaultLease
	Activity Activity
	App, Via AppID
	// Holder is the run of a node whose connection holds the session from now on; "": the
	// session has a lease.
	Holder string
}

// Refresh extends a session by its lease. It may also report whether the user is
// active; a refresh without Activity is no activity.
type Refresh struct {
	Request
	Session  SessionID
	Activity Activity
	Lease    time.Duration // zero: as it was
	// Holder, if set, refuses the refresh unless it holds the session.
	Holder string
}

// Release is for a session whose connection is lost: from now on it has a lease. If Holder
// does not hold the session, it changes nothing.
type Release struct {
	Session SessionID
	Holder  string
	Lease   time.Duration
	IdleAt  Instant // when it becomes idle if it is active; zero: never
}

// HolderLost ends the sessions that a holder still has.
type HolderLost struct{ Holder string }

// Activity is what a sign-in or a refresh reports of the person at the client.
type Activity uint8

// The reports of activity.
const (
	ActivityUnspecified Activity = iota
	ActivityActive
	ActivityIdle
)

// SignOut ends a session.
type SignOut struct {
	Request
	Session SessionID
}

// SetClaim makes a claim and replaces the one with the same id. If the status is the
// same, the claim keeps its since unless Since is given. A manual claim with status
// available removes the manual claim.
type SetClaim struct {
	Request
	ID     ClaimID
	Source Source
	Status Status
	Note   string
	Since  Instant       // zero: now, or as it was
	Until  Instant       // zero: by Lasts, or by rule
	Lasts  time.Duration // from now; zero: by Until, or by rule

	App, Via AppID
}

// EndClaim ends a claim by its id.
type EndClaim struct {
	Request
	ID ClaimID
}

// SetNote sets the user's own note; an empty text removes it.
type SetNote struct {
	Request
	Text  string
	Until Instant
}

// SetVisibility replaces the user's visibility rules: the level for everyone, and the
// watchers with a level of their own.
type SetVisibility struct {
	Request
	Everyone Visibility
	Watchers map[UserID]Visibility
}

// SetUserState records that the directory created, activated, deactivated or deleted
// the user. The sessions of a user who is not active end.
type SetUserState struct {
	State UserState
	Profiles
}

// ProfileChanged records that the directory changed the user's e-mail address, groups or,
// if neither is set, name. It changes no fact of the state: the commit is for the log.
type ProfileChanged struct {
	Email, Groups bool
	Profiles
}

// A Profile is what the directory says of a person. No rule depends on it, and no state
// contains it: the log keeps it with changes of the directory.
type Profile struct {
	Email, FirstName, LastName, DisplayName, Department string
	Groups                                              []string
}

// Profiles are the profile of a user at a change of the directory, as it is after the
// change or was before a deletion, and that before a change of the profile. nil: unknown.
type Profiles struct{ Profile, ProfileBefore *Profile }

// Tick is the passing of time alone: facts that are due expire. Soft and Idle are applied
// first: what memory holds of sessions, which postpones their expiry, and when held
// sessions became idle.
type Tick struct {
	Soft []SoftState
	Idle []HeldIdle
}

// HeldIdle is when a session became idle, according to its holder.
type HeldIdle struct {
	Session SessionID
	Holder  string
	At      Instant
}

func (SignIn) event()         {}
func (Refresh) event()        {}
func (SignOut) event()        {}
func (Release) event()        {}
func (HolderLost) event()     {}
func (SetClaim) event()       {}
func (EndClaim) event()       {}
func (SetNote) event()        {}
func (SetVisibility) event()  {}
func (SetUserState) event()   {}
func (ProfileChanged) event() {}
func (Tick) event()           {}
