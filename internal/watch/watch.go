// Package watch stores watches: each notifies its owner once when another user reaches
// a status.
//
// It is separate from hub so that a stream that closes, or a node that stops,
// ends no watch: watches are documents of the store, and a consumer of the log fires
// them. It guarantees that a watch fires at most once, on what its owner may see of
// the target, and that it is delivered to the owner at least once.
package watch

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tail"
)

// Bounds of watches.
const (
	MaxPerOwner     = 100 // of one owner, including those that fired and were not delivered yet
	DefaultDuration = 24 * time.Hour
	MaxDuration     = 7 * 24 * time.Hour
)

// firedRetention is how long a watch that fired waits for a stream of its owner.
const firedRetention = 24 * time.Hour

// ErrNotFound: the owner has no such watch. It was delivered or deleted, has expired,
// or never existed.
var ErrNotFound = errors.New("the user has no such watch")

// A Watch notifies its owner once when a user, as the owner sees that user, reaches a
// status.
type Watch struct {
	ID      string
	Account presence.AccountID
	Owner   presence.UserID
	Target  presence.UserID
	Until   presence.Status
	Created time.Time
	Expires time.Time
	// Fired is zero until it fires; Status and Note are what the owner saw then.
	Fired  time.Time
	Status presence.Status
	Note   string
}

func (w *Watch) target() store.User { return store.User{Account: w.Account, ID: w.Target} }

func (w *Watch) key() string { return ownedBy(w.Account, w.Owner) + w.ID }

// A Registry stores watches and fires them. Set the fields, then run it and its
// Consumer: without them a watch fires only if its target has the status when it is
// created.
//
// A watch fires once: of all nodes that try to record it, one succeeds. It is delivered
// at least once.
type Registry struct {
	Store store.Store
	// Known says whether the directory has a user: nil, or the error to answer.
	Known func(context.Context, store.User) error
	Clock func() time.Time
	Log   *slog.Logger
	// Deliver sends a watch that fired to every open stream of its owner on this node.
	// It returns false if there is none; nil: there never is one.
	Deliver func(account presence.AccountID, owner presence.UserID, w Watch) bool

	// Nodes are those that serve the store. Nil: no other process has it open.
	Nodes tail.Nodes
	// OnChange is called after a change that other nodes have to read. Wake makes Run read
	// their changes now instead of within runEvery. Nil: nodes send no messages.
	OnChange func()
	Wake     <-chan struct{}

	index   index
	retries retries
	changes changes
}

// The watches of all accounts are in one collection, so that one listing finds
// all of them at a start; an owner's are those whose keys begin with ownedBy. Ids
// made by the directory have no slash.
const (
	watchAccount    = presence.AccountID("")
	watchCollection = "watch"
	watchIDLength   = 26
)

func ownedBy(account presence.AccountID, owner presence.UserID) string {
	return string(account) + "/" + string(owner) + "/"
}

func watchKey(key string) store.Key { return store.Key{Collection: watchCollection, Key: key} }

// A watchValue is a watch as its document has it; its id is in the key.
type watchValue struct {
	document.Format

	Account     presence.AccountID `json:"account"`
	Owner       presence.UserID    `json:"owner"`
	Target      presence.UserID    `json:"target"`
	UntilStatus presence.Status    `json:"until_status"`
	Created     time.Time          `json:"created"`
	Expires     time.Time          `json:"expires"`
	Fired       time.Time          `json:"fired,omitzero"`
	Status      presence.Status    `json:"status"`
	Note        string             `json:"note,omitempty"`
}

// watchDoc is the document of w, which expires at until. version is that of the
// document it replaces.
func watchDoc(w *Watch, version string, until time.Time) store.Doc {
	doc := document.New(watchKey(w.key()), version, watchValue{
		Format: document.Current(), Account: w.Account, Owner: w.Owner, Target: w.Target, UntilStatus: w.Until,
		Created: w.Created, Expires: w.Expires, Fired: w.Fired, Status: w.Status, Note: w.Note,
	})
	doc.Until = until
	return doc
}

func watchOf(doc *store.Doc) (Watch, error) {
	var v watchValue
	if err := document.Decode(doc, &v); err != nil {
		return Watch{}, err
	}
	return Watch{
		ID: doc.Key.Key[strings.LastIndexByte(doc.Key.Key, '/')+1:], Account: v.Account, Owner: v.Owner, Target: v.Target,
		Until: v.UntilStatus, Created: v.Created, Expires: v.Expires, Fired: v.Fired, Status: v.Status, Note: v.Note,
	}, nil
}

func (r *Registry) now() time.Time { return r.Clock().UTC().Truncate(time.Millisecond) }

// Create makes a watch from the Account, Owner, Target, Until and Expires of asked. If
// the target already has the status, it fires at once, and the result has Fired set. If
// the evaluation fails, Run retries it.
func (r *Registry) Create(ctx context.Context, asked Watch) (Watch, error) {
	w := asked
	if err := r.Known(ctx, w.target()); err != nil {
		return Watch{}, err
	}
	if err := r.checkQuota(ctx, &w, MaxPerOwner-1); err != nil {
		return Watch{}, err
	}
	w.ID, w.Created = rand.Text(), r.now()
	if err := r.Store.Write(ctx, watchAccount, watchDoc(&w, "", w.Expires)); err != nil {
		return Watch{}, err
	}
	// Concurrent requests may have made others. Each counts again after its write, so
	// that the last of them sees all: the quota may refuse one too many, and is never
	// exceeded.
	if err := r.checkQuota(ctx, &w, MaxPerOwner); err != nil {
		return Watch{}, errors.Join(err, r.remove(ctx, w.key()))
	}
	// In this order no change is missed. A change before the read is in the record. A
	// change after it reaches the consumer, which has the watch in its index or
	// evaluates it on reading that it was made.
	r.index.add(&w)
	if r.Nodes != nil {
		r.queueChange(change{Key: w.key()})
		if err := r.flushChanges(ctx); err != nil {
			return Watch{}, errors.Join(err, r.remove(ctx, w.key()))
		}
	}
	if evaluated, err := r.evaluateNow(ctx, w); err == nil {
		w = evaluated
	} else {
		r.retryLater(w.target())
	}
	if err := r.flushChanges(ctx); err != nil { // if it fired; Run writes it
		r.Log.WarnContext(ctx, "fired watch not announced to other nodes; will retry", slog.Any("err", err))
	}
	return w, nil
}

// evaluateNow fires a watch if its target already has the status.
func (r *Registry) evaluateNow(ctx context.Context, w Watch) (Watch, error) {
	records, _, err := r.Store.Read(ctx, []store.User{w.target()}, store.Freshness{Strong: true})
	if err != nil {
		return w, err
	}
	var record *store.Record
	if len(records) > 0 {
		record = &records[0]
	}
	return r.fireIfDue(ctx, w, record)
}

// checkQuota refuses w if its owner has more than most watches.
func (r *Registry) checkQuota(ctx context.Context, w *Watch, most int) error {
	have, err := r.List(ctx, w.Account, w.Owner, "", most+1)
	if err == nil && len(have) > most {
		return &presence.LimitError{What: "watches", Limit: MaxPerOwner}
	}
	return err
}

// Get is one watch of an owner, or ErrNotFound.
func (r *Registry) Get(ctx context.Context, account presence.AccountID, owner presence.UserID, id string) (Watch, error) {
	doc, err := r.load(ctx, account, owner, id)
	if err != nil {
		return Watch{}, err
	}
	return watchOf(doc)
}

func (r *Registry) load(ctx context.Context, account presence.AccountID, owner presence.UserID, id string) (*store.Doc, error) {
	if len(id) != watchIDLength {
		return nil, ErrNotFound
	}
	docs, err := r.Store.Load(ctx, watchAccount, watchKey(ownedBy(account, owner)+id))
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, ErrNotFound
	}
	return &docs[0], nil
}

// List is an owner's watches in the order of ids, those above after, at most limit
// of them.
func (r *Registry) List(ctx context.Context, account presence.AccountID, owner presence.UserID, after string, limit int) ([]Watch, error) {
	var list []Watch
	for prefix := ownedBy(account, owner); len(list) < limit; {
		// No more than an owner can have: what follows are others'.
		most := min(limit-len(list), MaxPerOwner+1)
		docs, err := r.Store.List(ctx, watchAccount, watchCollection, prefix+after, most)
		if err != nil {
			return nil, err
		}
		for i := range docs {
			if !strings.HasPrefix(docs[i].Key.Key, prefix) {
				return list, nil
			}
			w, err := watchOf(&docs[i])
			if err != nil {
				return nil, err
			}
			list, after = append(list, w), w.ID
		}
		if len(docs) < most {
			return list, nil
		}
	}
	return list, nil
}

// Delete deletes a watch if checks allow it. The error is ErrNotFound if there is none.
func (r *Registry) Delete(
	ctx context.Context, account presence.AccountID, owner presence.UserID, id string, checks ...func(*Watch) error,
) error {
	return document.Again(func() error {
		doc, err := r.load(ctx, account, owner, id)
		if err != nil {
			return err
		}
		w, err := watchOf(doc)
		if err != nil {
			return err
		}
		for _, check := range checks {
			if err := check(&w); err != nil {
				return err
			}
		}
		if err := r.Store.Write(ctx, watchAccount, document.Deletion(doc)); err != nil {
			return err
		}
		r.index.remove(&w)
		return nil
	})
}

// Pending lists the watches that fired while no stream of the owner was open. The
// stream that has opened sends them and acknowledges each. Those that fire later arrive
// by Deliver. After an error Run lists and delivers them.
func (r *Registry) Pending(ctx context.Context, account presence.AccountID, owner presence.UserID) ([]Watch, error) {
	all, err := r.List(ctx, account, owner, "", 2*MaxPerOwner)
	if err != nil {
		r.retryOwner(store.User{Account: account, ID: owner})
		return nil, err
	}
	var pending []Watch
	for i := range all {
		if !all[i].Fired.IsZero() && !r.isDelivered(all[i].key()) {
			pending = append(pending, all[i])
		}
	}
	return pending, nil
}

// remove deletes the document of a watch, if it exists.
func (r *Registry) remove(ctx context.Context, key string) error {
	return document.Again(func() error {
		docs, err := r.Store.Load(ctx, watchAccount, watchKey(key))
		if err != nil || len(docs) == 0 {
			return err
		}
		return r.Store.Write(ctx, watchAccount, document.Deletion(&docs[0]))
	})
}
