package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// Store is what a backend implements. Everything that a method returns or passes to a
// callback is durable. Records are shared and must not be modified.
type Store interface {
	Log

	// Update atomically replaces u's state by the result of fn, and appends one
	// entry to the log, unless the result is Unlogged. The zero Recorded means that there is no record yet. fn
	// must be pure and quick. It may run several times and on a goroutine of the
	// store; its last result counts. If fn returns an error, such as
	// presence.ErrNoChange, nothing is stored, and Update returns the record that
	// fn was given and the unwrapped error. The Revision of the returned state is
	// above the given one. The rest of the result must follow from that state: the
	// store does not compose it again.
	//
	// ErrUnknown means that the update may or may not have happened, at most
	// once. One update changes one user: data that must change together belong in
	// one state.
	Update(ctx context.Context, u User, fn Decide) (Record, error)

	// Begin is Update for a caller that does not wait. The result of Update comes as a
	// reply: once, on any goroutine, perhaps before Begin returns. A store that closes or
	// fails replies to all that was begun, and Close returns after the last reply. reply
	// must be quick, must not block and must not call Close. Begin itself waits while the
	// queue is full. fn does not run after the reply, unless that is ErrUnknown. Updates of
	// one user that are begun one after another run in that order.
	Begin(u User, fn Decide, reply Reply)

	// Read gives durable records, in the order of us, without users who have none. They
	// are at least as new as everything that this Store has stored or returned before, cursors
	// included, and as fresh requires. The cursor is never newer than any of the records: continuing
	// from it may repeat a change, but never skips one. A record changed after a
	// cursor if its At is above the cursor's position. ErrUnavailable: such records cannot
	// be read now. A read of no users gives a cursor of what this Store has stored and
	// returned.
	Read(ctx context.Context, us []User, fresh Freshness) ([]Record, Cursor, error)

	// Scan calls fn with every record once, in groups of at most MaxScanGroup, in any
	// order. A record is durable, and at least as new as it was when Scan was called. An
	// update during the scan may be seen or not, and the user's record may then be given
	// again. Scan returns when fn fails, ctx ends, or the store closes or fails, with that
	// error.
	Scan(ctx context.Context, fn func([]Record) error) error

	// Watch calls fn with records as they become durable, in groups, in the order
	// of positions. The first call has no records: its cursor is the start of the
	// watch, and it comes before Watch waits for anything. Each change after the
	// start is followed by a group with a record of its user that is at least as
	// new. Intermediate versions may be skipped, and records may be repeated. upTo
	// is a low-water mark: for each change between the start and upTo, fn was
	// given a record at least as new, or the user's record has changed again and
	// follows later. Continuing from upTo may repeat a change, but never skips one.
	// A read after a call gives nothing older than what fn was given. While fn is
	// busy, records are coalesced to the newest of each user, and updates are not
	// blocked. Any number of calls may run at once. Watch returns when ctx ends,
	// or the store closes or fails, with that error.
	Watch(ctx context.Context, fn func(group []Record, upTo Cursor)) error

	// Due calls fn with users for whom the next instant of presence.Compose has
	// come, at least once each, until an update moves that instant. A call may be
	// early or repeated, so fn runs an Update that may find nothing to do. At most
	// MaxDueGroup users a call. Due returns when ctx ends or fn fails, with that
	// error.
	Due(ctx context.Context, fn func([]User) error) error

	// Write stores documents of one account atomically, at most MaxWrite. Each must
	// have the given Version ("" = must not exist), else ErrConflict. A nil Value
	// deletes. To make a value unique, write a document whose key is that value
	// together with its owner's document.
	Write(ctx context.Context, account presence.AccountID, docs ...Doc) error

	// Load gives the documents that exist, in the order of keys. A document does not
	// exist after its Until.
	Load(ctx context.Context, account presence.AccountID, keys ...Key) ([]Doc, error)

	// List gives at most limit documents of a collection, with keys above after, in
	// the byte order of keys. Pages are not one snapshot.
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]Doc, error)

	// Collections gives the names of the collections in which an account has documents,
	// in byte order, and perhaps some in which it had some. It may miss one whose first
	// document was written a few seconds ago. It may read every document of the account:
	// it is for the deletion of accounts.
	Collections(ctx context.Context, account presence.AccountID) ([]string, error)

	// Epoch is the identity of this store: it changes on a restore, and after an
	// unclean start with relaxed durability.
	Epoch() string

	// Check gives the reason why the store cannot acknowledge writes, or nil.
	Check(ctx context.Context) error

	// Failed is closed when the store can never acknowledge writes again: the
	// process should exit. Check then gives the reason.
	Failed() <-chan struct{}

	// Close closes the store. Later calls get ErrClosed.
	Close() error
}

// Limits of the contract.
const (
	MaxWrite     = 100
	MaxFeedGroup = 1000
	MaxDueGroup  = 1000
	MaxScanGroup = 1000
	MaxKeyBytes  = 512      // of account, user id, collection and document key, each
	MaxDocBytes  = 64 << 10 // of a document's value

	// MaxStateBytes limits the binary form of a state. The limits of package
	// presence ensure it.
	MaxStateBytes = 640 << 10
)

// A PanicError: an update function panicked, and nothing was stored. The engine logs the
// stack, which is not part of the message.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("update function panicked: %v", e.Value) }

// Errors of a store.
var (
	// ErrUnknown: the result is not known; the change was made at most once.
	ErrUnknown = errors.New("result unknown: the change may or may not have been stored")
	// ErrConflict: a document does not have the given version.
	ErrConflict = errors.New("document was changed concurrently")
	// ErrEpoch: the cursor is of another store, or of this one before a restore.
	ErrEpoch = errors.New("cursor belongs to another epoch")
	// ErrFull: too little disk space is free.
	ErrFull = errors.New("disk almost full; writes are refused until space is free")
	// ErrFailed: a write or a sync failed, and the store accepts no more writes.
	ErrFailed = errors.New("store failed and accepts no more writes")
	// ErrUnavailable: the store is temporarily unreachable. Nothing was changed.
	ErrUnavailable = errors.New("store unavailable")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store closed")
	// ErrInUse: another call of Due is running.
	ErrInUse = errors.New("another call of Due is running")
	// ErrTooLarge: a key, a document or a call exceeds a limit of the contract.
	ErrTooLarge = errors.New("exceeds store limit")
)

// User identifies a record. No operation crosses accounts.
type User struct {
	Account presence.AccountID
	ID      presence.UserID
}

// Record is the newest durable state of a user.
type Record struct {
	User  User
	State *presence.State   // shared; never nil
	Shown presence.Presence // the presence that State showed at its commit: presence.Committed
	At    Position          // of its newest log entry; zero: none
}

// Position is a position in the log. Zero is before the first entry.
type Position uint64

// Decide is the function that Update runs: it makes a change from the recorded state.
type Decide func(presence.Recorded) (Change, error)

// Reply takes the result of an update. It is a function rather than an interface so that
// a caller who begins many updates can bind it once.
type Reply func(Record, error)

// Call passes on a result. A panic is logged: it must not affect other callers.
func (reply Reply) Call(log *slog.Logger, record Record, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic", slog.Any("value", p), slog.String("stack", string(debug.Stack())))
		}
	}()
	reply(record, err)
}

// Change is the result of an update, and on whose behalf it is made.
type Change struct {
	presence.Change
	By By
	// Unlogged: the state is stored durably, and its revision rises, but the log gets no
	// entry: Feed, Log, History and Watch do not mention the update, and the record keeps
	// its At. It is for updates that change nothing that anybody is shown, such as the
	// refresh of a session. The first update of a user is logged in any case.
	Unlogged bool
}

// Entry is the log entry for the change from the state recorded before, without At and
// Gap, which the engine sets.
func (c *Change) Entry(u User, was *presence.Recorded) Entry {
	return Entry{
		User: u, Revision: c.State.Revision, Time: c.State.At.Time(), By: c.By, Origin: c.Origin,
		Before: was.Shown, After: c.Shown, UserBefore: factsOf(&was.State), UserAfter: factsOf(&c.State),
		Began: missingIn(was.State.Sessions, c.State.Sessions), Ended: missingIn(c.State.Sessions, was.State.Sessions),
		Profiles: c.Profiles,
	}
}

// missingIn gives those of sessions that are not among others. Both are in the order of
// ids. A session with the id of an earlier one is another session.
func missingIn(others, sessions []presence.Session) []SessionFacts {
	var missing []SessionFacts
	for i := range sessions {
		s := &sessions[i]
		for len(others) > 0 && others[0].ID < s.ID {
			others = others[1:]
		}
		if len(others) > 0 && others[0].ID == s.ID && others[0].Since == s.Since {
			continue
		}
		missing = append(missing, SessionFacts{ID: s.ID, Client: s.Client, Version: s.Version, App: cmp.Or(s.App, s.Via)})
	}
	return missing
}

func factsOf(s *presence.State) UserFacts {
	return UserFacts{State: s.UserState, Note: s.Note.Text}
}

// By is the cause and the actor of a change.
type By struct {
	Cause Cause
	Actor Actor
}

// Cause is the kind of operation that changed a state. Numbers are stored: append
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
	CauseTime       // something expired
	CauseVisibility // the user's rules of visibility
	// Changes in the directory. In older entries CauseUserState stands for CauseCreated to
	// CauseDeleted.
	CauseRenamed
	CauseEmail
	CauseCreated
	CauseActivated
	CauseDeactivated
	CauseDeleted
	CauseGroups // the user's groups
)

// Actor is the author of a change: a user, an app on its own behalf, or, if zero, the
// server.
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
	// Origin is the claim or the client that caused the change.
	Origin presence.Origin
	// Before and After are the user's presence.
	Before, After presence.Presence
	// UserBefore and UserAfter are facts that Before and After do not include.
	// Entries of format 1 lack them.
	UserBefore, UserAfter UserFacts
	// Began and Ended are the sessions that the commit began and ended, and those that
	// had expired since the commit before. Entries before format 3 lack them.
	Began, Ended []SessionFacts
	// Profiles are set in entries of changes in the directory, since format 3.
	presence.Profiles
	// Erased: the entry was anonymized; see Anonymize.
	Erased bool
	// Gap: older versions of this user were dropped before this one.
	Gap bool
	// Damaged is the reason why the entry cannot be decoded; then only At is set.
	Damaged error
}

// UserFacts are the user's state in the directory and own note.
type UserFacts struct {
	State presence.UserState
	Note  string
}

// SessionFacts are what the log keeps of a session.
type SessionFacts struct {
	ID      presence.SessionID
	Client  presence.ClientType
	Version string
	App     presence.AppID // that signed the user in, or that the client belongs to
}

// Anonymize gives the part of e that remains when its user is erased: the position, the
// user, the revision, the time and the cause.
func Anonymize(e Entry) Entry {
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
	Until   time.Time // its expiry; zero: none
}
