package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A snapshot has the subscriptions of all accounts in memory.
type snapshot struct {
	// reading is held from a read until its result is in the fields below, so that no
	// older result replaces a newer one.
	reading sync.Mutex

	mu      sync.Mutex // guards the fields below
	byKey   map[string]*Subscription
	all     []*Subscription        // of byKey; nil: to be made
	apps    map[store.Key][]Secret // what was read of apps since the last change
	changes uint64                 // that were made to the fields above
	changed chan struct{}          // closed when there are others; nil: nobody waits
	seen    string                 // the version of the changes that were read, or are being read
	again   time.Time              // when to read again what decides whether to send, zero: all is known
}

// Snapshot returns the subscriptions of all accounts, which are shared and must not be
// modified, and a channel that is closed when there are others. The first ones come when
// Run has read them.
func (r *Registry) Snapshot() ([]*Subscription, <-chan struct{}) {
	x := &r.snapshot
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changed == nil {
		x.changed = make(chan struct{})
	}
	if x.all == nil {
		x.all = make([]*Subscription, 0, len(x.byKey))
		for _, s := range x.byKey {
			x.all = append(x.all, s)
		}
		slices.SortFunc(x.all, func(a, b *Subscription) int { return strings.Compare(a.key().Key, b.key().Key) })
	}
	return x.all, x.changed
}

// update changes the subscriptions in memory and notifies those who wait.
func (x *snapshot) update(change func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change()
	x.all, x.apps = nil, nil
	x.changes++
	if x.changed != nil {
		close(x.changed)
		x.changed = nil
	}
}

// changesKey is a document whose version changes with each write of a subscription, so
// that other nodes notice.
var changesKey = store.Key{Collection: "subscription-changes", Key: "newest"}

type changesValue struct {
	document.Format

	Number uint64 `json:"number"`
}

func (r *Registry) loadChanges(ctx context.Context) (v changesValue, version string, err error) {
	docs, err := r.Store.Load(ctx, systemAccount, changesKey)
	if err != nil || len(docs) == 0 {
		return v, "", err
	}
	return v, docs[0].Version, document.Decode(&docs[0], &v)
}

// AccountChanged makes every node read again whether accounts are suspended, and who owns them.
func (r *Registry) AccountChanged(ctx context.Context) error {
	defer r.forgetSeen()
	if r.Nodes == nil {
		return nil
	}
	return document.Again(func() error { return r.writeChange(ctx) })
}

// writeChange writes documents, and with them the one by which other nodes notice a change.
func (r *Registry) writeChange(ctx context.Context, docs ...store.Doc) error {
	v, version, err := r.loadChanges(ctx)
	if err != nil {
		return err
	}
	docs = append(docs, document.New(changesKey, version, changesValue{document.Current(), v.Number + 1}))
	if err := r.Store.Write(ctx, systemAccount, docs...); err != nil {
		return err
	}
	if r.OnChange != nil {
		r.OnChange()
	}
	return nil
}

// OwnerChanged makes every node read again whether a user may still have the subscriptions
// that the user owns or allowed an app to make.
func (r *Registry) OwnerChanged(ctx context.Context, account presence.AccountID, owner presence.UserID) error {
	docs, err := r.documentsOf(ctx, account)
	if err != nil || !slices.ContainsFunc(docs, func(doc store.Doc) bool {
		s, _, err := decodeOpen(&doc)
		return err == nil && (s.Owner == owner || s.Consent.User == owner) // nothing is sent to those that are unreadable
	}) {
		return err
	}
	return r.AccountChanged(ctx)
}

// setSuspended sets Suspended of subscriptions as they were read. After an error, those of
// the accounts that are unreadable are suspended.
func (r *Registry) setSuspended(ctx context.Context, read ...*Subscription) error {
	of := make(map[presence.AccountID][]*Subscription)
	for _, s := range read {
		of[s.Account] = append(of[s.Account], s)
	}
	var failed []error
	for account, all := range of {
		if err := r.setSuspendedOf(ctx, account, all); err != nil {
			failed = append(failed, fmt.Errorf("account %s: %w", account, err))
		}
	}
	return errors.Join(failed...)
}

func (r *Registry) setSuspendedOf(ctx context.Context, account presence.AccountID, all []*Subscription) error {
	var people []presence.UserID
	for _, s := range all {
		s.Suspended = true
		if user := cmp.Or(s.Owner, s.Consent.User); user != "" {
			people = append(people, user)
		}
	}
	found, err := r.Directory.Account(ctx, account)
	if errors.Is(err, directory.ErrNoAccount) { // it is being deleted
		return nil
	}
	if err != nil {
		return err
	}
	users, err := r.Directory.UsersByID(ctx, account, unique(people))
	if err != nil {
		return err
	}
	for _, s := range all {
		s.Suspended = found.Suspended || !mayFollow(s, &found, users)
	}
	return nil
}

// mayFollow reports whether the person of a subscription, if it has one, may still be sent
// its events: those of others only to administrators.
func mayFollow(s *Subscription, account *directory.Account, users map[presence.UserID]directory.User) bool {
	switch {
	case s.Owner != "":
		return users[s.Owner].Active
	case s.Consent.User != "":
		u := users[s.Consent.User]
		return u.Active && (u.Role == directory.Admin || account.Owner == u.ID)
	default:
		return true
	}
}

// refresh reads one subscription into the snapshot.
func (r *Registry) refresh(ctx context.Context, key store.Key) error {
	x := &r.snapshot
	x.reading.Lock()
	defer x.reading.Unlock()
	docs, err := r.Store.Load(ctx, systemAccount, key)
	if err != nil {
		return err
	}
	var s *Subscription
	if len(docs) > 0 {
		if s, err = r.decode(ctx, &docs[0]); err != nil {
			return err
		}
		ended, err := r.endings().has(ctx, s)
		if err == nil {
			err = r.setSuspended(ctx, s)
		}
		if err != nil {
			return err
		}
		if ended {
			s = nil
		}
	}
	x.update(func() {
		switch {
		case x.byKey == nil: // Run has not read the others
		case s == nil:
			delete(x.byKey, key.Key)
		default:
			x.byKey[key.Key] = s
		}
	})
	return nil
}

func (r *Registry) forgetSeen() { r.setSeen(unread) }

func (r *Registry) setSeen(version string) {
	r.snapshot.mu.Lock()
	defer r.snapshot.mu.Unlock()
	r.snapshot.seen = version
}

const (
	unread = "unread" // no version of a document
	// pollEvery is how soon a change on another node is noticed, and a failed read retried.
	pollEvery = time.Second
	// coalesceFor is how long changes are collected after the message about the first.
	coalesceFor = 250 * time.Millisecond
	// againAfter is when an app, a consent, an account or a user that was unreadable is read
	// again.
	againAfter = 10 * time.Second
)

// Run keeps the snapshot current until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	r.forgetSeen()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	failed := false
	for {
		err := r.poll(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "cannot read the subscriptions; will retry", slog.Any("err", err))
		}
		failed = err != nil
		select {
		case <-ticker.C:
		case <-r.Wake:
			select {
			case <-time.After(coalesceFor):
			case <-ctx.Done():
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// upTo is the version of the changes that were read, or unread if it is time to read again.
func (x *snapshot) upTo(now time.Time) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.again.IsZero() && !now.Before(x.again) {
		return unread
	}
	return x.seen
}

// poll reads all subscriptions if one has changed.
func (r *Registry) poll(ctx context.Context) error {
	seen := r.snapshot.upTo(r.Clock())
	if r.Nodes == nil && seen != unread {
		return nil
	}
	_, version, err := r.loadChanges(ctx)
	if err != nil || version == seen {
		return err
	}
	r.setSeen(version) // before the read: a change during it asks for another one
	ended, err := r.reload(ctx)
	if err != nil {
		r.forgetSeen()
		return err
	}
	r.deleteEnded(ctx, ended)
	return nil
}

// reload reads all subscriptions, and returns those that have ended, which are in no
// snapshot. What is unreadable of one account holds up no other: its subscriptions are
// suspended until it is readable.
func (r *Registry) reload(ctx context.Context) (ended []*Subscription, err error) {
	x := &r.snapshot
	x.reading.Lock()
	defer x.reading.Unlock()
	all, endings := make(map[string]*Subscription), r.endings()
	var again time.Time
	unclear := func(after string, err error) {
		r.Log.ErrorContext(ctx, "cannot read whether a subscription may be sent events; it is suspended until then", slog.String("key", after), slog.Any("err", err))
		again = r.Clock().Add(againAfter)
	}
	const step = 200
	for after := ""; ; {
		docs, err := r.Store.List(ctx, systemAccount, subscriptionCollection, after, step)
		if err != nil {
			return nil, err
		}
		var page []*Subscription
		for i := range docs {
			after = docs[i].Key.Key
			s, err := r.decode(ctx, &docs[i])
			if err != nil {
				r.Log.ErrorContext(ctx, "subscription unreadable; nothing is delivered to it", slog.String("key", after), slog.Any("err", err))
				continue
			}
			switch over, err := endings.has(ctx, s); {
			case err != nil:
				s.Suspended, all[after] = true, s
				unclear(after, err)
			case over:
				ended = append(ended, s)
			default:
				page, all[after] = append(page, s), s
			}
		}
		if err := r.setSuspended(ctx, page...); err != nil {
			unclear(after, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(docs) < step {
			break
		}
	}
	x.update(func() { x.byKey, x.again = all, again })
	return ended, nil
}
