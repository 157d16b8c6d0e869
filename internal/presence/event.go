package presence

import "time"

// An Event is one thing that happened to a user. The types below are all there
// are.
type Event interface{ event() }

// A Request is what the API asks of an event beyond the fact itself. The zero
// Request asks nothing.
type Request struct {
	// Key and Body identify a request with an idempotency key: digests of app
	// and key, and of what was asked. A zero Key: none was given.
	Key, Body [16]byte
	// App is the app that asks: each has a number of answers that are remembered.
	App AppID
	// Result is remembered with the answer, for requests that create.
	Result string
	// IfMatch, when not empty, lists the revisions that the state may have, and
	// IfNoneMatch those that it must not have. AnyRevision in them asks that what
	// the event is about exists, or does not.
	IfMatch, IfNoneMatch []Revision
	// Update marks an API update: the signed-in, legacy and minute rules hold.
	Update bool
}

// AnyRevision is the "*" of a condition. No state has this revision.
const AnyRevision = ^Revision(0)

// SignIn begins a session, or goes on with a live one of the same app: with Was, or
// else with Session. A new session is active unless Activity says otherwise; one
// that goes on takes the new client and lease, and is left active or idle unless
// Activity says which. When the app has as many sessions as it may have, the new
// one replaces the one of them that would end first.
type SignIn struct {
	Request
	Session  SessionID
	Was      SessionID // "": no other
	Client   ClientType
	Version  string
	Lease    time.Duration // zero: DefaultLease
	Activity Activity
	App, Via AppID
}

// Refresh keeps a session live for another lease. With Activity it reports that
// the user is active or not; without, it is no activity.
type Refresh struct {
	Request
	Session  SessionID
	Activity Activity
	Lease    time.Duration // zero: as it was
}

// Activity is what a sign-in or a refresh says of the person at the client.
type Activity uint8

// What it may say.
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

// SetClaim states a claim, replacing the one of the same id. With the same
// status the claim keeps its since, unless Since is given. A manual claim of
// status available removes the manual claim.
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

// SetVisibility sets the user's rules of visibility: what everyone sees, and the
// watchers for whom that is otherwise. They replace all there were.
type SetVisibility struct {
	Request
	Everyone Visibility
	Watchers map[UserID]Visibility
}

// SetUserState records what the directory decided: that the user exists and is
// active, is deactivated, or is deleted. Sessions of a user who is not active
// end.
type SetUserState struct{ State UserState }

// ProfileChanged records that the directory changed the user's names, or the
// e-mail address. Nothing that is recorded here changes: the commit is for the log.
type ProfileChanged struct{ Email bool }

// Tick is the passing of time alone: what is due ends. Seen comes first: it is
// what was learned of sessions since the last commit, and puts their ends off.
type Tick struct{ Soft []SoftState }

func (SignIn) event()         {}
func (Refresh) event()        {}
func (SignOut) event()        {}
func (SetClaim) event()       {}
func (EndClaim) event()       {}
func (SetNote) event()        {}
func (SetVisibility) event()  {}
func (SetUserState) event()   {}
func (ProfileChanged) event() {}
func (Tick) event()           {}
