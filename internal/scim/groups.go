package scim

import (
	"errors"
	"net/http"
	"strings"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) groupRoutes() []route {
	return []route{
		{"GET", "/Groups", func(c *call) error { return a.listGroups(c, (*call).readQuery) }},
		{"POST", "/Groups/.search", func(c *call) error { return a.listGroups(c, (*call).readSearch) }},
		{"POST", "/Groups", a.createGroup},
		{"GET", "/Groups/{group}", a.readGroup},
		{"PUT", "/Groups/{group}", a.replaceGroup},
		{"PATCH", "/Groups/{group}", a.patchGroup},
		{"DELETE", "/Groups/{group}", a.deleteGroup},
	}
}

// group is the group that the path names. One that is being deleted is not there.
func (a *API) group(c *call) (directory.Group, error) {
	g, err := a.Directory.Group(c.ctx(), c.p.Account, c.r.PathValue("group"))
	if err == nil && g.Deleting {
		err = directory.ErrNoGroup
	}
	return g, err
}

// checkGroupCondition refuses conditions on a version, which groups do not have: members
// change without it.
func (c *call) checkGroupCondition() error {
	asks, err := wire.ReadCondition(c.r)
	if err == nil && (!asks.Matched("", true) || asks.Excluded("", true)) {
		err = presence.ErrPrecondition
	}
	return err
}

func (a *API) readGroup(c *call) error {
	wanted, err := c.projection(groupType())
	if err != nil {
		return err
	}
	g, err := a.group(c)
	if err != nil {
		return err
	}
	return a.answerGroup(c, http.StatusOK, &g, wanted)
}

func (a *API) answerGroup(c *call, status int, g *directory.Group, wanted *projection) error {
	all, err := a.groupResources(c, []directory.Group{*g}, wanted.wants("members"))
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		c.w.Header()["Location"] = []string{text(part(all[0], "meta"), "location")}
	}
	return c.write(status, wanted.of(all[0]))
}

// createGroup serves POST /Groups.
func (a *API) createGroup(c *call) error {
	wanted, err := c.projection(groupType())
	if err != nil {
		return err
	}
	given, err := readObject(c.w, c.r)
	if err != nil {
		return err
	}
	asked, err := newGroupChange(given)
	if err != nil {
		return err
	}
	if err := a.checkMembers(c, nil, asked); err != nil {
		return err
	}
	g, err := a.Provisioner.CreateGroup(c.ctx(), c.by(), directory.Group{Name: text(asked.fields, "displayName"), ExternalID: text(asked.fields, "externalId")})
	if err != nil {
		return err
	}
	if err := a.Provisioner.ChangeMembers(c.ctx(), c.by(), g.ID, asked.added(), nil); err != nil {
		return err
	}
	return a.answerGroup(c, http.StatusCreated, &g, wanted)
}

// replaceGroup serves PUT /Groups/{group}. Without members, the members stay as they are.
func (a *API) replaceGroup(c *call) error {
	given, err := readObject(c.w, c.r)
	if err != nil {
		return err
	}
	asked, err := newGroupChange(given)
	if err != nil {
		return err
	}
	wanted, err := c.projection(groupType())
	if err != nil {
		return err
	}
	g, err := a.changeGroup(c, func(*directory.Group) (*groupChange, error) { return asked, nil })
	if err != nil {
		return err
	}
	return a.answerGroup(c, http.StatusOK, &g, wanted)
}

// patchGroup serves PATCH /Groups/{group}. The response has no body unless the request names
// the attributes that it wants, because the members may be many.
func (a *API) patchGroup(c *call) error {
	body, err := readObject(c.w, c.r)
	if err != nil {
		return err
	}
	operations, err := groupType().parsePatch(body)
	if err != nil {
		return err
	}
	wanted, err := c.projection(groupType())
	if err != nil {
		return err
	}
	g, err := a.changeGroup(c, func(g *directory.Group) (*groupChange, error) { return a.patchedGroup(c, g, operations) })
	if err != nil {
		return err
	}
	if !wanted.only {
		return c.noContent()
	}
	return a.answerGroup(c, http.StatusOK, &g, wanted)
}

// changeGroup changes a group by what edit wants of it. It checks everything before it
// changes anything.
func (a *API) changeGroup(c *call, edit func(*directory.Group) (*groupChange, error)) (directory.Group, error) {
	if err := c.checkGroupCondition(); err != nil {
		return directory.Group{}, err
	}
	g, err := a.group(c)
	if err != nil {
		return g, err
	}
	asked, err := edit(&g)
	if err != nil {
		return g, err
	}
	if err := a.checkMembers(c, &g, asked); err != nil {
		return g, err
	}
	removed, err := a.removed(c, &g, asked)
	if err != nil {
		return g, err
	}
	name, externalID := text(asked.fields, "displayName"), text(asked.fields, "externalId")
	g, err = a.Provisioner.UpdateGroup(c.ctx(), c.by(), g.ID, &provision.GroupChange{Name: &name, ExternalID: &externalID})
	if err != nil {
		return g, err
	}
	return g, a.Provisioner.ChangeMembers(c.ctx(), c.by(), g.ID, asked.added(), removed)
}

func (a *API) deleteGroup(c *call) error {
	if err := c.checkGroupCondition(); err != nil {
		return err
	}
	if err := a.Provisioner.DeleteGroup(c.ctx(), c.by(), c.r.PathValue("group"), nil); err != nil {
		return err
	}
	return c.noContent()
}

// describeGroup is a group without its members.
func (c *call) describeGroup(g *directory.Group) object {
	meta := c.meta(groupType(), g.ID, "", g.Created, g.Created)
	delete(meta, "version")
	delete(meta, "lastModified")
	o := object{"schemas": []any{groupURN}, "id": g.ID, "displayName": g.Name, "meta": meta}
	setText(o, "externalId", g.ExternalID)
	return o
}

// groupResources are groups as clients see them, with or without their members, for which
// all users of the account are read once.
func (a *API) groupResources(c *call, groups []directory.Group, withMembers bool) ([]object, error) {
	all := make([]object, 0, len(groups))
	for i := range groups {
		all = append(all, c.describeGroup(&groups[i]))
	}
	if !withMembers || len(groups) == 0 {
		return all, nil
	}
	members := make(map[string][]any) // by the keys of names
	for i := range groups {
		members[directory.GroupKey(groups[i].Name)] = []any{}
		if groups[i].Was != "" {
			members[directory.GroupKey(groups[i].Was)] = []any{}
		}
	}
	err := a.withTurn(c, func() error {
		return a.eachUser(c, func(u *directory.User) {
			for _, name := range u.Groups {
				if list, ok := members[directory.GroupKey(name)]; ok {
					members[directory.GroupKey(name)] = append(list, c.member(u))
				}
			}
		})
	})
	if err != nil {
		return nil, err
	}
	for i := range groups {
		list := members[directory.GroupKey(groups[i].Name)]
		if was := directory.GroupKey(groups[i].Was); groups[i].Was != "" && was != directory.GroupKey(groups[i].Name) {
			list = append(list, members[was]...)
		}
		all[i]["members"] = list
	}
	return all, nil
}

// member is a user as the resources of groups have it.
func (c *call) member(u *directory.User) object {
	display := u.DisplayName
	if display == "" {
		display = u.Email
	}
	return object{"value": string(u.ID), "display": display, "$ref": c.base + "/Users/" + string(u.ID), "type": "User"}
}

// listGroups serves the lists of groups.
func (a *API) listGroups(c *call, read func(*call, *resourceType) (*query, error)) error {
	asked, err := read(c, groupType())
	if err != nil {
		return err
	}
	found := &page[directory.Group]{asked: asked}
	if by, ok := lookups(asked.filter, map[string]bool{"id": true, "displayName": true}); ok {
		err = a.lookUpGroups(c, by, found)
	} else {
		err = a.scanGroups(c, found)
	}
	if err != nil {
		return err
	}
	resources, err := a.groupResources(c, found.items, asked.projection.wants("members"))
	if err != nil {
		return err
	}
	return writePage(c, found, resources)
}

// lookUpGroups reads the groups that indexes select.
func (a *API) lookUpGroups(c *call, by []lookup, found *page[directory.Group]) error {
	var groups []directory.Group
	seen := make(map[string]bool)
	for _, l := range by {
		find := a.Directory.Group
		if l.key == "displayName" {
			find = a.Directory.GroupByName
		}
		g, err := find(c.ctx(), c.p.Account, l.value)
		switch {
		case errors.Is(err, directory.ErrNoGroup):
		case err != nil:
			return err
		case !seen[g.ID]:
			seen[g.ID] = true
			groups = append(groups, g)
		}
	}
	return a.matchGroups(c, groups, found)
}

// scanGroups reads all groups of the account.
func (a *API) scanGroups(c *call, found *page[directory.Group]) error {
	var all []directory.Group
	err := a.withTurn(c, func() error {
		for after := ""; ; {
			groups, err := a.Directory.Groups(c.ctx(), c.p.Account, after, scanStep)
			if err != nil {
				return err
			}
			if all = append(all, groups...); len(all) > a.maxScanned() {
				return errTooMany
			}
			if len(groups) < scanStep {
				return nil
			}
			after = groups[len(groups)-1].ID
		}
	})
	if err != nil {
		return err
	}
	return a.matchGroups(c, all, found)
}

// matchGroups adds the groups that the filter selects.
func (a *API) matchGroups(c *call, groups []directory.Group, found *page[directory.Group]) error {
	resources, err := a.groupResources(c, groups, uses(found.asked.filter, "members"))
	if err != nil {
		return err
	}
	for i := range groups {
		if f := found.asked.filter; !groups[i].Deleting && (f == nil || f.matches(resources[i])) {
			found.add(groups[i])
		}
	}
	return nil
}

func isUserType(member object) bool {
	kind := text(member, "type")
	return kind == "" || strings.EqualFold(kind, "User")
}
