package e2e_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// runClient runs a Node program that prints one line of JSON.
func runClient(t *testing.T, d *demo, into any, program string, env ...string) {
	t.Helper()
	env = append(env, "URL="+d.URL, "ACCOUNT_ID="+d.AccountID, "CLIENT_ID="+d.ClientID, "CLIENT_SECRET="+d.ClientSecret,
		"http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=") // axios would use the proxies for loopback
	output, err := run(t, env, "node", program)
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, output)
	}
	if err := json.Unmarshal([]byte(output), into); err != nil {
		t.Fatalf("%s printed %q: %v", program, output, err)
	}
}

// zoomUser is a user as Zoom's clients get it.
type zoomUser struct {
	ID        string   `json:"id"`
	Email     string   `json:"email"`
	FirstName string   `json:"first_name"`
	LastName  string   `json:"last_name"`
	Type      int      `json:"type"`
	Status    string   `json:"status"`
	Dept      string   `json:"dept"`
	RoleName  string   `json:"role_name"`
	AccountID string   `json:"account_id"`
	GroupIDs  []string `json:"group_ids"`
}

// TestRivetUsers runs the users and groups endpoints of Zoom's SDK.
func TestRivetUsers(t *testing.T) {
	requireFile(t, "node_modules/@zoom/rivet/package.json")
	d := startDemo(t)
	var group struct{ ID string }
	status, body := curl(t, "curl "+d.URL+"/v1/groups -H 'Authorization: Bearer "+d.AccessToken+"' -H 'Content-Type: application/json' -d '{\"name\":\"Rivet\"}'")
	if err := json.Unmarshal([]byte(body), &group); err != nil || status != "201" {
		t.Fatalf("create a group: %s %s", status, body)
	}
	type listed struct{ Listed, Distinct, Total int }
	var got struct {
		Before, After listed
		Created       struct {
			Status int
			Data   zoomUser
		}
		Exists   map[string]bool
		Statuses []int
		Read     zoomUser
		Added    struct {
			Status int
			IDs    string
		}
		Groups      []map[string]any
		Members     []string
		Inactive    []string
		Again       string
		Gone, Owner string
	}
	runClient(t, d, &got, "rivetusers.mjs", "OWNER_ID=me", "GROUP_ID="+group.ID)
	id := got.Created.Data.ID
	if all := (listed{len(d.Users), len(d.Users), len(d.Users)}); got.Before != all && got.Before != (listed{all.Listed + 1, all.Distinct + 1, all.Total + 1}) || got.After != got.Before {
		t.Errorf("the pages list %+v, then %+v, of %d users", got.Before, got.After, len(d.Users))
	}
	if got.Created.Status != 201 || id == "" || got.Created.Data.Email != "rivet+test@example.com" || got.Created.Data.Type != 1 {
		t.Errorf("created: %+v", got.Created)
	}
	if !got.Exists["existed_email"] {
		t.Errorf("the address is not found: %v", got.Exists)
	}
	if want := []int{204, 204, 204, 204, 204, 204}; !slices.Equal(got.Statuses, want) {
		t.Errorf("changes: %v", got.Statuses)
	}
	if r := got.Read; r.ID != id || r.Email != "riveted@example.com" || r.FirstName != "Riveted" || r.LastName != "Test" || r.Dept != "R&D" ||
		r.Status != "active" || r.RoleName != "Member" || r.AccountID != d.AccountID {
		t.Errorf("read: %+v", r)
	}
	if got.Added.Status != 201 || got.Added.IDs != id || !slices.Equal(got.Members, []string{id}) {
		t.Errorf("added %+v, members %q", got.Added, got.Members)
	}
	if !slices.ContainsFunc(got.Groups, func(g map[string]any) bool {
		return g["id"] == group.ID && g["name"] == "Rivet" && g["total_members"] == 1.0
	}) {
		t.Errorf("groups: %v", got.Groups)
	}
	if !slices.Equal(got.Inactive, []string{id}) {
		t.Errorf("inactive: %q, want %q", got.Inactive, id)
	}
	for _, c := range []struct{ name, got, want string }{
		{"a second user with the address", got.Again, "[409/1005]: "},
		{"a deleted user", got.Gone, "[404/1001]: "},
		{"deletion of the owner", got.Owner, "[400/200]: "},
	} {
		if !strings.HasPrefix(c.got, c.want) {
			t.Errorf("%s: the SDK reports %q, want %q and a message", c.name, c.got, c.want)
		}
	}
}

// TestZoomapi runs zoomapi, another client, which sends its grant in the query, and pages
// by number.
func TestZoomapi(t *testing.T) {
	requireFile(t, "node_modules/zoomapi/package.json")
	d := startDemo(t)
	var got struct {
		Created, Read         zoomUser
		Again, Presence, Gone string
		Pages, Listed         int
		Distinct, Total       int
	}
	runClient(t, d, &got, "zoomapi.mjs")
	if got.Read.ID != got.Created.ID || got.Read.Email != "npm@example.com" || got.Read.FirstName != "Noddy" || got.Read.Status != "active" {
		t.Errorf("created %+v, read %+v", got.Created, got.Read)
	}
	if got.Listed < len(d.Users)+1 || got.Distinct != got.Listed || got.Total != got.Listed || got.Pages != (got.Total+7)/8 {
		t.Errorf("%d pages list %d users, %d distinct, of %d", got.Pages, got.Listed, got.Distinct, got.Total)
	}
	for _, c := range []struct{ name, got, want string }{
		{"a second user with the address", got.Again, `409/1005 Email "npm@example.com" has already been used.`},
		{"a user who is not signed in", got.Presence, "400/5301 "},
		{"a deleted user", got.Gone, "404/1001 User does not exist: npm@example.com"},
	} {
		if !strings.HasPrefix(c.got, c.want) {
			t.Errorf("%s: the client reports %q, want %q", c.name, c.got, c.want)
		}
	}
}
