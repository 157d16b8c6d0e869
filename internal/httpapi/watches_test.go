package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/watch"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func TestWatches(t *testing.T) {
	if api.MaxWatches != watch.MaxPerOwner {
		t.Error("the documented limit differs from the enforced one")
	}
	w := newWorld(t)
	token := w.token(w.alice.ID, "presence:read")
	var made, got api.Watch
	x := w.do("POST", "/v1/watches", token, `{"user":"bob@example.com"}`).want(201).read(&made)
	if x.header.Get("Location") != "/v1/watches/"+made.ID {
		t.Errorf("Location is %q", x.header.Get("Location"))
	}
	if made.User != string(w.bob.ID) || made.UntilStatus != api.Available || !made.Fired.IsZero() || made.Status != "" ||
		!made.Created.Equal(w.clock()) || made.Expires.Sub(w.clock()) != 24*time.Hour {
		t.Errorf("made %+v", made)
	}
	if w.do("GET", "/v1/watches/"+made.ID, token, "").want(200).read(&got); got != made {
		t.Errorf("got %+v, made %+v", got, made)
	}
	w.do("DELETE", "/v1/watches/"+made.ID, token, "").want(204)
	w.do("DELETE", "/v1/watches/"+made.ID, token, "").problem(&api.NoWatch)
	w.do("GET", "/v1/watches/"+made.ID, token, "").problem(&api.NoWatch)
	w.do("GET", "/v1/watches/nonsense", token, "").problem(&api.NoWatch)
	w.do("GET", "/v1/watches/"+strings.Repeat("x", 2000), token, "").problem(&api.NoWatch)
}

// TestWatchFiresAtOnce: if the user already has the status, the watch in the response
// has fired, with the presence as the caller sees it.
func TestWatchFiresAtOnce(t *testing.T) {
	w := newWorld(t)
	admin, token := w.admin(), w.token(w.alice.ID, "presence:read")
	w.signIn("/v1/users/bob@example.com/sessions", admin, signInBody)
	w.do("PUT", "/v1/users/bob@example.com/note", admin, `{"text":"Here"}`).want(200)
	var made api.Watch
	w.do("POST", "/v1/watches", token, `{"user":"bob@example.com"}`).want(201).read(&made)
	if !made.Fired.Equal(w.clock()) || made.Status != api.Available || made.Note != "Here" {
		t.Errorf("available: %+v", made)
	}
	w.do("POST", "/v1/watches", token, `{"user":"owner@example.com","until_status":"offline"}`).want(201).read(&made)
	if made.Fired.IsZero() || made.Status != api.Offline {
		t.Errorf("offline: %+v", made)
	}
	w.publish(store.User{Account: w.account, ID: w.bob.ID}, presence.SetVisibility{Everyone: presence.VisibilityOffline})
	w.do("POST", "/v1/watches", token, `{"user":"bob@example.com"}`).want(201).read(&made)
	if !made.Fired.IsZero() {
		t.Errorf("hidden: %+v", made)
	}
}

func TestWatchExpiry(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "presence:read")
	for body, lifetime := range map[string]time.Duration{
		`{"user":"bob@example.com","expires_in_seconds":1}`:                                 time.Second,
		`{"user":"bob@example.com","expires_in_seconds":604800}`:                            7 * 24 * time.Hour,
		`{"user":"bob@example.com","expires":"2026-03-01T11:00:00+01:00"}`:                  time.Hour,
		`{"user":"bob@example.com","expires":"2026-03-08T09:00:00Z","until_status":"busy"}`: 7 * 24 * time.Hour,
	} {
		var made api.Watch
		w.do("POST", "/v1/watches", token, body).want(201).read(&made)
		if got := made.Expires.Sub(w.clock()); got != lifetime {
			t.Errorf("%s: expires after %v", body, got)
		}
	}
	w.advance(time.Minute)
	var list api.Watches
	if w.do("GET", "/v1/watches", token, "").want(200).read(&list); len(list.Watches) != 3 {
		t.Errorf("after a minute: %+v", list)
	}
}

func TestWatchErrors(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "presence:read")
	for body, field := range map[string]string{
		`{}`:          "user",
		`{"user":""}`: "user",
		`{"user":"bob@example.com","until_status":"asleep"}`:                                         "until_status",
		`{"user":"bob@example.com","until_status":"Available"}`:                                      "until_status",
		`{"user":"bob@example.com","expires":"tomorrow"}`:                                            "expires",
		`{"user":"bob@example.com","expires":"2026-03-01T09:00:00Z"}`:                                "expires",
		`{"user":"bob@example.com","expires":"2026-03-08T09:00:01Z"}`:                                "expires",
		`{"user":"bob@example.com","expires":"9999-03-08T09:00:01Z"}`:                                "expires",
		`{"user":"bob@example.com","expires":"2026-03-01T10:00:00Z","expires_in_seconds":5}`:         "expires",
		`{"user":"bob@example.com","expires_in_seconds":0}`:                                          "expires_in_seconds",
		`{"user":"bob@example.com","expires_in_seconds":604801}`:                                     "expires_in_seconds",
		`{"user":"bob@example.com","expires_in_seconds":9223372036854775807}`:                        "expires_in_seconds",
		`{"user":"bob@example.com","expires_in_seconds":-9223372036854775808,"until_status":"busy"}`: "expires_in_seconds",
	} {
		if p := w.do("POST", "/v1/watches", token, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q, want %q", body, p.Field, field)
		}
	}
	if p := w.do("POST", "/v1/watches", token, `{"user":"me","expires":"x"}`).problem(&api.InvalidField); !strings.Contains(p.Detail, "RFC 3339") {
		t.Error(p.Detail)
	}
	for _, user := range []string{"nobody", "nobody@example.com", string(w.stranger.ID), "stranger@example.net", string(w.deleted), strings.Repeat("x", 1000)} {
		w.do("POST", "/v1/watches", token, `{"user":"`+user+`"}`).problem(&api.NoUser)
	}
	for range api.MaxWatches {
		w.do("POST", "/v1/watches", token, `{"user":"bob@example.com"}`).want(201)
	}
	if p := w.do("POST", "/v1/watches", token, `{"user":"bob@example.com"}`).problem(&api.LimitReached); p.Limit != api.MaxWatches {
		t.Errorf("%+v", p)
	}
}

func TestWatchesArePaged(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "presence:read")
	w.do("POST", "/v1/watches", w.token(w.bob.ID, "presence:read"), `{"user":"me"}`).want(201)
	for range 5 {
		w.do("POST", "/v1/watches", token, `{"user":"bob@example.com"}`).want(201)
	}
	seen, after := 0, ""
	for {
		var list api.Watches
		w.do("GET", "/v1/watches?limit=2"+after, token, "").want(200).read(&list)
		seen += len(list.Watches)
		if list.Next == "" {
			break
		}
		after = "&after=" + list.Next
	}
	if seen != 5 {
		t.Errorf("%d watches on all pages", seen)
	}
	w.do("GET", "/v1/watches?after="+strings.Repeat("x", 340), token, "").want(200)
	w.do("GET", "/v1/watches?after="+strings.Repeat("x", 600), token, "").problem(&api.CursorInvalid)
}

// TestWatchOwner: a watch belongs to its owner and account. Watches of account-level
// tokens belong to the account's owner.
func TestWatchOwner(t *testing.T) {
	w := newWorld(t)
	var made, got api.Watch
	w.do("POST", "/v1/watches", w.token(w.alice.ID, "presence:read"), `{"user":"bob@example.com"}`).want(201).read(&made)
	for _, token := range []string{w.token(w.bob.ID, "presence:read:admin"), w.admin(), w.foreignToken()} {
		w.do("GET", "/v1/watches/"+made.ID, token, "").problem(&api.NoWatch)
		w.do("DELETE", "/v1/watches/"+made.ID, token, "").problem(&api.NoWatch)
		var list api.Watches
		if w.do("GET", "/v1/watches", token, "").want(200).read(&list); len(list.Watches) != 0 {
			t.Errorf("%+v", list)
		}
	}
	w.do("POST", "/v1/watches", w.admin(), `{"user":"bob@example.com"}`).want(201).read(&made)
	w.do("GET", "/v1/watches/"+made.ID, w.token(w.owner, "presence:read"), "").want(200).read(&got)
	if got != made {
		t.Errorf("the owner has %+v, want %+v", got, made)
	}
}

// foreignToken returns a token of the other account.
func (w *world) foreignToken() string {
	w.t.Helper()
	scopes, err := w.authority.ParseScopes("presence:read:admin")
	w.must(err)
	app, _, err := w.authority.CreateApp(w.t.Context(), w.other, "Other", scopes)
	w.must(err)
	_, secret, err := w.authority.Issue(w.t.Context(), w.other, auth.Token{App: app.ID, User: w.stranger.ID, Scopes: scopes}, 0)
	w.must(err)
	return secret
}
