package httpapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/presence"
)

// systemToken returns a system token.
func (w *world) systemToken() string {
	w.t.Helper()
	_, text, err := w.authority.IssueSystem(w.t.Context(), "test", 0)
	w.must(err)
	return text
}

// TestNodes: the nodes of the store, and what prevents a newer format. Nothing newer exists.
func TestNodes(t *testing.T) {
	w := newWorld(t)
	w.must(w.members.Join(t.Context()))
	system := w.systemToken()
	var list api.SystemNodes
	w.do("GET", "/v1/system/nodes", system, "").want(200).read(&list)
	if len(list.Nodes) != 1 || !list.Nodes[0].Self || list.Nodes[0].State != "live" || list.Nodes[0].Host != "a.example.com" || list.Level != membership.NewestLevel {
		t.Errorf("%+v", list)
	}
	var upgrade api.NodesUpgrade
	w.do("POST", "/v1/system/nodes/upgrade", system, "").want(200).read(&upgrade)
	if upgrade.Level != membership.NewestLevel || upgrade.Prevented != "" {
		t.Errorf("%+v", upgrade)
	}
}

// TestSystemTokens: every route of the system API answers alike to whoever has no valid
// system token, whatever the path names; and no other route accepts a system token.
func TestSystemTokens(t *testing.T) {
	w := newWorld(t)
	system := w.systemToken()
	_, expired, err := w.authority.IssueSystem(t.Context(), "short", time.Hour)
	w.must(err)
	revoked, revokedText, err := w.authority.IssueSystem(t.Context(), "revoked", 0)
	w.must(err)
	w.do("GET", "/v1/system/accounts", expired, "").want(200)
	w.advance(time.Hour)
	w.must(w.authority.RevokeSystem(t.Context(), revoked.ID))
	for _, route := range w.router.Routes() {
		method, pattern, _ := strings.Cut(route, " ")
		if !strings.HasPrefix(pattern, "/v1/system/") {
			continue
		}
		answers := make(map[string]bool)
		for _, account := range []string{string(w.account), "KDcuGIm1QgePTO8WbOqwIQ", "nonsense"} {
			path := strings.ReplaceAll(pattern, "{account}", account)
			for _, token := range []string{w.admin(), w.token(w.alice.ID, everything), expired, revokedText, "nonsense", system + "x", system[:len(system)-1]} {
				x := w.do(method, path, token, "")
				if method == "HEAD" {
					x.want(401)
					continue
				}
				x.problem(&api.SystemTokenRequired)
				answers[instance.ReplaceAllString(x.body, "")] = true
			}
		}
		if len(answers) > 1 {
			t.Errorf("%s: the answers differ: %v", route, answers)
		}
		if method != "HEAD" {
			w.do(method, strings.ReplaceAll(pattern, "{account}", string(w.account)), "", "").problem(&api.NoToken)
		}
	}
	for _, path := range []string{"/v1/me", "/v1/account", "/v1/users", "/v1/users/alice@example.com/presence"} {
		w.do("GET", path, system, "").problem(&api.InvalidToken)
	}
	w.do("GET", "/v1/system/accounts", system, "").want(200)
}

// TestSystemAccounts: an operator creates, reads, changes, suspends, resumes and deletes
// an account.
func TestSystemAccounts(t *testing.T) {
	w := newWorld(t)
	system := w.systemToken()
	var made api.CreatedAccount
	x := w.do("POST", "/v1/system/accounts", system, `{"name":"Acme","owner_email":"alice@example.com","owner_name":"Alice Moon","plan":"pro","limits":{"users":2,"apps":1}}`).want(201)
	x.read(&made)
	at := "/v1/system/accounts/" + made.AccountID
	if x.header.Get("Location") != at || made.Account.Plan != "pro" || made.Account.Limits != (api.AccountLimits{Users: 2, Apps: 1}) || made.Account.Owner != made.OwnerID {
		t.Fatalf("got %+v at %s", made, x.header.Get("Location"))
	}
	_, token := w.Token(presence.AccountID(made.AccountID), presence.AppID(made.ClientID), "", everything, 0)
	var own api.Account
	w.do("GET", "/v1/account", token, "").want(200).read(&own)
	if own.Plan != "pro" || own.Limits.Users != 2 || own.Suspended || own.ID != made.AccountID {
		t.Errorf("the account reads itself as %+v", own)
	}
	// Limits are enforced, and named.
	w.do("POST", "/v1/users", token, `{"email":"bob@example.com"}`).want(201)
	if p := w.do("POST", "/v1/users", token, `{"email":"carol@example.com"}`).problem(&api.LimitReached); p.LimitName != "users-per-account" || p.Limit != 2 {
		t.Errorf("past the limit of users: %+v", p)
	}
	if p := w.do("POST", "/v1/apps", token, `{"name":"x","scopes":["presence:read"]}`).problem(&api.LimitReached); p.LimitName != "apps-per-account" {
		t.Errorf("past the limit of apps: %+v", p)
	}
	// Nobody sees the account from another one, although e-mail addresses are equal.
	w.do("GET", "/v1/users/"+made.OwnerID, w.admin(), "").problem(&api.NoUser)
	w.do("GET", "/v1/users/carol@example.com", token, "").problem(&api.NoUser)

	var account api.SystemAccount
	w.do("GET", at, system, "").want(200).read(&account)
	if account.Usage == nil || *account.Usage != (api.AccountUsage{Users: 2, Apps: 1}) {
		t.Errorf("the usage is %+v", account.Usage)
	}
	w.do("PATCH", at, system, `{"name":"Acme 2","limits":{"users":3},"plan":""}`).want(200).read(&account)
	if account.Name != "Acme 2" || account.Limits != (api.AccountLimits{Users: 3, Apps: 1}) || account.Plan != "" {
		t.Errorf("after a change: %+v", account)
	}
	w.do("POST", "/v1/users", token, `{"email":"carol@example.com"}`).want(201)
	for _, body := range []string{`{"plan":"platinum"}`, `{"limits":{"users":-1}}`, `{"owner":"x"}`, `{"name":`} {
		if status := w.do("PATCH", at, system, body).status; status != 400 {
			t.Errorf("%s: %d", body, status)
		}
	}
	for _, body := range []string{`{}`, `{"name":"x"}`, `{"name":"x","owner_email":"nonsense"}`, `{"name":"x","owner_email":"a@example.com","plan":"x"}`} {
		if status := w.do("POST", "/v1/system/accounts", system, body).status; status != 400 {
			t.Errorf("%s: %d", body, status)
		}
	}

	w.do("PATCH", at, system, `{"suspended":true}`).want(200)
	w.do("GET", "/v1/me", token, "").problem(&api.AccountSuspended)
	w.do("GET", "/v1/me", w.admin(), "").want(200)
	w.do("PATCH", at, system, `{"suspended":false}`).want(200)
	w.do("GET", "/v1/me", token, "").want(200)

	w.do("GET", at+"/deletion", system, "").problem(&api.NoDeletion)
	var d api.AccountDeletion
	x = w.do("DELETE", at, system, "").want(202)
	x.read(&d)
	if d.State != api.DeletionPending || x.header.Get("Location") != at+"/deletion" {
		t.Errorf("got %+v", d)
	}
	w.do("GET", "/v1/me", token, "").problem(&api.InvalidToken)
	w.do("GET", at, system, "").problem(&api.NoAccount)
	w.do("DELETE", at, system, "").want(202)
	w.advance(10 * time.Second)
	_, err := w.tenants.Complete(t.Context())
	w.must(err)
	w.do("GET", at+"/deletion", system, "").want(200).read(&d)
	if d.State != api.DeletionDone || d.Deleted.Users != 3 || d.Deleted.Apps != 1 || d.Deleted.Tokens != 1 || d.Deleted.Records != 3 {
		t.Errorf("the report is %+v", d)
	}
	w.do("DELETE", "/v1/system/accounts/KDcuGIm1QgePTO8WbOqwIQ", system, "").problem(&api.NoAccount)
	if _, err := w.directory.Account(t.Context(), w.account); err != nil {
		t.Errorf("another account: %v", err)
	}
}

// TestSystemList pages through all accounts.
func TestSystemList(t *testing.T) {
	w := newWorld(t)
	system := w.systemToken()
	want := map[string]bool{string(w.account): true, string(w.other): true}
	for range 3 {
		account, err := w.directory.CreateAccount(t.Context(), "Example")
		w.must(err)
		want[string(account.ID)] = true
	}
	for after, more := "", true; more; {
		var page api.SystemAccounts
		w.do("GET", "/v1/system/accounts?limit=2&after="+after, system, "").want(200).read(&page)
		for _, a := range page.Accounts {
			if !want[a.ID] {
				t.Errorf("%s is listed twice, or unknown", a.ID)
			}
			delete(want, a.ID)
		}
		after, more = page.Next, page.Next != ""
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	for query, kind := range map[string]*api.Kind{
		"limit=0": &api.InvalidField, "limit=x": &api.InvalidField, "x=1": &api.InvalidField, "after=" + strings.Repeat("a", 600): &api.CursorInvalid,
	} {
		w.do("GET", "/v1/system/accounts?"+query, system, "").problem(kind)
	}
}

// TestSystemAudit: an operator reads and exports the audit log of the server, which says
// who created, suspended, resumed and deleted an account after the account is gone. It is
// not the log of an account.
func TestSystemAudit(t *testing.T) {
	w := newWorld(t)
	system := w.systemToken()
	var made api.CreatedAccount
	w.do("POST", "/v1/system/accounts", system, `{"name":"Xq7canary","owner_email":"xq7canary@example.com"}`).want(201).read(&made)
	at := "/v1/system/accounts/" + made.AccountID
	w.do("PATCH", at, system, `{"suspended":true}`).want(200)
	w.do("PATCH", at, system, `{"suspended":false}`).want(200)
	w.do("DELETE", at, system, "").want(202)
	w.advance(10 * time.Second)
	_, err := w.tenants.Complete(t.Context())
	w.must(err)
	w.do("PATCH", "/v1/account", w.admin(), `{"history_days":9}`).want(200)

	var page api.AuditEvents
	w.do("GET", "/v1/system/audit?order=oldest", system, "").want(200).read(&page)
	events := make([]api.AuditEvent, len(page.Events))
	for i, line := range page.Events {
		w.must(json.Unmarshal(line, &events[i]))
	}
	want := []string{"account.create", "account.suspend", "account.resume", "account.delete", "account.deleted"}
	if got := actions(events); !slices.Equal(got, want) {
		t.Fatalf("the log has %q, want %q", got, want)
	}
	for _, e := range events[:4] {
		if e.Target != "account/"+made.AccountID || e.Token == "" || e.Token == system || e.Address == "" {
			t.Errorf("%+v", e)
		}
	}
	w.do("GET", "/v1/system/audit?action=account.delete&limit=1", system, "").want(200).read(&page)
	if len(page.Events) != 1 || !strings.Contains(string(page.Events[0]), `"account.delete"`) {
		t.Errorf("the filter finds %s", page.Events)
	}
	w.do("GET", "/v1/system/audit?user=me", system, "").problem(&api.InvalidField)
	export := w.do("GET", "/v1/system/audit/export", system, "").want(200).body
	if strings.Contains(strings.ToLower(export), "xq7canary") {
		t.Errorf("the log names the account or its owner: %s", export)
	}
	report, err := new(audit.Verifier).Verify(strings.NewReader(export))
	if err != nil || report.Problem != nil || report.Events != uint64(len(want))+1 {
		t.Errorf("the export: %+v, %v", report, err)
	}
}
