package server_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// TestStreamsFollowMembers: over each transport, and over connections that break, a client
// has the same members and presences as GET /v1/presence while users join and leave the
// group, hide, are created, deactivated and deleted.
func TestStreamsFollowMembers(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 6)
	token := r.createToken(t, ids[0], "presence:read").Secret
	ctx, stop := context.WithCancel(t.Context())
	all := make(map[string]*watcher)
	done := make(chan struct{})
	for name, audience := range map[string]url.Values{"everyone": {"everyone": {"true"}}, "group": {"group": {"half 1"}}} {
		for over := range routes {
			for _, cutAfter := range []int{neverCut, 3000} {
				w := r.watcher(token, nil)
				w.audience, w.changing, w.unfiltered = audience, true, false
				all[fmt.Sprint(name, " over ", over, " cut after ", cutAfter)] = w
				go func() {
					for ctx.Err() == nil {
						_, _ = w.connect(ctx, over, cutAfter)
					}
					done <- struct{}{}
				}()
			}
		}
	}
	defer func() {
		stop()
		for range all {
			<-done
		}
	}()
	change := func(id string, to api.UpdateUser) {
		if _, err := r.client.UpdateUser(ctx, id, to); err != nil {
			t.Fatal(err)
		}
	}
	groups := func(names ...string) api.UpdateUser {
		set := append([]string{}, names...)
		return api.UpdateUser{Groups: &set}
	}
	active := func(is bool) api.UpdateUser { return api.UpdateUser{Active: &is} }
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"a join", func() { change(ids[0], groups("Half 1")) }},
		{"a departure", func() { change(ids[1], groups("Half 0")) }},
		{"a new user", func() {
			u, err := r.client.CreateUser(ctx, api.CreateUser{Email: "new@example.com", Groups: []string{"HALF 1"}})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, u.ID)
		}},
		{"a hidden member", func() {
			rules := api.Visibility{Everyone: api.VisibilityOffline, Groups: map[string]api.VisibilityLevel{}, Watchers: map[string]api.VisibilityLevel{}}
			if _, err := r.client.SetVisibility(ctx, ids[3], rules); err != nil {
				t.Fatal(err)
			}
			if _, err := r.client.SetNote(ctx, ids[3], api.SetNote{Text: "secret"}); err != nil {
				t.Fatal(err)
			}
		}},
		{"a deactivation", func() { change(ids[5], active(false)) }},
		{"an activation", func() { change(ids[5], active(true)) }},
		{"a deletion", func() {
			if err := r.client.DeleteUser(ctx, ids[3]); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		step.do()
		for name, w := range all {
			began := time.Now()
			for late := w.memberDifference(ctx, t); late != ""; late = w.memberDifference(ctx, t) {
				if time.Since(began) > waitLimit {
					t.Fatalf("%s, after %s: %s", name, step.name, late)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	for name, w := range all {
		w.mu.Lock()
		for _, what := range w.violations {
			t.Errorf("%s: %s", name, what)
		}
		w.mu.Unlock()
	}
}

// memberDifference compares what the watcher has with the list of the same users.
func (w *watcher) memberDifference(ctx context.Context, t *testing.T) string {
	t.Helper()
	c, err := client.New(w.url, client.StaticToken(w.token), nil)
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]api.Presence)
	for u, err := range c.List(ctx, client.ListOptions{Group: w.audience.Get("group")}) {
		if err != nil {
			t.Fatal(err)
		}
		listed[u.User] = api.Presence{User: u.User, Status: u.Status, Note: u.Note, Since: u.Since, Until: u.Until, Revision: u.Revision}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if maps.Equal(listed, w.has) {
		return ""
	}
	return fmt.Sprintf("GET lists %v, the watcher has %v", listed, w.has)
}

// A WebSocket follows and unfollows members like other users.
func TestFollowFramesOfMembers(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 2)
	header := http.Header{"Authorization": {"Bearer " + r.createToken(t, ids[0], "presence:read").Secret}}
	conn, _, err := websocket.Dial(t.Context(), r.URL()+"/v1/stream", &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	next := func() (f api.ServerFrame) {
		if err := wsjson.Read(t.Context(), conn, &f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	next() // the hello
	for _, step := range []struct{ send, want string }{
		{`{"type":"follow","id":"1","group":"Half 1"}`, "snapshot 1 1"},
		{`{"type":"follow","id":"2","group":"nobody"}`, "snapshot 2 0"},
		{`{"type":"follow","id":"3","everyone":true}`, "snapshot 3 3"},
		{`{"type":"unfollow","id":"4","everyone":true}`, "done 4 0"},
		{`{"type":"unfollow","id":"5","group":"HALF 1"}`, "done 5 0"},
		{`{"type":"follow","id":"6"}`, "error 6 0"},
		{`{"type":"follow","id":"7","group":"a\nb"}`, "error 7 0"},
	} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(step.send)); err != nil {
			t.Fatal(err)
		}
		f := next()
		if got := fmt.Sprint(f.Type, " ", f.ID, " ", len(f.Presences)); got != step.want {
			t.Errorf("%s: %s, want %s (%+v)", step.send, got, step.want, f)
		}
	}
}
