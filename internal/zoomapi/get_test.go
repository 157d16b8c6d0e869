package zoomapi_test

import (
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

const needsRead = `{"code":4711,"message":"Invalid access token, does not contain scopes:[user:read:presence_status, user:read:presence_status:admin]."}`

// TestGetOwnDoNotDisturb: only users who ask about themselves see when it ends.
func TestGetOwnDoNotDisturb(t *testing.T) {
	w := newFixture(t, options{})
	want(t, w.put(w.annToken, "me", `{"status":"Do_Not_Disturb","duration":2}`), 204, "")
	const others = `{"status":"Do_Not_Disturb"}`
	own := func(left string) string {
		return `{"status":"Do_Not_Disturb","end_time":"2026-11-22T12:02:01Z","remaining_time":` + left + `}`
	}
	ann := string(w.ann.ID)
	want(t, w.get(w.annToken, "me"), 200, own("120"))
	want(t, w.get(w.annToken, ann), 200, own("120"))
	want(t, w.get(w.annToken, "ann+desk@example.com"), 200, own("120"))
	want(t, w.get(w.app, ann), 200, others)
	ben := w.token(w.account, w.ben.ID, annScopes)
	want(t, w.get(ben, ann), 200, others)

	// The app acts for its owner: that is "self" too.
	w.must(w.Directory.SetOwner(t.Context(), w.account, w.ann.ID))
	w.clock.Advance(10 * time.Second) // beyond the cache time of a verified token
	want(t, w.get(w.app, "me"), 200, own("110"))

	// Only what is committed is shown: this fixture publishes no expiries, so the
	// status still shows, with no time remaining.
	w.clock.Advance(109*time.Second + 999*time.Millisecond)
	want(t, w.get(w.annToken, "me"), 200, own("1"))
	w.clock.Advance(time.Hour)
	want(t, w.get(w.annToken, "me"), 200, own("0"))
	w.publish(w.ann.ID, presence.Tick{})
	want(t, w.get(w.annToken, "me"), 200, `{"status":"Offline"}`)
}

// TestGetOtherDoNotDisturb: a calendar's do-not-disturb has no duration.
func TestGetOtherDoNotDisturb(t *testing.T) {
	w := newFixture(t, options{})
	w.publish(w.ann.ID, presence.SetClaim{
		ID: "focus", Source: presence.Calendar, Status: presence.DoNotDisturb, Lasts: time.Hour,
	})
	want(t, w.get(w.annToken, "me"), 200, `{"status":"Do_Not_Disturb"}`)
	w.publish(w.ann.ID, presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice})
	want(t, w.get(w.annToken, "me"), 200, `{"status":"Out_of_Office"}`)
}

func TestGetPermissions(t *testing.T) {
	w := newFixture(t, options{})
	eve := string(w.eve.ID)
	updates := w.token(w.account, w.ann.ID, "user:update:presence_status")
	for _, c := range []struct {
		name, token, ref string
		status           int
		answer           string
	}{
		{"no token", "", "me", 401, badToken},
		{"a token for updates alone", updates, "me", 400, needsRead},
		{"me", w.annReads, "me", 200, `{"status":"Available"}`},
		{"another of the account", w.annReads, "ben@example.com", 200, `{"status":"Available"}`},
		{"one of whom nothing is recorded", w.annReads, string(w.cyd.ID), 200, `{"status":"Offline"}`},
		{"nobody", w.annReads, "nobody", 404, noUserBody("nobody")},
		{"nobody's e-mail", w.annReads, "nobody@example.com", 404, noUserBody("nobody@example.com")},
		{"another account", w.annReads, eve, 404, noUserBody(eve)},
		{"another account's e-mail", w.app, "eve@example.com", 404, noUserBody("eve@example.com")},
		{"app", w.app, string(w.ann.ID), 200, `{"status":"Available"}`},
		{"app without an owner", w.eveApp, "me", 404, noUserBody("me")},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := w.get(c.token, c.ref)
			want(t, rec, c.status, c.answer)
			wantHeader(t, rec, "Content-Type", "application/json")
			head := w.do(call{method: "HEAD", path: path(c.ref), token: c.token})
			if head.Code != c.status {
				t.Errorf("HEAD answers %d, GET %d", head.Code, c.status)
			}
		})
	}
}

// TestGetETag: the user and administrators get the revision.
func TestGetETag(t *testing.T) {
	w := newFixture(t, options{})
	ben := w.token(w.account, w.ben.ID, annScopes)
	for token, tag := range map[string]string{
		w.annToken: `"1795348800250000"`, w.app: `"1795348800250000"`, ben: "",
	} {
		rec := w.get(token, string(w.ann.ID))
		want(t, rec, 200, `{"status":"Available"}`)
		wantHeader(t, rec, "ETag", tag)
	}
}
