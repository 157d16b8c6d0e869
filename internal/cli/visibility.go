package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// visibilityCommands are "porchlight visibility …".
type visibilityCommands struct {
	Get   visibilityGet   `cmd:"" help:"Show a user's visibility rules." example:"visibility get grace@example.com"`
	Set   visibilitySet   `cmd:"" help:"Set what everyone, a group or a user sees."`
	Clear visibilityClear `cmd:"" help:"Remove all rules, so that everyone sees everything." example:"visibility clear --yes"`
}

// rules prints visibility rules.
func (s *shell) rules(cl *client.Client, v *api.Visibility) error {
	if s.json {
		return s.printJSON(v)
	}
	names := &names{client: cl}
	var b strings.Builder
	fmt.Fprintf(&b, "everyone  %s\n", v.Everyone)
	for _, group := range slices.Sorted(maps.Keys(v.Groups)) {
		fmt.Fprintf(&b, "group %q  %s\n", group, v.Groups[group])
	}
	for _, watcher := range slices.Sorted(maps.Keys(v.Watchers)) {
		fmt.Fprintf(&b, "%s  %s\n", named(names.email(s.ctx, watcher), names.user(s.ctx, watcher).DisplayName), v.Watchers[watcher])
	}
	_, err := fmt.Fprint(s.stdout, b.String())
	return err
}

type visibilityGet whichUser

func (c *visibilityGet) Run(s *shell, cl *client.Client) error {
	v, err := cl.Visibility(s.ctx, c.User)
	if err != nil {
		return err
	}
	return s.rules(cl, &v)
}

type visibilitySet struct {
	Remote
	Level    string   `arg:"" enum:"all,status,offline" help:"What they see: all, status (no note, no times) or offline."`
	User     string   `arg:"" optional:"" default:"me" help:"User whose status they see: id, e-mail address or \"me\" (default)."`
	Groups   []string `name:"group" placeholder:"NAME" sep:"none" help:"Group of the user's contacts that the rule is for. Repeat it for several."`
	Watchers []string `name:"watcher" placeholder:"USER" help:"User that the rule is for (id or e-mail address). Repeat the flag or separate users with commas."`
}

func (*visibilitySet) Help() string {
	return `Without --group and --watcher, the rule is for everyone. A rule for a user overrides one for a group, which overrides the rule for everyone. Other rules stay as they are.

Example:

    porchlight visibility set status
    porchlight visibility set all --group team --watcher grace@example.com`
}

func (c *visibilitySet) Run(s *shell, cl *client.Client) error {
	v, err := cl.Visibility(s.ctx, c.User)
	if err != nil {
		return err
	}
	if err := c.change(s.ctx, cl, &v); err != nil {
		return err
	}
	if v, err = cl.SetVisibility(s.ctx, c.User, v); err != nil {
		return err
	}
	return s.rules(cl, &v)
}

// change adds the rule of the command line to v.
func (c *visibilitySet) change(ctx context.Context, cl *client.Client, v *api.Visibility) error {
	level := api.VisibilityLevel(c.Level)
	if len(c.Groups)+len(c.Watchers) == 0 {
		v.Everyone = level
	}
	if v.Groups == nil {
		v.Groups = make(map[string]api.VisibilityLevel)
	}
	if v.Watchers == nil {
		v.Watchers = make(map[string]api.VisibilityLevel)
	}
	for _, group := range c.Groups {
		v.Groups[group] = level
	}
	for _, user := range c.Watchers {
		p, err := cl.Presence(ctx, user) // rules name users by id
		if err != nil {
			return err
		}
		v.Watchers[p.User] = level
	}
	return nil
}

type visibilityClear struct {
	whichUser
	confirmation
}

func (c *visibilityClear) Run(s *shell, cl *client.Client) error {
	if err := c.confirm(s, "show everyone the status, note and times of %s", c.User); err != nil {
		return err
	}
	if err := cl.EndVisibility(s.ctx, c.User); err != nil {
		return err
	}
	return (*visibilityGet)(&c.whichUser).Run(s, cl)
}
