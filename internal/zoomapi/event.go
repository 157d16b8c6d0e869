package zoomapi

import (
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// The types of events.
const (
	eventCreated     = "user.created"
	eventUpdated     = "user.updated"
	eventActivated   = "user.activated"
	eventDeactivated = "user.deactivated"
	eventDeleted     = "user.deleted"
	eventSignedIn    = "user.signed_in"
	eventSignedOut   = "user.signed_out"
	eventNote        = "user.personal_notes_updated"
	eventPresence    = "user.presence_status_updated"
	// eventGap is not Zoom's, whose events are lost without a notice.
	eventGap = "porchlight.gap"
)

// EventForm writes entries as Zoom's webhook events.
type EventForm struct{}

var _ webhook.Form = EventForm{}

// Name is "zoom".
func (EventForm) Name() string { return "zoom" }

// Types lists the events of Zoom that a server of presence has.
func (EventForm) Types() []string {
	return []string{
		eventPresence, eventSignedIn, eventSignedOut, eventNote,
		eventCreated, eventUpdated, eventActivated, eventDeactivated, eventDeleted,
	}
}

// Encode gives what happened to the user in the directory, then the user's sessions, note
// and presence. A deactivation or deletion comes last.
func (EventForm) Encode(e *store.Entry, who, actor *webhook.Person) []webhook.Event {
	if e.Erased || e.Damaged != nil {
		return nil
	}
	w := eventWriter{entry: e, who: who, actor: actor}
	gone := e.By.Cause == store.CauseDeactivated || e.By.Cause == store.CauseDeleted
	if !gone {
		w.addDirectory()
	}
	w.addSessions()
	if e.By.Cause != store.CauseDeleted {
		w.addNote()
	}
	w.addPresence()
	if gone {
		w.addDirectory()
	}
	return w.events
}

// Gap writes an event that Zoom does not have.
func (EventForm) Gap(account presence.AccountID, subscription string, g *webhook.Gap) webhook.Event {
	type object struct {
		Subscription string         `json:"event_subscription_id"`
		From         store.Position `json:"from_position,string"`
		To           store.Position `json:"to_position,string"`
		Reason       string         `json:"reason"`
	}
	return webhook.Event{
		Type: eventGap, At: g.To, Time: g.At, Header: eventHeader(),
		Body: eventBody(eventGap, g.At, &eventPayload{AccountID: account, Object: object{subscription, g.From, g.To, g.Reason}}),
	}
}

// Sample writes an event of a type about changes that did not happen.
func (f EventForm) Sample(account presence.AccountID, eventType string, who *webhook.Person, at time.Time) (webhook.Event, bool) {
	return webhook.SampleOf(f, account, eventType, who, at)
}

// eventMessage is the body of every event. Its members have Zoom's order.
type eventMessage struct {
	Event     string        `json:"event"`
	Timestamp int64         `json:"event_ts"` // milliseconds
	Payload   *eventPayload `json:"payload"`
}

type eventPayload struct {
	AccountID    presence.AccountID `json:"account_id"`
	Operator     *string            `json:"operator,omitzero"`
	OperatorID   *string            `json:"operator_id,omitzero"`
	CreationType string             `json:"creation_type,omitzero"`
	Object       any                `json:"object"`
	OldObject    any                `json:"old_object,omitzero"`
	Timestamp    int64              `json:"time_stamp,omitzero"` // milliseconds
}

// eventBody has the bytes that JavaScript's JSON.stringify would give: receivers verify
// the signature over a body that they parsed and wrote again. The encoder escapes as
// RFC 8785 says, which is what JSON.stringify does; the message has no fractions.
func eventBody(eventType string, at time.Time, payload *eventPayload) []byte {
	body, err := json.Marshal(
		&eventMessage{Event: eventType, Timestamp: at.UnixMilli(), Payload: payload}, jsontext.AllowInvalidUTF8(true),
	)
	if err != nil {
		panic(err) // these types cannot fail
	}
	return body
}

func eventHeader() http.Header {
	return http.Header{"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"Zoom Marketplace/1.0a"}}
}

// An eventWriter writes the events of one entry.
type eventWriter struct {
	entry      *store.Entry
	who, actor *webhook.Person
	events     []webhook.Event
}

func (w *eventWriter) add(eventType string, payload *eventPayload) {
	e := w.entry
	payload.AccountID = e.User.Account
	w.events = append(w.events, webhook.Event{
		Type: eventType, User: e.User.ID, At: e.At, Index: len(w.events), Revision: e.Revision, Time: e.Time,
		Header: eventHeader(), Body: eventBody(eventType, e.Time, payload),
	})
}

// A eventSubject begins the objects of events about presence, notes and sessions.
type eventSubject struct {
	DateTime string          `json:"date_time"`
	Email    string          `json:"email"`
	ID       presence.UserID `json:"id"`
}

func (w *eventWriter) subject() eventSubject {
	return eventSubject{DateTime: w.entry.Time.UTC().Format("2006-01-02T15:04:05Z"), Email: w.who.Email, ID: w.entry.User.ID}
}

type eventApp struct {
	Type   string `json:"type"`
	Status string `json:"presence_status"`
}

// addPresence adds an event if the word changed.
func (w *eventWriter) addPresence() {
	e := w.entry
	word := eventWord(&e.After)
	if word == eventWord(&e.Before) {
		return
	}
	object := struct {
		eventSubject
		Status string    `json:"presence_status"`
		App    *eventApp `json:"app,omitzero"`
	}{w.subject(), word, nil}
	if client := &e.Origin.Client; *client != (presence.Client{}) {
		object.App = &eventApp{Type: deviceWord(client.Type), Status: eventWords[client.Status]}
	}
	w.add(eventPresence, &eventPayload{Object: object})
}

func (w *eventWriter) addNote() {
	before, after := w.entry.UserBefore.Note, w.entry.UserAfter.Note
	if before == after {
		return
	}
	type notes struct {
		Notes string `json:"personal_notes"`
	}
	w.add(eventNote, &eventPayload{
		Object: struct {
			eventSubject
			notes
		}{w.subject(), notes{after}},
		OldObject: notes{before},
	})
}
