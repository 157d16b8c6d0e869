package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// clientFor returns a client with a token of a user.
func (r *running) clientFor(t *testing.T, user string, scopes ...string) *client.Client {
	t.Helper()
	c, err := client.New(r.URL(), client.StaticToken(r.createToken(t, user, scopes...).Secret), r.http)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// longestPoll is how long a poll may wait, so that the machine's delays are short beside it.
const longestPoll = 25 * time.Second

// changedUsers returns the users of a response.
func changedUsers(c *api.Changes) (ids []string) {
	for _, p := range c.Presences {
		ids = append(ids, p.User)
	}
	return ids
}

// TestContactAddedDuringLongPoll: a contact that is added during a long poll is
// reported by that response or the next, without delay, whatever else changes.
func TestContactAddedDuringLongPoll(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 8)
	ada := r.clientFor(t, r.made.OwnerID, "presence:read", "contact:read", "contact:write")
	if _, err := ada.SetContact(t.Context(), "me", ids[0], api.SetContact{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	now, err := ada.Changes(ctx, client.ChangesQuery{Contacts: true})
	if err != nil || len(now.Presences) != 1 {
		t.Fatalf("%+v, %v", now, err)
	}
	for _, added := range ids[1:] {
		answered := make(chan error, 1)
		var seen []string
		go func() {
			for !slices.Contains(seen, added) {
				next, err := ada.Changes(ctx, client.ChangesQuery{Contacts: true, Cursor: now.Cursor, Wait: longestPoll})
				if err != nil {
					answered <- err
					return
				}
				seen, now = append(seen, changedUsers(&next)...), next
			}
			answered <- nil
		}()
		began := time.Now()
		if _, err := ada.SetContact(ctx, "me", added, api.SetContact{}); err != nil {
			t.Fatal(err)
		}
		for len(answered) == 0 && time.Since(began) < longestPoll {
			if _, err := r.client.SetNote(ctx, ids[0], api.SetNote{Text: time.Now().String()}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took >= longestPoll {
			t.Fatalf("%v after it was added, the contact was not reported", took)
		}
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
	}
}

// TestLongPollWaits: a long poll waits, also for a user who has rules and changed
// recently. The first response may precede the hub's processing of the change, and then
// the change is reported twice.
func TestLongPollWaits(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 1)
	ada := r.clientFor(t, r.made.OwnerID, "presence:read")
	rules := api.Visibility{Everyone: api.VisibilityStatus, Groups: map[string]api.VisibilityLevel{}, Watchers: map[string]api.VisibilityLevel{}}
	if _, err := r.client.SetVisibility(t.Context(), ids[0], rules); err != nil {
		t.Fatal(err)
	}
	q := client.ChangesQuery{Users: ids, Wait: 3 * time.Second}
	asked := 0
	for began := time.Now(); time.Since(began) < 3*time.Second; asked++ {
		now, err := ada.Changes(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		q.Cursor = now.Cursor
	}
	if asked > 3 {
		t.Errorf("%d responses in three seconds without a change", asked)
	}
	answered := make(chan time.Duration, 1)
	q.Wait = longestPoll
	began := time.Now()
	go func() {
		defer close(answered)
		for {
			now, err := ada.Changes(t.Context(), q)
			if err != nil {
				return
			}
			q.Cursor = now.Cursor
			if len(now.Presences) == 1 && now.Presences[0].Status == api.Busy {
				answered <- time.Since(began)
				return
			}
		}
	}()
	if _, err := r.client.SetClaim(t.Context(), ids[0], "manual", api.SetClaim{Source: "manual", Status: api.Busy}); err != nil {
		t.Fatal(err)
	}
	if took, ok := <-answered; !ok || took >= longestPoll {
		t.Errorf("a change was reported after %v", took)
	}
}

// TestHidingIsNotSent: no change is reported when an offline user hides, hides from
// another user, or does anything while hidden: neither by a poll nor when a stream
// resumes.
func TestHidingIsNotSent(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	others := r.createUsers(t, 2)
	third, visible := others[0], others[1]
	ada := r.clientFor(t, r.made.OwnerID, "presence:read")
	token := r.createToken(t, r.made.OwnerID, "presence:read").Secret
	for name, rules := range map[string]api.Visibility{
		"from everybody":    {Everyone: api.VisibilityOffline},
		"from another user": {Everyone: api.VisibilityAll, Watchers: map[string]api.VisibilityLevel{third: api.VisibilityOffline}},
	} {
		u, err := r.client.CreateUser(t.Context(), api.CreateUser{Email: strings.ReplaceAll(name, " ", ".") + "@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		id := u.ID
		session, err := r.client.SignIn(t.Context(), id, longSignIn("desktop"))
		if err == nil {
			err = r.client.SignOut(t.Context(), session.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		q := client.ChangesQuery{Users: []string{id, visible}, Wait: 2 * time.Second}
		for range 2 { // the second cursor certainly covers the change
			now, err := ada.Changes(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			q.Cursor = now.Cursor
		}
		rules.Groups = map[string]api.VisibilityLevel{}
		if _, err := r.client.SetVisibility(t.Context(), id, rules); err != nil {
			t.Fatal(err)
		}
		if rules.Everyone == api.VisibilityOffline {
			if _, err := r.client.SetNote(t.Context(), id, api.SetNote{Text: "nobody sees it"}); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		now, err := ada.Changes(t.Context(), q)
		if err != nil || time.Since(began) < q.Wait || len(now.Presences)+len(now.Gone) > 0 {
			t.Errorf("%s: a poll returns after %v: %+v, %v", name, time.Since(began), now.Presences, err)
		}
		for _, over := range []route{overWebSocket, overEvents} {
			w := r.watcher(token, q.Users)
			w.unfiltered, w.cursor = false, q.Cursor
			ctx, stop := context.WithCancel(t.Context())
			var open sync.WaitGroup
			open.Go(func() { _, _ = w.connect(ctx, over, neverCut) })
			note := fmt.Sprint(name, " over ", over)
			if _, err := r.client.SetNote(t.Context(), visible, api.SetNote{Text: note}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a later change of another user is received", func() bool { return w.hasNote(visible, note) })
			stop()
			open.Wait()
			if len(w.has) != 1 || len(w.violations) > 0 {
				t.Errorf("%s: route %d sends %+v, %q", name, over, w.has, w.violations)
			}
		}
	}
}

// TestAddressMovesDuringStream: a stream keeps following the user whom the address
// identified when it was requested.
func TestAddressMovesDuringStream(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 2)
	s := r.open(t, r.made.AccessToken, "?users=user0@example.com")
	if got := s.read(t, api.FrameSnapshot).Presences; len(got) != 1 || got[0].User != ids[0] {
		t.Fatalf("%+v", got)
	}
	for i, email := range []string{"other@example.com", "user0@example.com"} {
		if _, err := r.client.UpdateUser(t.Context(), ids[i], api.UpdateUser{Email: &email}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{ids[1], ids[0]} { // the new owner first
		if _, err := r.client.SetNote(t.Context(), id, api.SetNote{Text: "moved"}); err != nil {
			t.Fatal(err)
		}
	}
	if f := s.read(t, api.FramePresence); f.User != ids[0] {
		t.Errorf("the stream reports %s", f.User)
	}
}
