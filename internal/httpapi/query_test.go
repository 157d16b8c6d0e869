package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// FuzzQuery: the response to any query is JSON of a documented form, and each requested
// user is either answered or unknown.
func FuzzQuery(f *testing.F) {
	w := newWorld(f)
	token := w.token(w.alice.ID, "presence:read")
	f.Add(`{"users":["me","bob@example.com","nobody",""]}`)
	f.Add("{\"users\":[\"\\u0000\\ud83d\\ude00\\u2028\\\"\\\\\"]}")
	f.Add(`{"users":["me"],"users":[]}`)
	f.Add(`{"users":[["me"]]}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/presence/query", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		recorder := httptest.NewRecorder()
		w.router.ServeHTTP(recorder, r)
		switch recorder.Code {
		case http.StatusOK:
			var got api.Presences
			var asked api.PresenceQuery
			if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
				t.Fatalf("%v\n%s", err, recorder.Body)
			}
			if err := json.Unmarshal([]byte(body), &asked); err != nil {
				t.Fatalf("accepted %q: %v", body, err)
			}
			checkAnswered(t, &asked, &got)
		case http.StatusBadRequest:
			var p api.Problem
			if err := json.Unmarshal(recorder.Body.Bytes(), &p); err != nil || p.WhatToDo == "" {
				t.Errorf("%v\n%s", err, recorder.Body)
			}
		default:
			t.Errorf("%q: %d %s", body, recorder.Code, recorder.Body)
		}
	})
}

func checkAnswered(t *testing.T, asked *api.PresenceQuery, got *api.Presences) {
	if len(got.Unknown)+len(got.Presences) != len(asked.Users) {
		t.Errorf("%d users were requested, got %+v", len(asked.Users), got)
	}
	for _, p := range got.Presences {
		if !slices.Contains(asked.Users, p.User) && !slices.Contains(asked.Users, p.AskedAs) {
			t.Errorf("got %+v, which was not requested", p)
		}
	}
	for _, ref := range got.Unknown {
		if !slices.Contains(asked.Users, ref) {
			t.Errorf("got %q, which was not requested", ref)
		}
	}
}

// discardResponse is a ResponseWriter that discards the body.
type discardResponse struct {
	header http.Header
	status int
	bytes  int
}

func (a *discardResponse) Header() http.Header         { return a.header }
func (a *discardResponse) WriteHeader(status int)      { a.status = status }
func (a *discardResponse) Write(b []byte) (int, error) { a.bytes += len(b); return len(b), nil }

// recordUsers creates records of n users, without directory entries. Each has a
// session, and every third a claim.
func (w *world) recordUsers(n int) []string {
	ids := make([]string, n)
	var group sync.WaitGroup
	next := make(chan int)
	for range 256 {
		group.Go(func() {
			for i := range next {
				ids[i] = fmt.Sprintf("KDcuGIm1QgePTO8W%06d", i)
				u := store.User{Account: w.account, ID: presence.UserID(ids[i])}
				w.publish(u, presence.SetUserState{})
				w.publish(u, presence.SignIn{Session: "s", Client: presence.Desktop})
				if i%3 == 0 {
					w.publish(u, presence.SetClaim{ID: "m", Source: presence.Meeting, Status: presence.InMeeting, Note: "Planning"})
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
	return ids
}

// BenchmarkQuery measures one query for 10,000 users; the budget is 10 ms.
func BenchmarkQuery(b *testing.B) {
	w := newWorld(b)
	token := w.token("", "presence:read:admin")
	body, err := json.Marshal(api.PresenceQuery{Users: w.recordUsers(10_000)})
	w.must(err)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), "POST", "/v1/presence/query", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		answer := &discardResponse{header: make(http.Header)}
		w.router.ServeHTTP(answer, r)
		if answer.status != 200 || answer.bytes < 1_000_000 {
			b.Fatal(answer)
		}
	}
}

// BenchmarkReadPresence measures a single GET.
func BenchmarkReadPresence(b *testing.B) {
	w := newWorld(b)
	token := w.token(w.alice.ID, "presence:read session:write")
	w.signIn("/v1/sessions", token, signInBody)
	r := httptest.NewRequestWithContext(b.Context(), "GET", "/v1/users/"+string(w.alice.ID)+"/presence", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+token)
	b.ReportAllocs()
	for b.Loop() {
		answer := &discardResponse{header: make(http.Header)}
		w.router.ServeHTTP(answer, r)
		if answer.status != 200 {
			b.Fatal(answer)
		}
	}
}
