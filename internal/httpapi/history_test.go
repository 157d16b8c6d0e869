package httpapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	historyPath = "/v1/users/alice@example.com/history"
	explainPath = "/v1/users/alice@example.com/presence/explain?at="
)

// aDay makes changes of alice from 9:00 to 13:00.
func (w *world) aDay(admin string) {
	w.t.Helper()
	alice := "/v1/users/alice@example.com"
	w.advance(time.Hour) // alice was created at 9:00
	w.signIn(alice+"/sessions", admin, `{"client_type":"web","client_version":"1.2","lease_seconds":3600}`)
	w.advance(30 * time.Minute)
	w.do("PUT", alice+"/claims/manual", admin, `{"source":"manual","status":"busy","note":"Writing"}`).want(200)
	w.advance(10 * time.Minute)
	w.do("PUT", alice+"/claims/m1", admin, `{"source":"meeting","status":"in_meeting"}`).want(200)
	w.advance(10 * time.Minute)
	w.do("PUT", alice+"/note", admin, `{"text":"Back at two"}`).want(200)
	w.do("DELETE", alice+"/claims/m1", admin, "").want(204)
	w.do("PUT", alice+"/visibility", admin, `{"everyone":"status"}`).want(200)
	w.advance(2*time.Hour + 10*time.Minute)
}

func (w *world) history(token, query string) (h api.History) {
	w.t.Helper()
	w.do("GET", historyPath+query, token, "").want(200).read(&h)
	return h
}

func causes(h api.History) (all []string) {
	for i := range h.Entries {
		all = append(all, h.Entries[i].Cause)
	}
	return all
}

func TestHistory(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.aDay(admin)
	h := w.history(admin, "")
	// The note was shown in the meeting, whose claim had none.
	want := []string{"end_claim", "note", "claim", "claim", "sign_in", "created"}
	if got := causes(h); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	if h.Older != "" || h.Newer == "" || !h.Since.IsZero() {
		t.Errorf("%+v", h)
	}
	made := h.Entries[3]
	if made.Claim != "manual" || made.Source != "manual" || made.Actor == nil || made.Actor.App != string(w.app) || made.Actor.User != "" || made.Client != nil ||
		made.Before.Status != api.Available || made.After.Status != api.Busy || made.After.Note != "Writing" || !made.Time.Equal(w.clock().Add(-150*time.Minute)) ||
		made.After.UserState != "active" || made.Gap || made.Erased || made.Damaged {
		t.Errorf("%+v", made)
	}
	if in := h.Entries[4]; in.Client == nil || *in.Client != (api.HistoryClient{Type: "web", Version: "1.2", Status: api.Available}) || in.Source != "" {
		t.Errorf("%+v", in)
	}
	if end := h.Entries[0]; end.After.OwnNote != "Back at two" || end.After.Note != "Writing" || end.Before.Status != api.InMeeting {
		t.Errorf("%+v", end)
	}
	all := w.history(admin, "?changes=all")
	if got := causes(all); !slices.Equal(got, []string{"visibility", "end_claim", "note", "claim", "claim", "sign_in", "created"}) {
		t.Errorf("all changes: %q", got)
	}
	between := w.history(admin, "?from="+url.QueryEscape(api.At(made.Time.Time).String())+"&to="+h.Entries[0].Time.String())
	if got := causes(between); !slices.Equal(got, []string{"claim", "claim"}) {
		t.Errorf("between two changes: %q", got)
	}
	own := w.token(w.alice.ID, "presence:read")
	if got := causes(w.history(own, "")); !slices.Equal(got, want) {
		t.Errorf("alice sees %q", got)
	}
}

// TestHistoryPages: pages down and up again have each change once.
func TestHistoryPages(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.aDay(admin)
	want := w.history(admin, "?changes=all").Entries
	var down, up []api.HistoryEntry
	page := w.history(admin, "?changes=all&limit=2")
	for {
		down = append(down, page.Entries...)
		if page.Older == "" {
			break
		}
		page = w.history(admin, "?changes=all&limit=2&before="+page.Older)
	}
	up = slices.Clone(page.Entries)
	for {
		page = w.history(admin, "?changes=all&limit=2&after="+page.Newer)
		if len(page.Entries) == 0 {
			break
		}
		up = append(slices.Clone(page.Entries), up...)
	}
	for name, got := range map[string][]api.HistoryEntry{"down": down, "up": up} {
		if marshal(t, got) != marshal(t, want) {
			t.Errorf("pages %s:\n%s\nwant\n%s", name, marshal(t, got), marshal(t, want))
		}
	}
	w.do("PUT", "/v1/users/alice@example.com/claims/manual", admin, `{"source":"manual","status":"away"}`).want(200)
	if got := w.history(admin, "?after="+page.Newer); len(got.Entries) != 1 || got.Entries[0].Claim != "manual" {
		t.Errorf("the page of newer changes has %+v", got)
	}
}

func TestHistoryParameters(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for query, field := range map[string]string{
		"?limit=0": "limit", "?limit=1001": "limit", "?from=yesterday": "from", "?to=2026-03-01": "to", "?changes=some": "changes",
		"?from=2026-03-01T00:00:00Z&to=2026-03-01T00:00:00Z": "to", "?before=1&after=1": "before", "?user=x": "user", "?limit=1&limit=2": "limit",
	} {
		if p := w.do("GET", historyPath+query, admin, "").problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q", query, p.Field)
		}
	}
	for _, query := range []string{"?before=-", "?after=0", "?before=!", "?before=" + strings.Repeat("z", 30)} {
		w.do("GET", historyPath+query, admin, "").problem(&api.CursorInvalid)
	}
	for query, field := range map[string]string{
		"?from=2026-03-01T00:00:00Z": "from", "?to=x": "to", "?zone=Berlin": "zone", "?zone=Local": "zone", "?zone=../UTC": "zone", "?spans=yes": "spans",
		"?from=2025-02-28&to=2026-03-01": "from", "?from=2026-03-01&to=2026-02-28": "to", "?from=2026-03-02&to=2026-03-03": "from", "?zone=" + strings.Repeat("x", 65): "zone",
	} {
		if p := w.do("GET", historyPath+"/summary"+query, admin, "").problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: the field is %q", query, p.Field)
		}
	}
	for at, field := range map[string]string{"now": "at", "": "at", "2027-01-01T00:00:00Z": "at"} {
		if p := w.do("GET", explainPath+at, admin, "").problem(&api.InvalidField); p.Field != field {
			t.Errorf("at=%s: the field is %q", at, p.Field)
		}
	}
}

func TestHistorySummary(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.aDay(admin)
	var got api.HistorySummary
	w.do("GET", historyPath+"/summary?zone=Asia/Tokyo&from=2026-02-28&to=2026-03-05&spans=true", admin, "").want(200).read(&got)
	var lines []string
	for _, day := range got.Days {
		sum := int64(0)
		for _, ms := range day.Durations {
			sum += ms
		}
		if sum != day.To.Sub(day.From.Time).Milliseconds() {
			t.Errorf("%s: the times add up to %d ms", day.Date, sum)
		}
		for _, span := range day.Spans {
			lines = append(lines, fmt.Sprintf("%s %s-%s %s", day.Date, span.From.Format("15:04"), span.To.Format("15:04"), span.Status))
		}
	}
	// In Tokyo the day ends at 15:00 UTC.
	want := []string{
		"2026-02-28 15:00-15:00 unknown",
		"2026-03-01 15:00-09:00 unknown", "2026-03-01 09:00-10:00 offline", "2026-03-01 10:00-10:30 available",
		"2026-03-01 10:30-10:40 busy", "2026-03-01 10:40-10:50 in_meeting", "2026-03-01 10:50-13:00 busy",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	total := api.Durations{api.Unknown: 42 * 3600e3, api.Offline: 3600e3, api.Available: 1800e3, api.Busy: 140 * 60e3, api.InMeeting: 600e3}
	if marshal(t, got.Total) != marshal(t, total) {
		t.Errorf("total %s, want %s", marshal(t, got.Total), marshal(t, total))
	}
	w.do("GET", historyPath+"/summary", admin, "").want(200).read(&got)
	if len(got.Days) != 7 || got.Zone != "UTC" || got.Days[6].Date != "2026-03-01" || got.Days[6].Spans != nil {
		t.Errorf("by default: %+v", got)
	}
}

func TestExplainPast(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.aDay(admin)
	var x api.Explanation
	w.do("GET", explainPath+"2026-03-01T10:35:00Z", admin, "").want(200).read(&x)
	if x.Status != api.Busy || x.Note != "Writing" || x.Change == nil || x.Change.Claim != "manual" || !strings.Contains(x.Because, `At 2026-03-01T10:30:00.000Z, the claim "manual" (manual) was made.`) {
		t.Errorf("%+v", x)
	}
	x = api.Explanation{}
	w.do("GET", explainPath+"2026-03-01T12:00:00Z", w.token(w.alice.ID, "presence:read"), "").want(200).read(&x)
	if x.Status != api.Busy || x.Change.Cause != "end_claim" || !strings.Contains(x.Because, `the claim "m1" (meeting) was withdrawn`) || x.OwnNote == nil || len(x.Claims) != 0 {
		t.Errorf("%+v", x)
	}
	w.do("GET", explainPath+"2026-03-01T08:00:00Z", admin, "").problem(&api.NotInHistory)
	var now api.Explanation
	w.do("GET", "/v1/users/alice@example.com/presence/explain", admin, "").want(200).read(&now)
	if now.Change != nil {
		t.Errorf("the explanation of the present has a change: %+v", now.Change)
	}
}

// TestHistoryOff: an account shows less history, or none, to everybody.
func TestHistoryOff(t *testing.T) {
	w := newWorld(t)
	admin, own := w.admin(), w.token(w.alice.ID, "presence:read")
	w.aDay(admin)
	w.advance(40 * 24 * time.Hour)
	w.do("PUT", "/v1/users/alice@example.com/claims/manual", admin, `{"source":"manual","status":"away"}`).want(200)
	w.advance(time.Hour)
	whole := w.history(admin, "")
	var account api.Account
	w.do("GET", "/v1/account", admin, "").want(200).read(&account)
	if account.HistoryDays != api.MaxHistoryDays {
		t.Errorf("the default is %d", account.HistoryDays)
	}
	for _, days := range []string{"-1", "3651", "true", `"7"`, "1.5"} {
		if p := w.do("PATCH", "/v1/account", admin, `{"history_days":`+days+`}`).problem(&api.InvalidField); p.Field != "history_days" {
			t.Errorf("%s: the field is %q", days, p.Field)
		}
	}
	w.do("PATCH", "/v1/account", w.token(w.alice.ID, "directory:write"), `{"history_days":1}`).problem(&api.InsufficientScope)

	w.do("PATCH", "/v1/account", admin, `{"history_days":10}`).want(200).read(&account)
	if account.HistoryDays != 10 || account.Owner != string(w.owner) {
		t.Errorf("%+v", account)
	}
	const past = "2026-03-01T10:35:00Z"
	for _, token := range []string{admin, own} {
		h := w.history(token, "?from=2026-03-01T00:00:00Z")
		if since := w.clock().Add(-10 * 24 * time.Hour); len(h.Entries) != 1 || !h.Since.Equal(since) {
			t.Errorf("%+v, want since %s", h, since)
		}
		if p := w.do("GET", explainPath+past, token, "").problem(&api.InvalidField); p.Field != "at" {
			t.Errorf("%+v", p)
		}
		var s api.HistorySummary
		w.do("GET", historyPath+"/summary?from=2026-03-01&to=2026-04-11", token, "").want(200).read(&s)
		if len(s.Days) != 11 || !s.Days[0].From.Equal(w.clock().Add(-10*24*time.Hour)) || s.Since.IsZero() {
			t.Errorf("%+v", s)
		}
		w.do("GET", historyPath+"/summary?from=2026-03-01&to=2026-03-02", token, "").want(200).read(&s)
		if len(s.Days) != 0 {
			t.Errorf("before that time: %+v", s.Days)
		}
	}
	w.do("PATCH", "/v1/account", admin, `{"history_days":0}`).want(200)
	for _, token := range []string{admin, own} {
		for _, path := range []string{historyPath, historyPath + "/summary", explainPath + past} {
			w.do("GET", path, token, "").problem(&api.HistoryOff)
		}
	}
	// What is refused to others anyway is refused in the same way.
	w.do("GET", historyPath, w.token(w.bob.ID, "presence:read"), "").problem(&api.Forbidden)
	w.do("GET", "/v1/users/nobody@example.com/history", admin, "").problem(&api.NoUser)
	w.do("GET", "/v1/users/alice@example.com/presence/explain", admin, "").want(200)

	w.do("PATCH", "/v1/account", admin, `{"history_days":3650}`).want(200)
	if got := w.history(own, ""); marshal(t, got) != marshal(t, whole) {
		t.Errorf("switched on again: %+v", got)
	}
}

// TestHistoryShowsErased: an erased entry is shown without its content.
func TestHistoryShowsErased(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.aDay(admin)
	u := store.User{Account: w.account, ID: w.alice.ID}
	w.must(w.store.Erase(t.Context(), u))
	w.publish(u, presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.Away})
	h := w.history(admin, "")
	if len(h.Entries) == 0 || h.Entries[0].After == nil || strings.Contains(marshal(t, h), "Writing\",\"since\":\"2026-03-01T10:30") && h.Entries[0].Before.Note != "Writing" {
		t.Fatalf("%+v", h)
	}
	for _, e := range h.Entries[1:] {
		if !e.Erased || e.Before != nil || e.After != nil || e.Actor != nil || e.Time.IsZero() {
			t.Errorf("%+v", e)
		}
	}
	if len(h.Entries) == 1 && !h.Entries[0].Gap { // an engine may drop entries instead
		t.Errorf("%+v", h)
	}
	w.do("GET", explainPath+"2026-03-01T10:35:00Z", admin, "").problem(&api.NotInHistory)
}
