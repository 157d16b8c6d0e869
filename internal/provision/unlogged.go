package provision

import (
	"context"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// logProfile commits the log entries of changes to a user's profile that may be
// missing: those of the current request and of an earlier, interrupted one. If it is
// interrupted itself, it runs again, so the log may have an entry twice.
func (p *Provisioner) logProfile(ctx context.Context, u store.User, actor store.Actor) error {
	change, err := p.Directory.Unlogged(ctx, u.Account, u.ID)
	if err != nil {
		return err
	}
	return p.logUnlogged(ctx, u.Account, change, actor)
}

func (p *Provisioner) logUnlogged(ctx context.Context, account presence.AccountID, change directory.Unlogged, actor store.Actor) error {
	u := store.User{Account: account, ID: change.User}
	for _, e := range []struct {
		happened bool
		event    presence.ProfileChanged
	}{
		{change.Renamed, presence.ProfileChanged{Profiles: change.Profiles}},
		{change.Email, presence.ProfileChanged{Email: true, Profiles: change.Profiles}},
		{change.Groups, presence.ProfileChanged{Groups: true, Profiles: change.Profiles}},
	} {
		if !e.happened {
			continue
		}
		if _, err := p.Publisher.Publish(ctx, u, actor, e.event); err != nil {
			return err
		}
	}
	return p.Directory.MarkLogged(ctx, account, change)
}

// An unloggedChange is not in the log of its user yet.
type unloggedChange struct {
	account presence.AccountID
	change  directory.Unlogged
}

// LogProfiles commits the entries that were missing when a server stopped, without an
// actor. It is called once, when a server starts. wait returns when the requests that are
// running on other nodes have ended: those log their changes themselves.
func (p *Provisioner) LogProfiles(ctx context.Context, wait func()) error {
	all, err := p.unloggedChanges(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	wait()
	for _, u := range all {
		change, ok, err := p.Directory.ClaimUnlogged(ctx, u.account, u.change)
		if err == nil && ok {
			err = p.logUnlogged(ctx, u.account, change, store.Actor{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unloggedChanges lists the changes of all accounts that the log may lack.
func (p *Provisioner) unloggedChanges(ctx context.Context) (all []unloggedChange, err error) {
	const page = 100
	for after := presence.AccountID(""); ; {
		accounts, err := p.Directory.Accounts(ctx, after, page)
		if err != nil || len(accounts) == 0 {
			return all, err
		}
		for i := range accounts {
			after = accounts[i].ID
			if all, err = p.appendUnlogged(ctx, all, after, page); err != nil {
				return nil, err
			}
		}
	}
}

func (p *Provisioner) appendUnlogged(ctx context.Context, all []unloggedChange, account presence.AccountID, page int) ([]unloggedChange, error) {
	for after := presence.UserID(""); ; {
		changes, err := p.Directory.AllUnlogged(ctx, account, after, page)
		if err != nil || len(changes) == 0 {
			return all, err
		}
		for _, change := range changes {
			after = change.User
			all = append(all, unloggedChange{account, change})
		}
	}
}
