package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/egress"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/seal"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tail"
)

// Limits of the number of subscriptions.
const (
	MaxPerAccount = 100
	MaxPerApp     = 20
	MaxPerOwner   = 5 // of those that a user has for the own events
)

var (
	// ErrNoSubscription: there is none with this id in the account.
	ErrNoSubscription = errors.New("no such subscription in this account")
	// ErrEnded: the app, or the consent under which it acts, ended while it made a
	// subscription.
	ErrEnded = errors.New("the app's access ended before the subscription was stored")
)

// A LimitError refuses one thing too many.
type LimitError struct {
	Name  string // of the limit
	Limit int
	What  string // plural
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit %s reached: %d %s", e.Name, e.Limit, e.What)
}

// documents is what a registry needs of a store.
type documents interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
}

// A Registry stores subscriptions. Set the fields, and run it for Snapshot to have those
// that exist.
type Registry struct {
	Catalog

	Store     documents
	Sealer    *seal.Sealer
	Directory *directory.Directory
	Client    *egress.Client
	// Validate proves that an endpoint wants events: Sender.Validate.
	Validate func(context.Context, *Subscription) error
	// HasApp reports whether an app exists, and Consented since when a person allows one to
	// act for them; zero: they do not. nil: subscriptions end with neither.
	HasApp    func(ctx context.Context, account presence.AccountID, app presence.AppID) (bool, error)
	Consented func(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID) (time.Time, error)
	Clock     func() time.Time
	Log       *slog.Logger
	// Nodes are those that serve the store. Nil: no other process has it open.
	Nodes tail.Nodes
	// OnChange is called after a change that other nodes have to read. Wake makes Run read
	// their changes now instead of within pollEvery. Nil: nodes send no messages.
	OnChange func()
	Wake     <-chan struct{}

	snapshot snapshot
}

func (r *Registry) now() time.Time { return r.Clock().UTC().Truncate(time.Millisecond) }

// Create stores a subscription after its endpoint proved that it wants events. It ignores
// the ID, Created, Version and Health of asked. The error is a *presence.FieldError, a
// *LimitError or a *ValidationError if it refuses asked.
func (r *Registry) Create(ctx context.Context, asked *Subscription) (*Subscription, error) {
	s := *asked
	s.Events, s.Users, s.Groups = slices.Clone(s.Events), slices.Clone(s.Users), slices.Clone(s.Groups)
	s.ID, s.Created, s.Version, s.Health = directory.NewID(), r.now(), "", Health{}
	s.Form = cmp.Or(s.Form, r.Forms[0].Name())
	if _, ok := r.Profile(s.Form); s.Profile == "" && ok {
		s.Profile = s.Form // a dialect's form has a schedule of its own
	}
	s.Profile = cmp.Or(s.Profile, r.Profiles[0].Name)
	if err := r.check(ctx, &s, &Subscription{}); err != nil {
		return nil, err
	}
	if err := r.checkLimits(ctx, &s, 1); err != nil {
		return nil, err
	}
	if err := r.validate(ctx, &s); err != nil {
		return nil, err
	}
	doc, err := r.encode(ctx, &s)
	if err != nil {
		return nil, err
	}
	if err := r.write(ctx, doc); err != nil {
		return nil, err
	}
	if err := r.checkStored(ctx, &s); err != nil {
		return nil, errors.Join(err, r.Delete(ctx, s.Account, s.ID, func(*Subscription) error { return nil }))
	}
	return r.Get(ctx, s.Account, s.ID)
}

// checkStored checks again what may have changed before s was stored. Concurrent requests
// may have made others: each counts after its write, so that the limit may refuse one too
// many, and is never exceeded. The app's access may have ended: who ends it looks for
// subscriptions afterwards, so either finds the other.
func (r *Registry) checkStored(ctx context.Context, s *Subscription) error {
	if err := r.checkLimits(ctx, s, 0); err != nil {
		return err
	}
	ended, err := r.endings().has(ctx, s)
	if err == nil && ended {
		err = ErrEnded
	}
	return err
}

// validate asks the endpoint of s, if there is one, and sets its health.
func (r *Registry) validate(ctx context.Context, s *Subscription) error {
	s.Health = Health{}
	if s.URL == "" {
		return nil
	}
	if err := r.Validate(ctx, s); err != nil {
		return err
	}
	s.Health.Validated = r.now()
	return nil
}

// checkLimits refuses s if, with more besides those that are stored, there are too many.
func (r *Registry) checkLimits(ctx context.Context, s *Subscription, more int) error {
	all, err := r.List(ctx, s.Account)
	if err != nil {
		return err
	}
	app, owner := more, more
	for _, o := range all {
		switch {
		case o.Owner == "" && s.Owner == "" && o.App == s.App:
			app++
		case o.Owner != "" && o.Owner == s.Owner:
			owner++
		}
	}
	account, err := r.Directory.Account(ctx, s.Account)
	if err != nil {
		return err
	}
	switch own := account.Limits.Subscriptions; {
	case own > 0 && len(all)+more > own:
		return &directory.LimitError{Name: "subscriptions-per-account", Most: own, What: "subscriptions"}
	case len(all)+more > MaxPerAccount:
		return &LimitError{Name: "subscriptions-per-account", Limit: MaxPerAccount, What: "subscriptions of an account"}
	case s.Owner == "" && app > MaxPerApp:
		return &LimitError{Name: "subscriptions-per-app", Limit: MaxPerApp, What: "subscriptions of an app"}
	case s.Owner != "" && owner > MaxPerOwner:
		return &LimitError{Name: "subscriptions-per-user", Limit: MaxPerOwner, What: "subscriptions of a user"}
	default:
		return nil
	}
}

// Get reads a subscription, or answers ErrNoSubscription.
func (r *Registry) Get(ctx context.Context, account presence.AccountID, id string) (*Subscription, error) {
	if presence.CheckID("subscription", id) != nil {
		return nil, ErrNoSubscription
	}
	docs, err := r.Store.Load(ctx, systemAccount, subscriptionKey(account, id))
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, ErrNoSubscription
	}
	return r.decode(ctx, &docs[0])
}

// List returns the subscriptions of an account in the order of their ids. There are about
// MaxPerAccount at most.
func (r *Registry) List(ctx context.Context, account presence.AccountID) ([]*Subscription, error) {
	docs, err := r.documentsOf(ctx, account)
	if err != nil {
		return nil, err
	}
	return document.All(docs, func(doc *store.Doc) (*Subscription, error) { return r.decode(ctx, doc) })
}

// documentsOf are those of the subscriptions of an account.
func (r *Registry) documentsOf(ctx context.Context, account presence.AccountID) ([]store.Doc, error) {
	prefix := subscriptionKey(account, "").Key
	docs, err := r.Store.List(ctx, systemAccount, subscriptionCollection, prefix, 2*MaxPerAccount)
	if err != nil {
		return nil, err
	}
	end := slices.IndexFunc(docs, func(d store.Doc) bool { return !strings.HasPrefix(d.Key.Key, prefix) })
	if end >= 0 {
		docs = docs[:end]
	}
	return docs, nil
}

// Update replaces a subscription by what change makes of it. Another endpoint, form or
// authentication is validated first, as by Create; that also enables a subscription that
// was disabled. change may run again after a concurrent change.
func (r *Registry) Update(
	ctx context.Context, account presence.AccountID, id string, change func(*Subscription) error,
) (*Subscription, error) {
	return r.modify(ctx, account, id, func(s *Subscription) error {
		before := *s
		s.Events, s.Users, s.Groups = slices.Clone(s.Events), slices.Clone(s.Users), slices.Clone(s.Groups)
		if err := change(s); err != nil {
			return err
		}
		if err := r.check(ctx, s, &before); err != nil {
			return err
		}
		if s.URL == before.URL && s.Form == before.Form && s.Auth == before.Auth {
			return nil
		}
		return r.validate(ctx, s)
	})
}

// Enable validates the endpoint again. If it succeeds, a subscription that was disabled
// continues where it stopped.
func (r *Registry) Enable(ctx context.Context, account presence.AccountID, id string, check func(*Subscription) error) (*Subscription, error) {
	return r.modify(ctx, account, id, func(s *Subscription) error {
		if err := check(s); err != nil {
			return err
		}
		return r.validate(ctx, s)
	})
}

// SetHealth stores what a validation of s found, unless the endpoint has changed since.
func (r *Registry) SetHealth(ctx context.Context, s *Subscription, h Health) error {
	_, err := r.modify(ctx, s.Account, s.ID, func(now *Subscription) error {
		if now.URL == s.URL && now.Form == s.Form && now.Auth == s.Auth {
			now.Health = h
		}
		return nil
	})
	return err
}

// SetReplay stores a requested replay. It returns ErrReplaying if another one was requested
// since s was read.
func (r *Registry) SetReplay(ctx context.Context, s *Subscription, replay ReplayRequest) error {
	_, err := r.modify(ctx, s.Account, s.ID, func(now *Subscription) error {
		if now.Replay.Number != s.Replay.Number {
			return ErrReplaying
		}
		now.Replay = replay
		return nil
	})
	return err
}

// modify writes what change makes of a subscription, and returns it as it is then.
func (r *Registry) modify(
	ctx context.Context, account presence.AccountID, id string, change func(*Subscription) error,
) (*Subscription, error) {
	err := document.Again(func() error {
		s, err := r.Get(ctx, account, id)
		if err != nil {
			return err
		}
		if err := change(s); err != nil {
			return err
		}
		doc, err := r.encode(ctx, s)
		if err != nil {
			return err
		}
		return r.write(ctx, doc)
	})
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, account, id)
}

// Delete deletes a subscription if check allows it.
func (r *Registry) Delete(ctx context.Context, account presence.AccountID, id string, check func(*Subscription) error) error {
	return document.Again(func() error {
		s, err := r.Get(ctx, account, id)
		if err != nil {
			return err
		}
		if err := check(s); err != nil {
			return err
		}
		return r.write(ctx, store.Doc{Key: s.key(), Version: s.Version})
	})
}

// DeleteApp deletes the subscriptions that an app made, and the app's secrets.
func (r *Registry) DeleteApp(ctx context.Context, account presence.AccountID, app presence.AppID) error {
	if err := r.deleteWhere(ctx, account, func(s *Subscription) bool { return s.App == app }); err != nil {
		return err
	}
	return r.deleteKey(ctx, appSecretsKey(account, app))
}

// DeleteOwner deletes the subscriptions of a user.
func (r *Registry) DeleteOwner(ctx context.Context, account presence.AccountID, owner presence.UserID) error {
	return r.deleteWhere(ctx, account, func(s *Subscription) bool { return s.Owner == owner && owner != "" })
}

// EndConsent deletes what an app subscribed to for a person who allows it to act for them no
// more. What it cannot delete has ended nevertheless, and Run deletes it later.
func (r *Registry) EndConsent(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID) {
	err := r.deleteWhere(ctx, account, func(s *Subscription) bool {
		return s.App == app && user != "" && (s.Owner == user || s.Consent.User == user)
	})
	if err != nil {
		r.Log.WarnContext(ctx, "cannot delete the subscriptions of a consent that has ended; will retry", slog.String("app", string(app)), slog.Any("err", err))
	}
}

// deleteWhere needs no secrets, so it also deletes subscriptions whose secrets are unreadable.
// One that cannot be decoded stays: nobody knows to whom it belongs, and nothing is sent to it.
// After an error, Run deletes what has ended.
func (r *Registry) deleteWhere(ctx context.Context, account presence.AccountID, belongs func(*Subscription) bool) (err error) {
	defer func() {
		if err != nil {
			r.forgetSeen()
		}
	}()
	docs, err := r.documentsOf(ctx, account)
	if err != nil {
		return err
	}
	for i := range docs {
		s, _, err := decodeOpen(&docs[i])
		if err != nil {
			r.Log.ErrorContext(ctx, "subscription unreadable; it is not deleted", slog.String("key", docs[i].Key.Key), slog.Any("err", err))
			continue
		}
		if !belongs(s) {
			continue
		}
		if err := r.deleteKey(ctx, docs[i].Key); err != nil {
			return err
		}
	}
	return nil
}

// deleteKey deletes a document if there is one.
func (r *Registry) deleteKey(ctx context.Context, key store.Key) error {
	return document.Again(func() error {
		docs, err := r.Store.Load(ctx, systemAccount, key)
		if err != nil || len(docs) == 0 {
			return err
		}
		return r.write(ctx, document.Deletion(&docs[0]))
	})
}

// write stores or deletes the document of a subscription, or of an app's secrets, and
// updates the snapshot.
func (r *Registry) write(ctx context.Context, doc store.Doc) error {
	// A change of another subscription must not make this one fail, so a conflict is
	// retried although it may be of doc.
	err := document.Again(func() error { return r.store(ctx, doc) })
	if err != nil {
		r.forgetSeen() // it may have been stored
		return err
	}
	if doc.Collection != subscriptionCollection {
		r.snapshot.update(func() {})
	} else if err := r.refresh(ctx, doc.Key); err != nil {
		r.Log.WarnContext(ctx, "subscription not read after a write; will retry", slog.Any("err", err))
		r.forgetSeen()
	}
	return nil
}

// store writes a document, and the one that tells other nodes.
func (r *Registry) store(ctx context.Context, doc store.Doc) error {
	if r.Nodes == nil {
		return r.Store.Write(ctx, systemAccount, doc)
	}
	return r.writeChange(ctx, doc)
}

// DeleteAll deletes the subscriptions of an account.
func (r *Registry) DeleteAll(ctx context.Context, account presence.AccountID) error {
	for {
		all, err := r.List(ctx, account)
		if err != nil || len(all) == 0 {
			return err
		}
		for _, s := range all {
			err := r.Delete(ctx, account, s.ID, func(*Subscription) error { return nil })
			if err != nil && !errors.Is(err, ErrNoSubscription) {
				return err
			}
		}
	}
}
