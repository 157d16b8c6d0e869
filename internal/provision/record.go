package provision

import (
	"context"
	"slices"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// record appends a change of a user to the audit log.
func (p *Provisioner) record(ctx context.Context, by *By, action string, id presence.UserID, before, after audit.Fields) error {
	e := &audit.Event{Action: action, Target: "user/" + string(id), By: by.Actor, Before: before, After: after}
	return p.Audit.Record(ctx, by.Account, e)
}

// created are the fields of a new user that are not personal.
func created(u *directory.User) audit.Fields {
	return audit.Fields{"active": u.Active, "role": u.Role.String()}
}

// changed are the fields that differ, before and after. Of personal ones it tells only
// that they changed.
func changed(before, after *directory.User) (was, is audit.Fields) {
	was, is = audit.Fields{}, audit.Fields{}
	personal := map[string]bool{
		"email": before.Email != after.Email, "first_name": before.FirstName != after.FirstName, "last_name": before.LastName != after.LastName,
		"display_name": before.DisplayName != after.DisplayName, "department": before.Department != after.Department,
		"external_id": before.ExternalID != after.ExternalID, "groups": !slices.Equal(before.Groups, after.Groups),
		"user_name": before.UserName != after.UserName,
	}
	for name, differs := range personal {
		if differs {
			was[name], is[name] = audit.Personal, audit.Personal
		}
	}
	if before.Active != after.Active {
		was["active"], is["active"] = before.Active, after.Active
	}
	if before.Role != after.Role {
		was["role"], is["role"] = before.Role.String(), after.Role.String()
	}
	return was, is
}
