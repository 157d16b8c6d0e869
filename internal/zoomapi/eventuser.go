package zoomapi

import (
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// directoryEvents are the events of changes in the directory. Zoom has none for a user's
// groups.
var directoryEvents = map[store.Cause]string{
	store.CauseCreated:     eventCreated,
	store.CauseRenamed:     eventUpdated,
	store.CauseEmail:       eventUpdated,
	store.CauseActivated:   eventActivated,
	store.CauseDeactivated: eventDeactivated,
	store.CauseDeleted:     eventDeleted,
}

// eventUser is a user as most events of the directory have it.
type eventUser struct {
	ID          presence.UserID `json:"id"`
	FirstName   string          `json:"first_name"`
	LastName    string          `json:"last_name"`
	DisplayName string          `json:"display_name,omitzero"` // of user.created only
	Email       string          `json:"email"`
	Type        int             `json:"type"`
}

// basicUser is the type of a user without a licence, which Porchlight does not have.
const basicUser = 1

func (w *eventWriter) addDirectory() {
	eventType, ok := directoryEvents[w.entry.By.Cause]
	if !ok {
		return
	}
	operator, id := w.operator()
	payload := &eventPayload{Operator: &operator, OperatorID: &id}
	switch eventType {
	case eventUpdated:
		w.describeUpdate(payload)
	default:
		object := eventUser{ID: w.entry.User.ID, FirstName: w.who.FirstName, LastName: w.who.LastName, Email: w.who.Email, Type: basicUser}
		if eventType == eventCreated {
			payload.CreationType, object.DisplayName = "create", w.who.DisplayName
		}
		payload.Object = object
	}
	w.add(eventType, payload)
}

// operator is who made the change: e-mail and id of a user, or the id of an app.
func (w *eventWriter) operator() (email, id string) {
	by := w.entry.By.Actor
	if by.User == "" {
		return "", string(by.App)
	}
	if w.actor != nil {
		email = w.actor.Email
	}
	return email, string(by.User)
}

// eventProfile has the fields that a change touched.
type eventProfile struct {
	ID          presence.UserID `json:"id"`
	FirstName   *string         `json:"first_name,omitzero"`
	LastName    *string         `json:"last_name,omitzero"`
	DisplayName *string         `json:"display_name,omitzero"`
	Email       *string         `json:"email,omitzero"`
	Department  *string         `json:"dept,omitzero"`
}

// describeUpdate gives the fields that changed, with their new and their old values. A
// change of the e-mail address has an entry of its own.
func (w *eventWriter) describeUpdate(payload *eventPayload) {
	e := w.entry
	payload.Timestamp = e.Time.UnixMilli()
	object, old := eventProfile{ID: e.User.ID}, eventProfile{ID: e.User.ID}
	if after, before := e.Profile, e.ProfileBefore; after != nil && before != nil {
		if e.By.Cause == store.CauseEmail {
			setChanged(&object.Email, &old.Email, after.Email, before.Email)
		} else {
			setChanged(&object.FirstName, &old.FirstName, after.FirstName, before.FirstName)
			setChanged(&object.LastName, &old.LastName, after.LastName, before.LastName)
			setChanged(&object.DisplayName, &old.DisplayName, after.DisplayName, before.DisplayName)
			setChanged(&object.Department, &old.Department, after.Department, before.Department)
		}
	}
	payload.Object, payload.OldObject = object, old
}

func setChanged(to, old **string, after, before string) {
	if after != before {
		*to, *old = &after, &before
	}
}
