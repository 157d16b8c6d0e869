package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/telemetry"
	"porchlight.dev/porchlight/internal/view"
)

// NewHub returns a hub whose viewers are principals. It gets users and contacts from dir,
// and permissions from authority. Changes of contacts and revocations on this node reach
// it at once.
func NewHub(st store.Store, dir *directory.Directory, authority *auth.Authority, reads *quota.Turns, clock func() time.Time, log *slog.Logger, tracer *telemetry.Tracer) *hub.Hub {
	h := hub.New(hub.Options{
		Store: st, Directory: hubDirectory{dir, st}, Access: hubAccess{authority}, Turns: hubTurns{reads}, Clock: clock, Log: log, Tracer: tracer,
	})
	dir.OnContactsChange(h.ContactsChanged)
	authority.OnRevoke(func(r *auth.Revocation) {
		h.EndRevoked(closeOf(r.Why), func(v view.Viewer) bool {
			p, ok := v.(*auth.Principal)
			return ok && r.Covers(p)
		})
	})
	return h
}

// hubDirectory is a hub.Directory.
type hubDirectory struct {
	*directory.Directory

	docs erasure.Documents
}

func (d hubDirectory) Exists(ctx context.Context, u store.User) (bool, error) {
	_, err := d.User(ctx, u.Account, u.ID)
	if errors.Is(err, directory.ErrNoUser) {
		return false, nil
	}
	return err == nil, err
}

func (d hubDirectory) Members(ctx context.Context, account presence.AccountID, after presence.UserID, limit int) ([]hub.Member, error) {
	users, err := d.Users(ctx, account, after, limit)
	members := make([]hub.Member, len(users))
	for i := range users {
		members[i] = asMember(&users[i])
	}
	return members, err
}

func (d hubDirectory) MembersByID(ctx context.Context, account presence.AccountID, ids []presence.UserID) ([]hub.Member, error) {
	users, err := d.UsersByID(ctx, account, ids)
	members := make([]hub.Member, 0, len(users))
	for _, u := range users {
		members = append(members, asMember(&u))
	}
	return members, err
}

func asMember(u *directory.User) hub.Member {
	return hub.Member{User: u.ID, Active: u.Active, Groups: groupKeys(u.Groups)}
}

func (d hubDirectory) GroupKey(name string) string { return directory.GroupKey(name) }

func (d hubDirectory) UnloggedMembers(ctx context.Context, account presence.AccountID, erasedSince time.Time) ([]hub.MemberChange, error) {
	const page = 100
	var changes []hub.MemberChange
	for after := presence.UserID(""); ; {
		unlogged, err := d.AllUnlogged(ctx, account, after, page)
		if err != nil {
			return nil, err
		}
		for i := range unlogged {
			if after = unlogged[i].User; unlogged[i].Groups {
				changes = append(changes, memberChangeOf(&unlogged[i]))
			}
		}
		if len(unlogged) < page {
			break
		}
	}
	erased, err := erasure.RequestedSince(ctx, d.docs, account, erasedSince)
	for _, id := range erased {
		changes = append(changes, hub.MemberChange{User: id, Unknown: true})
	}
	return changes, err
}

func memberChangeOf(u *directory.Unlogged) hub.MemberChange {
	if u.Profile == nil || u.ProfileBefore == nil {
		return hub.MemberChange{User: u.User, Unknown: true}
	}
	return hub.MemberChange{User: u.User, Before: groupKeys(u.ProfileBefore.Groups), After: groupKeys(u.Profile.Groups)}
}

func groupKeys(names []string) []string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = directory.GroupKey(name)
	}
	return keys
}

func (d hubDirectory) ContactLists(ctx context.Context, account presence.AccountID, owners []presence.UserID) (map[presence.UserID]hub.ContactList, error) {
	found, err := d.ContactsOf(ctx, account, owners)
	if err != nil {
		return nil, err
	}
	lists := make(map[presence.UserID]hub.ContactList, len(found))
	for owner, c := range found {
		list := hub.ContactList{Gen: c.Gen, Pruned: c.Pruned, Version: c.Version}
		for _, edge := range c.List {
			list.Edges = append(list.Edges, hub.ContactEdge{User: edge.User, Gen: edge.Gen})
		}
		for _, edge := range c.Removed {
			list.Ended = append(list.Ended, hub.ContactEdge{User: edge.User, Gen: edge.Gen})
		}
		lists[owner] = list
	}
	return lists, nil
}

// hubAccess is a hub.Access.
type hubAccess struct{ *auth.Authority }

func (a hubAccess) Revoked(ctx context.Context, viewers []view.Viewer) []hub.Close {
	principals := make([]*auth.Principal, len(viewers))
	for i, v := range viewers {
		principals[i], _ = v.(*auth.Principal) // all are
	}
	revoked := make([]hub.Close, len(viewers))
	for i, err := range a.Recheck(ctx, principals) {
		if err != nil && auth.Refused(err) {
			revoked[i] = closeOf(err)
		}
	}
	return revoked
}

// closeOf returns the close reason for streams whose token was refused with err.
func closeOf(err error) hub.Close {
	if errors.Is(err, auth.ErrSuspended) {
		return hub.CloseSuspended
	}
	return hub.CloseUnauthorized
}

// hubTurns is a hub.Turns.
type hubTurns struct{ *quota.Turns }

// Wait implements hub.Turns. The limit of streams bounds how many wait.
func (t hubTurns) Wait(ctx context.Context, v view.Viewer, users int) (done func(), err error) {
	p, ok := v.(*auth.Principal)
	if !ok || users <= quota.LightRead {
		return func() {}, nil
	}
	return t.Turns.Wait(ctx, p.TurnKey())
}
