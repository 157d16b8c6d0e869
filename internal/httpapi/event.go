package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// EventForm writes entries as events in the words of the native API.
type EventForm struct{}

var _ webhook.Form = EventForm{}

// Name is "native".
func (EventForm) Name() string { return "native" }

// Types lists the types that a subscription can choose.
func (EventForm) Types() []string {
	return []string{
		api.EventPresenceChanged, api.EventSessionStarted, api.EventSessionEnded, api.EventNoteChanged,
		api.EventUserCreated, api.EventUserUpdated, api.EventUserActivated, api.EventUserDeactivated, api.EventUserDeleted,
	}
}

// Encode gives what happened to the user in the directory, then the user's sessions, note
// and presence. A deactivation or deletion comes last.
func (EventForm) Encode(e *store.Entry, who, _ *webhook.Person) []webhook.Event {
	if e.Erased || e.Damaged != nil {
		return nil
	}
	w := eventWriter{entry: e, who: who}
	gone := e.By.Cause == store.CauseDeactivated || e.By.Cause == store.CauseDeleted
	if !gone {
		w.addDirectory()
	}
	for i := range e.Ended {
		w.add(api.Event{Type: api.EventSessionEnded, Session: asEventSession(&e.Ended[i])})
	}
	for i := range e.Began {
		w.add(api.Event{Type: api.EventSessionStarted, Session: asEventSession(&e.Began[i])})
	}
	if before, after := e.UserBefore.Note, e.UserAfter.Note; before != after && e.By.Cause != store.CauseDeleted {
		w.add(api.Event{Type: api.EventNoteChanged, OwnNote: &after, Before: &api.EventBefore{OwnNote: &before}})
	}
	if isVisible(e) {
		w.add(api.Event{Type: api.EventPresenceChanged, Presence: asEventPresence(&e.After), Before: &api.EventBefore{Presence: asEventPresence(&e.Before)}})
	}
	if gone {
		w.addDirectory()
	}
	return w.events
}

// isVisible reports whether a watcher sees a change. That a new user is offline is none.
func isVisible(e *store.Entry) bool {
	before := e.Before
	if before.Since.IsZero() {
		before.Since = e.After.Since
	}
	return !e.After.SameFor(&before)
}

// Gap implements webhook.Form.
func (EventForm) Gap(account presence.AccountID, subscription string, g *webhook.Gap) webhook.Event {
	position := func(p store.Position) string { return strconv.FormatUint(uint64(p), 10) }
	return webhook.Event{Type: api.EventGap, At: g.To, Time: g.At, Header: eventHeader(), Body: eventBody(&api.Event{
		Type: api.EventGap, Time: api.At(g.At), Account: string(account),
		Gap: &api.EventGapRange{Subscription: subscription, From: position(g.From), To: position(g.To), Reason: g.Reason},
	})}
}

// Sample implements webhook.Form.
func (f EventForm) Sample(account presence.AccountID, eventType string, who *webhook.Person, at time.Time) (webhook.Event, bool) {
	return webhook.SampleOf(f, account, eventType, who, at)
}

// Headers adds nothing to those of Standard Webhooks.
func (EventForm) Headers(_, _ string, _ time.Time, _ []byte) http.Header { return nil }

// Challenge is an event that the endpoint accepts like any other.
func (EventForm) Challenge(_, _ string, at time.Time) webhook.Challenge {
	return webhook.Challenge{
		Method: http.MethodPost,
		Event:  webhook.Event{Type: api.EventPing, Time: at, Header: eventHeader(), Body: eventBody(&api.Event{Type: api.EventPing, Time: api.At(at)})},
		Check: func(status int, _ http.Header, _ []byte) error {
			if status < 200 || status > 299 {
				return fmt.Errorf("the endpoint answered %d to a ping, want 2xx", status)
			}
			return nil
		},
	}
}

func eventHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

func eventBody(e *api.Event) []byte {
	body, err := json.Marshal(e, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // this type cannot fail
	}
	return body
}

// An eventWriter writes the events of one entry.
type eventWriter struct {
	entry  *store.Entry
	who    *webhook.Person
	events []webhook.Event
}

// add completes an event by what all events of the entry have.
func (w *eventWriter) add(wired api.Event) {
	e := w.entry
	wired.Time, wired.Account, wired.User, wired.Email = api.At(e.Time), string(e.User.Account), string(e.User.ID), w.who.Email
	wired.Revision, wired.Cause = uint64(e.Revision), e.By.Cause.String()
	wired.Actor, wired.Client = asActor(e.By.Actor), asClient(&e.Origin.Client)
	wired.Source, wired.Claim = string(e.Origin.Source), string(e.Origin.Claim)
	w.events = append(w.events, webhook.Event{
		Type: wired.Type, User: e.User.ID, At: e.At, Index: len(w.events), Revision: e.Revision, Time: e.Time,
		Header: eventHeader(), Body: eventBody(&wired),
	})
}

// directoryEvents are the types of changes in the directory.
var directoryEvents = map[store.Cause]string{
	store.CauseCreated:     api.EventUserCreated,
	store.CauseRenamed:     api.EventUserUpdated,
	store.CauseEmail:       api.EventUserUpdated,
	store.CauseGroups:      api.EventUserUpdated,
	store.CauseActivated:   api.EventUserActivated,
	store.CauseDeactivated: api.EventUserDeactivated,
	store.CauseDeleted:     api.EventUserDeleted,
}

// addDirectory adds the event of a change in the directory. A change of several kinds at
// once has an entry, and so an event, for each: before has what is of that kind.
func (w *eventWriter) addDirectory() {
	eventType, ok := directoryEvents[w.entry.By.Cause]
	if !ok {
		return
	}
	p := w.entry.Profile
	if p == nil { // an entry of an older version
		p = w.who.Profile()
	}
	wired := api.Event{Type: eventType, Profile: &api.EventProfile{
		Email: &p.Email, FirstName: &p.FirstName, LastName: &p.LastName, DisplayName: &p.DisplayName, Department: &p.Department, Groups: asGroups(p.Groups),
	}}
	if before := w.entry.ProfileBefore; before != nil {
		wired.Before = &api.EventBefore{Profile: changedProfile(w.entry.By.Cause, p, before)}
	}
	w.add(wired)
}

// changedProfile has the fields that a cause stands for and that differ.
func changedProfile(cause store.Cause, after, before *presence.Profile) *api.EventProfile {
	changed := &api.EventProfile{}
	text := func(to **string, after, before string) {
		if after != before {
			*to = &before
		}
	}
	switch cause {
	case store.CauseEmail:
		text(&changed.Email, after.Email, before.Email)
	case store.CauseGroups:
		if !slices.Equal(after.Groups, before.Groups) {
			changed.Groups = asGroups(before.Groups)
		}
	default:
		text(&changed.FirstName, after.FirstName, before.FirstName)
		text(&changed.LastName, after.LastName, before.LastName)
		text(&changed.DisplayName, after.DisplayName, before.DisplayName)
		text(&changed.Department, after.Department, before.Department)
	}
	return changed
}

func asGroups(groups []string) *[]string {
	listed := append([]string{}, groups...)
	return &listed
}

func asEventSession(s *store.SessionFacts) *api.EventSession {
	return &api.EventSession{ID: string(s.ID), ClientType: string(s.Client), ClientVersion: s.Version, App: string(s.App)}
}

func asEventPresence(p *presence.Presence) *api.EventPresence {
	return &api.EventPresence{Status: api.Status(p.Status.String()), Note: p.Note, Since: at(p.Since), Until: at(p.Until)}
}
