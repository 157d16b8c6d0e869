package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func (w *world) signIn(path, token, body string, headers ...string) api.Session {
	w.t.Helper()
	var s api.Session
	x := w.do("POST", path, token, body, headers...).want(http.StatusCreated).read(&s)
	if x.header.Get("Location") != "/v1/sessions/"+s.ID {
		w.t.Errorf("Location is %q", x.header.Get("Location"))
	}
	return s
}

func (w *world) presence(user, token string) api.Presence {
	w.t.Helper()
	var p api.Presence
	w.do("GET", "/v1/users/"+user+"/presence", token, "").want(200).read(&p)
	return p
}

// TestClientTypes: an unknown client type is stored unchanged and treated as desktop.
func TestClientTypes(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "session:write session:read presence:read")
	for _, word := range []string{"desktop", "web", "pzr", "fridge"} {
		s := w.signIn("/v1/sessions", token, `{"client_type":"`+word+`"}`)
		var read api.Session
		w.do("GET", "/v1/sessions/"+s.ID, token, "").want(200).read(&read)
		if s.ClientType != word || read.ClientType != word {
			t.Errorf("%s: signed in as %q, read as %q", word, s.ClientType, read.ClientType)
		}
		if p := w.presence("me", token); p.Status != api.Available {
			t.Errorf("%s: %+v", word, p)
		}
		w.do("DELETE", "/v1/sessions/"+s.ID, token, "").want(204)
	}
}

func TestSessionLifecycle(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "session:write session:read presence:read")

	s := w.signIn("/v1/sessions", token, `{"client_type":"desktop","client_version":"6.0.2"}`)
	if s.User != string(w.alice.ID) || !s.Active || s.LeaseSeconds != 120 || s.EndsAt.Sub(w.clock()) != 2*time.Minute {
		t.Errorf("signed in as %+v", s)
	}
	if p := w.presence("me", token); p.Status != api.Available {
		t.Errorf("after the sign-in: %+v", p)
	}

	w.advance(time.Minute)
	var again api.Session
	w.do("PATCH", "/v1/sessions/"+s.ID, token, `{}`).want(200).read(&again)
	if got := again.EndsAt.Sub(w.clock()); got != 2*time.Minute {
		t.Errorf("after a refresh the session expires in %v", got)
	}
	w.do("PATCH", "/v1/sessions/"+s.ID, token, `{"active":false,"lease_seconds":60}`).want(200).read(&again)
	if again.Active || again.LeaseSeconds != 60 || again.EndsAt.Sub(w.clock()) != time.Minute {
		t.Errorf("idle: %+v", again)
	}
	if p := w.presence("alice@example.com", token); p.Status != api.Away {
		t.Errorf("idle: %+v", p)
	}
	w.do("PATCH", "/v1/sessions/"+s.ID, token, `{"active":true}`).want(200).read(&again)
	if !again.Active || again.IdleAt.Sub(w.clock()) != 15*time.Minute {
		t.Errorf("active: %+v", again)
	}
	var read api.Session
	if w.do("GET", "/v1/sessions/"+s.ID, token, "").want(200).read(&read); read != again {
		t.Errorf("read %+v, want %+v", read, again)
	}

	w.do("DELETE", "/v1/sessions/"+s.ID, token, "").want(http.StatusNoContent)
	w.do("DELETE", "/v1/sessions/"+s.ID, token, "").problem(&api.NoSession)
	w.do("PATCH", "/v1/sessions/"+s.ID, token, `{}`).problem(&api.NoSession)
	w.do("GET", "/v1/sessions/"+s.ID, token, "").problem(&api.NoSession)
	if p := w.presence("me", token); p.Status != api.Offline {
		t.Errorf("after the sign-out: %+v", p)
	}
}

func TestSessionsAreListedInPages(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := make(map[string]bool)
	for range 5 {
		made[w.signIn("/v1/users/bob@example.com/sessions", admin, `{"client_type":"mobile"}`).ID] = true
	}
	path, pages := "/v1/users/bob@example.com/sessions?limit=2", 0
	for next := path; next != ""; pages++ {
		var list api.Sessions
		w.do("GET", next, admin, "").want(200).read(&list)
		for _, s := range list.Sessions {
			if !made[s.ID] || s.App == "" {
				t.Errorf("unexpected %+v", s)
			}
			delete(made, s.ID)
		}
		next = ""
		if list.Next != "" {
			next = path + "&after=" + list.Next
		}
	}
	if len(made) != 0 || pages != 3 {
		t.Errorf("%d sessions not listed in %d pages", len(made), pages)
	}
	var own api.Sessions
	w.do("GET", "/v1/sessions", admin, "").want(200).read(&own)
	if len(own.Sessions) != 0 {
		t.Errorf("the owner has %d sessions", len(own.Sessions))
	}
	w.do("GET", path+"&after=nonsense!", admin, "").problem(&api.CursorInvalid)
	w.advance(3 * time.Minute)
	var ended api.Sessions
	if w.do("GET", path, admin, "").want(200).read(&ended); len(ended.Sessions) != 0 {
		t.Error("sessions that have ended are listed")
	}
}

func TestSignInErrors(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "session:write")
	for body, field := range map[string]string{
		`{}`:                    "client_type",
		`{"client_type":""}`:    "client_type",
		`{"client_type":"A B"}`: "client_type",
		`{"client_type":7}`:     "client_type",
		`{"client_type":"web","client_version":"\u0000"}`: "client_version",
		`{"client_type":"web","lease_seconds":0}`:         "lease_seconds",
		`{"client_type":"web","lease_seconds":29}`:        "lease_seconds",
		`{"client_type":"web","lease_seconds":3601}`:      "lease_seconds",
		`{"client_type":"web","lease_seconds":1e400}`:     "lease_seconds",
		`{"client_type":"web","lease_seconds":60.5}`:      "lease_seconds",
		`{"client_type":"web","colour":"red"}`:            "colour",
		`{"client_type":"web","client_type":"web"}`:       "client_type",
	} {
		if p := w.do("POST", "/v1/sessions", token, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q, want %q", body, p.Field, field)
		}
	}
	for _, body := range []string{`[]`, `{`, `{} {}`, `"x"`, "{\"client_type\":\"\xff\"}", strings.Repeat("[", 40)} {
		w.do("POST", "/v1/sessions", token, body).problem(&api.Malformed)
	}
	w.do("POST", "/v1/sessions", token, "").problem(&api.UnsupportedMediaType)
	w.do("POST", "/v1/sessions", token, "a=b", "Content-Type", "application/x-www-form-urlencoded").problem(&api.UnsupportedMediaType)
	w.do("POST", "/v1/sessions", token, `{"client_type":"web"}`, "Content-Encoding", "gzip").problem(&api.UnsupportedMediaType)
	w.do("POST", "/v1/sessions", token, `{"client_type":"`+strings.Repeat("x", 1<<16)+`"}`).problem(&api.BodyTooLarge)
}

// TestSessionsAreLimitedByApp: an app that never signs out replaces only its own
// sessions, first those that expire first, and not the user's other sessions.
func TestSessionsAreLimitedByApp(t *testing.T) {
	w := newWorld(t)
	admin, token := w.admin(), w.token(w.alice.ID, "session:write session:read")
	path := "/v1/users/alice@example.com/sessions"
	var cron []api.Session
	for range 33 {
		cron = append(cron, w.signIn(path, admin, `{"client_type":"web","lease_seconds":3600}`))
		w.advance(time.Millisecond)
	}
	phone := w.signIn("/v1/sessions", token, `{"client_type":"mobile"}`)
	w.signIn(path, admin, `{"client_type":"web","lease_seconds":3600}`)
	var list api.Sessions
	if w.do("GET", "/v1/sessions?limit=100", token, "").want(200).read(&list); len(list.Sessions) != 33 {
		t.Errorf("%d sessions, want 32 of the app and the phone", len(list.Sessions))
	}
	w.do("PATCH", "/v1/sessions/"+phone.ID, token, `{}`).want(200)
	for _, gone := range cron[:2] {
		w.do("PATCH", "/v1/sessions/"+gone.ID, admin, `{"active":true}`).problem(&api.SessionReplaced)
		w.do("DELETE", "/v1/sessions/"+gone.ID, admin, "").problem(&api.NoSession)
	}
	var batch api.RefreshResults
	w.do("POST", "/v1/sessions/refresh", admin, fmt.Sprintf(`{"sessions":[{"id":%q},{"id":%q}]}`, cron[0].ID, cron[2].ID)).want(200).read(&batch)
	if got := batch.Results; got[0].Status != 404 || got[0].Problem.Type != api.SessionReplaced.Type() || got[1].Status != 200 {
		t.Errorf("%+v", got)
	}
}

// TestSignInIdle: a sign-in may report that the user is idle: the user is away
// immediately, in one commit.
func TestSignInIdle(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "session:write session:read presence:read claim:write")
	x := w.do("POST", "/v1/sessions", token, `{"client_type":"desktop","active":false}`).want(201)
	var s api.Session
	x.read(&s)
	if s.Active || s.IdleAt.Compare(w.clock()) > 0 {
		t.Errorf("%+v", s)
	}
	if p := w.presence("me", token); p.Status != api.Away || !strings.HasPrefix(x.header.Get("Etag"), fmt.Sprintf(`"%d`, p.Revision)) {
		t.Errorf("%+v, and the sign-in's revision is %s", p, x.header.Get("Etag"))
	}
	w.do("PUT", "/v1/users/me/claims/manual", token, `{"source":"manual","status":"away"}`).want(200)
	w.signIn("/v1/sessions", token, `{"client_type":"web","active":false}`)
	w.signIn("/v1/users/me/sessions", token, `{"client_type":"web","active":false}`)
	if p := w.presence("me", token); p.Status != api.Away {
		t.Errorf("%+v", p)
	}
	w.do("DELETE", "/v1/users/me/claims/manual", token, "").want(204) // the claim still exists
	w.signIn("/v1/sessions", token, `{"client_type":"web","active":true}`)
	if p := w.presence("me", token); p.Status != api.Available {
		t.Errorf("%+v", p)
	}
	if p := w.do("POST", "/v1/sessions", token, `{"client_type":"web","active":"no"}`).problem(&api.InvalidField); p.Field != "active" {
		t.Errorf("%+v", p)
	}
}

// TestSignInsAreIdempotent: a repeated sign-in with the same key returns the same
// session, also if the session has ended since.
func TestSignInsAreIdempotent(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "session:write session:read")
	body := `{"client_type":"desktop","lease_seconds":60}`
	first := w.do("POST", "/v1/sessions", token, body, "Idempotency-Key", "k1").want(201)
	again := w.do("POST", "/v1/sessions", token, body, "Idempotency-Key", "k1").want(201)
	if again.body != first.body || again.header.Get("Location") != first.header.Get("Location") || again.header.Get("Etag") != first.header.Get("Etag") {
		t.Errorf("first %s, then %s", first.body, again.body)
	}
	if first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("Idempotency-Replayed is missing in the repeat, or set in the first response")
	}
	w.do("POST", "/v1/sessions", token, `{"client_type":"mobile"}`, "Idempotency-Key", "k1").problem(&api.KeyReused)
	w.do("POST", "/v1/sessions", token, body, "Idempotency-Key", strings.Repeat("k", 129)).problem(&api.Malformed)

	var s, ended api.Session
	first.read(&s)
	w.do("DELETE", "/v1/sessions/"+s.ID, token, "").want(204)
	w.do("POST", "/v1/sessions", token, body, "Idempotency-Key", "k1").want(201).read(&ended)
	if ended.ID != s.ID || ended.ClientType != "desktop" || ended.LeaseSeconds != 60 || ended.Active {
		t.Errorf("repeating the sign-in of an ended session: %+v", ended)
	}
	var list api.Sessions
	if w.do("GET", "/v1/sessions", token, "").want(200).read(&list); len(list.Sessions) != 0 {
		t.Errorf("the repeat created a session: %+v", list)
	}
}

func TestIfMatch(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "session:write session:read")
	x := w.do("POST", "/v1/sessions", token, `{"client_type":"web"}`).want(201)
	var s api.Session
	x.read(&s)
	tag := x.header.Get("Etag")
	w.do("DELETE", "/v1/sessions/"+s.ID, token, "", "If-Match", `"1"`).problem(&api.PreconditionFailed)
	w.do("DELETE", "/v1/sessions/"+s.ID, token, "", "If-Match", `nonsense`).problem(&api.Malformed)
	w.do("PATCH", "/v1/sessions/"+s.ID, token, `{"active":false}`, "If-Match", `"1", `+tag).want(200)
	w.do("DELETE", "/v1/sessions/"+s.ID, token, "", "If-Match", tag).problem(&api.PreconditionFailed)
	w.do("DELETE", "/v1/sessions/"+s.ID, token, "", "If-Match", "*").want(204)
}

func TestRefreshBatch(t *testing.T) {
	w := newWorld(t)
	admin, own := w.admin(), w.token(w.alice.ID, "session:write")
	alice := w.signIn("/v1/users/alice@example.com/sessions", admin, `{"client_type":"web"}`)
	bob := w.signIn("/v1/users/bob@example.com/sessions", admin, `{"client_type":"web"}`)
	w.advance(90 * time.Second)
	body := fmt.Sprintf(`{"sessions":[{"id":%q,"active":true},{"id":%q},{"id":"nonsense"}]}`, alice.ID, bob.ID)
	for token, want := range map[string][3]int{admin: {200, 200, 404}, own: {200, 404, 404}} {
		var got api.RefreshResults
		w.do("POST", "/v1/sessions/refresh", token, body).want(200).read(&got)
		for i, result := range got.Results {
			if result.Status != want[i] || (result.Problem != nil) != (want[i] == 404) {
				t.Errorf("item %d: %+v, want %d", i, result, want[i])
			}
			if result.Status == 200 && result.EndsAt.Sub(w.clock()) != 2*time.Minute {
				t.Errorf("item %d expires in %v", i, result.EndsAt.Sub(w.clock()))
			}
		}
	}
	for body, field := range map[string]string{
		`{"sessions":[]}`: "sessions",
		`{}`:              "sessions",
		`{"sessions":[{"id":"` + bob.ID + `"},{"id":"` + bob.ID + `"}]}`:       "sessions[1].id",
		`{"sessions":[{"active":true}]}`:                                       "sessions[0].id",
		`{"sessions":[{"id":"x","lease_seconds":30}]}`:                         "sessions[0].lease_seconds",
		`{"sessions":[` + strings.Repeat(`{"id":"x"},`, 1000) + `{"id":"y"}]}`: "sessions",
	} {
		if p := w.do("POST", "/v1/sessions/refresh", admin, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("the field is %q, want %q", p.Field, field)
		}
	}
}

// TestFullRefreshBatch: a batch of a thousand items, the documented limit, is accepted.
func TestFullRefreshBatch(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	items := make([]string, 1000)
	for i := range items {
		items[i] = fmt.Sprintf(`{ "id": "FktEY3VHSW0xUWdlUFRPOFdiT3F3SVEwMTIzNDU2Nzg5MDEyMw%04d", "active": false }`, i)
	}
	var got api.RefreshResults
	w.do("POST", "/v1/sessions/refresh", admin, `{"sessions":[`+strings.Join(items, ", ")+`]}`).want(200).read(&got)
	if len(got.Results) != 1000 || got.Results[999].Status != 404 {
		t.Errorf("%d results, the last %+v", len(got.Results), got.Results[len(got.Results)-1])
	}
}

// TestHeldSessionOnTheWire: a session that a connection holds has no end, however it is
// read or refreshed.
func TestHeldSessionOnTheWire(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "session:write session:read presence:read")
	b, err := w.api.Publisher.SignIn(t.Context(), store.User{Account: w.account, ID: w.alice.ID}, store.Actor{User: w.alice.ID},
		presence.SignIn{Session: "held", Client: presence.Desktop}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	path := "/v1/sessions/" + httpapi.SessionRef(w.alice.ID, b.Session())
	w.advance(10 * time.Minute)
	var s api.Session
	for _, x := range []*exchange{
		w.do("GET", path, token, "").want(200),
		w.do("PATCH", path, token, `{"active":true}`).want(200),
		w.do("PATCH", path, token, `{}`).want(200),
	} {
		x.read(&s)
		if !s.Active || !s.EndsAt.IsZero() || !strings.Contains(x.body, `"ends_at":null`) {
			t.Errorf("%+v: %s", s, x.body)
		}
	}
	var list api.Sessions
	w.do("GET", "/v1/users/me/sessions", token, "").want(200).read(&list)
	if len(list.Sessions) != 1 || !list.Sessions[0].EndsAt.IsZero() {
		t.Errorf("%+v", list)
	}
	var batch api.RefreshResults
	x := w.do("POST", "/v1/sessions/refresh", token, `{"sessions":[{"id":"`+s.ID+`"}]}`).want(200).read(&batch)
	if len(batch.Results) != 1 || batch.Results[0].Status != 200 || strings.Contains(x.body, "ends_at") {
		t.Errorf("%s", x.body)
	}
	var why api.Explanation
	w.do("GET", "/v1/users/me/presence/explain", token, "").want(200).read(&why)
	if len(why.Sessions) != 1 || !why.Sessions[0].EndsAt.IsZero() || why.Sessions[0].Why != "active; lasts as long as its connection" {
		t.Errorf("%+v", why.Sessions)
	}
}
