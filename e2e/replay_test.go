package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A replayed is a request as a client that cannot run here makes it, and the answer that
// the client needs.
type replayed struct {
	method, path, body string
	status             int
	has                string // in the answer
}

// replay makes the requests in turn, with the headers of the client. In paths and bodies,
// NEXT is the next_page_token of the answer before, and ID its id.
func replay(t *testing.T, d *demo, token string, header map[string]string, requests []replayed) {
	t.Helper()
	var last struct {
		ID   string `json:"id"`
		Next string `json:"next_page_token"`
	}
	for _, c := range requests {
		fill := strings.NewReplacer("NEXT", last.Next, "ID", last.ID)
		request, err := http.NewRequestWithContext(t.Context(), c.method, d.URL+"/v2/"+fill.Replace(c.path), strings.NewReader(fill.Replace(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		for name, value := range header {
			request.Header.Set(name, value)
		}
		if c.body != "" {
			request.Header.Set("Content-Type", "application/json; charset=utf-8")
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close() // it has been read
		if err != nil || response.StatusCode != c.status || !strings.Contains(string(body), fill.Replace(c.has)) {
			t.Fatalf("%s %s: %d %s, %v; want %d with %q", c.method, c.path, response.StatusCode, body, err, c.status, c.has)
		}
		if len(body) > 0 {
			id := last.ID
			if err := json.Unmarshal(body, &last); err != nil {
				t.Fatalf("%s %s answered %s: %v", c.method, c.path, body, err)
			}
			if last.ID == "" {
				last.ID = id
			}
		}
	}
}

// TestZoomNetRequests makes the requests of ZoomNet's Users and Groups, whose package needs
// .NET. Members that a caller leaves out are null.
func TestZoomNetRequests(t *testing.T) {
	d := startDemo(t)
	header := map[string]string{"Accept": "application/json", "User-Agent": "ZoomNet/0.100 (+https://github.com/Jericho/ZoomNet)"}
	const nulls = `"company":null,"dept":"Research","first_name":"Net","group_id":null,"host_key":null,"job_title":"Tester","language":null,"last_name":null,` +
		`"location":null,"manager":null,"phone_numbers":[{"country":"US","code":"+1","number":"5550100","label":"Office"}],"pmi":null,"pronouns":null,` +
		`"pronouns_option":null,"timezone":"America/New_York","type":2,"use_pmi":null,"vanity_name":null,"custom_attributes":null`
	replay(t, d, d.AccessToken, header, []replayed{
		{"GET", "users?status=active&page_size=10", "", 200, `"page_size":10`},
		{"GET", "users?status=active&page_size=10&next_page_token=NEXT", "", 200, `"users":[{`},
		{"GET", "users?status=active&page_size=30&page_number=1", "", 200, `"page_number":1`},
		{"POST", "users", `{"action":"custCreate","user_info":{"email":"net@example.com","type":1,"first_name":null,"last_name":"User","password":null}}`, 201, `"email":"net@example.com"`},
		{"PATCH", "users/ID", `{` + nulls + `}`, 204, ""},
		{"GET", "users/ID", "", 200, `"dept":"Research"`},
		{"GET", "users/net@example.com", "", 200, `"first_name":"Net","last_name":"User"`},
		{"PUT", "users/ID/email", `{"email":"net2@example.com"}`, 204, ""},
		{"GET", "users/email?email=net2%40example.com", "", 200, `{"existed_email":true}`},
		{"PUT", "users/ID/status", `{"action":"deactivate"}`, 204, ""},
		{"PUT", "users/ID/status", `{"action":"activate"}`, 204, ""},
		{"GET", "groups", "", 200, `"groups":[{`},
		{"DELETE", "users/ID?action=delete&transfer_email=&transfer_meetings=false&transfer_webinars=false&transfer_recordings=false", "", 204, ""},
		{"GET", "users/ID", "", 404, `"code":1001`},
	})
}

// TestHomeAssistantRequests makes the requests of the Home Assistant integration
// raman325/ha-zoom-automation, which needs Home Assistant, with a user's token: the
// profile, all contacts, and the profile of one with its presence.
func TestHomeAssistantRequests(t *testing.T) {
	d := startDemo(t)
	u, other := d.signedIn(t, 0), d.signedIn(t, 1)
	status, body := curl(t, "curl -X PUT "+d.URL+"/v1/users/me/contacts/"+other.ID+" -H 'Authorization: Bearer "+u.AccessToken+"' -H 'Content-Type: application/json' -d '{}'")
	if status != "200" {
		t.Fatalf("add a contact: %s %s", status, body)
	}
	header := map[string]string{"Accept": "*/*", "User-Agent": "HomeAssistant/2026.1.0 aiohttp/3.13.2 Python/3.13"}
	replay(t, d, u.AccessToken, header, []replayed{
		{"GET", "users/me", "", 200, `"id":"` + u.ID + `","email":"` + u.Email + `"`},
		{"GET", "chat/users/me/contacts?type=external&page_size=50", "", 200, `{"contacts":[],"next_page_token":""`},
		{"GET", "chat/users/me/contacts?type=company&page_size=50", "", 200, other.Email},
		{"GET", "chat/users/me/contacts/" + other.ID + "?query_presence_status=true", "", 200, `"presence_status":"`},
	})
}
