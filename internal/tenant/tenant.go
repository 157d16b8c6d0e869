// Package tenant creates, plans, limits, suspends and deletes the accounts of a server,
// for its operator.
//
// It is separate from directory, which stores accounts and decides nothing else, and from
// provision, which changes users of one account. It guarantees that a deleted account
// stops at once, and that its data are deleted whatever stops the server meanwhile: a
// deletion is a document of the store, which Run completes, and which remains as the
// report. Each change is in the audit log of the server, and in that of the account
// while there is one.
//
// It must not know a route or a credential: who may call it is up to the system API.
package tenant

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// system is the account of the documents and the audit log of the server itself.
const system presence.AccountID = ""

// Parts are what a Registry needs. Set all fields but the optional ones.
type Parts struct {
	Store         store.Store
	Directory     *directory.Directory
	Authority     *auth.Authority
	Provisioner   *provision.Provisioner
	Subscriptions *webhook.Registry
	Eraser        erasure.Eraser
	Audit         audit.JointRecorder
	// Plans are the words of the plans that an account can have.
	Plans []string
	// Grace is how long other nodes may still accept a token of a deleted account.
	Grace time.Duration
	Clock func() time.Time
	Log   *slog.Logger
	// Preferred reports whether this node is the one to delete an account. Nodes may
	// disagree for a time. Nil: there are no other nodes.
	Preferred func(work string) bool
}

// A Registry manages accounts.
type Registry struct {
	Parts

	wake chan struct{}
}

// New returns a registry.
func New(p Parts) *Registry { return &Registry{Parts: p, wake: make(chan struct{}, 1)} }

// A Founding is a new account with its owner and its first app.
type Founding struct {
	Name                  string
	OwnerEmail, OwnerName string // OwnerName is the first and the last name
	AppName               string
	Plan                  string // "": that of the server
	Limits                directory.Limits
}

// A Founded account has the secrets of its app, which are stored nowhere else.
type Founded struct {
	Account       directory.Account
	Owner         directory.User
	App           auth.App
	Secret        string
	WebhookSecret string
}

// Create makes an account, its owner, and an app with every scope. If it is interrupted,
// an account without an owner or an app remains, which can be deleted.
func (r *Registry) Create(ctx context.Context, by *audit.Actor, f *Founding) (made Founded, err error) {
	owner, err := r.check(f)
	if err != nil {
		return made, err
	}
	asked := directory.AccountChange{Name: &f.Name, Plan: &f.Plan, Limits: &f.Limits}
	if made.Account, err = r.Directory.AddAccount(ctx, asked); err != nil {
		return made, err
	}
	id := made.Account.ID
	if made.Owner, err = r.Provisioner.Create(ctx, &provision.By{Actor: *by, Account: id}, owner); err != nil {
		return made, err
	}
	if err := r.Directory.SetOwner(ctx, id, made.Owner.ID); err != nil {
		return made, err
	}
	if err := r.createApp(ctx, f.AppName, &made); err != nil {
		return made, err
	}
	if made.Account, err = r.Directory.Account(ctx, id); err != nil {
		return made, err
	}
	return made, r.record(ctx, by, "account.create", id, nil, fieldsOf(&made.Account))
}

// check refuses a founding before anything is made, and returns its owner.
func (r *Registry) check(f *Founding) (directory.User, error) {
	first, last, _ := strings.Cut(f.OwnerName, " ")
	owner := directory.User{Email: f.OwnerEmail, FirstName: first, LastName: last, DisplayName: f.OwnerName, Role: directory.Admin}
	switch {
	case f.Name == "":
		return owner, &presence.FieldError{Field: "name", Reason: "is required"}
	case f.OwnerEmail == "":
		return owner, &presence.FieldError{Field: "owner_email", Reason: "is required"}
	}
	if err := r.checkPlan(f.Plan); err != nil {
		return owner, err
	}
	cleaned := owner
	return owner, cleaned.Clean(&directory.User{})
}

func (r *Registry) checkPlan(plan string) error {
	if plan == "" {
		return nil
	}
	for _, known := range r.Plans {
		if plan == known {
			return nil
		}
	}
	return &presence.FieldError{Field: "plan", Reason: "must be " + strings.Join(r.Plans, ", ") + ", or empty for the plan of the server"}
}

// createApp makes the first app, with every scope.
func (r *Registry) createApp(ctx context.Context, name string, made *Founded) error {
	scopes, err := r.Authority.ParseScopes(strings.Join(r.Authority.ScopeNames(), " "))
	if err != nil {
		return err
	}
	if made.App, made.Secret, err = r.Authority.CreateApp(ctx, made.Account.ID, name, scopes); err != nil {
		return err
	}
	signing, err := r.Subscriptions.AppSecrets(ctx, made.Account.ID, made.App.ID)
	if err == nil {
		made.WebhookSecret = signing[0].Value
	}
	return err
}

// A Change sets the fields that are not nil.
type Change struct {
	Name      *string
	Plan      *string
	Limits    *directory.Limits
	Suspended *bool
}

// Update changes an account. Tokens and streams of an account that is suspended end at
// once on this node, and within auth.MaxStale on others.
func (r *Registry) Update(ctx context.Context, by *audit.Actor, id presence.AccountID, c *Change) (after directory.Account, err error) {
	if c.Plan != nil {
		if err := r.checkPlan(*c.Plan); err != nil {
			return after, err
		}
	}
	var before directory.Account
	err = document.Again(func() error {
		if before, err = r.Directory.Account(ctx, id); err != nil {
			return err
		}
		after, err = r.Directory.UpdateAccount(ctx, before, directory.AccountChange{Name: c.Name, Plan: c.Plan, Limits: c.Limits, Suspended: c.Suspended})
		return err
	})
	if err != nil {
		return after, err
	}
	if c.Suspended != nil { // also if it was so before: an interrupted request is completed
		if *c.Suspended {
			r.Authority.RevokeAccount(id, auth.ErrSuspended)
		}
		if err := r.Subscriptions.AccountChanged(ctx); err != nil {
			return after, err
		}
	}
	if before == after {
		return after, nil
	}
	return after, r.record(ctx, by, actionOf(&before, &after), id, fieldsOf(&before), fieldsOf(&after))
}

func actionOf(before, after *directory.Account) string {
	switch {
	case after.Suspended && !before.Suspended:
		return "account.suspend"
	case before.Suspended && !after.Suspended:
		return "account.resume"
	default:
		return "account.update"
	}
}

func fieldsOf(a *directory.Account) audit.Fields {
	return audit.Fields{"name": a.Name, "plan": a.Plan, "suspended": a.Suspended, "limits": a.Limits}
}

// record appends to the audit logs of the account and of the server. That of the server
// outlives the account, and so has no name.
func (r *Registry) record(ctx context.Context, by *audit.Actor, action string, id presence.AccountID, before, after audit.Fields) error {
	e := audit.Event{Action: action, Target: "account/" + string(id), By: *by, Before: before, After: after}
	if err := r.Audit.Record(ctx, id, &e); err != nil {
		return err
	}
	e = audit.Event{Action: action, Target: e.Target, By: *by, Before: withoutName(before), After: withoutName(after)}
	return r.Audit.Record(ctx, system, &e)
}

func withoutName(fields audit.Fields) audit.Fields {
	kept := maps.Clone(fields)
	if _, ok := kept["name"]; ok {
		kept["name"] = audit.Personal
	}
	return kept
}

// Usage is what an account has.
type Usage struct{ Users, Apps, Subscriptions int }

// Usage counts what an account has. It reads all of its users.
func (r *Registry) Usage(ctx context.Context, id presence.AccountID) (u Usage, err error) {
	if u.Users, err = r.Directory.CountUsers(ctx, id); err != nil {
		return u, err
	}
	if u.Apps, err = r.count(ctx, id, "app"); err != nil {
		return u, err
	}
	all, err := r.Subscriptions.List(ctx, id)
	u.Subscriptions = len(all)
	return u, err
}

// countPage is how many documents are read at a time.
const countPage = 1000

// count counts the documents of a collection.
func (r *Registry) count(ctx context.Context, id presence.AccountID, collection string) (n int, err error) {
	for after := ""; ; {
		docs, err := r.Store.List(ctx, id, collection, after, countPage)
		if err != nil {
			return 0, err
		}
		if n += len(docs); len(docs) < countPage {
			return n, nil
		}
		after = docs[len(docs)-1].Key.Key
	}
}
