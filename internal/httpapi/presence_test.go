package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/store"
)

func TestReadPresence(t *testing.T) {
	w := newWorld(t)
	admin, own, other := w.admin(), w.token(w.alice.ID, "presence:read"), w.token(w.bob.ID, "presence:read")
	w.signIn("/v1/users/alice@example.com/sessions", admin, `{"client_type":"web","lease_seconds":3600}`)
	w.do("PUT", "/v1/users/alice@example.com/claims/manual", admin, `{"source":"manual","status":"do_not_disturb"}`).want(200)

	path := "/v1/users/" + string(w.alice.ID) + "/presence"
	for token, unfiltered := range map[string]bool{admin: true, own: true, other: false} {
		x := w.do("GET", path, token, "").want(200)
		var p api.Presence
		x.read(&p)
		if p.User != string(w.alice.ID) || p.Status != api.DoNotDisturb || p.Since.IsZero() || p.Until.Sub(w.clock()) != 20*time.Minute || p.Cursor == "" {
			t.Errorf("%+v", p)
		}
		if (x.header.Get("Etag") != "") != unfiltered {
			t.Errorf("the ETag is %q, unfiltered: %v", x.header.Get("Etag"), unfiltered)
		}
		head := w.do("HEAD", path, token, "").want(200)
		if head.header.Get("Content-Length") != x.header.Get("Content-Length") {
			t.Errorf("HEAD has different headers: %v", head.header)
		}
	}
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	own := w.token(w.alice.ID, "presence:read")
	s := w.signIn("/v1/users/alice@example.com/sessions", admin, `{"client_type":"web","lease_seconds":3600}`)
	w.do("PUT", "/v1/users/alice@example.com/claims/manual", admin, `{"source":"manual","status":"do_not_disturb","duration_seconds":600}`).want(200)
	w.do("PUT", "/v1/users/alice@example.com/claims/cal", admin, `{"source":"calendar","status":"in_calendar_event"}`).want(200)
	w.do("PUT", "/v1/users/alice@example.com/note", admin, `{"text":"Hello"}`).want(200)
	var x api.Explanation
	w.do("GET", "/v1/users/me/presence/explain", own, "").want(200).read(&x)
	if x.Status != api.DoNotDisturb || len(x.Claims) != 2 || !x.Claims[0].Decides || x.Claims[0].Row != 1 || x.Claims[1].Decides {
		t.Errorf("%+v", x)
	}
	if len(x.Sessions) != 1 || x.Sessions[0].ID != s.ID || x.Sessions[0].Why == "" || x.OwnNote == nil || x.OwnNote.Text != "Hello" {
		t.Errorf("%+v", x)
	}
	if len(x.Next) == 0 || x.Next[0].Status != api.InCalendarEvent || x.Next[0].At.Sub(w.clock()) != 10*time.Minute || x.Because == "" {
		t.Errorf("%+v", x)
	}
	w.do("GET", "/v1/users/alice@example.com/presence/explain", admin, "").want(200)

	// The calendar event has no end, so only the lease would change what is shown after it.
	last := x.Next[len(x.Next)-1]
	w.do("GET", "/v1/users/me/presence/explain?connected=true", own, "").want(200).read(&x)
	if last.Status != api.Offline || len(x.Next) != 1 || x.Next[0].Status != api.InCalendarEvent {
		t.Errorf("%+v", x)
	}
	w.do("GET", "/v1/users/me/presence/explain?connected=perhaps", own, "").problem(&api.InvalidField)
}

func TestQuery(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.signIn("/v1/users/alice@example.com/sessions", admin, `{"client_type":"web"}`)
	w.do("PUT", "/v1/users/alice@example.com/note", admin, `{"text":"é \"\u2028<&>"}`).problem(&api.InvalidField) // U+2028 is a line break
	w.do("PUT", "/v1/users/alice@example.com/note", admin, `{"text":"é \"<&>"}`).want(200)
	// A user without a record, as after a crash between the two writes.
	unrecorded, err := w.directory.Create(t.Context(), w.account, w.userLike("fresh@example.com"))
	w.must(err)

	body, _ := json.Marshal(api.PresenceQuery{Users: []string{
		"ALICE@example.com", string(w.bob.ID), string(w.alice.ID), "me", string(unrecorded.ID),
		string(w.deleted), string(w.stranger.ID), "stranger@example.net", "nobody\"@example.com", "", string(w.bob.ID),
	}})
	x := w.do("POST", "/v1/presence/query", admin, string(body)).want(200)
	var got api.Presences
	x.read(&got)
	var users, asked []string
	for _, p := range got.Presences {
		users, asked = append(users, p.User), append(asked, p.AskedAs)
	}
	if want := []string{string(w.alice.ID), string(w.bob.ID), string(w.alice.ID), string(w.owner), string(unrecorded.ID), string(w.bob.ID)}; !slices.Equal(users, want) {
		t.Errorf("users %v, want %v", users, want)
	}
	if want := []string{"ALICE@example.com", "", "", "me", "", ""}; !slices.Equal(asked, want) {
		t.Errorf("asked as %q, want %q", asked, want)
	}
	want := []string{string(w.stranger.ID), "stranger@example.net", "nobody\"@example.com", "", string(w.deleted)}
	slices.Sort(want)
	slices.Sort(got.Unknown)
	if !slices.Equal(got.Unknown, want) {
		t.Errorf("unknown %q, want %q", got.Unknown, want)
	}
	if got.Cursor == "" || got.Presences[0].Note != `é "<&>` || got.Presences[0].Status != api.Available {
		t.Errorf("%+v", got)
	}
	// The hand-written encoder produces the same bytes as encoding/json.
	var again api.Presences
	x.read(&again)
	canonical := marshal(t, again)
	if canonical != x.body {
		t.Errorf("got  %s\nwant %s", x.body, canonical)
	}
}

// marshal encodes JSON as responses do: without HTML escaping.
func marshal(t *testing.T, v any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func TestQueryErrors(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	many := func(n int) string { return `{"users":["` + strings.Repeat(`x","`, n-1) + `y"]}` }
	for body, field := range map[string]string{
		`{}`:                       "users",
		`{"users":[]}`:             "users",
		`{"users":null}`:           "users",
		`{"users":"me"}`:           "users",
		`{"users":[1]}`:            "users[0]",
		`{"users":["me",["you"]]}`: "users[1]",
		`{"users":["me",null]}`:    "users[1]",
		`{"users":{"a":"me"}}`:     "users",
		`{"user":["me"]}`:          "user",
		many(10_001):               "users",
	} {
		if p := w.do("POST", "/v1/presence/query", admin, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%.40s: the field is %q, want %q", body, p.Field, field)
		}
	}
	var got api.Presences
	if w.do("POST", "/v1/presence/query", admin, many(10_000)).want(200).read(&got); len(got.Unknown) != 10_000 {
		t.Errorf("%d unknown", len(got.Unknown))
	}
	w.do("POST", "/v1/presence/query", admin, fmt.Sprintf(`{"users":[%q]}`, strings.Repeat("x", 1<<20))).problem(&api.BodyTooLarge)
}

// withoutMajority refuses reads that must be fresh.
type withoutMajority struct{ store.Store }

func (m withoutMajority) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if fresh != (store.Freshness{}) {
		return nil, store.Cursor{}, store.ErrUnavailable
	}
	return m.Store.Read(ctx, us, fresh)
}

// TestFreshness: a write gives its cursor. Reads take it, or ask to be strong, and say which
// of both they cannot do.
func TestFreshness(t *testing.T) {
	w := newWorld(t)
	admin, path := w.admin(), "/v1/users/alice@example.com/"
	var cursor string
	for _, write := range [][3]string{
		{"POST", "sessions", `{"client_type":"web","lease_seconds":3600}`},
		{"PUT", "claims/c", `{"source":"calendar","status":"busy"}`},
		{"DELETE", "claims/c", ""},
		{"PUT", "note", `{"text":"hello"}`},
		{"DELETE", "note", ""},
		{"PUT", "claims/manual", `{"source":"manual","status":"away"}`},
	} {
		if cursor = w.do(write[0], path+write[1], admin, write[2]).header.Get("Presence-Cursor"); cursor == "" {
			t.Errorf("%s %s gives no cursor", write[0], write[1])
		}
	}
	var session api.Session
	w.do("POST", "/v1/users/alice@example.com/sessions", admin, `{"client_type":"web","lease_seconds":3600}`).read(&session)
	batch := func(id string) string {
		return w.do("POST", "/v1/sessions/refresh", admin, fmt.Sprintf(`{"sessions":[{"id":%q}]}`, id)).want(200).header.Get("Presence-Cursor")
	}
	if of, none := batch(session.ID), batch("nonsense"); of == "" || none != "" {
		t.Errorf("a batch gives the cursor %q, and %q if nothing succeeds", of, none)
	}
	asks := func(query string) []*exchange {
		return []*exchange{
			w.do("GET", path+"presence?"+query, admin, ""), w.do("GET", "/v1/presence?"+query, admin, ""),
			w.do("POST", "/v1/presence/query?"+query, admin, `{"users":["alice@example.com"]}`),
		}
	}
	for _, query := range []string{"consistency=strong", "at_least=" + cursor, "consistency=strong&at_least=" + cursor} {
		for _, x := range asks(query) {
			if x.want(200); !strings.Contains(x.body, `"away"`) {
				t.Errorf("%s: %s", x.asked, x.body)
			}
		}
	}
	for query, kind := range map[string]*api.Kind{
		"consistency=weak": &api.InvalidField, "consistency=": &api.InvalidField, "at_least=": &api.CursorInvalid, "at_least=x": &api.CursorInvalid,
	} {
		for _, x := range asks(query) {
			x.problem(kind)
		}
	}
	// A store without a majority of its servers answers other reads alone.
	w.api.Views.Store = withoutMajority{w.store}
	for _, query := range []string{"consistency=strong", "at_least=" + cursor} {
		for _, x := range asks(query) {
			if x.problem(&api.Unavailable); x.header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", x.asked)
			}
		}
	}
	w.do("GET", path+"presence", admin, "").want(200)
}
