package httpapi_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
)

func TestClaims(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.signIn("/v1/users/alice@example.com/sessions", admin, `{"client_type":"desktop","lease_seconds":3600}`)
	path := "/v1/users/alice@example.com/claims/"
	var got api.ClaimResult

	w.do("PUT", path+"manual", admin, `{"source":"manual","status":"busy","note":"Writing"}`).want(200).read(&got)
	if got.Claim == nil || got.Why != "wins" || got.Presence.Status != api.Busy || got.Presence.Note != "Writing" || got.Claim.App != string(w.app) {
		t.Errorf("busy: %+v", got)
	}
	if until := got.Claim.Until.Sub(w.clock()); until != 24*time.Hour {
		t.Errorf("manual busy ends in %v", until)
	}
	w.do("PUT", path+"m%2F1", admin, `{"source":"meeting","status":"in_meeting","duration_seconds":600}`).want(200).read(&got)
	if got.Claim.ID != "m/1" || got.Presence.Status != api.InMeeting || got.Presence.Until.Sub(w.clock()) != 10*time.Minute {
		t.Errorf("a meeting: %+v", got)
	}
	w.do("PUT", path+"c1", admin, `{"source":"calendar","status":"in_calendar_event","until":"2026-03-01T12:00:00+01:00"}`).want(200).read(&got)
	if got.Claim.Until.String() != "2026-03-01T11:00:00.000Z" || !strings.HasPrefix(got.Why, "loses to") {
		t.Errorf("a calendar event: %+v", got)
	}
	w.do("PUT", path+"manual", admin, `{"source":"manual","status":"available"}`).want(200).read(&got)
	if got.Claim != nil || got.Presence.Status != api.InMeeting || got.Why == "" {
		t.Errorf("available: %+v", got)
	}

	var page api.Claims
	w.do("GET", path[:len(path)-1]+"?limit=1", admin, "").want(200).read(&page)
	if len(page.Claims) != 1 || page.Claims[0].ID != "c1" || page.Next != "c1" {
		t.Errorf("the first page: %+v", page)
	}
	page.Next = ""
	w.do("GET", path[:len(path)-1]+"?after=c1", admin, "").want(200).read(&page)
	if len(page.Claims) != 1 || page.Claims[0].ID != "m/1" || page.Next != "" {
		t.Errorf("the second page: %+v", page)
	}

	w.do("DELETE", path+"m%2F1", admin, "", "Idempotency-Key", "end").want(204)
	if x := w.do("DELETE", path+"m%2F1", admin, "", "Idempotency-Key", "end").want(204); x.header.Get("Idempotency-Replayed") != "true" {
		t.Error("the repeat has no Idempotency-Replayed")
	}
	w.do("DELETE", path+"c1", admin, "", "Idempotency-Key", "end").problem(&api.KeyReused)
	w.do("DELETE", path+"m%2F1", admin, "").problem(&api.NoClaim)
	if p := w.presence("alice@example.com", admin); p.Status != api.Available {
		t.Errorf("after all claims ended: %+v", p)
	}
}

func TestClaimIsIdempotent(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "claim:write session:write")
	w.signIn("/v1/sessions", token, `{"client_type":"web"}`)
	body := `{"source":"manual","status":"do_not_disturb","duration_seconds":60}`
	first := w.do("PUT", "/v1/users/me/claims/manual", token, body, "Idempotency-Key", "k").want(200)
	w.advance(30 * time.Second)
	again := w.do("PUT", "/v1/users/me/claims/manual", token, body, "Idempotency-Key", "k").want(200)
	if first.body != again.body || first.header.Get("Etag") != again.header.Get("Etag") || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("first %s\nthen %s", first.body, again.body)
	}
	// The same user by id is the same request.
	byID := w.do("PUT", "/v1/users/"+string(w.alice.ID)+"/claims/manual", token, body, "Idempotency-Key", "k").want(200)
	if byID.header.Get("Idempotency-Replayed") != "true" {
		t.Error("the request by id is not treated as a repeat")
	}
	w.do("PUT", "/v1/users/me/claims/other", token, `{"source":"app","status":"do_not_disturb","duration_seconds":60}`, "Idempotency-Key", "k").problem(&api.KeyReused)
	w.do("PUT", "/v1/users/me/claims/manual", token, body, "If-Match", `"1"`).problem(&api.PreconditionFailed)
}

func TestClaimErrors(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "claim:write")
	for _, c := range []struct{ id, body, field string }{
		{"manual", `{"source":"manual"}`, "status"},
		{"manual", `{"source":"manual","status":"asleep"}`, "status"},
		{"manual", `{"source":"manual","status":"offline"}`, "status"},
		{"manual", `{"source":"manual","status":"Busy"}`, "status"},
		{"manual", `{"source":"manual","status":3}`, "status"},
		{"x", `{"source":"app","status":"available"}`, "status"},
		{"x", `{"source":"manual","status":"busy"}`, "source"},
		{"manual", `{"source":"app","status":"busy"}`, "source"},
		{"x", `{"source":"","status":"busy"}`, "source"},
		{"x", `{"source":"app","status":"busy","until":"tomorrow"}`, "until"},
		{"x", `{"source":"app","status":"busy","until":5}`, "until"},
		{"x", `{"source":"app","status":"busy","until":"2026-02-01T00:00:00Z"}`, "until"},
		{"x", `{"source":"app","status":"busy","until":"2028-01-01T00:00:00Z"}`, "until"},
		{"x", `{"source":"app","status":"busy","until":"2026-03-02T00:00:00Z","duration_seconds":5}`, "until"},
		{"x", `{"source":"app","status":"busy","since":"1969-01-01T00:00:00Z"}`, "since"},
		{"x", `{"source":"app","status":"busy","since":"x"}`, "since"},
		{"x", `{"source":"app","status":"busy","duration_seconds":0}`, "duration_seconds"},
		{"x", `{"source":"app","status":"busy","duration_seconds":-1}`, "duration_seconds"},
		{"x", `{"source":"app","status":"busy","duration_seconds":9223372036854775807}`, "duration_seconds"},
		{"x", `{"source":"app","status":"busy","duration_seconds":92233720368547758079}`, "duration_seconds"},
		{"manual", `{"source":"manual","status":"do_not_disturb","duration_seconds":86401}`, "duration_seconds"},
		{"manual", `{"source":"manual","status":"do_not_disturb","duration_seconds":30}`, "duration_seconds"},
		{"focus", `{"source":"app","status":"do_not_disturb","duration_seconds":59}`, "duration_seconds"},
		{"x", `{"source":"app","status":"busy","note":"two\nlines"}`, "note"},
		{"x", `{"source":"app","status":"busy","note":"` + strings.Repeat("é", 281) + `"}`, "note"},
		{strings.Repeat("x", 129), `{"source":"app","status":"busy"}`, "id"},
		{"%0a", `{"source":"app","status":"busy"}`, "id"},
	} {
		if p := w.do("PUT", "/v1/users/me/claims/"+c.id, token, c.body).problem(&api.InvalidField); p.Field != c.field {
			t.Errorf("%s: the field is %q, want %q", c.body, p.Field, c.field)
		}
	}
	if p := w.do("PUT", "/v1/users/me/claims/x", token, `{"source":"app","status":"busy","until":"x"}`).problem(&api.InvalidField); !strings.Contains(p.Detail, "RFC 3339") {
		t.Error(p.Detail)
	}
	for i := range 64 {
		w.do("PUT", "/v1/users/me/claims/c"+strconv.Itoa(i), token, `{"source":"app","status":"busy"}`).want(200)
	}
	if p := w.do("PUT", "/v1/users/me/claims/more", token, `{"source":"app","status":"busy"}`).problem(&api.LimitReached); p.Limit != 64 || p.Detail != "A user has at most 64 claims made by one app." {
		t.Errorf("%+v", p)
	}
	w.do("PUT", "/v1/users/me/claims/manual", token, `{"source":"manual","status":"do_not_disturb"}`).want(200)
	w.do("PUT", "/v1/users/alice@example.com/claims/more", w.admin(), `{"source":"app","status":"busy"}`).want(200) // another app
}

// TestIdempotencyKeysOfEachApp: the last eight keys of an app are kept, and keys of
// another app evict none.
func TestIdempotencyKeysOfEachApp(t *testing.T) {
	w := newWorld(t)
	scopes, err := w.authority.ParseScopes(everything)
	w.must(err)
	other, _, err := w.authority.CreateApp(t.Context(), w.account, "Other", scopes)
	w.must(err)
	_, another, err := w.authority.Issue(t.Context(), w.account, auth.Token{App: other.ID, Scopes: scopes}, 0)
	w.must(err)
	admin := w.admin()
	set := func(token string, key int) *exchange {
		return w.do("PUT", "/v1/users/alice@example.com/claims/x", token, `{"source":"app","status":"busy"}`, "Idempotency-Key", strconv.Itoa(key)).want(200)
	}
	replayed := func(x *exchange) bool { return x.header.Get("Idempotency-Replayed") == "true" }
	for key := range 8 {
		set(admin, key)
	}
	for key := range 20 {
		set(another, key)
	}
	for key := range 8 {
		if !replayed(set(admin, key)) {
			t.Errorf("key %d was evicted", key)
		}
	}
	if replayed(set(admin, 8)) || replayed(set(admin, 0)) || !replayed(set(admin, 3)) {
		t.Error("the ninth key does not evict the first")
	}
	w.advance(24 * time.Hour)
	if replayed(set(admin, 3)) {
		t.Error("the key is kept for longer than a day")
	}
}

func TestNotes(t *testing.T) {
	w := newWorld(t)
	token := w.token(w.alice.ID, "claim:write presence:read session:write")
	w.signIn("/v1/sessions", token, `{"client_type":"web"}`)
	var got api.NoteResult
	w.do("PUT", "/v1/users/me/note", token, `{"text":"Back \"soon\"","until":"2026-03-01T10:00:00Z"}`).want(200).read(&got)
	if got.Note == nil || got.Note.Until.String() != "2026-03-01T10:00:00.000Z" || got.Presence.Note != `Back "soon"` {
		t.Errorf("%+v", got)
	}
	if p := w.presence("me", token); p.Note != `Back "soon"` {
		t.Errorf("%+v", p)
	}
	w.do("PUT", "/v1/users/me/note", token, `{"text":"Here"}`, "Idempotency-Key", "n").want(200)
	if x := w.do("PUT", "/v1/users/me/note", token, `{"text":"Here"}`, "Idempotency-Key", "n").want(200); x.header.Get("Idempotency-Replayed") != "true" {
		t.Error("the repeat has no Idempotency-Replayed")
	}
	w.do("DELETE", "/v1/users/me/note", token, "").want(204)
	w.do("DELETE", "/v1/users/me/note", token, "").want(204)
	if p := w.presence("me", token); p.Note != "" {
		t.Errorf("%+v", p)
	}
	for body, field := range map[string]string{
		`{"text":""}`:     "text",
		`{}`:              "text",
		`{"text":"a\tb"}`: "text",
		`{"text":"a","until":"2020-01-01T00:00:00Z"}`: "until",
	} {
		if p := w.do("PUT", "/v1/users/me/note", token, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q, want %q", body, p.Field, field)
		}
	}
}

func TestDeactivatedUserIsRefused(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	s := w.signIn("/v1/users/bob@example.com/sessions", admin, `{"client_type":"web"}`)
	w.do("PATCH", "/v1/users/bob@example.com", admin, `{"active":false}`).want(200)
	w.do("POST", "/v1/users/bob@example.com/sessions", admin, `{"client_type":"web"}`).problem(&api.Deactivated)
	w.do("PATCH", "/v1/sessions/"+s.ID, admin, `{}`).problem(&api.Deactivated)
	w.do("DELETE", "/v1/sessions/"+s.ID, admin, "").problem(&api.Deactivated)
	w.do("PUT", "/v1/users/bob@example.com/claims/x", admin, `{"source":"app","status":"busy"}`).problem(&api.Deactivated)
	w.do("PUT", "/v1/users/bob@example.com/note", admin, `{"text":"x"}`).problem(&api.Deactivated)
	if p := w.presence("bob@example.com", admin); p.Status != api.Offline {
		t.Errorf("%+v", p)
	}
}
