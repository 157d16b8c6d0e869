package httpapi

import (
	"context"
	"errors"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) groupRoutes() []route {
	return []route{
		{"POST", "/v1/groups", needsAdmin(auth.DirectoryWrite), withBody(a.createGroup)},
		{"GET", "/v1/groups", needsAdmin(auth.DirectoryRead), a.listGroups},
		{"GET", "/v1/groups/{group}", needsAdmin(auth.DirectoryRead), a.readGroup},
		{"PATCH", "/v1/groups/{group}", needsAdmin(auth.DirectoryWrite), withBody(a.updateGroup)},
		{"DELETE", "/v1/groups/{group}", needsAdmin(auth.DirectoryWrite), a.deleteGroup},
		{"GET", "/v1/groups/{group}/members", needsAdmin(auth.DirectoryRead), a.listMembers},
		{"PUT", "/v1/groups/{group}/members/{user}", needsAdmin(auth.DirectoryWrite), a.addMember},
		{"DELETE", "/v1/groups/{group}/members/{user}", needsAdmin(auth.DirectoryWrite), a.removeMember},
	}
}

func (a *API) createGroup(c *call, body *api.CreateGroup) error {
	if err := c.checkCreate(); err != nil {
		return err
	}
	g, err := a.Provisioner.CreateGroup(c.r.Context(), c.by(), directory.Group{Name: body.Name, ExternalID: body.ExternalID})
	if err != nil {
		return err
	}
	header(c.w, "Location", "/v1/groups/"+g.ID)
	header(c.w, "Etag", groupTag(&g))
	return c.writeBody(http.StatusCreated, asGroup(&g))
}

// listGroups serves GET /v1/groups: all groups, or the one with a name.
func (a *API) listGroups(c *call) error {
	q, err := c.query("limit", "after", "name")
	if err != nil {
		return err
	}
	pg, err := PageOf(q, "after")
	if err != nil {
		return err
	}
	var groups []directory.Group
	if q.Has("name") {
		g, err := a.Directory.GroupByName(c.r.Context(), c.p.Account, q.Get("name"))
		if err == nil {
			groups = append(groups, g)
		} else if !errors.Is(err, directory.ErrNoGroup) {
			return err
		}
	} else if groups, err = a.Directory.Groups(c.r.Context(), c.p.Account, pg.After, pg.Limit+1); err != nil {
		return err
	}
	var list api.Groups
	list.Groups, list.Next = Fill(pg, groups, asGroup, func(g *api.Group) string { return g.ID })
	return c.writeDigested(&list)
}

// group is the group of the path.
func (a *API) group(c *call) (directory.Group, error) {
	return a.Directory.Group(c.r.Context(), c.p.Account, c.r.PathValue("group"))
}

func (a *API) readGroup(c *call) error {
	g, err := a.group(c)
	if err != nil {
		return err
	}
	return c.writeVersion(groupTag(&g), asGroup(&g))
}

// updateGroup serves PATCH /v1/groups/{group}. A rename is one of all members.
func (a *API) updateGroup(c *call, body *api.UpdateGroup) error {
	change := &provision.GroupChange{Name: body.Name, ExternalID: body.ExternalID, Check: c.groupCondition()}
	g, err := a.Provisioner.UpdateGroup(c.r.Context(), c.by(), c.r.PathValue("group"), change)
	if err != nil {
		return err
	}
	header(c.w, "Etag", groupTag(&g))
	return c.writeBody(http.StatusOK, asGroup(&g))
}

func (a *API) deleteGroup(c *call) error {
	return c.finish(a.Provisioner.DeleteGroup(c.r.Context(), c.by(), c.r.PathValue("group"), c.groupCondition()))
}

// groupCondition checks the request's conditions on a group; nil: it has none.
func (c *call) groupCondition() func(*directory.Group) error {
	if !c.conditional() {
		return nil
	}
	return func(g *directory.Group) error { return c.checkConditions(groupTag(g), true) }
}

// listMembers serves GET /v1/groups/{group}/members, which reads all users of the account.
func (a *API) listMembers(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	g, err := a.group(c)
	if err != nil {
		return err
	}
	return a.writeUsers(c, quota.LightRead+1, func() ([]directory.User, presence.UserID, error) {
		return a.Directory.Members(c.r.Context(), c.p.Account, &g, presence.UserID(pg.After), pg.Limit)
	})
}

func (a *API) addMember(c *call) error { return a.changeMember(c, a.Provisioner.AddToGroup) }

func (a *API) removeMember(c *call) error { return a.changeMember(c, a.Provisioner.RemoveFromGroup) }

type memberChange func(ctx context.Context, by *provision.By, group string, user presence.UserID) error

// changeMember makes one change of who is in the group of the path. A membership has no
// entity tag.
func (a *API) changeMember(c *call, change memberChange) error {
	g, err := a.group(c)
	if err != nil {
		return err
	}
	user, err := a.resolve(c, wire.UserRef(c.r, "user"))
	if err == nil {
		err = c.checkConditions("", true)
	}
	if err != nil {
		return err
	}
	return c.finish(change(c.r.Context(), c.by(), g.ID, user))
}

func groupTag(g *directory.Group) string { return tagOf("", asGroup(g)) }

func asGroup(g *directory.Group) api.Group {
	return api.Group{ID: g.ID, Name: g.Name, ExternalID: g.ExternalID, Created: api.At(g.Created)}
}
