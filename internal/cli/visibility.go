package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

// visibilityCommands are "porchlight visibility …".
type visibilityCommands struct {
	Get   visibilityGet   `cmd:"" help:"Show who sees what of a user."`
	Set   visibilitySet   `cmd:"" help:"Say who sees what."`
	Clear visibilityClear `cmd:"" help:"Let everybody see all."`
}

// rules prints what is set.
func (s *shell) rules(v *api.Visibility) error {
	var b strings.Builder
	fmt.Fprintf(&b, "everyone  %s\n", v.Everyone)
	for _, group := range slices.Sorted(maps.Keys(v.Groups)) {
		fmt.Fprintf(&b, "group %q  %s\n", group, v.Groups[group])
	}
	for _, watcher := range slices.Sorted(maps.Keys(v.Watchers)) {
		fmt.Fprintf(&b, "%s  %s\n", watcher, v.Watchers[watcher])
	}
	return s.print(v, "%s", b.String())
}

type visibilityGet struct {
	config.Connection `embed:""`
	whose             `embed:""`
}

// Help is shown by --help.
func (*visibilityGet) Help() string { return "Example:\n\n    porchlight visibility get" }

// Run implements the command.
func (c *visibilityGet) Run(s *shell) error {
	cl, err := s.connect(&c.Connection)
	if err != nil {
		return err
	}
	v, err := cl.Visibility(s.ctx, c.Of)
	if err != nil {
		return err
	}
	return s.rules(&v)
}

type visibilitySet struct {
	config.Connection `embed:""`
	whose             `embed:""`
	Sight             string   `arg:"" enum:"all,status,offline" help:"What they see: all, status (no note and no times) or offline."`
	Groups            []string `name:"group" placeholder:"NAME" help:"Those of a group of the user's contacts; may be repeated."`
	Users             []string `name:"user" placeholder:"USER" help:"One user, by id or e-mail; may be repeated."`
}

// Help is shown by --help.
func (*visibilitySet) Help() string {
	return `Without --group and --user it is for everyone. What is said of a user counts before what is said of a group, and that before what is said of everyone; what else was said before stays.

Example:

    porchlight visibility set status
    porchlight visibility set all --group team --user grace@example.com`
}

// Run implements the command.
func (c *visibilitySet) Run(s *shell) error {
	cl, err := s.connect(&c.Connection)
	if err != nil {
		return err
	}
	v, err := cl.Visibility(s.ctx, c.Of)
	if err != nil {
		return err
	}
	if err := c.change(s.ctx, cl, &v); err != nil {
		return err
	}
	if v, err = cl.SetVisibility(s.ctx, c.Of, v); err != nil {
		return err
	}
	return s.rules(&v)
}

// change puts what was said into the rules.
func (c *visibilitySet) change(ctx context.Context, cl *client.Client, v *api.Visibility) error {
	sight := api.Sight(c.Sight)
	if len(c.Groups)+len(c.Users) == 0 {
		v.Everyone = sight
	}
	if v.Groups == nil {
		v.Groups = make(map[string]api.Sight)
	}
	if v.Watchers == nil {
		v.Watchers = make(map[string]api.Sight)
	}
	for _, group := range c.Groups {
		v.Groups[group] = sight
	}
	for _, user := range c.Users {
		p, err := cl.Presence(ctx, user) // rules name users by id
		if err != nil {
			return err
		}
		v.Watchers[p.User] = sight
	}
	return nil
}

type visibilityClear struct {
	config.Connection `embed:""`
	whose             `embed:""`
}

// Help is shown by --help.
func (*visibilityClear) Help() string { return "Example:\n\n    porchlight visibility clear" }

// Run implements the command.
func (c *visibilityClear) Run(s *shell) error {
	cl, err := s.connect(&c.Connection)
	if err != nil {
		return err
	}
	if err := cl.EndVisibility(s.ctx, c.Of); err != nil {
		return err
	}
	v, err := cl.Visibility(s.ctx, c.Of)
	if err != nil {
		return err
	}
	return s.rules(&v)
}
