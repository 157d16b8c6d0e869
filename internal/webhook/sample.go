package webhook

import (
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// SampleOf is Form.Sample for forms whose types occur in some entry of samples.
func SampleOf(f Form, account presence.AccountID, eventType string, who *Person, at time.Time) (Event, bool) {
	for _, e := range samples(store.User{Account: account, ID: who.ID}, who, at) {
		for _, event := range f.Encode(&e, who, who) {
			if event.Type == eventType {
				return event, true
			}
		}
	}
	return Event{}, false
}

// samples are entries as the log has them: a change of every kind.
func samples(u store.User, who *Person, at time.Time) []store.Entry {
	since := presence.InstantOf(at)
	shows := func(s presence.Status) presence.Presence {
		return presence.Presence{Status: s, Since: since, Active: s != presence.Offline}
	}
	busy := shows(presence.Busy)
	busy.Note, busy.Until = "Back at three", since.Add(time.Hour)
	session := []store.SessionFacts{{ID: "sample-session", Client: presence.Mobile, Version: "5.17.11", App: "sample-app"}}
	client := presence.Client{Type: presence.Mobile, Version: "5.17.11", Status: presence.Available}
	ended := client
	ended.Status = presence.Offline
	own := store.Actor{User: who.ID, App: "sample-app"}
	by := func(cause store.Cause) store.By { return store.By{Cause: cause, Actor: own} }
	available := shows(presence.Available)
	entries := []store.Entry{
		{By: by(store.CauseClaim), Before: available, After: busy, Origin: presence.Origin{Claim: presence.ManualClaim, Source: presence.Manual}},
		{By: by(store.CauseSignIn), Before: available, After: available, Origin: presence.Origin{Client: client}, Began: session},
		{By: by(store.CauseSignOut), Before: available, After: available, Origin: presence.Origin{Client: ended}, Ended: session},
		{By: by(store.CauseNote), Before: available, After: available, UserAfter: store.UserFacts{Note: "Working from home"}},
	}
	for _, cause := range []store.Cause{
		store.CauseCreated, store.CauseRenamed, store.CauseActivated, store.CauseDeactivated, store.CauseDeleted,
	} {
		entries = append(entries, store.Entry{By: by(cause), Profiles: sampleProfiles(who, cause)})
	}
	for i := range entries {
		entries[i].User, entries[i].Time, entries[i].Revision = u, at, presence.Revision(since)
	}
	return entries
}

func sampleProfiles(who *Person, cause store.Cause) presence.Profiles {
	if cause != store.CauseRenamed {
		return presence.Profiles{Profile: who.Profile()}
	}
	before := who.Profile()
	before.DisplayName += " (before)"
	return presence.Profiles{Profile: who.Profile(), ProfileBefore: before}
}
