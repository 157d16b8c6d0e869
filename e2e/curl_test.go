package e2e_test

import (
	_ "embed"
	"encoding/json"
	"strings"
	"testing"
)

// documented is the command of Zoom's documentation, letter by letter.
//
//go:embed testdata/update-presence.curl
var documented string

// curl runs a curl command line in a shell, and returns the status and the body of the
// response.
func curl(t *testing.T, line string) (status, body string) {
	t.Helper()
	line = strings.Join(strings.Fields(line), " ")
	output, err := run(t, nil, "sh", "-c", line+` -sS -w '\n%{http_code}'`)
	if strings.Contains(output, "curl: not found") || strings.Contains(output, "curl: command not found") {
		t.Fatal("curl is not installed: run `make test-tools`")
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, output)
	}
	end := strings.LastIndexByte(output, '\n')
	return output[end+1:], strings.TrimSuffix(output[:end], "\n")
}

// TestCurl runs the documented command with the base URL and the token replaced, and
// common variations of it.
func TestCurl(t *testing.T) {
	d := startDemo(t)
	const own = `curl -X PUT -H "Authorization: Bearer <access_token>" https://api.zoom.us/v2/users/:userId/presence_status `
	for _, c := range []struct {
		name   string
		line   string
		user   string
		token  string
		status string
		code   int // in the body
		want   string
		of     user
	}{
		{name: "as documented", line: documented, user: d.signedIn(t, 0).ID, status: "204", want: "Available", of: d.signedIn(t, 0)},
		{name: "again within the minute", line: documented, user: d.signedIn(t, 0).ID, status: "429", code: 429, want: "Available", of: d.signedIn(t, 0)},
		{name: "literal :userId", line: documented, user: ":userId", status: "404", code: 1001},
		{name: "an invalid token", line: documented, user: d.signedIn(t, 1).ID, token: "nonsense", status: "401", code: 124},
		{name: "a user who is not signed in", line: documented, user: d.signedOut(t).ID, status: "400", code: 5301, want: "Offline", of: d.signedOut(t)},
		{
			name: "JSON, by e-mail", line: own + `-H 'Content-Type: application/json' -d '{"status":"Do_No_Disturb","duration":20}'`,
			user: d.signedIn(t, 2).Email, status: "204", want: "Do_Not_Disturb", of: d.signedIn(t, 2),
		},
		{name: "URL-encoded", line: own + `-d status=Do_Not_Disturb -d duration=1221`, user: d.signedIn(t, 3).ID, status: "204", want: "Do_Not_Disturb", of: d.signedIn(t, 3)},
		{name: "oneself", line: own + `-F status=Away`, user: "me", token: d.signedIn(t, 4).AccessToken, status: "204", want: "Away", of: d.signedIn(t, 4)},
		{name: "an invalid duration", line: own + `-F status=Do_No_Disturb -F duration=Available1221`, user: d.signedIn(t, 5).ID, status: "400", code: 300},
		{name: "no status", line: own + `-F duration=20`, user: d.signedIn(t, 5).ID, status: "400", code: 300},
		{name: "a status that cannot be set", line: own + `-F status=Offline`, user: d.signedIn(t, 5).ID, status: "400", code: 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.token == "" {
				c.token = d.AccessToken
			}
			line := strings.NewReplacer("https://api.zoom.us", d.URL, "<access_token>", c.token, ":userId", c.user).Replace(c.line)
			status, body := curl(t, line)
			if status != c.status {
				t.Errorf("status %s, want %s; body %s", status, c.status, body)
			}
			if c.code == 0 && body != "" {
				t.Errorf("body %q, want none", body)
			}
			if c.code != 0 {
				var failure struct {
					Code    int
					Message string
				}
				if err := json.Unmarshal([]byte(body), &failure); err != nil || failure.Code != c.code || failure.Message == "" {
					t.Errorf("body %s, want code %d with a message", body, c.code)
				}
			}
			if c.want == "" {
				return
			}
			if got := d.status(t, c.of); got != c.want {
				t.Errorf("shown: %s, want %s", got, c.want)
			}
		})
	}
}
