package store

import "fmt"

var causeNames = [...]string{
	CauseUnknown:    "unknown",
	CauseSignIn:     "sign_in",
	CauseRefresh:    "refresh",
	CauseSignOut:    "sign_out",
	CauseClaim:      "claim",
	CauseEndClaim:   "end_claim",
	CauseNote:       "note",
	CauseUserState:  "user_state",
	CauseTime:       "time",
	CauseVisibility: "visibility",

	CauseRenamed:     "renamed",
	CauseEmail:       "email",
	CauseCreated:     "created",
	CauseActivated:   "activated",
	CauseDeactivated: "deactivated",
	CauseDeleted:     "deleted",
	CauseGroups:      "groups",
}

// String is the name of a cause in logs and histories.
func (c Cause) String() string {
	if int(c) >= len(causeNames) {
		return fmt.Sprintf("cause(%d)", uint8(c))
	}
	return causeNames[c]
}
