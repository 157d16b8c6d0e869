// Package audit keeps the record of security events of each account: sign-ins, tokens,
// denied access, administration, exports and erasures. Each event says who did what to
// what, from where, and what it changed.
//
// It is separate from the commit log, which says what happened to users' presence and
// is redacted by erasure: the record of security events is never changed. It names
// people by their ids alone, so that an erasure need not touch it. Every event has the
// hash of the event before it: an edit, a deletion or another order shows.
//
// It must not decide who may do what, nor hold secrets or the text of personal fields.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

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

// A Recorder takes events; *Log is one.
type Recorder interface {
	// Record appends an event and returns when it is durable.
	Record(ctx context.Context, account presence.AccountID, e *Event) error
}

// documents is what a Log needs of a store.
type documents interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
}

// Log is the record of all accounts.
type Log struct {
	docs  documents
	clock func() time.Time
	seed  maphash.Seed
	// appending is locked while an account's chain grows, so that events of this node
	// do not lose races to each other.
	appending [64]sync.Mutex
}

// New returns the log on the documents of st.
func New(st store.Store, clock func() time.Time) *Log {
	return &Log{docs: st, clock: clock, seed: maphash.MakeSeed()}
}

// A recordValue is an event in a document. Hash is over all other members in their order.
type recordValue struct {
	document.Format
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	Action   string    `json:"action"`
	Target   string    `json:"target,omitempty"`
	User     string    `json:"user,omitempty"`
	App      string    `json:"app,omitempty"`
	Token    string    `json:"token,omitempty"`
	Address  string    `json:"address,omitempty"`
	Request  string    `json:"request,omitempty"`
	Denied   bool      `json:"denied,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Before   Fields    `json:"before,omitempty"`
	After    Fields    `json:"after,omitempty"`
	Count    int       `json:"count,omitempty"`
	Previous string    `json:"previous"`
	Hash     string    `json:"hash,omitempty"`
}

// A headValue says where the chain of an account ends.
type headValue struct {
	document.Format
	Sequence uint64 `json:"sequence"`
	Hash     string `json:"hash"`
}

var headKey = store.Key{Collection: "audit-head", Key: "head"}

func recordKey(sequence uint64) store.Key {
	return store.Key{Collection: "audit", Key: fmt.Sprintf("%016x", sequence)}
}

// Record implements Recorder.
func (l *Log) Record(ctx context.Context, account presence.AccountID, e *Event) error {
	appending := &l.appending[maphash.String(l.seed, string(account))%64]
	appending.Lock()
	defer appending.Unlock()
	return document.Again(func() error {
		var head headValue
		var version string
		docs, err := l.docs.Load(ctx, account, headKey)
		if err == nil && len(docs) > 0 {
			version = docs[0].Version
			err = document.Decode(&docs[0], &head)
		}
		if err != nil {
			return fmt.Errorf("read the end of the audit log: %w", err)
		}
		v := valueOf(e, head, l.clock())
		next := headValue{document.Current(), v.Sequence, v.Hash}
		err = l.docs.Write(ctx, account, document.New(recordKey(v.Sequence), "", v), document.New(headKey, version, next))
		if err != nil {
			return fmt.Errorf("write the audit log: %w", err)
		}
		return nil
	})
}

func valueOf(e *Event, head headValue, now time.Time) recordValue {
	v := recordValue{
		Format: document.Current(), Sequence: head.Sequence + 1, Time: now.UTC().Truncate(time.Millisecond),
		Action: e.Action, Target: e.Target, App: string(e.By.App), Token: e.By.Token, Request: e.By.Request,
		Denied: e.Denied, Reason: e.Reason, Before: e.Before, After: e.After, Count: e.Count, Previous: head.Hash,
	}
	if !e.By.AccountLevel {
		v.User = string(e.By.User)
	}
	if e.By.Address.IsValid() {
		v.Address = e.By.Address.String()
	}
	v.Hash = v.hash()
	return v
}

// hash is the SHA-256 of the record's JSON without its hash.
func (v recordValue) hash() string {
	v.Hash = ""
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("an audit event cannot be written as JSON: %v", err)) // only plain values are in it
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
