package zoomapi_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	. "porchlight.dev/porchlight/internal/zoomapi"
)

const (
	manageUsers = "user:read:list_users:admin user:read:user:admin user:write:user:admin user:update:user:admin user:delete:user:admin " +
		"user:update:status:admin user:update:email:admin user:read:email:admin"
	everythingOfUsers = "user:read:admin user:write:admin"
	noPermission      = `{"code":200,"message":"No permission."}`
)

// send makes a call with a JSON body.
func (w *fixture) send(token, method, path, body string) *httptest.ResponseRecorder {
	c := call{method: method, path: path, token: token, body: body}
	if body != "" {
		c.kind = "application/json"
	}
	return w.do(c)
}

// A listedUser is a user in a response.
type listedUser struct {
	ID          presence.UserID `json:"id"`
	Email       string          `json:"email"`
	FirstName   string          `json:"first_name"`
	LastName    string          `json:"last_name"`
	DisplayName string          `json:"display_name"`
	Dept        string          `json:"dept"`
	Type        int             `json:"type"`
	Status      string          `json:"status"`
	RoleID      string          `json:"role_id"`
	RoleName    string          `json:"role_name"`
}

func read[T any](tb testing.TB, rec *httptest.ResponseRecorder, status int) (body T) {
	tb.Helper()
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || rec.Code != status {
		tb.Fatalf("%d %s: %v; want %d", rec.Code, rec.Body, err, status)
	}
	return body
}

// TestUserLife creates, reads, changes, deactivates and deletes a user.
func TestUserLife(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", manageUsers)
	rec := w.send(token, "POST", "/v2/users", `{"action":"create","user_info":{"email":"Dan@Example.com","type":2,"first_name":"Dan","last_name":"Ng","password":"if42!LfH@","feature":{"zoom_phone":true}}}`)
	made := read[listedUser](t, rec, 201)
	want(t, rec, 201, fmt.Sprintf(`{"id":"%s","email":"Dan@Example.com","first_name":"Dan","last_name":"Ng","type":1}`, made.ID))

	want(t, w.send(token, "GET", "/v2/users/dan@example.com", ""), 200, fmt.Sprintf(
		`{"id":"%s","email":"Dan@Example.com","first_name":"Dan","last_name":"Ng","display_name":"Dan Ng","type":1,"status":"active","dept":"",`+
			`"role_id":"2","created_at":"2026-11-22T12:00:00Z","user_created_at":"2026-11-22T12:00:00Z","group_ids":[],"role_name":"Member","account_id":"%s"}`, made.ID, w.account))

	at := "/v2/users/" + string(made.ID)
	want(t, w.send(token, "PATCH", at, `{"first_name":"Daniel","last_name":null,"dept":"R&D","company":"Example","pmi":"1","type":1}`), 204, "")
	if u := read[listedUser](t, w.send(token, "GET", at, ""), 200); u.FirstName != "Daniel" || u.LastName != "Ng" || u.Dept != "R&D" || u.DisplayName != "Daniel Ng" {
		t.Errorf("after PATCH: %+v", u)
	}
	want(t, w.send(token, "PUT", at+"/email", `{"email":"daniel@example.com"}`), 204, "")
	want(t, w.send(token, "GET", "/v2/users/dan@example.com", ""), 404, noUserBody("dan@example.com"))

	own := w.token(w.account, made.ID, "user:read:user")
	want(t, w.send(token, "PUT", at+"/status", `{"action":"deactivate"}`), 204, "")
	want(t, w.send(own, "GET", "/v2/users/me", ""), 401, badToken)
	if u := read[listedUser](t, w.send(token, "GET", at, ""), 200); u.Status != "inactive" {
		t.Errorf("after deactivation: %+v", u)
	}
	want(t, w.send(token, "PUT", at+"/email", `{"email":"other@example.com"}`), 400, `{"code":1000,"message":"This user is locked or inactive."}`)
	want(t, w.send(token, "PUT", at+"/status", `{"action":"activate"}`), 204, "")
	want(t, w.send(token, "PUT", at+"/status", `{"action":"activate"}`), 204, "")

	want(t, w.send(token, "DELETE", at+"?action=delete&transfer_email=ben@example.com&transfer_meeting=true", ""), 204, "")
	want(t, w.send(token, "DELETE", at, ""), 404, noUserBody(string(made.ID)))
	want(t, w.send(token, "GET", "/v2/users/email?email=daniel@example.com", ""), 200, `{"existed_email":false}`)
	again := read[listedUser](t, w.send(token, "POST", "/v2/users", `{"action":"ssoCreate","user_info":{"email":"daniel@example.com","type":1}}`), 201)
	if again.ID == made.ID {
		t.Error("an id was used again")
	}
}

// TestUserScopes calls each route with the scopes that it needs, by each of their names,
// and with all others.
func TestUserScopes(t *testing.T) {
	w := newFixture(t, options{})
	for _, c := range []struct {
		method, path, body string
		named              string
		admits             []string
	}{
		{"GET", "/v2/users", "", "user:read:list_users:admin", []string{"user:read:list_users:admin", "user:read:admin"}},
		{"GET", "/v2/users/email?email=x@y", "", "user:read:email:admin", []string{"user:read:email:admin", "user:read:admin"}},
		{"GET", "/v2/users/me", "", "user:read:user, user:read:user:admin", []string{"user:read:user", "user:read:user:admin", "user:read", "user:read:admin", "user_info:read"}},
		{"POST", "/v2/users", "{}", "user:write:user:admin", []string{"user:write:user:admin", "user:write:admin"}},
		{"PATCH", "/v2/users/me", "{}", "user:update:user, user:update:user:admin", []string{"user:update:user", "user:update:user:admin", "user:write:admin"}},
		{"DELETE", "/v2/users/nobody", "", "user:delete:user:admin", []string{"user:delete:user:admin", "user:write:admin"}},
		{"PUT", "/v2/users/nobody/status", "{}", "user:update:status:admin", []string{"user:update:status:admin", "user:write:admin"}},
		{"PUT", "/v2/users/nobody/email", "{}", "user:update:email:admin", []string{"user:update:email:admin", "user:write:admin"}},
	} {
		refused := fmt.Sprintf(`{"code":4711,"message":"Invalid access token, does not contain scopes:[%s]."}`, c.named)
		for _, scope := range []string{"presence:read:admin", "contact:read:admin", "claim:write:admin", "user:write", "user:master"} {
			want(t, w.send(w.token(w.account, w.ann.ID, scope), c.method, c.path, c.body), 400, refused)
		}
		for _, scope := range c.admits {
			if rec := w.send(w.token(w.account, w.ann.ID, scope), c.method, c.path, c.body); strings.Contains(rec.Body.String(), "4711") {
				t.Errorf("%s %s with %s: %d %s", c.method, c.path, scope, rec.Code, rec.Body)
			}
		}
		want(t, w.send("", c.method, c.path, c.body), 401, badToken)
	}
}

// TestOtherUsers: a token without :admin reaches its own user alone; an unknown user
// takes precedence over the missing permission.
func TestOtherUsers(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, w.ann.ID, "user:read:user user:update:user")
	for _, method := range []string{"GET", "PATCH"} {
		body := ""
		if method == "PATCH" {
			body = `{"first_name":"Ann"}`
		}
		for _, ref := range []string{"me", string(w.ann.ID), "ann+desk@example.com", "ann%2Bdesk%40example.com", "ANN+desk@example.com", "ann%252Bdesk%2540example.com"} {
			if rec := w.send(token, method, "/v2/users/"+ref, body); rec.Code/100 != 2 {
				t.Errorf("%s %s: %d %s", method, ref, rec.Code, rec.Body)
			}
		}
		want(t, w.send(token, method, "/v2/users/ben@example.com", body), 400, noPermission)
		for _, ref := range []string{"nobody", "nobody@example.com", string(w.eve.ID), "eve@example.com"} {
			want(t, w.send(token, method, "/v2/users/"+ref, body), 404, noUserBody(ref))
		}
	}
	if u, err := w.Directory.User(t.Context(), w.account, w.ben.ID); err != nil || u.FirstName != "" {
		t.Errorf("Ben: %+v, %v", u, err)
	}
}

// TestOtherAccount: for each route, a user of another account cannot be told from one who
// does not exist, and nothing happens to the user.
func TestOtherAccount(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", everythingOfUsers)
	deleted := w.User(w.account, "gone@example.com")
	w.must(w.Directory.Delete(t.Context(), w.account, deleted.ID))
	for _, c := range []struct{ method, suffix, body string }{
		{"GET", "", ""},
		{"PATCH", "", `{"first_name":"Mallory"}`},
		{"DELETE", "", ""},
		{"DELETE", "?action=delete", ""},
		{"PUT", "/status", `{"action":"deactivate"}`},
		{"PUT", "/status", `{"action":"clock_in"}`},
		{"PUT", "/email", `{"email":"mallory@example.com"}`},
	} {
		absent := w.send(token, c.method, "/v2/users/AAAAAAAAAAAAAAAAAAAAAA"+c.suffix, c.body)
		for _, ref := range []string{string(w.eve.ID), "eve@example.com", string(deleted.ID), "gone@example.com"} {
			rec := w.send(token, c.method, "/v2/users/"+ref+c.suffix, c.body)
			if want := strings.ReplaceAll(absent.Body.String(), "AAAAAAAAAAAAAAAAAAAAAA", ref); rec.Code != 404 || rec.Body.String() != want {
				t.Errorf("%s %s: %d %s, want %s", c.method, ref, rec.Code, rec.Body, want)
			}
		}
	}
	want(t, w.send(token, "GET", "/v2/users/email?email=eve@example.com", ""), 200, `{"existed_email":false}`)
	if list := read[userPage](t, w.send(token, "GET", "/v2/users?page_size=300", ""), 200); strings.Contains(list.emails(), "eve") || list.Total != 4 {
		t.Errorf("the list: %+v", list)
	}
	eve, err := w.Directory.Find(t.Context(), w.eveAccount(), "eve@example.com")
	if err != nil || !eve.Equal(&w.eve) {
		t.Errorf("Eve is %+v, %v; was %+v", eve, err, w.eve)
	}
	read[listedUser](t, w.send(token, "POST", "/v2/users", `{"action":"create","user_info":{"email":"eve@example.com","type":1}}`), 201)
}

func (w *fixture) eveAccount() presence.AccountID {
	p, err := w.Authority.Authenticate(w.tb.Context(), w.eveApp)
	w.must(err)
	return p.Account
}

// TestUserBodies refuses bodies, and changes nothing.
func TestUserBodies(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", everythingOfUsers)
	wrong := func(field, reason string) string {
		return fmt.Sprintf(`{"code":300,"message":"Validation Failed.","errors":[{"field":"%s","message":"Invalid field. %s"}]}`, field, reason)
	}
	const notObject = `{"code":300,"message":"Request Body should be a valid JSON object."}`
	info := func(members string) string { return `{"action":"create","user_info":{` + members + `}}` }
	for _, c := range []struct {
		method, path, body string
		status             int
		response           string
	}{
		{"POST", "/v2/users", `{}`, 400, wrong("action", "It is required.")},
		{"POST", "/v2/users", `[]`, 400, notObject},
		{"POST", "/v2/users", `{"action":"create"`, 400, notObject},
		{"POST", "/v2/users", "", 400, notObject},
		{"POST", "/v2/users", `{"action":"Create"}`, 400, wrong("action", "It must be one of: create, autoCreate, custCreate, ssoCreate.")},
		{"POST", "/v2/users", `{"action":1}`, 400, wrong("action", "It must be a string.")},
		{"POST", "/v2/users", `{"action":"create"}`, 400, wrong("user_info", "It is required.")},
		{"POST", "/v2/users", `{"action":"create","user_info":null}`, 400, wrong("user_info", "It is required.")},
		{"POST", "/v2/users", `{"action":"create","user_info":"x"}`, 400, wrong("user_info", "It must be an object.")},
		{"POST", "/v2/users", info(``), 400, wrong("user_info.email", "It is required.")},
		{"POST", "/v2/users", info(`"email":"nobody"`), 400, wrong("user_info.email", `It must have text on both sides of one \"@\".`)},
		{"POST", "/v2/users", info(`"email":["x@example.com"]`), 400, wrong("user_info.email", "It must be a string.")},
		{"POST", "/v2/users", info(`"email":"x@example.com","type":5`), 400, wrong("user_info.type", "It must be 1, 2, 4 or 99.")},
		{"POST", "/v2/users", info(`"email":"x@example.com","type":"1"`), 400, wrong("user_info.type", "It must be a whole number.")},
		{"POST", "/v2/users", info(`"email":"x@example.com","password":12345678`), 400, wrong("user_info.password", "It must be a string.")},
		{"POST", "/v2/users", info(`"email":"x@example.com","first_name":"a\u0000b"`), 400, ""},
		{"POST", "/v2/users", info(`"email":"x@example.com","email":"y@example.com"`), 400, ""},
		{"POST", "/v2/users", info(`"email":"BEN@example.com"`), 409, `{"code":1005,"message":"Email \"BEN@example.com\" has already been used."}`},
		{"PATCH", "/v2/users/ben@example.com", `{"first_name":7}`, 400, wrong("first_name", "It must be a string.")},
		{"PATCH", "/v2/users/ben@example.com", `{"dept":"` + strings.Repeat("x", 300) + `"}`, 400, wrong("dept", "It must be at most 256 bytes.")},
		{"PATCH", "/v2/users/ben@example.com", `{"type":5}`, 400, wrong("type", "It must be 1, 2, 4 or 99.")},
		{"PATCH", "/v2/users/ben@example.com", `"x"`, 400, notObject},
		{"PUT", "/v2/users/ben@example.com/status", `{}`, 400, wrong("action", "It is required.")},
		{"PUT", "/v2/users/ben@example.com/status", `{"action":"delete"}`, 400, wrong("action", "It must be activate or deactivate.")},
		{"PUT", "/v2/users/ben@example.com/status", `{"action":"clock_in"}`, 400, `{"code":200,"message":"No permission. This account cannot clock users in or out."}`},
		{"PUT", "/v2/users/ben@example.com/email", `{}`, 400, wrong("email", "It is required.")},
		{"PUT", "/v2/users/ben@example.com/email", `{"email":"ben"}`, 400, wrong("email", `It must have text on both sides of one \"@\".`)},
		{"PUT", "/v2/users/ben@example.com/email", `{"email":"cyd@example.com"}`, 409, `{"code":1005,"message":"Email \"cyd@example.com\" has already been used."}`},
		{"DELETE", "/v2/users/ben@example.com?action=remove", "", 400, wrong("action", "It must be one of: disassociate, delete.")},
		{"GET", "/v2/users/email", "", 400, `{"code":300,"message":"Email is required."}`},
		// The body is checked before the user.
		{"PUT", "/v2/users/nobody/status", `{}`, 400, wrong("action", "It is required.")},
	} {
		rec := w.send(token, c.method, c.path, c.body)
		if c.response == "" {
			if rec.Code != c.status || !strings.Contains(rec.Body.String(), `"code":300`) {
				t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, rec.Code, rec.Body)
			}
			continue
		}
		want(t, rec, c.status, c.response)
	}
	want(t, w.do(call{method: "POST", path: "/v2/users", token: token, kind: "text/xml", body: "<user/>"}), 415,
		`{"code":415,"message":"The body has the media type \"text/xml\"; this route reads application/json."}`)
	if rec := w.send(token, "POST", "/v2/users", strings.Repeat(" ", 1<<16+1)); rec.Code != 413 {
		t.Errorf("a large body: %d %s", rec.Code, rec.Body)
	}
	for _, before := range []directory.User{w.ben, w.cyd} {
		if u, err := w.Directory.User(t.Context(), w.account, before.ID); err != nil || !u.Equal(&before) {
			t.Errorf("%s has changed: %+v, %v", before.Email, u, err)
		}
	}
}

// TestOwner: the owner can neither be deactivated nor deleted, nor get another address.
func TestOwner(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", everythingOfUsers)
	for _, ref := range []string{"me", "owner@example.com", string(w.owner.ID)} {
		at := "/v2/users/" + ref
		want(t, w.send(token, "PUT", at+"/status", `{"action":"deactivate"}`), 400, `{"code":200,"message":"Zoom Room and Admin users can not be activated or deactivated."}`)
		want(t, w.send(token, "DELETE", at, ""), 400, `{"code":200,"message":"Cannot delete the owner of the account."}`)
		want(t, w.send(token, "PUT", at+"/email", `{"email":"mallory@example.com"}`), 400, `{"code":1000,"message":"Can not change email of account owner."}`)
		if u := read[listedUser](t, w.send(token, "GET", at, ""), 200); u.RoleID != "0" || u.RoleName != "Owner" || u.Status != "active" || u.Email != "owner@example.com" {
			t.Errorf("%s: %+v", ref, u)
		}
	}
}

// TestAdministratorsAddress: with the address of an administrator, somebody could sign in
// as one. Only a caller who may do all that an administrator may can change it.
func TestAdministratorsAddress(t *testing.T) {
	w := newFixture(t, options{})
	u := w.ben
	u.Role = directory.Admin
	_, err := w.Directory.Update(t.Context(), w.account, u)
	w.must(err)
	const body = `{"email":"mallory@example.com"}`
	at := "/v2/users/ben@example.com"
	want(t, w.send(w.token(w.account, "", everythingOfUsers), "PUT", at+"/email", body), 400, noPermission)
	want(t, w.send(w.token(w.account, w.ann.ID, everythingOfUsers), "PUT", at+"/email", body), 400, noPermission)
	want(t, w.send(w.token(w.account, "", w.allScopes()), "PUT", at+"/email", body), 204, "")
	if u := read[listedUser](t, w.send(w.token(w.account, "", everythingOfUsers), "GET", "/v2/users/mallory@example.com", ""), 200); u.RoleID != "1" || u.RoleName != "Admin" {
		t.Errorf("%+v", u)
	}
}

func (w *fixture) allScopes() string { return w.Authority.ScopesOf(directory.Admin).String() }

// TestEmailCheck: addresses are compared as elsewhere, and a "+" is no space.
func TestEmailCheck(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, "", everythingOfUsers)
	for email, exists := range map[string]bool{
		"ann+desk@example.com": true, "ann%2Bdesk%40example.com": true, "ANN%2bdesk@EXAMPLE.com": true,
		"ann@example.com": false, "ann%20desk@example.com": false, string(w.ann.ID): false, "me": false, "%00@": false, "a@b@c": false,
	} {
		want(t, w.send(token, "GET", "/v2/users/email?email="+email, ""), 200, fmt.Sprintf(`{"existed_email":%v}`, exists))
	}
	want(t, w.send(token, "GET", "/v2/users/email?email=", ""), 400, `{"code":300,"message":"Email is required."}`)
	if rec := w.send(token, "GET", "/v2/users/email?email=%zz", ""); rec.Code != 400 {
		t.Errorf("a query that is not encoded: %d %s", rec.Code, rec.Body)
	}
}

// TestUserChangesAreRecorded: the audit log has who made each change, and no personal
// values.
func TestUserChangesAreRecorded(t *testing.T) {
	w := newFixture(t, options{})
	token := w.token(w.account, w.ann.ID, everythingOfUsers)
	made := read[listedUser](t, w.send(token, "POST", "/v2/users", `{"action":"create","user_info":{"email":"wolfgang@example.com","type":1,"first_name":"Wolfgang"}}`), 201)
	at := "/v2/users/" + string(made.ID)
	want(t, w.send(token, "PATCH", at, `{"first_name":"Wolfgangus"}`), 204, "")
	want(t, w.send(token, "PUT", at+"/email", `{"email":"wolfgangus@example.com"}`), 204, "")
	want(t, w.send(token, "PUT", at+"/status", `{"action":"deactivate"}`), 204, "")
	want(t, w.send(token, "DELETE", at, ""), 204, "")
	docs, err := w.store.List(t.Context(), w.account, "audit", "", 100)
	w.must(err)
	var actions []string
	for _, doc := range docs {
		var e struct{ Action, Target, User string }
		w.must(json.Unmarshal(doc.Value, &e))
		actions = append(actions, e.Action)
		if e.Target != "user/"+string(made.ID) || e.User != string(w.ann.ID) || strings.Contains(strings.ToLower(string(doc.Value)), "wolfgang") {
			t.Errorf("recorded: %s", doc.Value)
		}
	}
	if want := []string{"user.create", "user.update", "user.update", "user.update", "user.delete"}; !slices.Equal(actions, want) {
		t.Errorf("recorded: %q, want %q", actions, want)
	}
}

// TestUserLimits: each route counts for the label that Zoom documents.
func TestUserLimits(t *testing.T) {
	for _, c := range []struct {
		method, path, body, label string
		limit                     string
	}{
		{"GET", "/v2/users", "", "Medium", "2"},
		{"GET", "/v2/users/me", "", "Light", "4"},
		{"GET", "/v2/users/email?email=x@y", "", "Light", "4"},
		{"POST", "/v2/users", "{}", "Light", "4"},
		{"PATCH", "/v2/users/me", "{}", "Light", "4"},
		{"DELETE", "/v2/users/nobody", "", "Light", "4"},
		{"PUT", "/v2/users/nobody/status", "{}", "Light", "4"},
		{"PUT", "/v2/users/nobody/email", "{}", "Light", "4"},
	} {
		w := newFixture(t, options{plan: Free})
		token := w.token(w.account, "", everythingOfUsers)
		rec := w.send(token, c.method, c.path, c.body)
		wantHeader(t, rec, "X-RateLimit-Category", c.label)
		wantHeader(t, rec, "X-RateLimit-Limit", c.limit)
		for range 4 {
			rec = w.send(token, c.method, c.path, c.body)
		}
		if rec.Code != 429 || rec.Header().Get("X-RateLimit-Type") != "QPS" {
			t.Errorf("%s %s: %d %s", c.method, c.path, rec.Code, rec.Body)
		}
	}
}
