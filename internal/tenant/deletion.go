package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// ErrNoDeletion: no account with this id was deleted.
var ErrNoDeletion = errors.New("no deletion of an account with this id is recorded")

// The phases of a deletion, in their order.
const (
	PhaseWaiting     = "waiting"     // for other nodes, which may still accept a token
	PhaseCredentials = "credentials" // tokens, apps, subscriptions
	PhaseUsers       = "users"
	PhaseLog         = "log"       // the entries of all users that the account ever had
	PhaseDocuments   = "documents" // everything else
	PhaseDone        = "done"
)

// A Deletion is the report of the deletion of an account. It names the account by its id
// alone, and is kept for ever.
type Deletion struct {
	Account   presence.AccountID
	Requested time.Time
	Done      time.Time // zero: pending
	Phase     string
	Counts    Counts
	Delay     string // why the last attempt did not complete it; "": nothing failed

	cursor  presence.UserID // of the log, for PhaseLog
	version string
}

// Counts are what a deletion deleted. Users to AuditEvents are what the account had when
// the deletion began.
type Counts struct {
	Users         int `json:"users"`
	Apps          int `json:"apps"`
	Tokens        int `json:"tokens"`
	Subscriptions int `json:"subscriptions"`
	AuditEvents   int `json:"audit_events"`
	// Records are users' records of which the log was erased, those of users who were
	// deleted earlier included; LogEntries are the entries.
	Records    int `json:"records"`
	LogEntries int `json:"log_entries"`
	Documents  int `json:"documents"` // of the last phase
}

const deletionCollection = "account-deletion"

type deletionValue struct {
	document.Format

	Requested time.Time       `json:"requested"`
	Done      time.Time       `json:"done,omitzero"`
	Phase     string          `json:"phase"`
	Counts    Counts          `json:"counts"`
	Delay     string          `json:"delay,omitempty"`
	Cursor    presence.UserID `json:"cursor,omitempty"`
}

func deletionKey(id presence.AccountID) store.Key {
	return store.Key{Collection: deletionCollection, Key: string(id)}
}

func (d *Deletion) doc() store.Doc {
	return document.New(deletionKey(d.Account), d.version, deletionValue{document.Current(), d.Requested, d.Done, d.Phase, d.Counts, d.Delay, d.cursor})
}

func deletionOf(doc *store.Doc) (Deletion, error) {
	var v deletionValue
	if err := document.Decode(doc, &v); err != nil {
		return Deletion{}, err
	}
	return Deletion{
		Account: presence.AccountID(doc.Key.Key), Requested: v.Requested, Done: v.Done, Phase: v.Phase, Counts: v.Counts,
		Delay: v.Delay, cursor: v.Cursor, version: doc.Version,
	}, nil
}

// Deletion reads the report of a deletion, or answers ErrNoDeletion.
func (r *Registry) Deletion(ctx context.Context, id presence.AccountID) (Deletion, error) {
	if presence.CheckID("id", string(id)) != nil {
		return Deletion{}, ErrNoDeletion
	}
	docs, err := r.Store.Load(ctx, system, deletionKey(id))
	if err == nil && len(docs) == 0 {
		err = ErrNoDeletion
	}
	if err != nil {
		return Deletion{}, err
	}
	return deletionOf(&docs[0])
}

// Delete begins the deletion of an account: from now on nothing of it is valid. If the
// deletion began before, it returns that one.
func (r *Registry) Delete(ctx context.Context, by *audit.Actor, id presence.AccountID) (Deletion, error) {
	d := Deletion{Account: id, Requested: r.now(), Phase: PhaseWaiting}
	err := r.Directory.DeleteAccount(ctx, id, d.doc())
	if errors.Is(err, directory.ErrNoAccount) {
		d, err = r.Deletion(ctx, id)
		if errors.Is(err, ErrNoDeletion) {
			err = directory.ErrNoAccount
		}
		return d, err
	}
	if err != nil {
		return d, err
	}
	r.Authority.RevokeAccount(id, auth.ErrInvalidToken)
	if err := r.Subscriptions.AccountChanged(ctx); err != nil {
		return d, err
	}
	e := &audit.Event{Action: "account.delete", Target: "account/" + string(id), By: *by}
	if err := r.Audit.Record(ctx, system, e); err != nil {
		return d, err
	}
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
	return r.Deletion(ctx, id)
}

func (r *Registry) now() time.Time { return r.Clock().UTC().Truncate(time.Millisecond) }

const (
	// retryEvery is how often pending deletions are attempted.
	retryEvery = 5 * time.Second
	listPage   = 100
	maxReason  = 200 // bytes
)

// Run completes deletions until ctx ends, those of an earlier run first.
func (r *Registry) Run(ctx context.Context) {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		wait, err := r.Complete(ctx)
		if err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "pending deletions of accounts cannot be read; will retry", slog.Any("err", err))
		}
		var grace <-chan time.Time
		if wait > 0 {
			grace = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-grace:
		case <-ticker.C:
		}
	}
}

// Complete makes one attempt at each pending deletion. It returns how soon one of them
// can go on; zero: none waits.
func (r *Registry) Complete(ctx context.Context) (wait time.Duration, err error) {
	for after := ""; ; {
		docs, err := r.Store.List(ctx, system, deletionCollection, after, listPage)
		if err != nil {
			return wait, err
		}
		for i := range docs {
			after = docs[i].Key.Key
			d, err := deletionOf(&docs[i])
			switch {
			case err != nil: // the others must not wait for it
				r.Log.ErrorContext(ctx, "deletion of an account cannot be read", slog.String("account", after), slog.Any("err", err))
			case !d.Done.IsZero() || !r.isPreferred(d.Account):
			case r.remaining(&d) > 0:
				wait = earlier(wait, r.remaining(&d))
			default:
				if err := r.attempt(ctx, &d); err != nil {
					return wait, err
				}
			}
		}
		if len(docs) < listPage {
			return wait, nil
		}
	}
}

func (r *Registry) isPreferred(account presence.AccountID) bool {
	return r.Preferred == nil || r.Preferred(deletionCollection+"/"+string(account))
}

func earlier(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// remaining is how long a deletion waits for other nodes.
func (r *Registry) remaining(d *Deletion) time.Duration {
	return d.Requested.Add(r.Grace).Sub(r.Clock())
}

// errTaken: another node works on the deletion.
var errTaken = errors.New("another node continued the deletion")

// attempt continues a deletion until it is done or something fails.
func (r *Registry) attempt(ctx context.Context, d *Deletion) error {
	for d.Done.IsZero() {
		failed := r.step(ctx, d)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(failed, errTaken):
			return nil
		case failed != nil:
			d.Delay = strings.ToValidUTF8(failed.Error()[:min(len(failed.Error()), maxReason)], "")
			r.Log.WarnContext(ctx, "deletion of an account delayed; will retry", slog.String("account", string(d.Account)), slog.Any("err", failed))
			if err := r.save(ctx, d); err != nil && !errors.Is(err, errTaken) {
				return err
			}
			return nil
		}
	}
	r.Log.InfoContext(ctx, "account deleted", slog.String("account", string(d.Account)), slog.Any("counts", d.Counts))
	return nil
}

// step does the next part of a deletion, and saves how far it is.
func (r *Registry) step(ctx context.Context, d *Deletion) (err error) {
	var next string
	switch d.Delay = ""; d.Phase {
	case PhaseWaiting:
		next, err = PhaseCredentials, r.countAll(ctx, d)
	case PhaseCredentials:
		next, err = PhaseUsers, r.deleteCredentials(ctx, d.Account)
	case PhaseUsers:
		next, err = PhaseLog, r.deleteUsers(ctx, d.Account)
		d.cursor = ""
	case PhaseLog:
		return r.eraseSome(ctx, d)
	case PhaseDocuments:
		return r.deleteDocuments(ctx, d)
	default:
		err = fmt.Errorf("the deletion is in an unknown phase %q", d.Phase)
	}
	if err != nil {
		return err
	}
	d.Phase = next
	return r.save(ctx, d)
}

func (r *Registry) deleteCredentials(ctx context.Context, account presence.AccountID) error {
	if err := r.Subscriptions.DeleteAll(ctx, account); err != nil {
		return err
	}
	return r.Authority.DeleteAll(ctx, account)
}

// save writes how far a deletion is.
func (r *Registry) save(ctx context.Context, d *Deletion) error {
	err := r.Store.Write(ctx, system, d.doc())
	if errors.Is(err, store.ErrConflict) {
		return errTaken
	}
	if err != nil {
		return err
	}
	saved, err := r.Deletion(ctx, d.Account)
	if err == nil {
		d.version = saved.version
	}
	return err
}

// countAll counts what there is before anything is deleted.
func (r *Registry) countAll(ctx context.Context, d *Deletion) error {
	usage, err := r.Usage(ctx, d.Account)
	if err != nil {
		return err
	}
	d.Counts = Counts{Users: usage.Users, Apps: usage.Apps, Subscriptions: usage.Subscriptions}
	if d.Counts.Tokens, err = r.count(ctx, d.Account, "token"); err != nil {
		return err
	}
	d.Counts.AuditEvents, err = r.count(ctx, d.Account, "audit")
	return err
}

// deleteUsers deletes all users. Their ids remain as those of deleted users, so that
// PhaseLog finds them.
func (r *Registry) deleteUsers(ctx context.Context, account presence.AccountID) error {
	for {
		users, err := r.Directory.Users(ctx, account, "", listPage)
		if err != nil || len(users) == 0 {
			return err
		}
		for i := range users {
			if err := r.Provisioner.Purge(ctx, account, users[i].ID); err != nil {
				return err
			}
		}
	}
}

// awaitTimeout is how long one attempt waits for consumers of the log.
const awaitTimeout = 5 * time.Second

// eraseSome erases the log entries of some deleted users of the account.
func (r *Registry) eraseSome(ctx context.Context, d *Deletion) error {
	users, err := r.Directory.DeletedUsers(ctx, d.Account, d.cursor, listPage)
	if err != nil {
		return err
	}
	if len(users) == 0 {
		d.Phase = PhaseDocuments
		return r.save(ctx, d)
	}
	waiting, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	if err := r.Eraser.AwaitConsumers(waiting); err != nil {
		return err
	}
	counts := d.Counts
	for _, id := range users {
		u := store.User{Account: d.Account, ID: id}
		entries, err := r.countEntries(ctx, u)
		if err == nil {
			err = r.Eraser.Erase(ctx, u)
		}
		if err != nil {
			return err
		}
		counts.Records++
		counts.LogEntries += entries
	}
	d.Counts, d.cursor = counts, users[len(users)-1]
	return r.save(ctx, d)
}

// countEntries counts the log entries of a user, also those that were erased.
func (r *Registry) countEntries(ctx context.Context, u store.User) (n int, err error) {
	for before := store.Position(0); ; {
		entries, err := r.Store.History(ctx, u, before, store.MaxFeedGroup)
		if err != nil || len(entries) == 0 {
			return n, err
		}
		n += len(entries)
		if before = entries[len(entries)-1].At; len(entries) < store.MaxFeedGroup {
			return n, nil
		}
	}
}

// deleteDocuments deletes every other document of the account, and those of the server
// that are about it. It does so until none is left: a request that was running when the
// account was deleted may have written one.
func (r *Registry) deleteDocuments(ctx context.Context, d *Deletion) error {
	switch late, err := r.Directory.Users(ctx, d.Account, "", 1); {
	case err != nil:
		return err
	case len(late) > 0:
		d.Phase = PhaseUsers
		return r.save(ctx, d)
	}
	own, err := r.deleteAll(ctx, d.Account, func(*store.Doc) bool { return true })
	if err != nil {
		return err
	}
	about, err := r.deleteAll(ctx, system, func(doc *store.Doc) bool { return namesAccount(doc, d.Account) })
	if err != nil {
		return err
	}
	if own+about == 0 {
		return r.finish(ctx, d)
	}
	d.Counts.Documents += own + about
	return r.save(ctx, d)
}

// finish records the end of a deletion in the report and in the audit log of the server, in
// one write: another node, or this one after a crash, does not record it again.
func (r *Registry) finish(ctx context.Context, d *Deletion) error {
	done := *d
	done.Phase, done.Done = PhaseDone, r.now()
	e := &audit.Event{Action: "account.deleted", Target: "account/" + string(d.Account), After: audit.Fields{"counts": d.Counts}}
	err := r.Audit.RecordWith(ctx, system, e, done.doc())
	if errors.Is(err, store.ErrConflict) {
		return errTaken
	}
	if err == nil {
		*d = done
	}
	return err
}

// namesAccount reports whether a document of the system is about an account: its key begins
// with the id, or its value has the account, as those whose key is the digest of a secret do.
func namesAccount(doc *store.Doc, id presence.AccountID) bool {
	if strings.HasPrefix(doc.Key.Key, string(id)+"/") {
		return true
	}
	var v struct {
		Account presence.AccountID `json:"account"`
	}
	return json.Unmarshal(doc.Value, &v) == nil && v.Account == id // no other document is of an account
}

// deleteAll deletes the documents of an account for which about is true, in every
// collection, and returns how many there were.
func (r *Registry) deleteAll(ctx context.Context, account presence.AccountID, about func(*store.Doc) bool) (n int, err error) {
	collections, err := r.Store.Collections(ctx, account)
	if err != nil {
		return 0, err
	}
	for _, collection := range collections {
		deleted, err := r.deleteIn(ctx, account, collection, about)
		if n += deleted; err != nil {
			return n, fmt.Errorf("delete documents of %q: %w", collection, err)
		}
	}
	return n, nil
}

func (r *Registry) deleteIn(ctx context.Context, account presence.AccountID, collection string, about func(*store.Doc) bool) (n int, err error) {
	for after := ""; ; {
		docs, err := r.Store.List(ctx, account, collection, after, store.MaxWrite)
		if err != nil || len(docs) == 0 {
			return n, err
		}
		after = docs[len(docs)-1].Key.Key
		deletions := make([]store.Doc, 0, len(docs))
		for i := range docs {
			if about(&docs[i]) {
				deletions = append(deletions, document.Deletion(&docs[i]))
			}
		}
		if len(deletions) == 0 {
			continue
		}
		if err := r.Store.Write(ctx, account, deletions...); err != nil {
			return n, err
		}
		n += len(deletions)
	}
}
