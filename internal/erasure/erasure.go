// Package erasure erases what the log has of users who were deleted.
//
// It is separate from tail, which can erase only while it runs, because an erasure that
// was promised must survive a crash: each is a document of the store, and Run completes
// those that are pending. It guarantees that an erasure is reported as done only after no
// reader of the log can see the entries any more. It must not delete users: it is asked
// after that.
package erasure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// ErrNotFound: the erasure was not requested, or was done longer ago than Kept.
var ErrNotFound = errors.New("no erasure of this user is on record")

// Kept is how long a completed erasure can be read.
const Kept = 30 * 24 * time.Hour

const (
	// awaitTimeout is how long one attempt waits for consumers of the log.
	awaitTimeout = 5 * time.Second
	// eraseTimeout is far more than an engine needs for a user.
	eraseTimeout = 5 * time.Minute
	// retryEvery is how often pending erasures are attempted.
	retryEvery = 5 * time.Second
	listPage   = 100
	// maxReason is in bytes.
	maxReason = 200
)

// An Erasure is a request to erase what the log has of a user.
type Erasure struct {
	User      store.User
	Requested time.Time
	Done      time.Time // zero: pending
	Delay     string    // why the last attempt did not complete it; "": none was made
	version   string
}

// Documents are what a Registry needs of a store.
type Documents interface {
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
}

// An Eraser erases entries that every consumer of the log has passed. *tail.Runtime
// implements it.
type Eraser interface {
	// AwaitConsumers waits until every consumer has passed the present end of the log. If
	// ctx ends first, the error names one that has not.
	AwaitConsumers(ctx context.Context) error
	// Erase erases the entries of a user, after AwaitConsumers.
	Erase(ctx context.Context, u store.User) error
}

// A Registry records erasures and completes them.
type Registry struct {
	// OnDone is called after each erasure that this node completed and recorded. Set it
	// before Run; nil: nobody is told. It must not wait.
	OnDone func(*Erasure)
	// Preferred reports whether this node is the one to complete an erasure. Nodes may
	// disagree for a time. Set it before Run; nil: there are no other nodes.
	Preferred func(work string) bool

	docs   Documents
	eraser Eraser
	clock  func() time.Time
	log    *slog.Logger
	wake   chan struct{}
}

// New is a registry on the documents of a store.
func New(docs Documents, eraser Eraser, clock func() time.Time, log *slog.Logger) *Registry {
	return &Registry{docs: docs, eraser: eraser, clock: clock, log: log, wake: make(chan struct{}, 1)}
}

// The erasures of all accounts are in one collection, so that one listing finds those that
// are pending. Ids have no slash.
const (
	account    = presence.AccountID("")
	collection = "erasure"
)

type erasureValue struct {
	document.Format

	Requested time.Time `json:"requested"`
	Done      time.Time `json:"done,omitzero"`
	Delay     string    `json:"delay,omitempty"`
}

func keyOf(u store.User) store.Key {
	return store.Key{Collection: collection, Key: string(u.Account) + "/" + string(u.ID)}
}

func (e *Erasure) doc() store.Doc {
	doc := document.New(keyOf(e.User), e.version, erasureValue{document.Current(), e.Requested, e.Done, e.Delay})
	if !e.Done.IsZero() {
		doc.Until = e.Done.Add(Kept)
	}
	return doc
}

func erasureOf(doc *store.Doc) (Erasure, error) {
	var v erasureValue
	if err := document.Decode(doc, &v); err != nil {
		return Erasure{}, err
	}
	of, id, _ := strings.Cut(doc.Key.Key, "/")
	u := store.User{Account: presence.AccountID(of), ID: presence.UserID(id)}
	return Erasure{User: u, Requested: v.Requested, Done: v.Done, Delay: v.Delay, version: doc.Version}, nil
}

// Find reads an erasure.
func (r *Registry) Find(ctx context.Context, u store.User) (Erasure, error) {
	docs, err := r.docs.Load(ctx, account, keyOf(u))
	if err == nil && len(docs) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Erasure{User: u}, err
	}
	return erasureOf(&docs[0])
}

// RequestedSince lists the users of an account whose erasure was requested at an instant or later.
func RequestedSince(ctx context.Context, docs Documents, of presence.AccountID, since time.Time) ([]presence.UserID, error) {
	var users []presence.UserID
	prefix := string(of) + "/"
	for after := prefix; ; {
		found, err := docs.List(ctx, account, collection, after, listPage)
		if err != nil {
			return nil, fmt.Errorf("list erasures: %w", err)
		}
		for i := range found {
			if after = found[i].Key.Key; !strings.HasPrefix(after, prefix) {
				return users, nil
			}
			e, err := erasureOf(&found[i])
			if err != nil {
				return nil, err
			}
			if !e.Requested.Before(since) {
				users = append(users, e.User.ID)
			}
		}
		if len(found) < listPage {
			return users, nil
		}
	}
}

// Request records that a deleted user is to be erased. If an erasure of the user is pending,
// it returns that one.
func (r *Registry) Request(ctx context.Context, u store.User) (Erasure, error) {
	var e Erasure
	err := document.Again(func() (err error) {
		e, err = r.Find(ctx, u)
		switch {
		case err == nil && e.Done.IsZero():
			return nil
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		}
		e = Erasure{User: u, Requested: r.now(), version: e.version}
		return r.docs.Write(ctx, account, e.doc())
	})
	if err != nil {
		return e, fmt.Errorf("request the erasure of user %s: %w", u.ID, err)
	}
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
	return e, nil
}

func (r *Registry) now() time.Time { return r.clock().UTC().Truncate(time.Millisecond) }

// Run completes erasures until ctx ends, those of an earlier run first.
func (r *Registry) Run(ctx context.Context) {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		if err := r.Complete(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "pending erasures cannot be read; will retry", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-ticker.C:
		}
	}
}

// Complete makes one attempt at each pending erasure.
func (r *Registry) Complete(ctx context.Context) error {
	for after := ""; ; {
		docs, err := r.docs.List(ctx, account, collection, after, listPage)
		if err != nil {
			return err
		}
		for i := range docs {
			after = docs[i].Key.Key
			e, err := erasureOf(&docs[i])
			switch {
			case err != nil: // the others must not wait for it
				r.log.ErrorContext(ctx, "erasure cannot be read", slog.String("key", after), slog.Any("err", err))
			case e.Done.IsZero() && (r.Preferred == nil || r.Preferred(collection+"/"+after)):
				if err := r.attempt(ctx, &e); err != nil {
					return err
				}
			}
		}
		if len(docs) < listPage {
			return nil
		}
	}
}

// attempt erases a user and records the result.
func (r *Registry) attempt(ctx context.Context, e *Erasure) error {
	failed := limited(ctx, awaitTimeout, r.eraser.AwaitConsumers)
	if failed == nil {
		failed = limited(ctx, eraseTimeout, func(ctx context.Context) error { return r.eraser.Erase(ctx, e.User) })
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	by := []any{slog.String("account", string(e.User.Account)), slog.String("user", string(e.User.ID))}
	if failed == nil {
		e.Done, e.Delay = r.now(), ""
	} else {
		e.Delay = strings.ToValidUTF8(failed.Error()[:min(len(failed.Error()), maxReason)], "")
		r.log.WarnContext(ctx, "erasure of a user delayed; will retry", append(by, slog.Any("err", failed))...)
	}
	err := r.docs.Write(ctx, account, e.doc())
	if errors.Is(err, store.ErrConflict) {
		return nil // another node recorded it
	}
	if err != nil || failed != nil {
		return err
	}
	r.log.InfoContext(ctx, "user erased from the log", by...)
	if r.OnDone != nil {
		r.OnDone(e)
	}
	return nil
}

// limited runs do for at most a time.
func limited(ctx context.Context, most time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return do(ctx)
}
