// Package provision creates, changes, activates, deactivates and deletes users: in the
// directory, in their presence records, and in what depends on them, such as tokens and
// subscriptions.
//
// It is separate from directory, which stores who exists and decides nothing else, and
// from the dialects, which all make the same changes. It guarantees an order of the writes
// in which a caller who repeats an interrupted change completes it, and that each change
// is in the audit log.
//
// It must not decide who may make a change: the dialects do.
package provision

import (
	"context"
	"errors"
	"sync"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

// ErrOwner: the owner of an account, for whom its apps act, can neither be deactivated nor
// deleted, and remains an administrator.
var ErrOwner = errors.New("the user owns the account")

// A Publisher takes events of users; *publish.Publisher is one.
type Publisher interface {
	Publish(ctx context.Context, u store.User, actor store.Actor, e presence.Event) (publish.Result, error)
}

// Records reads users' records; a store.Store is one.
type Records interface {
	Read(ctx context.Context, users []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error)
}

// Subscriptions are those of webhooks; *webhook.Registry has them.
type Subscriptions interface {
	DeleteOwner(ctx context.Context, account presence.AccountID, owner presence.UserID) error
	// OwnerChanged pauses or resumes the subscriptions of a user who was deactivated or
	// activated, or got another role.
	OwnerChanged(ctx context.Context, account presence.AccountID, owner presence.UserID) error
}

// SignIns has what people sign in with; *signin.Registry is one.
type SignIns interface {
	Moved(ctx context.Context, account presence.AccountID, id presence.UserID, from, to string) error
	Forget(ctx context.Context, account presence.AccountID, id presence.UserID, email string) error
}

// Provisioner changes users. Set all fields.
type Provisioner struct {
	Directory     *directory.Directory
	Authority     *auth.Authority
	Publisher     Publisher
	Records       Records
	Subscriptions Subscriptions
	SignIns       SignIns // nil: nobody signs in
	Audit         audit.Recorder

	importing sync.Mutex // held by the import that is carried out
}

// By is who changes users, and in which account.
type By struct {
	audit.Actor

	Account presence.AccountID
}

func (b *By) user(id presence.UserID) store.User { return store.User{Account: b.Account, ID: id} }

// Create adds an active user with a new id, like directory.Create. If an equal request
// created the user before but was interrupted, it completes that.
func (p *Provisioner) Create(ctx context.Context, by *By, asked directory.User) (directory.User, error) {
	asked.Active = true
	u, err := p.Directory.Create(ctx, by.Account, asked)
	if errors.Is(err, directory.ErrEmailTaken) {
		u, err = p.resumeCreate(ctx, by, &asked)
	}
	if err != nil {
		return u, err
	}
	if err := p.setUserState(ctx, by, &u, presence.UserActive); err != nil {
		return u, err
	}
	return u, p.record(ctx, by, "user.create", u.ID, nil, created(&u))
}

// resumeCreate finds the user with the e-mail address that is taken. It returns the
// user if an earlier, equal request created it but the server stopped before it
// recorded the user's state.
func (p *Provisioner) resumeCreate(ctx context.Context, by *By, asked *directory.User) (directory.User, error) {
	found, err := p.Directory.Find(ctx, by.Account, asked.Email)
	if errors.Is(err, directory.ErrNoUser) {
		return found, store.ErrConflict // deleted just now
	}
	if err != nil {
		return found, err
	}
	want := *asked
	if err := want.Clean(&directory.User{}); err != nil {
		return found, err
	}
	want.ID, want.Created, want.Modified, want.Version = found.ID, found.Created, found.Modified, found.Version
	if !want.Equal(&found) {
		return found, directory.ErrEmailTaken
	}
	records, _, err := p.Records.Read(ctx, []store.User{by.user(found.ID)}, store.Freshness{Strong: true})
	if err == nil && len(records) > 0 {
		err = directory.ErrEmailTaken
	}
	return found, err
}

// A Change is what Update does to a user.
type Change struct {
	// Edit changes the fields of the directory except Active; nil: none.
	Edit func(*directory.User) error
	// Active activates or deactivates the user; nil: neither.
	Active *bool
	// Check refuses the change of a user in this state; nil: nothing is refused. It is
	// called again if another change came first, until the change has begun.
	Check func(*directory.User) error
}

// Update changes a user. A deactivation ends the user's sessions and tokens.
func (p *Provisioner) Update(ctx context.Context, by *By, id presence.UserID, change *Change) (after directory.User, err error) {
	first, after, err := p.change(ctx, by, id, change)
	if err != nil {
		return after, err
	}
	was, is := changed(first, &after)
	if len(is) == 0 && change.Active == nil {
		return after, nil
	}
	return after, p.record(ctx, by, "user.update", id, was, is)
}

// change is Update without an event in the audit log. first is the user before the change.
func (p *Provisioner) change(ctx context.Context, by *By, id presence.UserID, change *Change) (first *directory.User, after directory.User, err error) {
	err = p.untilCurrent(ctx, by, id, change.Check, func(before directory.User, begin func(*directory.User) error) (err error) {
		if first == nil {
			first = new(before)
		}
		after, err = p.update(ctx, by, before, change, begin)
		return err
	})
	return first, after, err
}

// untilCurrent runs change on a user of the directory, and again after a conflict with
// another change of that user. The first write to the directory decides whether check
// holds. A change that writes elsewhere first must call begin before that; later
// conflicts are not checked any more.
func (p *Provisioner) untilCurrent(
	ctx context.Context, by *By, id presence.UserID, check func(*directory.User) error,
	change func(before directory.User, begin func(*directory.User) error) error,
) error {
	begun := check == nil
	begin := func(before *directory.User) (err error) {
		if !begun {
			*before, err = p.Directory.Update(ctx, by.Account, *before)
			begun = err == nil
		}
		return err
	}
	return document.Again(func() error {
		before, err := p.Directory.User(ctx, by.Account, id)
		if err == nil && !begun {
			err = check(&before)
		}
		if err != nil {
			return err
		}
		return change(before, begin)
	})
}

// update makes a change. A deactivation is written to the record first and to the
// directory last; an activation the other way round. If the server stops in between, the
// caller completes the change by repeating it.
func (p *Provisioner) update(
	ctx context.Context, by *By, before directory.User, change *Change, begin func(*directory.User) error,
) (directory.User, error) {
	after, err := edited(before, change)
	if err != nil {
		return before, err
	}
	deactivates := change.Active != nil && !*change.Active
	if deactivates || after.Role != before.Role {
		if err := p.checkNotOwner(ctx, by.Account, before.ID); err != nil {
			return before, err
		}
	}
	if deactivates {
		if err := begin(&before); err != nil {
			return before, err
		}
		if err := p.setUserState(ctx, by, &before, presence.UserDeactivated); err != nil {
			return before, err
		}
	}
	after.Version = before.Version
	if !after.Equal(&before) {
		if after, err = p.write(ctx, by, &before, after); err != nil {
			return before, err
		}
	}
	if p.SignIns != nil && after.Email != before.Email {
		if err := p.SignIns.Moved(ctx, by.Account, before.ID, before.Email, after.Email); err != nil {
			return before, err
		}
	}
	if err := p.logProfile(ctx, by.user(before.ID), by.Logged()); err != nil {
		return before, err
	}
	if change.Active == nil {
		return after, nil
	}
	return after, p.applyState(ctx, by, &after)
}

// applyState carries out what follows from a user's state in the directory.
func (p *Provisioner) applyState(ctx context.Context, by *By, u *directory.User) error {
	var err error
	if u.Active {
		err = p.activate(ctx, by, u)
	} else {
		err = p.Authority.RevokeUser(ctx, by.Account, u.ID)
	}
	if err != nil {
		return err
	}
	return p.Subscriptions.OwnerChanged(ctx, by.Account, u.ID)
}

// write writes a user to the directory. Tokens that allow more than a new role end before,
// so that a crash in between leaves none, and after, because one may have been made.
func (p *Provisioner) write(ctx context.Context, by *By, before *directory.User, after directory.User) (directory.User, error) {
	if after.Role == before.Role {
		return p.Directory.Update(ctx, by.Account, after)
	}
	if err := p.Authority.RevokeBeyond(ctx, by.Account, after.ID, after.Role); err != nil {
		return after, err
	}
	after, err := p.Directory.Update(ctx, by.Account, after)
	if err != nil {
		return after, err
	}
	if err := p.Authority.RevokeBeyond(ctx, by.Account, after.ID, after.Role); err != nil {
		return after, err
	}
	return after, p.Subscriptions.OwnerChanged(ctx, by.Account, after.ID)
}

// edited is the user after a change.
func edited(u directory.User, change *Change) (directory.User, error) {
	before := u
	u.Groups = append([]string(nil), u.Groups...)
	if change.Edit != nil {
		if err := change.Edit(&u); err != nil {
			return before, err
		}
	}
	u.Active = before.Active
	if change.Active != nil {
		u.Active = *change.Active
	}
	return u, u.Clean(&before)
}

// activate also publishes the rules of visibility that were declared while the user
// was deactivated.
func (p *Provisioner) activate(ctx context.Context, by *By, u *directory.User) error {
	if err := p.setUserState(ctx, by, u, presence.UserActive); err != nil {
		return err
	}
	return p.PublishVisibility(ctx, by.user(u.ID), by.Logged())
}

// checkNotOwner refuses to deactivate or delete the account's owner, for whom the
// account's apps act.
func (p *Provisioner) checkNotOwner(ctx context.Context, account presence.AccountID, id presence.UserID) error {
	found, err := p.Directory.Account(ctx, account)
	if err == nil && found.Owner == id {
		return ErrOwner
	}
	return err
}

// Delete deletes a user, whose record goes first and whose entry in the directory last.
// It calls before when the record is deleted and the directory still has the user; nil:
// nothing is called. check is as in a Change.
func (p *Provisioner) Delete(ctx context.Context, by *By, id presence.UserID, check func(*directory.User) error, before func() error) error {
	var found directory.User
	err := p.untilCurrent(ctx, by, id, check, func(u directory.User, begin func(*directory.User) error) error {
		if err := p.checkNotOwner(ctx, by.Account, id); err != nil {
			return err
		}
		err := begin(&u)
		found = u
		return err
	})
	if err != nil {
		return err
	}
	if err := p.setUserState(ctx, by, &found, presence.UserDeleted); err != nil {
		return err
	}
	// The tokens of a deleted user are invalid anyway. Revoking removes them from
	// the listing.
	if err := p.Authority.RevokeUser(ctx, by.Account, id); err != nil {
		return err
	}
	if err := p.Subscriptions.DeleteOwner(ctx, by.Account, id); err != nil {
		return err
	}
	if p.SignIns != nil {
		if err := p.SignIns.Forget(ctx, by.Account, id, found.Email); err != nil {
			return err
		}
	}
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	if err := p.Directory.Delete(ctx, by.Account, id); err != nil {
		return err
	}
	return p.record(ctx, by, "user.delete", id, nil, nil)
}

// Purge deletes a user of an account that is being deleted, the owner included. It is not
// recorded: the audit log of the account is deleted, too. Tokens and subscriptions are up
// to the caller.
func (p *Provisioner) Purge(ctx context.Context, account presence.AccountID, id presence.UserID) error {
	by := &By{Account: account}
	err := document.Again(func() error {
		u, err := p.Directory.User(ctx, account, id)
		if err != nil {
			return err
		}
		if err := p.setUserState(ctx, by, &u, presence.UserDeleted); err != nil {
			return err
		}
		if p.SignIns != nil {
			if err := p.SignIns.Forget(ctx, account, id, u.Email); err != nil {
				return err
			}
		}
		return p.Directory.Delete(ctx, account, id)
	})
	if errors.Is(err, directory.ErrNoUser) {
		return nil // another node did it
	}
	return err
}

// setUserState publishes a user's state to the record. It is idempotent.
func (p *Provisioner) setUserState(ctx context.Context, by *By, u *directory.User, s presence.UserState) error {
	e := presence.SetUserState{State: s, Profiles: presence.Profiles{Profile: u.Profile()}}
	_, err := p.Publisher.Publish(ctx, by.user(u.ID), by.Logged(), e)
	return err
}
