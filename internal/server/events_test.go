package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/server"
)

// TestEventsOfAUser: a life of a user, as an endpoint sees it: all events, in order, with
// what the directory said at the time, also of a user who is deleted by now.
func TestEventsOfAUser(t *testing.T) {
	received := make(chan api.Event, 64)
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event api.Event
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&event); err != nil {
			t.Error(err)
		}
		if event.Type != api.EventPing {
			received <- event
		}
	}))
	defer endpoint.Close()
	cfg := settings(t)
	cfg.WebhookAllow = "127.0.0.0/8"
	r := start(t, cfg, server.Options{})
	if status, answer := r.subscribe(t, `{"url":"`+endpoint.URL+`"}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	do := func(method, path, body string, into any) {
		t.Helper()
		response, answer := r.roundTrip(t, method, path, body, "Authorization", "Bearer "+r.made.AccessToken, "Content-Type", "application/json")
		if response.StatusCode > 299 {
			t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, answer)
		}
		if into != nil {
			if err := json.Unmarshal([]byte(answer), into); err != nil {
				t.Fatal(err)
			}
		}
	}
	var u api.User
	do("POST", "/v1/users", `{"email":"eve@example.com","first_name":"Eve"}`, &u)
	path := "/v1/users/" + u.ID
	var session api.Session
	do("POST", path+"/sessions", `{"client_type":"mobile","client_version":"5.17.5"}`, &session)
	do("PATCH", path, `{"email":"eva@example.com","first_name":"Eva","groups":["Support"]}`, nil)
	do("PUT", path+"/note", `{"text":"Back soon"}`, nil)
	do("DELETE", "/v1/sessions/"+session.ID, "", nil)
	do("PATCH", path, `{"active":false}`, nil)
	do("PATCH", path, `{"active":true}`, nil)
	do("DELETE", path, "", nil)
	var got []string
	for last := ""; last != api.EventUserDeleted; {
		select {
		case e := <-received:
			got, last = append(got, summary(&e)), e.Type
		case <-time.After(waitLimit):
			t.Fatalf("no more events after\n%s", strings.Join(got, "\n"))
		}
	}
	want := []string{
		"user.created created Eve eve@example.com",
		"session.started sign_in mobile 5.17.5",
		"presence.changed sign_in available, was offline",
		"user.updated renamed Eva eva@example.com, was Eve",
		"user.updated email Eva eva@example.com, was eve@example.com",
		"user.updated groups Eva eva@example.com, was []",
		"note.changed note Back soon",
		"presence.changed note available Back soon, was available",
		"session.ended sign_out mobile 5.17.5",
		"presence.changed sign_out offline Back soon, was available Back soon",
		"presence.changed deactivated offline, was offline Back soon",
		"user.deactivated deactivated Eva eva@example.com",
		"user.activated activated Eva eva@example.com",
		"presence.changed activated offline Back soon, was offline",
		"presence.changed deleted offline, was offline Back soon",
		"user.deleted deleted Eva eva@example.com",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// summary is what a test compares of an event.
func summary(e *api.Event) string {
	shown := func(p *api.EventPresence) string { return strings.TrimSpace(string(p.Status) + " " + p.Note) }
	text := e.Type + " " + e.Cause + " "
	switch {
	case e.Presence != nil:
		return text + shown(e.Presence) + ", was " + shown(e.Before.Presence)
	case e.Session != nil:
		return text + e.Session.ClientType + " " + e.Session.ClientVersion
	case e.OwnNote != nil:
		return text + *e.OwnNote
	case e.Profile == nil:
		return text
	}
	text += *e.Profile.FirstName + " " + *e.Profile.Email
	if e.Before == nil {
		return text
	}
	switch before := e.Before.Profile; {
	case before.FirstName != nil:
		return text + ", was " + *before.FirstName
	case before.Email != nil:
		return text + ", was " + *before.Email
	case before.Groups != nil:
		return text + fmt.Sprint(", was ", *before.Groups)
	default:
		return text + ", was"
	}
}
