package cli

import (
	"cmp"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// groupCommands are "porchlight group …".
type groupCommands struct {
	List    groupList    `cmd:"" help:"List groups." example:"group list"`
	Create  groupCreate  `cmd:"" help:"Create a group without members." example:"group create \"Night shift\""`
	Rename  groupRename  `cmd:"" help:"Rename a group." example:"group rename \"Night shift\" \"Late shift\""`
	Delete  groupDelete  `cmd:"" help:"Delete a group, but not its members." example:"group delete \"Late shift\""`
	Members groupMembers `cmd:"" help:"List the members of a group." example:"group members Support"`
	Add     groupAdd     `cmd:"" help:"Add users to a group." example:"group add Support grace@example.com"`
	Remove  groupRemove  `cmd:"" help:"Remove users from a group." example:"group remove Support grace@example.com"`
}

// whichGroup is the argument of a command about one group.
type whichGroup struct {
	Group string `arg:"" help:"Name or id of the group."`
}

// find finds the group by its name, or else takes the argument for an id.
func (w *whichGroup) find(s *shell, cl *client.Client) (string, error) {
	found, err := cl.GroupByName(s.ctx, w.Group)
	if err != nil || found == nil {
		return w.Group, err
	}
	return found.ID, nil
}

type groupList struct{ Remote }

func (*groupList) Run(s *shell, cl *client.Client) error {
	return list(s, cl.Groups(s.ctx), "ID\tNAME\tEXTERNAL ID\tCREATED", func(g api.Group) []string {
		return []string{g.ID, g.Name, cmp.Or(g.ExternalID, "-"), clock(g.Created)}
	})
}

type groupCreate struct {
	Remote
	Name       string `arg:"" help:"Name of the group, unique in the account."`
	ExternalID string `name:"external-id" placeholder:"ID" help:"Id of the group at an identity provider."`
}

func (c *groupCreate) Run(s *shell, cl *client.Client) error {
	g, err := cl.CreateGroup(s.ctx, api.CreateGroup{Name: c.Name, ExternalID: c.ExternalID})
	if err != nil {
		return err
	}
	return s.print(g, "Created the group %q (id %s)\n", g.Name, g.ID)
}

type groupRename struct {
	Remote
	whichGroup
	Name string `arg:"" help:"New name."`
}

func (c *groupRename) Run(s *shell, cl *client.Client) error {
	id, err := c.find(s, cl)
	if err != nil {
		return err
	}
	g, err := cl.UpdateGroup(s.ctx, id, api.UpdateGroup{Name: &c.Name})
	if err != nil {
		return err
	}
	return s.print(g, "Renamed the group to %q\n", g.Name)
}

type groupDelete struct {
	Remote
	whichGroup
	confirmation
}

func (c *groupDelete) Run(s *shell, cl *client.Client) error {
	if err := c.confirm(s, "delete the group %s", c.Group); err != nil {
		return err
	}
	id, err := c.find(s, cl)
	if err != nil {
		return err
	}
	return s.printDone("Deleted", c.Group, cl.DeleteGroup(s.ctx, id))
}

type groupMembers struct {
	Remote
	whichGroup
}

func (c *groupMembers) Run(s *shell, cl *client.Client) error {
	id, err := c.find(s, cl)
	if err != nil {
		return err
	}
	return list(s, cl.GroupMembers(s.ctx, id), "ID\tE-MAIL\tNAME\tSTATE", func(u api.User) []string {
		return []string{u.ID, u.Email, cmp.Or(u.DisplayName, "-"), stateOf(u.Active)}
	})
}

// membership is what "group add" and "group remove" take.
type membership struct {
	Remote
	whichGroup
	User []string `arg:"" help:"Users (id or e-mail address)."`
}

// A memberChange is one user who was added to a group or removed, as --json prints it.
type memberChange struct {
	Group string `json:"group"`
	User  string `json:"user"`
}

// each makes a change of each user, and prints it.
func (m *membership) each(s *shell, cl *client.Client, done string, change func(group, user string) error) error {
	id, err := m.find(s, cl)
	if err != nil {
		return err
	}
	for _, user := range m.User {
		if err := change(id, user); err != nil {
			return err
		}
		if err := s.print(memberChange{m.Group, user}, "%s: %s\n", done, user); err != nil {
			return err
		}
	}
	return nil
}

type groupAdd struct{ membership }

func (c *groupAdd) Run(s *shell, cl *client.Client) error {
	return c.each(s, cl, "Added to "+c.Group, func(group, user string) error { return cl.AddToGroup(s.ctx, group, user) })
}

type groupRemove struct{ membership }

func (c *groupRemove) Run(s *shell, cl *client.Client) error {
	return c.each(s, cl, "Removed from "+c.Group, func(group, user string) error { return cl.RemoveFromGroup(s.ctx, group, user) })
}
