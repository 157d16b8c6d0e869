// Package audit keeps the record of security events of each account: sign-ins, tokens,
// denied access, administration, exports and erasures. Each event says who did what to
// what, from where, and what it changed. The events of the server itself, such as backups,
// are those of the account "".
//
// It is separate from the commit log, which says what happened to users' presence and
// is redacted by erasure: the record of security events is never changed. It names
// people by their ids alone, so that an erasure need not touch it. Every event has the
// hash of the event before it, and signed checkpoints have the hash of the newest: an edit,
// a deletion, another order or a missing end shows, also to whoever holds only the public
// key.
//
// It must not decide who may do what, nor hold secrets or the text of personal fields.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// System is the account of events that belong to no account.
const System presence.AccountID = ""

// An Actor is who did something. All fields are optional: a person who fails to sign in
// has an address alone.
type Actor struct {
	User    presence.UserID
	App     presence.AppID
	Token   string     // id, not secret
	Address netip.Addr // of the client
	Request string     // id, as in the access log
	// AccountLevel: App acted for the account itself; User is then not the actor.
	AccountLevel bool
}

// Logged is the actor as the commit log records it.
func (a *Actor) Logged() store.Actor {
	if a.AccountLevel {
		return store.Actor{App: a.App}
	}
	return store.Actor{App: a.App, User: a.User}
}

// An Event is something that happened in an account.
type Event struct {
	Action string // such as "user.create": object and verb
	Target string // kind and id of the object, such as "user/AbC…"; "" if the action says it
	By     Actor
	Denied bool   // it was refused
	Reason string // why; "" if it was not refused
	// Before and After are the fields that changed, as JSON values. A personal field is
	// Personal. Nil: nothing to tell.
	Before, After Fields
	// Count is how many events of the kind this one stands for; 0 is one.
	Count int
}

// Fields are values by the names that the API gives them.
type Fields map[string]any

// Personal replaces the value of a personal field.
const Personal = "(personal)"

// Secret replaces the value of a secret field.
const Secret = "(secret)"

// A Recorder takes events; *Log is one.
type Recorder interface {
	// Record appends an event and returns when it is durable. An event whose error is not
	// nil may still be appended.
	Record(ctx context.Context, account presence.AccountID, e *Event) error
}

// A JointRecorder also appends events together with documents; *Log is one.
type JointRecorder interface {
	Recorder
	// RecordWith appends an event and writes documents of the same account, both or neither.
	// It returns store.ErrConflict if a document was changed.
	RecordWith(ctx context.Context, account presence.AccountID, e *Event, docs ...store.Doc) error
}

// A Repeater also takes events that must not delay a request; *Log is one.
type Repeater interface {
	Recorder
	// Later appends an event without delaying the caller. Events are dropped, and their
	// number is recorded, if too many wait.
	Later(account presence.AccountID, e *Event)
	// Repeated is Later for events that may be frequent: those that are alike, but for
	// the request, are recorded once at first, and then once each window, with their number.
	Repeated(account presence.AccountID, e *Event, window Window)
}

// documents is what a Log needs of a store.
type documents interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
}

// Log is the record of all accounts. Set the fields before the first event.
type Log struct {
	// Key signs checkpoints; nil: they are not signed.
	Key *Key
	// Retention is how long events are kept; zero: for ever.
	Retention time.Duration
	// Accounts lists the ids of the accounts after one, in order; nil: Run serves the
	// System alone.
	Accounts func(ctx context.Context, after presence.AccountID, limit int) ([]presence.AccountID, error)
	Log      *slog.Logger

	docs  documents
	clock func() time.Time

	mu      sync.Mutex
	waiting map[presence.AccountID][]*entry // by account that has an appender; guarded by mu
	late    late
	repeats repeats
}

var (
	_ Repeater      = (*Log)(nil)
	_ JointRecorder = (*Log)(nil)
)

// New returns the log on the documents of st.
func New(st documents, clock func() time.Time) *Log {
	l := &Log{docs: st, clock: clock, Log: slog.New(slog.DiscardHandler), waiting: make(map[presence.AccountID][]*entry)}
	l.late.dropped = make(map[presence.AccountID]int)
	l.repeats.buckets = make(map[bucketKey]*bucket)
	l.repeats.ofAccount = make(map[presence.AccountID]int)
	return l
}

// Record implements Recorder.
func (l *Log) Record(ctx context.Context, account presence.AccountID, e *Event) error {
	done := make(chan error, 1)
	if err := l.enqueue(account, e, func(err error) { done <- err }); err != nil { //nolint:contextcheck // the event is appended whether or not the caller waits
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("write the audit log: %w", ctx.Err())
	}
}

// RecordWith implements JointRecorder.
func (l *Log) RecordWith(ctx context.Context, account presence.AccountID, e *Event, docs ...store.Doc) error {
	en, err := newEntry(e, nil)
	if err != nil {
		return err
	}
	en.docs = docs
	_, err = l.append(ctx, account, []*entry{en}, "")
	return err
}

// maxFields bounds the values of an event, so that a group fits a write.
const maxFields = 16 << 10

// fieldsOf is the JSON of fields.
func fieldsOf(f Fields) (json.RawMessage, error) {
	if f == nil {
		return nil, nil
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("write the audit log: %w", err)
	}
	if len(text) <= maxFields {
		return text, nil
	}
	short := make(map[string]string, len(f))
	for name := range f {
		short[name] = "(too long)"
	}
	return json.Marshal(short)
}
