package zoomapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

const (
	zoomAccount = presence.AccountID("AAAAAABBBB")
	zoomUser    = presence.UserID("abcD3ojfdbjfg")
)

// zoomTime is the time in Zoom's example, whose event_ts is another.
func zoomTime() time.Time { return time.Date(2019, 11, 26, 20, 13, 57, 572e6, time.UTC) }

func jchill() *webhook.Person {
	return &webhook.Person{
		ID: zoomUser, Email: "jchill@example.com", FirstName: "Jill", LastName: "Chill", DisplayName: "Jill <C&C>", Department: "R\u2028D",
	}
}

func boss() *webhook.Person { return &webhook.Person{ID: "boss", Email: "boss@example.com"} }

func statusOf(s presence.Status) presence.Presence { return presence.Presence{Status: s} }

// TestEvents has entries, and the bytes of their events.
func TestEvents(t *testing.T) {
	const (
		head   = `{"event":"%s","event_ts":1574799237572,"payload":{"account_id":"AAAAAABBBB",`
		object = `"object":{"date_time":"2019-11-26T20:13:57Z","email":"jchill@example.com","id":"abcD3ojfdbjfg",`
	)
	status := func(word, app string) string {
		return fmt.Sprintf(head, "user.presence_status_updated") + object + `"presence_status":"` + word + `"` + app + `}}}`
	}
	session := func(event, client string) string {
		return fmt.Sprintf(head, event) + `"object":{"id":"abcD3ojfdbjfg","client_type":"` + client +
			`","date_time":"2019-11-26T20:13:57Z","email":"jchill@example.com","version":"5.17.5","login_type":100}}}`
	}
	byBoss := store.Actor{User: "boss", App: "console"}
	available := presence.Presence{Status: presence.Available, Active: true}
	mobileOnly := presence.Presence{Status: presence.Available, Active: true, Handheld: true}
	sessions := func(kind presence.ClientType) []store.SessionFacts {
		return []store.SessionFacts{{ID: "s", Client: kind, Version: "5.17.5", App: "app"}}
	}
	client := func(kind presence.ClientType, s presence.Status) presence.Origin {
		return presence.Origin{Client: presence.Client{Type: kind, Version: "5.17.5", Status: s}}
	}
	for name, row := range map[string]struct {
		entry store.Entry
		want  []string
	}{
		"a claim": {
			store.Entry{By: store.By{Cause: store.CauseClaim}, Before: available, After: statusOf(presence.InMeeting), Origin: presence.Origin{Claim: "m", Source: presence.Meeting}},
			[]string{status("In_Meeting", "")},
		},
		"the end of the mobile app, as in Zoom's example": {
			store.Entry{By: store.By{Cause: store.CauseTime}, Before: available, After: statusOf(presence.Away), Origin: client(presence.Mobile, presence.Offline), Ended: sessions(presence.Mobile)},
			[]string{session("user.signed_out", "android"), status("Away", `,"app":{"type":"mobile","presence_status":"Offline"}`)},
		},
		"a sign-in": {
			store.Entry{By: store.By{Cause: store.CauseSignIn}, After: available, Origin: client("mac", presence.Available), Began: sessions("mac")},
			[]string{session("user.signed_in", "mac"), status("Available", `,"app":{"type":"desktop","presence_status":"Available"}`)},
		},
		"a sign-in on a tablet alone": {
			store.Entry{By: store.By{Cause: store.CauseSignIn}, After: mobileOnly, Origin: client(presence.Pad, presence.Available), Began: sessions(presence.Pad)},
			[]string{session("user.signed_in", "ipad"), status("Mobile_signed_in", `,"app":{"type":"pad","presence_status":"Available"}`)},
		},
		"the desktop goes, the phone stays": {
			store.Entry{By: store.By{Cause: store.CauseSignOut}, Before: available, After: mobileOnly, Origin: client(presence.Desktop, presence.Offline), Ended: sessions(presence.Desktop)},
			[]string{session("user.signed_out", "win"), status("Mobile_signed_in", `,"app":{"type":"desktop","presence_status":"Offline"}`)},
		},
		"the desktop comes back": {
			store.Entry{By: store.By{Cause: store.CauseSignIn}, Before: mobileOnly, After: available, Origin: client(presence.Web, presence.Available), Began: sessions(presence.Web)},
			[]string{session("user.signed_in", "browser"), status("Available", `,"app":{"type":"desktop","presence_status":"Available"}`)},
		},
		"a room": {
			store.Entry{By: store.By{Cause: store.CauseRefresh}, Before: available, After: statusOf(presence.Away), Origin: client("pzr", presence.Away)},
			[]string{status("Away", `,"app":{"type":"pzr","presence_status":"Away"}`)},
		},
		"nothing that has a word": {
			store.Entry{By: store.By{Cause: store.CauseRefresh}, Before: available, After: presence.Presence{Status: presence.Available}, Origin: client(presence.Web, presence.Away)},
			nil,
		},
		"a meeting that the phone alone is in": {
			store.Entry{
				By: store.By{Cause: store.CauseSignOut}, Before: statusOf(presence.InMeeting),
				After: presence.Presence{Status: presence.InMeeting, Handheld: true}, Origin: client("linux", presence.Offline), Ended: sessions("linux"),
			},
			[]string{session("user.signed_out", "linux")},
		},
		"a sign-in that resumes a session": {
			store.Entry{By: store.By{Cause: store.CauseSignIn}, Before: available, After: available, Origin: client("mac", presence.Available)},
			nil,
		},
		"a session that replaces another, and one that had expired": {
			store.Entry{
				By: store.By{Cause: store.CauseSignIn}, Before: available, After: available, Origin: client("mac", presence.Available),
				Began: sessions("mac"), Ended: append(sessions("chromeos"), sessions("fridge")...),
			},
			[]string{session("user.signed_out", "chromeos"), session("user.signed_out", "win"), session("user.signed_in", "mac")},
		},
		"a note": {
			store.Entry{By: store.By{Cause: store.CauseNote}, UserBefore: store.UserFacts{Note: "<a> & \"b\"\t\x01\x7f"}, UserAfter: store.UserFacts{Note: "\u2028ü\xff\U0001f600\\"}},
			[]string{fmt.Sprintf(head, "user.personal_notes_updated") + object +
				"\"personal_notes\":\"\u2028ü\ufffd\U0001f600\\\\\"},\"old_object\":{\"personal_notes\":\"<a> & \\\"b\\\"\\t\\u0001\x7f\"}}}"},
		},
		"a note that ended with its status": {
			store.Entry{By: store.By{Cause: store.CauseTime}, Before: available, UserBefore: store.UserFacts{Note: "n"}},
			[]string{
				fmt.Sprintf(head, "user.personal_notes_updated") + object + `"personal_notes":""},"old_object":{"personal_notes":"n"}}}`,
				status("Offline", ""),
			},
		},
		"a new user": {
			store.Entry{By: store.By{Cause: store.CauseCreated, Actor: byBoss}},
			[]string{fmt.Sprintf(head, "user.created") + `"operator":"boss@example.com","operator_id":"boss","creation_type":"create",` +
				`"object":{"id":"abcD3ojfdbjfg","first_name":"Jill","last_name":"Chill","display_name":"Jill <C&C>","email":"jchill@example.com","type":1}}}`},
		},
		"an activation by an app": {
			store.Entry{By: store.By{Cause: store.CauseActivated, Actor: store.Actor{App: "sync"}}},
			[]string{fmt.Sprintf(head, "user.activated") + `"operator":"","operator_id":"sync",` +
				`"object":{"id":"abcD3ojfdbjfg","first_name":"Jill","last_name":"Chill","email":"jchill@example.com","type":1}}}`},
		},
		"a deactivation": {
			store.Entry{By: store.By{Cause: store.CauseDeactivated, Actor: byBoss}, Before: available},
			[]string{status("Offline", ""), fmt.Sprintf(head, "user.deactivated") + `"operator":"boss@example.com","operator_id":"boss",` +
				`"object":{"id":"abcD3ojfdbjfg","first_name":"Jill","last_name":"Chill","email":"jchill@example.com","type":1}}}`},
		},
		"a deletion": {
			store.Entry{By: store.By{Cause: store.CauseDeleted, Actor: byBoss}, Before: available, UserBefore: store.UserFacts{Note: "n"}},
			[]string{status("Offline", ""), fmt.Sprintf(head, "user.deleted") + `"operator":"boss@example.com","operator_id":"boss",` +
				`"object":{"id":"abcD3ojfdbjfg","first_name":"Jill","last_name":"Chill","email":"jchill@example.com","type":1}}}`},
		},
		"groups":              {store.Entry{By: store.By{Cause: store.CauseGroups}}, nil},
		"rules":               {store.Entry{By: store.By{Cause: store.CauseVisibility}}, nil},
		"an erased entry":     {store.Anonymize(store.Entry{By: store.By{Cause: store.CauseDeleted}, Before: available}), nil},
		"an unreadable entry": {store.Entry{Damaged: store.ErrFormat, By: store.By{Cause: store.CauseCreated}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			row.entry.User, row.entry.Time, row.entry.At = store.User{Account: zoomAccount, ID: zoomUser}, zoomTime(), 7
			got := EventForm{}.Encode(&row.entry, jchill(), boss())
			var bodies []string
			for i, e := range got {
				bodies = append(bodies, string(e.Body))
				if e.At != 7 || e.Index != i || e.User != zoomUser || !e.Time.Equal(zoomTime()) || e.Header.Get("Content-Type") != "application/json; charset=utf-8" ||
					!strings.HasPrefix(string(e.Body), `{"event":"`+e.Type+`",`) {
					t.Errorf("event %d is %+v", i, e)
				}
			}
			if !slices.Equal(bodies, row.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(bodies, "\n"), strings.Join(row.want, "\n"))
			}
		})
	}
}
