package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// An ImportedUser is a user of a list to import.
type ImportedUser struct {
	Line  int // where the list has the user
	Email string
	// Edit sets the fields that the list has. It is called for the user as it is, or for a
	// new one.
	Edit func(*directory.User) error
	// Active activates or deactivates the user; nil: neither.
	Active *bool
}

// ImportCounts says what became of the users of a list.
type ImportCounts struct {
	Created, Updated, Unchanged, Failed int
}

// An Import brings the users of a list into the directory, part after part. The same
// list again changes nothing, and completes an import that was interrupted. Set the
// fields, then call Part for each part, and Record.
//
// The audit log has one event for the import, and one for each user who is new as an
// administrator, or whose role or state it changes. What else it changes of a user is in
// the user's history.
type Import struct {
	*Provisioner

	By *By
	// MayAppoint: whoever imports may make users administrators, and members of those.
	MayAppoint bool
	DryRun     bool // nothing is changed
	// Fail is called for each user who was not imported, one call at a time.
	Fail func(u *ImportedUser, err error)

	Counts ImportCounts

	mu   sync.Mutex     // guards Counts and calls of Fail
	seen map[string]int // line by the key of the e-mail address or external id
}

// ErrAppoint: only who may do all that an administrator may can change roles.
var ErrAppoint = &presence.FieldError{Field: "role", Reason: "can be changed only by a caller who may do all that an administrator may"}

// BeginImport admits one import at a time, because imports take all of the
// disk. The caller calls done at the end; ok is false while another import is carried out.
func (p *Provisioner) BeginImport() (done func(), ok bool) {
	return p.importing.Unlock, p.importing.TryLock()
}

// importWorkers make changes of users of a part at once.
const importWorkers = 64

// Part imports some users. An error ends the import; those of single users are passed to
// Fail.
func (i *Import) Part(ctx context.Context, users []*ImportedUser) error {
	fresh := i.once(users)
	emails := make([]string, len(fresh))
	for n, u := range fresh {
		emails[n] = u.Email
	}
	known, err := i.Directory.FindMany(ctx, i.By.Account, emails)
	if err != nil {
		return err
	}
	account, err := i.Directory.Account(ctx, i.By.Account)
	if err != nil {
		return err
	}
	var plan importPlan
	for _, u := range fresh {
		before, exists := known[directory.EmailKey(u.Email)]
		after, err := i.edited(u, before, exists)
		if err == nil {
			err = i.check(u, &account, &before, &after)
		}
		if err != nil {
			i.fail(u, err)
			continue
		}
		plan.add(u, before, after, exists)
	}
	if i.DryRun {
		return i.rehearse(ctx, &plan)
	}
	return errors.Join(i.create(ctx, plan.created), i.update(ctx, plan.updated), i.complete(ctx, plan.unchanged))
}

// An importPlan is what is to be done about the users of a part.
type importPlan struct {
	created   []*importedCreation
	updated   []*importedUpdate
	unchanged []directory.User
}

func (p *importPlan) add(u *ImportedUser, before, after directory.User, exists bool) {
	switch {
	case !exists:
		p.created = append(p.created, &importedCreation{u, directory.Creation{User: after}})
	case !after.Equal(&before):
		p.updated = append(p.updated, &importedUpdate{u, before, after})
	default:
		p.unchanged = append(p.unchanged, before)
	}
}

// rehearse counts what would be done, and tells whom the directory would refuse.
func (i *Import) rehearse(ctx context.Context, p *importPlan) error {
	var users []*ImportedUser
	var changes []*directory.UserChange
	for _, c := range p.created {
		users = append(users, c.ImportedUser)
		changes = append(changes, &directory.UserChange{Before: &directory.User{}, After: &c.User})
	}
	for _, u := range p.updated {
		users = append(users, u.ImportedUser)
		changes = append(changes, &directory.UserChange{Before: &u.before, After: &u.after})
	}
	if err := i.Directory.CheckMany(ctx, i.By.Account, changes); err != nil {
		return err
	}
	i.count(len(p.created), len(p.updated), len(p.unchanged))
	for n, c := range changes {
		switch {
		case c.Err == nil:
			continue
		case !ofUser(c.Err):
			return c.Err
		case n < len(p.created):
			i.count(-1, 0, 0)
		default:
			i.count(0, -1, 0)
		}
		i.fail(users[n], c.Err)
	}
	return nil
}

// once drops the users whom the list has had before.
func (i *Import) once(users []*ImportedUser) []*ImportedUser {
	if i.seen == nil {
		i.seen = make(map[string]int)
	}
	fresh := make([]*ImportedUser, 0, len(users))
	for _, u := range users {
		key := directory.EmailKey(u.Email)
		if line, again := i.seen[key]; again {
			i.fail(u, &RepeatedError{Line: line})
			continue
		}
		i.seen[key] = u.Line
		fresh = append(fresh, u)
	}
	return fresh
}

// A RepeatedError: the list has the e-mail address, or the external id, on an earlier line.
type RepeatedError struct {
	Line       int
	ExternalID bool
}

func (e *RepeatedError) Error() string { return fmt.Sprintf("is on line %d already", e.Line) }

type importedCreation struct {
	*ImportedUser
	directory.Creation
}

type importedUpdate struct {
	*ImportedUser
	before, after directory.User
}

// edited is a user of the list as the directory is to have it.
func (i *Import) edited(u *ImportedUser, before directory.User, exists bool) (directory.User, error) {
	after := before
	if !exists {
		after = directory.User{Email: u.Email, Active: true}
	}
	after.Groups = slices.Clone(after.Groups)
	if err := u.Edit(&after); err != nil {
		return after, err
	}
	if u.Active != nil {
		after.Active = *u.Active
	}
	if sameGroups(after.Groups, before.Groups) {
		after.Groups = before.Groups
	}
	if after.Role != before.Role && !i.MayAppoint {
		return after, ErrAppoint
	}
	return after, after.Clean(&before)
}

// check refuses changes of the owner that nobody may make, and an external id that the list
// has twice.
func (i *Import) check(u *ImportedUser, account *directory.Account, before, after *directory.User) error {
	if account.Owner == before.ID && before.ID != "" && (!after.Active || after.Role != before.Role) {
		return ErrOwner
	}
	if after.ExternalID == before.ExternalID {
		return nil
	}
	key := "external id " + after.ExternalID // no e-mail address has a space
	if line, again := i.seen[key]; again && after.ExternalID != "" {
		return &RepeatedError{Line: line, ExternalID: true}
	}
	i.seen[key] = u.Line
	return nil
}

// sameGroups reports whether two lists name the same groups.
func sameGroups(a, b []string) bool {
	keys := func(names []string) []string {
		all := make([]string, len(names))
		for n, name := range names {
			all[n] = directory.GroupKey(name)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	return slices.Equal(keys(a), keys(b))
}

// create creates users, and then records their states.
func (i *Import) create(ctx context.Context, users []*importedCreation) error {
	batch := make([]*directory.Creation, len(users))
	for n, u := range users {
		batch[n] = &u.Creation
		u.Creation.User.Active = true
	}
	if err := i.Directory.CreateMany(ctx, i.By.Account, batch); err != nil {
		return err
	}
	return eachOf(ctx, users, func(ctx context.Context, u *importedCreation) error {
		return i.created(ctx, u)
	})
}

// created completes the creation of one user.
func (i *Import) created(ctx context.Context, u *importedCreation) error {
	made, err := u.Creation.User, u.Err
	if err == nil {
		err = i.setUserState(ctx, i.By, &made, presence.UserActive)
	}
	if err == nil && made.Role != directory.Member {
		err = i.record(ctx, i.By, "user.create", made.ID, nil, created(&made))
	}
	if err == nil && u.Active != nil && !*u.Active {
		_, err = i.Update(ctx, i.By, made.ID, &Change{Active: u.Active})
	}
	return i.done(u.ImportedUser, err, func(c *ImportCounts) { c.Created++ })
}

// update changes users.
func (i *Import) update(ctx context.Context, users []*importedUpdate) error {
	return eachOf(ctx, users, func(ctx context.Context, u *importedUpdate) error {
		change := &Change{Edit: func(now *directory.User) error {
			role, groups := now.Role, now.Groups
			err := u.Edit(now)
			if sameGroups(now.Groups, groups) {
				now.Groups = groups
			}
			if now.Role != role && !i.MayAppoint {
				err = ErrAppoint
			}
			return err
		}}
		var err error
		if u.after.Active != u.before.Active {
			change.Active = u.Active
		}
		if u.after.Active != u.before.Active || u.after.Role != u.before.Role {
			_, err = i.Update(ctx, i.By, u.before.ID, change)
		} else {
			_, _, err = i.change(ctx, i.By, u.before.ID, change)
		}
		return i.done(u.ImportedUser, err, func(c *ImportCounts) { c.Updated++ })
	})
}

// complete records the states of users who were created by an import that was interrupted
// before it did.
func (i *Import) complete(ctx context.Context, users []directory.User) error {
	asked := make([]store.User, len(users))
	for n := range users {
		asked[n] = i.By.user(users[n].ID)
	}
	records, _, err := i.Records.Read(ctx, asked, store.Freshness{Strong: true})
	if err != nil {
		return err
	}
	recorded := make(map[presence.UserID]bool, len(records))
	for n := range records {
		recorded[records[n].User.ID] = true
	}
	missing := slices.DeleteFunc(slices.Clone(users), func(u directory.User) bool { return recorded[u.ID] || !u.Active })
	i.count(0, 0, len(users))
	return eachOf(ctx, missing, func(ctx context.Context, u directory.User) error {
		return i.setUserState(ctx, i.By, &u, presence.UserActive)
	})
}

// eachOf calls do for items, several at once, until one fails.
func eachOf[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(importWorkers)
	for _, item := range items {
		workers.Go(func() error { return do(ctx, item) })
	}
	return workers.Wait()
}

// done counts a user. It returns the errors that are the store's, not the user's.
func (i *Import) done(u *ImportedUser, err error, count func(*ImportCounts)) error {
	switch {
	case err == nil:
		i.mu.Lock()
		defer i.mu.Unlock()
		count(&i.Counts)
		return nil
	case ofUser(err):
		i.fail(u, err)
		return nil
	default:
		return err
	}
}

// ofUser reports whether an error is about one user, so that an import can go on.
func ofUser(err error) bool {
	for _, one := range []error{
		ErrOwner, directory.ErrEmailTaken, directory.ErrExternalIDTaken, directory.ErrUserNameTaken, directory.ErrNoUser, store.ErrConflict,
	} {
		if errors.Is(err, one) {
			return true
		}
	}
	_, repeated := errors.AsType[*RepeatedError](err)
	_, field := errors.AsType[*presence.FieldError](err)
	_, limit := errors.AsType[*presence.LimitError](err)
	_, many := errors.AsType[*directory.LimitError](err)
	return repeated || field || limit || many
}

func (i *Import) fail(u *ImportedUser, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.Counts.Failed++
	i.Fail(u, err)
}

func (i *Import) count(created, updated, unchanged int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.Counts.Created += created
	i.Counts.Updated += updated
	i.Counts.Unchanged += unchanged
}

// Record appends the import to the audit log, unless it changed nothing.
func (i *Import) Record(ctx context.Context) error {
	if i.DryRun || i.Counts.Created+i.Counts.Updated == 0 {
		return nil
	}
	e := &audit.Event{Action: "user.import", By: i.By.Actor, After: audit.Fields{
		"created": i.Counts.Created, "updated": i.Counts.Updated, "unchanged": i.Counts.Unchanged, "failed": i.Counts.Failed,
	}}
	return i.Audit.Record(ctx, i.By.Account, e)
}
