package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
)

// auditEvents reads all events, oldest first, in pages.
func (w *world) auditEvents(token, query string, limit int) (all []api.AuditEvent) {
	w.t.Helper()
	for after := ""; ; {
		var page api.AuditEvents
		w.do("GET", fmt.Sprintf("/v1/audit?order=oldest&limit=%d%s%s", limit, query, after), token, "").want(200).read(&page)
		for _, line := range page.Events {
			var e api.AuditEvent
			w.must(json.Unmarshal(line, &e))
			all = append(all, e)
		}
		if page.Newer == "" {
			return all
		}
		after = "&after=" + page.Newer
	}
}

func actions(all []api.AuditEvent) (list []string) {
	for i := range all {
		list = append(list, all[i].Action)
	}
	return list
}

// TestAudit reads events by every filter and in both orders, their checkpoints and the export,
// which verifies. It is for administrators.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var made api.User
	w.do("POST", "/v1/users", admin, `{"email":"new@example.com","display_name":"New"}`).want(201).read(&made)
	w.advance(time.Minute)
	middle := w.clock()
	w.do("PATCH", "/v1/users/"+made.ID, admin, `{"role":"admin"}`).want(200)
	w.do("PATCH", "/v1/account", admin, `{"history_days":7}`).want(200)
	w.do("PATCH", "/v1/account", admin, `{"history_days":7}`).want(200)

	all := w.auditEvents(admin, "", 1)
	if got := actions(all); !slices.Equal(got, []string{"user.create", "user.update", "account.update"}) {
		t.Fatalf("%q", got)
	}
	if e := all[2]; string(e.Before) != `{"history_days":3660}` && !strings.Contains(string(e.Before), "history_days") || string(e.After) != `{"history_days":7}` ||
		e.App != string(w.app) || e.User != "" || e.Token == "" || e.Request == "" || e.Target != "account/"+string(w.account) {
		t.Errorf("%+v", e)
	}
	for query, want := range map[string]int{
		"&action=user.update": 1, "&user=" + made.ID: 2, "&user=new@example.com": 2, "&user=" + string(w.bob.ID): 0, "&denied=true": 0,
		"&from=" + middle.UTC().Format(time.RFC3339): 2, "&to=" + middle.UTC().Format(time.RFC3339): 1,
	} {
		if got := w.auditEvents(admin, query, 2); len(got) != want {
			t.Errorf("%s: %q, want %d", query, actions(got), want)
		}
	}
	var newest api.AuditEvents
	if w.do("GET", "/v1/audit?limit=2", admin, "").want(200).read(&newest); len(newest.Events) != 2 || newest.Older == "" || newest.Newer != "" ||
		!strings.Contains(string(newest.Events[0]), "account.update") {
		t.Errorf("%+v", newest)
	}
	for query, field := range map[string]string{"order=up": "order", "denied=perhaps": "denied", "from=x": "from", "before=1&after=1": "before"} {
		if p := w.do("GET", "/v1/audit?"+query, admin, "").problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: %+v", query, p)
		}
	}
	w.do("GET", "/v1/audit?before=-", admin, "").problem(&api.CursorInvalid)
	w.do("GET", "/v1/audit?user=nobody@example.com", admin, "").problem(&api.NoUser)
	w.do("GET", "/v1/audit", w.token(w.alice.ID, "audit:read directory:read:admin"), "").problem(&api.InsufficientScope)

	export := []byte(w.do("GET", "/v1/audit/export", admin, "").want(200).body)
	report, err := new(audit.Verifier).Verify(bytes.NewReader(export))
	if err != nil || report.Problem != nil || report.Events != 4 || report.Account != string(w.account) {
		t.Errorf("%+v, %v", report, err)
	}
	var marks api.AuditCheckpoints
	if w.do("GET", "/v1/audit/checkpoints", admin, "").want(200).read(&marks); len(marks.Checkpoints) != 1 || !strings.Contains(string(export), string(marks.Checkpoints[0])) {
		t.Errorf("%+v", marks)
	}
	if got := w.auditEvents(admin, "&action=audit.export", 10); len(got) != 1 {
		t.Errorf("%d exports", len(got))
	}
}

// unrecorded are the routes that change something and leave no event of their own, with the
// reason.
var unrecorded = map[string]string{
	"POST /v1/sessions": "presence: in the commit log", "POST /v1/sessions/refresh": "presence", "PATCH /v1/sessions/{session}": "presence",
	"DELETE /v1/sessions/{session}": "presence", "POST /v1/users/{user}/sessions": "presence", "PUT /v1/users/{user}/claims/{claim}": "presence",
	"DELETE /v1/users/{user}/claims/{claim}": "presence", "PUT /v1/users/{user}/note": "presence", "DELETE /v1/users/{user}/note": "presence",
	"PUT /v1/users/{user}/contacts/{contact}": "of the person alone", "DELETE /v1/users/{user}/contacts/{contact}": "of the person alone",
	"PUT /v1/users/{user}/visibility": "of the person alone", "DELETE /v1/users/{user}/visibility": "of the person alone",
	"POST /v1/presence/query": "reads", "POST /v1/tickets": "for a stream of the same token",
	"POST /v1/watches": "of the person alone", "DELETE /v1/watches/{watch}": "of the person alone",
	// Packages signin and provision have the tests of their events.
	"POST /v1/users/{user}/invitation": "recorded by signin", "POST /v1/users/{user}/password-reset": "recorded by signin",
	"PUT /v1/me/password": "recorded by signin", "DELETE /v1/sign-ins": "recorded by signins.go", "DELETE /v1/sign-ins/{signin}": "recorded by signins.go",
	"DELETE /v1/users/{user}/sign-ins": "recorded by signins.go",
	// TestAuthorization and TestDeviceRoutes look at their events.
	"POST /v1/oauth/authorization": "recorded by grants.go", "POST /v1/oauth/device": "recorded by grants.go", "DELETE /v1/grants/{grant}": "recorded by grants.go",
	// Package signage has the tests of its events.
	"POST /v1/signage-links": "recorded by signage", "DELETE /v1/signage-links/{link}": "recorded by signage",
	"POST /v1/users/import":       "recorded by provision, for each user",
	"POST /v1/invitations/accept": "recorded by signin", "POST /v1/sign-ins": "recorded by signin", "DELETE /v1/sign-ins/current": "recorded by signins.go",
	"POST /v1/groups": "recorded by provision", "PATCH /v1/groups/{group}": "recorded by provision", "DELETE /v1/groups/{group}": "recorded by provision",
	"PUT /v1/groups/{group}/members/{user}": "recorded by provision", "DELETE /v1/groups/{group}/members/{user}": "recorded by provision",
}

// TestAdministrationIsRecorded: every native route that changes something leaves the event of
// its row, or is listed with the reason.
func TestAdministrationIsRecorded(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	var user api.User
	var app api.App
	var token api.Token
	var sub api.Subscription
	id := func(p *string) func() string { return func() string { return *p } }
	rows := []struct {
		route  string
		object func() string // its id
		body   string
		into   any
		action string
	}{
		{"POST /v1/users", nil, `{"email":"new@example.com","display_name":"New"}`, &user, "user.create"},
		{"PATCH /v1/users/{user}", id(&user.ID), `{"display_name":"Newer"}`, nil, "user.update"},
		{"POST /v1/apps", nil, `{"name":"Sign","scopes":["presence:read:admin"]}`, &app, "app.create"},
		{"PATCH /v1/apps/{app}", id(&app.ID), `{"name":"Signs"}`, nil, "app.update"},
		{"POST /v1/apps/{app}/secret", id(&app.ID), "", nil, "app-secret.rotate"},
		{"POST /v1/apps/{app}/webhook-secret", id(&app.ID), "{}", nil, "webhook-secret.rotate"},
		{"DELETE /v1/apps/{app}", id(&app.ID), "", nil, "app.delete"},
		{"POST /v1/tokens", nil, `{"scopes":["presence:read"]}`, &token, "token.create"},
		{"DELETE /v1/tokens/{token}", id(&token.ID), "", nil, "token.revoke"},
		{"DELETE /v1/tokens", nil, "", nil, "token.revoke"},
		{"PATCH /v1/account", nil, `{"history_days":9}`, nil, "account.update"},
		{"POST /v1/subscriptions", nil, `{"name":"x","url":"https://example.com/hook?secret=canary"}`, &sub, "subscription.create"},
		{"PATCH /v1/subscriptions/{subscription}", id(&sub.ID), `{"latest_only":true}`, nil, "subscription.update"},
		{"POST /v1/subscriptions/{subscription}/secret", id(&sub.ID), "{}", nil, "subscription-secret.rotate"},
		{"POST /v1/subscriptions/{subscription}/enable", id(&sub.ID), "", nil, "subscription.enable"},
		{"POST /v1/subscriptions/{subscription}/test", id(&sub.ID), "{}", nil, "subscription.test"},
		{"POST /v1/subscriptions/{subscription}/replay", id(&sub.ID), `{"from":"` + w.clock().UTC().Format(time.RFC3339) + `"}`, nil, "subscription.replay"},
		{"DELETE /v1/subscriptions/{subscription}", id(&sub.ID), "", nil, "subscription.delete"},
		{"DELETE /v1/users/{user}", id(&user.ID), "", nil, "user.delete"},
	}
	w.runWebhooks()
	tested := make(map[string]bool)
	for _, row := range rows {
		method, pattern, _ := strings.Cut(row.route, " ")
		path := pattern
		if from := strings.Index(path, "{"); from >= 0 {
			path = path[:from] + row.object() + path[strings.Index(path, "}")+1:]
		}
		if query := apptest.NativeRights()[row.route].Query; query != "" {
			path += "?" + query
		}
		before := len(w.auditEvents(admin, "", 1000))
		x := w.do(method, path, admin, row.body)
		if x.status >= 300 {
			t.Errorf("%s: %d %s", row.route, x.status, x.body)
			continue
		}
		if row.into != nil {
			x.read(row.into)
		}
		tested[row.route] = true
		if got := actions(w.auditEvents(admin, "", 1000)[before:]); !slices.Contains(got, row.action) {
			t.Errorf("%s leaves %q, want %q", row.route, got, row.action)
		}
	}
	for route := range apptest.NativeRights() {
		if !strings.HasPrefix(route, "GET ") && !tested[route] && unrecorded[route] == "" && strings.Contains(route, " /v1/") {
			t.Errorf("%s leaves no event, and has no reason", route)
		}
	}
	export := []byte(w.do("GET", "/v1/audit/export", admin, "").want(200).body)
	for _, secret := range []string{"canary", token.Secret, app.Secret, app.WebhookSecret, sub.Secret} {
		if secret == "" || bytes.Contains(export, []byte(secret)) {
			t.Errorf("the log has the secret %q", secret)
		}
	}
}

// TestAuditNamesNobody: no personal field of a user gets into the log, while the user is
// created, changed and erased.
func TestAuditNamesNobody(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	const canary = "canary"
	var made api.User
	w.do("POST", "/v1/users", admin, `{"email":"canary-1@example.com","display_name":"Canary Two","groups":["canary-3"]}`).want(201).read(&made)
	w.do("PATCH", "/v1/users/"+made.ID, admin, `{"email":"canary-4@example.com","display_name":"Canary Five","groups":["canary-6"]}`).want(200)
	w.do("PUT", "/v1/users/"+made.ID+"/note", admin, `{"text":"canary"}`).want(200)
	w.do("GET", "/v1/users/canary-4@example.com/history", admin, "").want(200)
	w.do("GET", "/v1/audit?user=canary-4@example.com", admin, "").want(200)
	w.do("DELETE", "/v1/users/"+made.ID+"?erase=true", admin, "").want(202)
	w.api.Events.Flush(t.Context())
	export := bytes.ToLower([]byte(w.do("GET", "/v1/audit/export", admin, "").want(200).body))
	if bytes.Contains(export, []byte(canary)) || bytes.Count(export, []byte(strings.ToLower(made.ID))) < 4 {
		t.Errorf("%s", export)
	}
	for _, action := range []string{"user.create", "user.update", "history.read", "user.delete", "erasure.request"} {
		if !bytes.Contains(export, []byte(action)) {
			t.Errorf("no %s", action)
		}
	}
}

// TestTenancy of the log: an account does not see the events of another.
func TestAuditTenancy(t *testing.T) {
	w := newWorld(t)
	w.do("PATCH", "/v1/account", w.admin(), `{"history_days":9}`).want(200)
	w.must(w.api.Audit.Record(t.Context(), "other", &audit.Event{Action: "x.other"}))
	w.must(w.api.Audit.Record(t.Context(), audit.System, &audit.Event{Action: "x.system"}))
	if got := actions(w.auditEvents(w.admin(), "", 100)); !slices.Equal(got, []string{"account.update"}) {
		t.Errorf("%q", got)
	}
}
