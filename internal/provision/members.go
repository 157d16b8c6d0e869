package provision

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// ChangeMembers makes users members of a group, and ends the membership of others, in
// parts. Users who do not exist are passed over, and those whose membership is as it
// should be are not changed: a caller who repeats an interrupted change completes it.
// The audit log gets one event for each part.
func (p *Provisioner) ChangeMembers(ctx context.Context, by *By, id string, add, remove []presence.UserID) error {
	g, err := p.Directory.Group(ctx, by.Account, id)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(add, memberPart) {
		if err := p.setMembers(ctx, by, &g, part, true); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(remove, memberPart) {
		if err := p.setMembers(ctx, by, &g, part, false); err != nil {
			return err
		}
	}
	return nil
}

// setMembers changes a part of the members. What was changed is recorded even after an
// error.
func (p *Provisioner) setMembers(ctx context.Context, by *By, g *directory.Group, ids []presence.UserID, member bool) error {
	users, err := p.Directory.UsersByID(ctx, by.Account, ids)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var changed []string // guarded by mu
	workers, working := errgroup.WithContext(ctx)
	workers.SetLimit(memberWorkers)
	for _, u := range users {
		if g.HasMember(&u) == member {
			continue
		}
		workers.Go(func() error {
			var done atomic.Bool
			err := p.editMember(working, by, u, func(u *directory.User) { setMember(g, u, member) }, &done)
			if err == nil && done.Load() {
				mu.Lock()
				defer mu.Unlock()
				changed = append(changed, string(u.ID))
			}
			return err
		})
	}
	err = workers.Wait()
	if len(changed) == 0 {
		return err
	}
	slices.Sort(changed)
	field := "members_removed"
	if member {
		field = "members_added"
	}
	if failed := p.recordGroup(ctx, by, "group.update", g.ID, nil, audit.Fields{field: changed}); err == nil {
		err = failed
	}
	return err
}

// setMember puts a user into a group or takes it out.
func setMember(g *directory.Group, u *directory.User, member bool) {
	switch {
	case g.HasMember(u) == member:
	case member:
		u.Groups = append(u.Groups, g.Name)
	default:
		u.Groups = without(u.Groups, directory.GroupKey(g.Name), directory.GroupKey(g.Was))
	}
}
