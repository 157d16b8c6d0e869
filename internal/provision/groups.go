package provision

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
)

// CreateGroup adds a group without members.
func (p *Provisioner) CreateGroup(ctx context.Context, by *By, asked directory.Group) (directory.Group, error) {
	g, err := p.Directory.CreateGroup(ctx, by.Account, asked)
	if err != nil {
		return g, err
	}
	return g, p.recordGroup(ctx, by, "group.create", g.ID, nil, groupFields(&g))
}

// A GroupChange is what UpdateGroup does to a group.
type GroupChange struct {
	Name       *string // nil: it stays
	ExternalID *string // nil: it stays
	// Check refuses the change of a group in this state; nil: nothing is refused.
	Check func(*directory.Group) error
}

// UpdateGroup changes a group. A new name is given to all members, one after another: a
// caller who repeats an interrupted change completes it.
func (p *Provisioner) UpdateGroup(ctx context.Context, by *By, id string, change *GroupChange) (after directory.Group, err error) {
	var first *directory.Group
	begun := change.Check == nil
	err = document.Again(func() error {
		before, err := p.Directory.Group(ctx, by.Account, id)
		if err != nil {
			return err
		}
		if first == nil {
			first = new(before)
		}
		if !begun {
			if err := change.Check(&before); err != nil {
				return err
			}
		}
		after, err = p.updateGroup(ctx, by, before, change, &begun)
		return err
	})
	if err != nil {
		return after, err
	}
	was, is := changedGroup(first, &after)
	if len(is) == 0 {
		return after, nil
	}
	return after, p.recordGroup(ctx, by, "group.update", id, was, is)
}

// updateGroup makes a change. begun is set when it has written something.
func (p *Provisioner) updateGroup(
	ctx context.Context, by *By, g directory.Group, change *GroupChange, begun *bool,
) (directory.Group, error) {
	if change.ExternalID != nil && *change.ExternalID != g.ExternalID {
		g.ExternalID = *change.ExternalID
		updated, err := p.Directory.UpdateGroup(ctx, by.Account, g)
		if err != nil {
			return g, err
		}
		g, *begun = updated, true
	}
	if change.Name == nil {
		return g, nil
	}
	return p.renameGroup(ctx, by, g, *change.Name, begun)
}

// renameGroup completes the rename that was interrupted, if there is one, and renames the
// group.
func (p *Provisioner) renameGroup(ctx context.Context, by *By, g directory.Group, name string, begun *bool) (directory.Group, error) {
	name, err := directory.GroupName("name", name)
	if err != nil {
		return g, err
	}
	for {
		if g.Was != "" {
			if g, err = p.carryRenameOut(ctx, by, &g); err != nil {
				return g, err
			}
		}
		if g.Name == name {
			return g, nil
		}
		if g, err = p.Directory.BeginRename(ctx, by.Account, g, name); err != nil {
			return g, err
		}
		*begun = true
	}
}

func (p *Provisioner) carryRenameOut(ctx context.Context, by *By, g *directory.Group) (directory.Group, error) {
	err := p.everyMember(ctx, by, g, func(u *directory.User) {
		keys := [...]string{directory.GroupKey(g.Was), directory.GroupKey(g.Name)}
		u.Groups = renamed(u.Groups, keys[:], g.Name)
	})
	if err != nil {
		return *g, err
	}
	return p.Directory.FinishRename(ctx, by.Account, g.ID)
}

// renamed are groups in which the first of those with keys has the name, and no other.
func renamed(groups, keys []string, name string) []string {
	var all []string
	found := false
	for _, group := range groups {
		key := directory.GroupKey(group)
		switch {
		case key != keys[0] && key != keys[1]:
			all = append(all, group)
		case !found:
			all, found = append(all, name), true
		}
	}
	return all
}

// without are groups without that with the key.
func without(groups []string, keys ...string) []string {
	var all []string
	for _, group := range groups {
		key := directory.GroupKey(group)
		dropped := false
		for _, k := range keys {
			dropped = dropped || k == key
		}
		if !dropped {
			all = append(all, group)
		}
	}
	return all
}

// DeleteGroup removes a group and, first, the membership of all its members. A caller who
// repeats an interrupted deletion completes it. check is as in a GroupChange.
func (p *Provisioner) DeleteGroup(ctx context.Context, by *By, id string, check func(*directory.Group) error) error {
	var g directory.Group
	err := document.Again(func() error {
		found, err := p.Directory.Group(ctx, by.Account, id)
		if err == nil && check != nil {
			err = check(&found)
		}
		if err == nil {
			g, err = p.Directory.BeginDeleteGroup(ctx, by.Account, found)
		}
		return err
	})
	if err != nil {
		return err
	}
	keys := []string{directory.GroupKey(g.Name)}
	if g.Was != "" {
		keys = append(keys, directory.GroupKey(g.Was))
	}
	err = p.everyMember(ctx, by, &g, func(u *directory.User) { u.Groups = without(u.Groups, keys...) })
	if err != nil {
		return err
	}
	if err := p.Directory.FinishDeleteGroup(ctx, by.Account, id); err != nil {
		return err
	}
	return p.recordGroup(ctx, by, "group.delete", id, groupFields(&g), nil)
}

// AddToGroup makes a user a member of a group. It does nothing for one who is.
func (p *Provisioner) AddToGroup(ctx context.Context, by *By, group string, id presence.UserID) error {
	g, err := p.Directory.Group(ctx, by.Account, group)
	if err != nil {
		return err
	}
	_, err = p.Update(ctx, by, id, &Change{Edit: func(u *directory.User) error {
		if !g.HasMember(u) {
			u.Groups = append(u.Groups, g.Name)
		}
		return nil
	}})
	return err
}

// RemoveFromGroup ends a user's membership of a group. It does nothing for one who is no
// member.
func (p *Provisioner) RemoveFromGroup(ctx context.Context, by *By, group string, id presence.UserID) error {
	g, err := p.Directory.Group(ctx, by.Account, group)
	if err != nil {
		return err
	}
	_, err = p.Update(ctx, by, id, &Change{Edit: func(u *directory.User) error {
		if g.HasMember(u) {
			u.Groups = without(u.Groups, directory.GroupKey(g.Name), directory.GroupKey(g.Was))
		}
		return nil
	}})
	return err
}

// Members are changed in parts of memberPart, memberWorkers at once.
const (
	memberPart    = 500
	memberWorkers = 32
)

// everyMember changes all members of a group, in the directory and in the log, until a
// reading of all users finds none whom edit changes. The audit log has the change of
// the group, not one event for each member.
func (p *Provisioner) everyMember(ctx context.Context, by *By, g *directory.Group, edit func(*directory.User)) error {
	for {
		changed, err := p.eachMember(ctx, by, g, edit)
		if err != nil || !changed {
			return err
		}
	}
}

func (p *Provisioner) eachMember(ctx context.Context, by *By, g *directory.Group, edit func(*directory.User)) (bool, error) {
	var changed atomic.Bool
	for after := presence.UserID(""); ; {
		members, next, err := p.Directory.Members(ctx, by.Account, g, after, memberPart)
		if err != nil {
			return false, err
		}
		workers, ctx := errgroup.WithContext(ctx)
		workers.SetLimit(memberWorkers)
		for i := range members {
			workers.Go(func() error { return p.editMember(ctx, by, members[i], edit, &changed) })
		}
		if err := workers.Wait(); err != nil || next == "" {
			return changed.Load(), err
		}
		after = next
	}
}

// editMember changes one member; a user who was deleted meanwhile is none.
func (p *Provisioner) editMember(ctx context.Context, by *By, u directory.User, edit func(*directory.User), changed *atomic.Bool) error {
	change := &Change{Edit: func(u *directory.User) error { edit(u); return nil }}
	after, err := edited(u, change)
	if err != nil {
		return err
	}
	if !after.Equal(&u) {
		changed.Store(true)
	}
	_, _, err = p.change(ctx, by, u.ID, change)
	if errors.Is(err, directory.ErrNoUser) {
		return nil
	}
	return err
}

func (p *Provisioner) recordGroup(ctx context.Context, by *By, action, id string, before, after audit.Fields) error {
	e := &audit.Event{Action: action, Target: "group/" + id, By: by.Actor, Before: before, After: after}
	return p.Audit.Record(ctx, by.Account, e)
}

// groupFields are the fields of a group; names may say who somebody is, and are personal.
func groupFields(g *directory.Group) audit.Fields {
	fields := audit.Fields{"name": audit.Personal}
	if g.ExternalID != "" {
		fields["external_id"] = audit.Personal
	}
	return fields
}

// changedGroup are the fields that differ, before and after.
func changedGroup(before, after *directory.Group) (was, is audit.Fields) {
	was, is = audit.Fields{}, audit.Fields{}
	if before.Name != after.Name {
		was["name"], is["name"] = audit.Personal, audit.Personal
	}
	if before.ExternalID != after.ExternalID {
		was["external_id"], is["external_id"] = audit.Personal, audit.Personal
	}
	return was, is
}
