package webhook

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// Bounds of the filters of a subscription.
const (
	MaxUsers  = 500
	MaxGroups = 32
)

// PersonOf is a user as events have it.
func PersonOf(u *directory.User) *Person { return personOf(u.ID, u.Profile()) }

// Concerns reports whether the subscription is sent the events of a user, whatever they
// are.
func (s *Subscription) Concerns(p *Person) bool {
	if len(s.Users) == 0 && len(s.groupKeys) == 0 || slices.Contains(s.Users, p.ID) {
		return true
	}
	return len(s.groupKeys) > 0 && slices.ContainsFunc(p.Groups, func(name string) bool {
		return slices.Contains(s.groupKeys, directory.GroupKey(name))
	})
}

// Selects reports whether the subscription is sent events of a type, whoever's they are.
func (s *Subscription) Selects(eventType string) bool {
	return len(s.Events) == 0 || slices.Contains(s.Events, eventType)
}

func groupKeys(names []string) []string {
	var keys []string
	for _, name := range names {
		keys = append(keys, directory.GroupKey(name))
	}
	return keys
}

// checkFilter refuses a filter that can match nothing. nil does not filter; a filter that
// is empty otherwise would match nothing.
func (r *Registry) checkFilter(ctx context.Context, s, before *Subscription, form Form) error {
	if s.Form != before.Form || !slices.Equal(s.Events, before.Events) || s.Events != nil && len(s.Events) == 0 {
		if err := checkEvents(s, form); err != nil {
			return err
		}
	}
	if s.Owner != "" && (len(s.Users) != 1 || s.Users[0] != s.Owner || len(s.Groups) > 0) {
		return &presence.FieldError{Field: "users", Reason: "must be the user whose subscription it is, and nobody else"}
	}
	if err := r.checkUsers(ctx, s, before); err != nil {
		return err
	}
	return r.checkGroups(ctx, s, before)
}

func checkEvents(s *Subscription, form Form) error {
	types := form.Types()
	if s.Events != nil && len(s.Events) == 0 {
		return &presence.FieldError{Field: "events", Reason: "must not be empty; leave it out for all events"}
	}
	for i, name := range s.Events {
		if !slices.Contains(types, name) {
			return &presence.FieldError{
				Field:  fmt.Sprintf("events[%d]", i),
				Reason: fmt.Sprintf("%.64q is not an event of the form %q, which has: %s", name, form.Name(), strings.Join(types, ", ")),
			}
		}
	}
	s.Events = unique(s.Events)
	return nil
}

func (r *Registry) checkUsers(ctx context.Context, s, before *Subscription) error {
	switch {
	case s.Users == nil || len(s.Users) > 0 && slices.Equal(s.Users, before.Users):
		return nil
	case len(s.Users) == 0:
		return &presence.FieldError{Field: "users", Reason: "must not be empty; leave it out for all users"}
	}
	if err := CheckUserCount(len(s.Users)); err != nil {
		return err
	}
	found, err := r.Directory.UsersByID(ctx, s.Account, s.Users)
	if err != nil {
		return err
	}
	for i, id := range s.Users {
		if _, ok := found[id]; !ok {
			return &presence.FieldError{Field: fmt.Sprintf("users[%d]", i), Reason: fmt.Sprintf("names %q, who is no user of this account", id)}
		}
	}
	s.Users = unique(s.Users)
	return nil
}

// CheckUserCount refuses a filter with too many users.
func CheckUserCount(n int) error {
	if n > MaxUsers {
		return &LimitError{Name: "subscription-users", Limit: MaxUsers, What: "users of a subscription"}
	}
	return nil
}

func (r *Registry) checkGroups(ctx context.Context, s, before *Subscription) error {
	switch {
	case s.Groups == nil || len(s.Groups) > 0 && slices.Equal(s.Groups, before.Groups):
		return nil
	case len(s.Groups) == 0:
		return &presence.FieldError{Field: "groups", Reason: "must not be empty; leave it out for all users"}
	case len(s.Groups) > MaxGroups:
		return &LimitError{Name: "subscription-groups", Limit: MaxGroups, What: "groups of a subscription"}
	}
	for i, name := range s.Groups {
		field := fmt.Sprintf("groups[%d]", i)
		name, err := directory.GroupName(field, name)
		if err == nil && name == "" {
			err = &presence.FieldError{Field: field, Reason: "must not be empty"}
		}
		if err != nil {
			return err
		}
		s.Groups[i] = name
	}
	s.groupKeys = groupKeys(s.Groups)
	return r.checkMembers(ctx, s)
}

// checkMembers refuses a group that nobody is in: groups exist by their members alone.
func (r *Registry) checkMembers(ctx context.Context, s *Subscription) error {
	missing := make(map[string]bool, len(s.groupKeys))
	for _, key := range s.groupKeys {
		missing[key] = true
	}
	const step = 500
	for after := presence.UserID(""); len(missing) > 0; {
		users, err := r.Directory.Users(ctx, s.Account, after, step)
		if err != nil {
			return err
		}
		for i := range users {
			for _, name := range users[i].Groups {
				delete(missing, directory.GroupKey(name))
			}
		}
		if len(users) < step {
			break
		}
		after = users[step-1].ID
	}
	for i, key := range s.groupKeys {
		if missing[key] {
			return &presence.FieldError{Field: fmt.Sprintf("groups[%d]", i), Reason: fmt.Sprintf("names %q, a group without members", s.Groups[i])}
		}
	}
	return nil
}

// unique removes repetitions.
func unique[T comparable](list []T) []T {
	var kept []T
	for _, v := range list {
		if !slices.Contains(kept, v) {
			kept = append(kept, v)
		}
	}
	return kept
}
