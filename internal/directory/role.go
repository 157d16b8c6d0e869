package directory

import "porchlight.dev/porchlight/internal/presence"

// A Role is what a person may do in the account after signing in. Apps have scopes instead.
type Role uint8

// Roles. The owner of an account is an administrator whatever its role.
const (
	Member Role = iota // its own objects, and what the account shows to its users
	Admin              // everything in the account
)

var roleNames = [...]string{"member", "admin"}

// String is the role as the API has it.
func (r Role) String() string { return roleNames[r] }

// ParseRole reads a role; "" is Member.
func ParseRole(text string) (Role, error) {
	for role, name := range roleNames {
		if text == name {
			return Role(role), nil
		}
	}
	if text == "" {
		return Member, nil
	}
	return Member, &presence.FieldError{Field: "role", Reason: "must be member or admin"}
}
