package zoomapi

import (
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// sampleEntries are entries as the log has them, with an event of every type.
func sampleEntries(u store.User, who *webhook.Person, at time.Time) []store.Entry {
	online := presence.Presence{Status: presence.Available, Active: true}
	phone := presence.Client{Type: presence.Mobile, Version: "5.17.11", Status: presence.Available}
	signedOut := phone
	signedOut.Status = presence.Offline
	session := []store.SessionFacts{{ID: "sample", Client: phone.Type, Version: phone.Version}}
	profile := presence.Profile{
		Email: who.Email, FirstName: who.FirstName, LastName: who.LastName, DisplayName: who.DisplayName, Department: who.Department,
	}
	before := profile
	before.LastName, before.Department = "Before", "Another"
	entries := []store.Entry{
		{By: store.By{Cause: store.CauseClaim}, Before: online, After: presence.Presence{Status: presence.Busy, Active: true}},
		{By: store.By{Cause: store.CauseSignIn}, Before: online, After: online, Origin: presence.Origin{Client: phone}, Began: session},
		{By: store.By{Cause: store.CauseSignOut}, Before: online, After: online, Origin: presence.Origin{Client: signedOut}, Ended: session},
		{By: store.By{Cause: store.CauseNote}, UserAfter: store.UserFacts{Note: "Working from home"}},
	}
	for _, cause := range []store.Cause{
		store.CauseCreated, store.CauseRenamed, store.CauseActivated, store.CauseDeactivated, store.CauseDeleted,
	} {
		entries = append(entries, store.Entry{
			By: store.By{Cause: cause, Actor: store.Actor{User: who.ID}}, Profiles: presence.Profiles{Profile: &profile, ProfileBefore: &before},
		})
	}
	for i := range entries {
		entries[i].User, entries[i].Time = u, at
	}
	return entries
}
