package store

import (
	"context"
	"errors"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// Store is what a backend keeps. What a method returns, or calls back with, is
// durable. Records are shared: nobody writes into one.
type Store interface {
	Log

	// Update replaces u's state by what fn makes of it, alone: no other update
	// of u comes between, and appends one entry to the log. The zero Recorded is
	// "none yet". fn is pure and quick, may run several times and on a goroutine
	// of the store; its last result counts. When fn returns an error nothing is
	// stored, and Update returns what fn saw with that error as it is;
	// presence.ErrNoChange is one of them. A state that fn returns has a
	// Revision above the one it was given, and what it returns beside is what
	// follows from that state: the store does not compose it again.
	//
	// ErrUnknown means that the update may or may not have happened, at most
	// once. One update touches one user: what must change together lies in one
	// state.
	Update(ctx context.Context, u User, fn Decide) (Record, error)

	// Read gives the newest durable records, in the order of us; users without
	// a record are left out. The cursor is never newer than any record given:
	// going on from it may repeat a change, never skip one. A record changed after
	// a cursor if its At is above the cursor's position.
	Read(ctx context.Context, us []User) ([]Record, Cursor, error)

	// Watch calls fn with records as they become durable, in groups, in the order
	// of positions. The first call has none: its cursor is where Watch begins, and
	// it comes before Watch waits for anything. Whoever's record changes after that
	// comes in a later group, with a record at least as new; versions in between
	// may be left out, and repeats may come. upTo is a low-water mark: for each
	// change since the beginning that lies at or below it, its user's record was
	// given at least as new, or is above it by now and still to come. Going on from
	// upTo may repeat a change, never skip one. A read that follows a call shows
	// nothing older than what fn was given. While fn is busy, the newest record of
	// each user waits, and no update does. Any number may run at once. It returns
	// when ctx ends, or the store closes or fails, with that error.
	Watch(ctx context.Context, fn func(group []Record, upTo Cursor)) error

	// Due calls fn with users whose presence changes by itself by now (the next
	// of presence.Compose for their state), at least once each, until an update
	// moves that instant. It may come early or twice, so fn runs an Update that
	// may find nothing to do. At most MaxDueGroup users a call. It returns when
	// ctx ends or fn fails, with that error.
	Due(ctx context.Context, fn func([]User) error) error

	// Write stores documents together or not at all: at most MaxWrite, in one
	// account. Each must have the Version given ("" = must not exist), else
	// ErrConflict. A nil Value deletes. Uniqueness is a document whose key is
	// the unique value, written with its owner's.
	Write(ctx context.Context, account presence.AccountID, docs ...Doc) error

	// Load gives the documents that exist, in the order of keys. A document past
	// its Until does not exist.
	Load(ctx context.Context, account presence.AccountID, keys ...Key) ([]Doc, error)

	// List pages through a collection in the byte order of keys, those above
	// after, at most limit of them. Pages are not one snapshot.
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]Doc, error)

	// Epoch is the identity of this store: it changes on a restore, and after an
	// unclean start with relaxed durability.
	Epoch() string

	// Check says why the store must not acknowledge, or nil.
	Check(ctx context.Context) error

	// Failed is closed when the store can acknowledge no more: the process
	// should end. Check then says why.
	Failed() <-chan struct{}

	// Close ends the store. Calls that come later get ErrClosed.
	Close() error
}

// Bounds of the contract.
const (
	MaxWrite     = 100
	MaxFeedGroup = 1000
	MaxDueGroup  = 1000
	MaxKeyBytes  = 512      // of account, user id, collection and document key, each
	MaxDocBytes  = 64 << 10 // of a document's value

	// MaxStateBytes bounds the binary form of a state: the limits of package
	// presence let it become no larger.
	MaxStateBytes = 640 << 10
)

// What a store answers when it does not do as asked.
var (
	// ErrUnknown: the answer was lost; it may have taken effect, at most once.
	ErrUnknown = errors.New("the store's answer was lost: the change may or may not have been made")
	// ErrConflict: a document does not have the version given.
	ErrConflict = errors.New("a document was changed by somebody else")
	// ErrEpoch: the cursor is of another store, or of this one before a restore.
	ErrEpoch = errors.New("the cursor belongs to another epoch")
	// ErrFull: too little disk space is left to write.
	ErrFull = errors.New("the disk is almost full: nothing is written until space is free")
	// ErrFailed: a write or a sync failed, and nothing is acknowledged any more.
	ErrFailed = errors.New("the store failed and acknowledges nothing more")
	// ErrUnavailable: the store cannot be reached now. Nothing was changed.
	ErrUnavailable = errors.New("the store cannot be reached now")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrInUse: Due is running already.
	ErrInUse = errors.New("another call of Due is running")
	// ErrTooLarge: a key, a document or a call is past a bound of the contract.
	ErrTooLarge = errors.New("past a bound of the store")
)

// User names a record: nothing crosses an account.
type User struct {
	Account presence.AccountID
	ID      presence.UserID
}

// Record is the newest durable state of a user.
type Record struct {
	User  User
	State *presence.State   // shared; never nil
	Shown presence.Presence // what State showed when it was committed: presence.Committed
	At    Position          // of its last entry in the log; zero: none yet
}

// Position is a place in the log. Zero is before the first entry.
type Position uint64

// Decide is what Update runs: it makes a change of what is recorded.
type Decide func(presence.Recorded) (Change, error)

// Change is what an update makes of a user's record, and on whose behalf.
type Change struct {
	presence.Change
	By By
}

// Entry is the log's entry of the change from what was recorded before, less At
// and Gap, which belong to the engine.
func (c *Change) Entry(u User, was *presence.Recorded) Entry {
	return Entry{
		User: u, Revision: c.State.Revision, Time: c.State.At.Time(), By: c.By, Origin: c.Origin,
		Before: was.Shown, After: c.Shown, UserBefore: factsOf(&was.State), UserAfter: factsOf(&c.State),
	}
}

func factsOf(s *presence.State) UserFacts {
	return UserFacts{State: s.UserState, Note: s.Note.Text}
}

// By says why and by whom a state changed.
type By struct {
	Cause Cause
	Actor Actor
}

// Cause is the kind of thing that changed a state. Numbers are stored: append
// only.
type Cause uint8

// The causes.
const (
	CauseUnknown Cause = iota
	CauseSignIn
	CauseRefresh
	CauseSignOut
	CauseClaim
	CauseEndClaim
	CauseNote
	CauseUserState
	CauseTime       // something ended at its instant
	CauseVisibility // the user's rules of visibility
	// Changes in the directory. In older entries CauseUserState stands for the last four.
	CauseRenamed
	CauseEmail
	CauseCreated
	CauseActivated
	CauseDeactivated
	CauseDeleted
)

// Actor is who asked: a user, an app on behalf of nobody in particular, or the
// server itself.
type Actor struct {
	User presence.UserID
	App  presence.AppID
}

// Entry is one commit in the log.
type Entry struct {
	At       Position
	User     User
	Revision presence.Revision
	Time     time.Time // of the commit
	By       By
	// Origin is the claim or the client that it comes from.
	Origin presence.Origin
	// Before and After are what the user showed.
	Before, After presence.Presence
	// UserBefore and UserAfter are facts that what is shown does not tell. Entries
	// of format 1 do not have them.
	UserBefore, UserAfter UserFacts
	// Erased says that the entry was redacted: see Redact.
	Erased bool
	// Gap: older versions of this user were dropped before this one.
	Gap bool
	// Damaged says why the entry cannot be decoded; of the rest only At is set.
	Damaged error
}

// UserFacts are the user's state in the directory and own note.
type UserFacts struct {
	State presence.UserState
	Note  string
}

// Redact is what stays of e when its user is erased: that there was a commit, when
// and of which kind.
func Redact(e Entry) Entry {
	return Entry{At: e.At, User: e.User, Revision: e.Revision, Time: e.Time, By: By{Cause: e.By.Cause}, Erased: true, Gap: e.Gap}
}

// Key names a document in an account.
type Key struct {
	Collection string
	Key        string
}

// Doc is a small document. Version is opaque and set by the store.
type Doc struct {
	Key
	Version string
	Value   []byte
	Until   time.Time // after which it does not exist; zero: for ever
}
