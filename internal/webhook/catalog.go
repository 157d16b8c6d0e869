package webhook

import (
	"fmt"
	"slices"
)

// A Catalog has the forms and the profiles that subscriptions choose from.
type Catalog struct {
	Forms    []Form    // the first is the default
	Profiles []Profile // the first is the default of forms without one of the same name
}

// Form finds a form by its name.
func (c *Catalog) Form(name string) (Form, bool) {
	i := slices.IndexFunc(c.Forms, func(f Form) bool { return f.Name() == name })
	if i < 0 {
		return nil, false
	}
	return c.Forms[i], true
}

// Profile finds a profile by its name.
func (c *Catalog) Profile(name string) (Profile, bool) {
	i := slices.IndexFunc(c.Profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, false
	}
	return c.Profiles[i], true
}

func (c *Catalog) formNames() (names []string) {
	for _, f := range c.Forms {
		names = append(names, f.Name())
	}
	return names
}

func (c *Catalog) profileNames() (names []string) {
	for i := range c.Profiles {
		names = append(names, c.Profiles[i].Name)
	}
	return names
}

// of finds the form and the profile of a subscription.
func (c *Catalog) of(s *Subscription) (Form, Profile, error) {
	form, ok := c.Form(s.Form)
	if !ok {
		return nil, Profile{}, &failure{FailureConfig, fmt.Sprintf("this server has no form %q", s.Form)}
	}
	profile, ok := c.Profile(s.Profile)
	if !ok {
		return nil, Profile{}, &failure{FailureConfig, fmt.Sprintf("this server has no profile %q", s.Profile)}
	}
	return form, profile, nil
}
