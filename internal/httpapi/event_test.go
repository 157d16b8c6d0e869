package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/api/apitest"
	"porchlight.dev/porchlight/docs"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// eventTime is the time of the examples in docs/events.md.
func eventTime() time.Time { return time.Date(2026, 3, 1, 9, 30, 0, 5e6, time.UTC) }

func ada() *webhook.Person {
	return &webhook.Person{
		ID: "ada", Email: "ada@example.com", FirstName: "Ada", LastName: "Lovelace", DisplayName: "Ada Lovelace", Department: "R&D", Groups: []string{"Support"},
	}
}

// eventEntries are the entries whose events are the examples, by type.
func eventEntries() map[string]store.Entry {
	now := presence.InstantOf(eventTime())
	adaAct := func(cause store.Cause) store.By {
		return store.By{Cause: cause, Actor: store.Actor{User: "ada", App: "console"}}
	}
	byGrace := func(cause store.Cause) store.By {
		return store.By{Cause: cause, Actor: store.Actor{User: "grace", App: "console"}}
	}
	phone := func(s presence.Status) presence.Origin {
		return presence.Origin{Client: presence.Client{Type: presence.Mobile, Version: "5.17.11", Status: s}}
	}
	sessions := []store.SessionFacts{{ID: "s-1", Client: presence.Mobile, Version: "5.17.11", App: "console"}}
	available := presence.Presence{Status: presence.Available, Since: now.Add(-time.Hour), Active: true}
	profile := ada().Profile()
	before := ada().Profile()
	before.LastName, before.DisplayName, before.Groups = "King", "Ada King", []string{"Sales"}
	now2 := now.Add(30 * time.Minute)
	return map[string]store.Entry{
		api.EventPresenceChanged: {
			By: store.By{Cause: store.CauseClaim, Actor: store.Actor{App: "calendar"}}, Origin: presence.Origin{Claim: "standup", Source: presence.Meeting},
			Before: available, After: presence.Presence{Status: presence.InMeeting, Note: "Stand-up", Since: now, Until: now2, Active: true},
		},
		api.EventSessionStarted:  {By: adaAct(store.CauseSignIn), Origin: phone(presence.Available), Before: available, After: available, Began: sessions},
		api.EventSessionEnded:    {By: store.By{Cause: store.CauseTime}, Origin: phone(presence.Offline), Before: available, After: available, Ended: sessions},
		api.EventNoteChanged:     {By: adaAct(store.CauseNote), UserBefore: store.UserFacts{Note: "At lunch"}, UserAfter: store.UserFacts{Note: "With R&D all day"}},
		api.EventUserCreated:     {By: byGrace(store.CauseCreated), Profiles: presence.Profiles{Profile: profile}},
		api.EventUserUpdated:     {By: byGrace(store.CauseRenamed), Profiles: presence.Profiles{Profile: profile, ProfileBefore: before}},
		api.EventUserActivated:   {By: byGrace(store.CauseActivated), Profiles: presence.Profiles{Profile: profile}},
		api.EventUserDeactivated: {By: byGrace(store.CauseDeactivated), Profiles: presence.Profiles{Profile: profile}},
		api.EventUserDeleted:     {By: byGrace(store.CauseDeleted), Profiles: presence.Profiles{Profile: profile}},
	}
}

func encodeEvents(e store.Entry) []webhook.Event {
	e.User, e.Time, e.Revision, e.At = store.User{Account: "example", ID: "ada"}, eventTime(), 1_772_357_400_005_000, 7
	return httpapi.EventForm{}.Encode(&e, ada(), nil)
}

// exampleEvents are the examples of docs/events.md, by type.
func exampleEvents(t *testing.T) map[string][]byte {
	t.Helper()
	form := httpapi.EventForm{}
	examples := map[string][]byte{
		api.EventGap: form.Gap("example", "sub-1", &webhook.Gap{
			From: 1200, To: 3400, Reason: "the log no longer has these entries", At: eventTime(),
		}).Body,
		api.EventPing: form.Challenge("whsec", "token", eventTime()).Event.Body,
	}
	for eventType, e := range eventEntries() {
		events := encodeEvents(e)
		if len(events) != 1 || events[0].Type != eventType {
			t.Fatalf("the example of %s has the events %+v", eventType, events)
		}
		examples[eventType] = events[0].Body
	}
	return examples
}

// TestEventExamples: docs/events.md has an example of every type, whose bytes are those
// of the event but for white space.
func TestEventExamples(t *testing.T) {
	text, err := docs.Served.ReadFile("events.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := exampleEvents(t)
	for _, eventType := range append((httpapi.EventForm{}).Types(), api.EventGap, api.EventPing) {
		want := examples[eventType]
		block := regexp.MustCompile("(?s)### `" + regexp.QuoteMeta(eventType) + "`\n.*?```json\n(.*?)```").FindSubmatch(text)
		var got bytes.Buffer
		if block == nil || json.Compact(&got, block[1]) != nil || !bytes.Equal(bytes.TrimSpace(got.Bytes()), want) {
			var indented bytes.Buffer
			_ = json.Indent(&indented, want, "", "  ")
			t.Errorf("the example of %s should be\n%s", eventType, &indented)
		}
	}
}

// TestEventSchema: every event is what the OpenAPI document says and what api.Event holds.
func TestEventSchema(t *testing.T) {
	doc, err := apitest.Document()
	if err != nil {
		t.Fatal(err)
	}
	schema := doc.Components.Schemas["Event"].Value
	for eventType, body := range exampleEvents(t) {
		var value any
		if err := errors.Join(json.Unmarshal(body, &value), schema.VisitJSON(value)); err != nil {
			t.Errorf("%s: %v", eventType, err)
		}
		var event api.Event
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&event); err != nil {
			t.Errorf("%s: %v", eventType, err)
		}
		var again bytes.Buffer
		enc := json.NewEncoder(&again)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(event); err != nil || strings.TrimSpace(again.String()) != string(body) {
			t.Errorf("%s is read as %s", body, &again)
		}
		if !slices.Contains(schema.Properties["type"].Value.Enum, any(eventType)) {
			t.Errorf("openapi.yaml does not list the type %s", eventType)
		}
	}
}

// TestEvents has entries with several events or none.
func TestEvents(t *testing.T) {
	available := presence.Presence{Status: presence.Available, Active: true}
	session := []store.SessionFacts{{ID: "s"}}
	note := store.UserFacts{Note: "n"}
	profile, other := ada().Profile(), ada().Profile()
	other.Email = "old@example.com"
	for name, row := range map[string]struct {
		entry store.Entry
		want  string
	}{
		"a sign-in":            {store.Entry{By: store.By{Cause: store.CauseSignIn}, After: available, Began: session}, "session.started presence.changed"},
		"a replaced session":   {store.Entry{Before: available, After: available, Began: session, Ended: session}, "session.ended session.started"},
		"a note that is shown": {store.Entry{By: store.By{Cause: store.CauseNote}, After: presence.Presence{Note: "n"}, UserAfter: note}, "note.changed presence.changed"},
		"only an end":          {store.Entry{Before: available, After: presence.Presence{Status: presence.Available, Until: 9}}, "presence.changed"},
		"a new user":           {store.Entry{By: store.By{Cause: store.CauseCreated}, After: presence.Presence{Since: 9}}, "user.created"},
		"only since":           {store.Entry{Before: presence.Presence{Since: 8}, After: presence.Presence{Since: 9}}, "presence.changed"},
		"only the devices":     {store.Entry{Before: available, After: presence.Presence{Status: presence.Available, Handheld: true}}, ""},
		"a deletion":           {store.Entry{By: store.By{Cause: store.CauseDeleted}, Before: available, Ended: session, UserBefore: note}, "session.ended presence.changed user.deleted"},
		"a deactivation":       {store.Entry{By: store.By{Cause: store.CauseDeactivated}, Before: available, UserBefore: note, UserAfter: note}, "presence.changed user.deactivated"},
		"an activation":        {store.Entry{By: store.By{Cause: store.CauseActivated}, After: available}, "user.activated presence.changed"},
		"groups":               {store.Entry{By: store.By{Cause: store.CauseGroups}}, "user.updated"},
		"e-mail":               {store.Entry{By: store.By{Cause: store.CauseEmail}, Profiles: presence.Profiles{Profile: profile, ProfileBefore: other}}, "user.updated"},
		"rules of visibility":  {store.Entry{By: store.By{Cause: store.CauseVisibility}}, ""},
		"an erased entry":      {store.Anonymize(store.Entry{By: store.By{Cause: store.CauseCreated}, After: available}), ""},
		"an unreadable entry":  {store.Entry{Damaged: store.ErrFormat, After: available}, ""},
	} {
		var types []string
		for i, e := range encodeEvents(row.entry) {
			types = append(types, e.Type)
			if e.Index != i || e.At != 7 || e.User != "ada" || e.Revision == 0 || e.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: event %d is %+v", name, i, e)
			}
		}
		if got := strings.Join(types, " "); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
	odd := store.Entry{UserAfter: store.UserFacts{Note: "<\u2028\xff>"}}
	if body := string(encodeEvents(odd)[0].Body); !strings.Contains(body, "\"own_note\":\"<\u2028\ufffd>\"") {
		t.Errorf("a note with what some encoders escape is %s", body)
	}
	e := store.Entry{By: store.By{Cause: store.CauseEmail}, Profiles: presence.Profiles{Profile: profile, ProfileBefore: other}}
	if body := string(encodeEvents(e)[0].Body); !strings.HasSuffix(body, `,"before":{"profile":{"email":"old@example.com"}}}`) {
		t.Errorf("a change of the address is %s", body)
	}
}

// TestEventSamples: there is a sample of every type.
func TestEventSamples(t *testing.T) {
	for _, eventType := range (httpapi.EventForm{}).Types() {
		e, ok := httpapi.EventForm{}.Sample("example", eventType, ada(), eventTime())
		if !ok || e.Type != eventType || !strings.HasPrefix(string(e.Body), fmt.Sprintf(`{"type":"%s","time":"2026-03-01T09:30:00.005Z","account":"example","user":"ada",`, eventType)) {
			t.Errorf("the sample of %s is %v, %s", eventType, ok, e.Body)
		}
	}
	if _, ok := (httpapi.EventForm{}).Sample("example", "presence.changing", ada(), eventTime()); ok {
		t.Error("there is a sample of a type that does not exist")
	}
}

// TestEventPing: a ping is accepted with any 2xx.
func TestEventPing(t *testing.T) {
	c := httpapi.EventForm{}.Challenge("secret", "token", eventTime())
	for status := 100; status < 600; status++ {
		if err := c.Check(status, nil, nil); (err == nil) != (status/100 == 2) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if c.Method != http.MethodPost || c.Event.Type != api.EventPing || c.Event.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the challenge is %+v", c)
	}
}
