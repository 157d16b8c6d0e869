package directory

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"porchlight.dev/porchlight/internal/presence"
)

// MaxGroups bounds the groups that one user is in.
const MaxGroups = 32

// GroupKey is the form of a group's name in which names are compared: groups whose names
// differ only in case or in Unicode normalisation are the same group.
func GroupKey(name string) string { return folded(name) }

// folded is a text in one letter case and one form of Unicode.
func folded(text string) string { return norm.NFC.String(strings.ToLower(norm.NFC.String(text))) }

// InGroup reports whether the user is in the group with this key.
func (u *User) InGroup(key string) bool {
	return slices.ContainsFunc(u.Groups, func(name string) bool { return GroupKey(name) == key })
}

// Equal reports whether two users have the same content and version.
func (u *User) Equal(o *User) bool {
	return u.ID == o.ID && u.Email == o.Email && u.names() == o.names() && slices.Equal(u.Groups, o.Groups) &&
		u.Active == o.Active && u.Role == o.Role && u.ExternalID == o.ExternalID && u.UserName == o.UserName && u.Created.Equal(o.Created) && u.Version == o.Version
}

// cleanGroups normalizes names of groups, and drops those that name a group again.
func cleanGroups(given []string) ([]string, error) {
	if len(given) > MaxGroups {
		return nil, &presence.LimitError{What: "groups of a user", Limit: MaxGroups}
	}
	var groups, keys []string
	for i, name := range given {
		field := fmt.Sprintf("groups[%d]", i)
		name, err := GroupName(field, name)
		if err == nil && name == "" {
			err = &presence.FieldError{Field: field, Reason: "must not be empty"}
		}
		if err != nil {
			return nil, err
		}
		if key := GroupKey(name); !slices.Contains(keys, key) {
			groups, keys = append(groups, name), append(keys, key)
		}
	}
	return groups, nil
}
