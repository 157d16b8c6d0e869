package scim

import (
	"slices"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// A groupChange is what a group is to be. Of its members it has the difference, so that
// a change of one member of many costs as much as one of few.
type groupChange struct {
	fields object // displayName and externalId
	// replaces: the members are those of add alone.
	replaces    bool
	add, remove map[presence.UserID]bool
}

// newGroupChange is the change to a group that a client gives.
func newGroupChange(given object) (*groupChange, error) {
	asked, err := groupType().clean(given)
	if err != nil {
		return nil, err
	}
	change := &groupChange{fields: asked, add: make(map[presence.UserID]bool)}
	if err := change.checkName(); err != nil {
		return nil, err
	}
	_, change.replaces = member(given, "members")
	ids, err := memberIDs(list(asked, "members"))
	for _, id := range ids {
		change.add[id] = true
	}
	return change, err
}

func (g *groupChange) checkName() error {
	if text(g.fields, "displayName") == "" {
		return invalid(invalidValue, "The attribute \"displayName\" is required.")
	}
	return nil
}

// memberIDs are the ids of members that a client gives.
func memberIDs(members []any) ([]presence.UserID, error) {
	ids := make([]presence.UserID, 0, len(members))
	for _, item := range members {
		m := asObject(item)
		switch id := text(m, "value"); {
		case id == "":
			return nil, invalid(invalidValue, "Each of \"members\" must have the id of a user as its value.")
		case !isUserType(m):
			return nil, invalid(invalidValue, "Groups have no groups in them: each of \"members\" must be a user.")
		default:
			ids = append(ids, presence.UserID(id))
		}
	}
	return ids, nil
}

func (g *groupChange) added() []presence.UserID {
	ids := make([]presence.UserID, 0, len(g.add))
	for id := range g.add {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// patchedGroup is the change that operations make to a group.
func (a *API) patchedGroup(c *call, g *directory.Group, operations []operation) (*groupChange, error) {
	change := &groupChange{fields: object{"displayName": g.Name}, add: make(map[presence.UserID]bool), remove: make(map[presence.UserID]bool)}
	setText(change.fields, "externalId", g.ExternalID)
	for i := range operations {
		for _, op := range split(&operations[i]) {
			if err := a.applyToGroup(c, g, change, &op); err != nil {
				return nil, err
			}
		}
	}
	return change, change.checkName()
}

// split makes an operation on each attribute of one without a path.
func split(op *operation) []operation {
	members, ok := op.value.(object)
	if op.target != nil || !ok {
		return []operation{*op}
	}
	var all []operation
	for name, value := range members {
		path := groupType().resolve(name)
		if path.attribute == nil || path.attribute.readOnly {
			continue
		}
		all = append(all, operation{op.verb, &target{attributePath: path}, value})
	}
	return all
}

func (a *API) applyToGroup(c *call, g *directory.Group, change *groupChange, op *operation) error {
	at := op.target
	switch {
	case at == nil || at.attribute == nil || at.attribute.name != "members":
		return groupType().applyOne(change.fields, op)
	case at.sub != nil:
		return invalid(mutability, "The parts of \"members\" cannot be changed: remove the member, and add another.")
	case at.items == nil:
		return change.applyMembers(op)
	case op.verb != "remove":
		return invalid(mutability, "Members cannot be changed: remove the member, and add another.")
	}
	ids, err := a.selectMembers(c, g, change, at.items)
	change.removeAll(ids)
	return err
}

// applyMembers applies an operation to the list of members.
func (g *groupChange) applyMembers(op *operation) error {
	given, err := op.target.attribute.clean(op.value, "members")
	if err != nil {
		return err
	}
	items, _ := given.([]any)
	ids, err := memberIDs(items)
	if err != nil {
		return err
	}
	switch {
	case op.verb == "remove" && op.value != nil:
		g.removeAll(ids)
		return nil
	case op.verb != "add":
		g.replaces = true
		clear(g.add)
		clear(g.remove)
	}
	for _, id := range ids {
		g.add[id] = true
		delete(g.remove, id)
	}
	return nil
}

func (g *groupChange) removeAll(ids []presence.UserID) {
	for _, id := range ids {
		delete(g.add, id)
		g.remove[id] = true
	}
}

// selectMembers are the members that a filter selects. One that names ids needs no
// reading.
func (a *API) selectMembers(c *call, g *directory.Group, change *groupChange, f filter) (ids []presence.UserID, err error) {
	if by, ok := lookups(f, map[string]bool{"value": true}); ok {
		for _, l := range by {
			if f.matches(object{"value": l.value, "type": "User"}) {
				ids = append(ids, presence.UserID(l.value))
			}
		}
		return ids, nil
	}
	err = a.eachMember(c, g, func(u *directory.User) {
		if f.matches(c.member(u)) {
			ids = append(ids, u.ID)
		}
	})
	for id := range change.add {
		if f.matches(object{"value": string(id), "type": "User"}) {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// checkMembers refuses to add somebody who does not exist, or who is in too many groups.
// g is nil for a new group.
func (a *API) checkMembers(c *call, g *directory.Group, change *groupChange) error {
	for ids := range slices.Chunk(change.added(), scanStep) {
		users, err := a.Directory.UsersByID(c.ctx(), c.p.Account, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			u, ok := users[id]
			switch {
			case !ok:
				return invalid(invalidValue, "There is no user %q, whom \"members\" names.", shorten(string(id)))
			case len(u.Groups) >= directory.MaxGroups && (g == nil || !g.HasMember(&u)):
				return invalid(invalidValue, "The user %q is in %d groups already, which is the most.", u.ID, directory.MaxGroups)
			}
		}
	}
	return nil
}

// removed are the members whose membership ends.
func (a *API) removed(c *call, g *directory.Group, change *groupChange) (ids []presence.UserID, err error) {
	if !change.replaces {
		for id := range change.remove {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		return ids, nil
	}
	err = a.eachMember(c, g, func(u *directory.User) {
		if !change.add[u.ID] {
			ids = append(ids, u.ID)
		}
	})
	return ids, err
}

// eachMember calls with each member of a group, when it is the caller's turn.
func (a *API) eachMember(c *call, g *directory.Group, with func(*directory.User)) error {
	return a.withTurn(c, func() error {
		return a.eachUser(c, func(u *directory.User) {
			if g.HasMember(u) {
				with(u)
			}
		})
	})
}
