package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestRivet runs Zoom's SDK: it fetches a server-to-server token, sets and reads a
// status, and maps the errors to its own.
func TestRivet(t *testing.T) {
	requireFile(t, "node_modules/@zoom/rivet/package.json")
	d := startDemo(t)
	output, err := run(t, []string{
		"URL=" + d.URL, "ACCOUNT_ID=" + d.AccountID, "CLIENT_ID=" + d.ClientID, "CLIENT_SECRET=" + d.ClientSecret,
		"USER_ID=" + d.signedIn(t, 0).ID, "SIGNED_OUT_ID=" + d.signedOut(t).ID,
		"http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=", // axios would use the proxies for loopback
	}, "node", "rivet.mjs")
	if err != nil {
		t.Fatalf("rivet.mjs: %v\n%s", err, output)
	}
	var result struct {
		Tokens, TokensAfter int
		Put                 struct {
			Status  int
			Tracked bool
		}
		Get struct {
			Status int
			Data   map[string]any
		}
		Again, Unknown, SignedOut, Misspelt string
	}
	if err := json.Unmarshal([]byte(output), &result); err != nil {
		t.Fatalf("rivet.mjs printed %q: %v", output, err)
	}
	if result.Tokens != 1 || result.TokensAfter != 1 {
		t.Errorf("the SDK fetched %d tokens, then %d; want 1, cached", result.Tokens, result.TokensAfter)
	}
	if result.Put.Status != 204 || !result.Put.Tracked {
		t.Errorf("PUT: %+v, want 204 with a tracking id", result.Put)
	}
	// Another user's do not disturb is shown without its end.
	if result.Get.Status != 200 || len(result.Get.Data) != 1 || result.Get.Data["status"] != "Do_Not_Disturb" {
		t.Errorf("GET: %+v, want 200 with Do_Not_Disturb alone", result.Get)
	}
	for _, c := range []struct{ name, got, want string }{
		{"a second update within the minute", result.Again, "[429/429]: "},
		{"an unknown user", result.Unknown, "[404/1001]: "},
		{"a user who is not signed in", result.SignedOut, "[400/5301]: "},
		{"a misspelt status", result.Misspelt, "[400/300]: "},
	} {
		if !strings.HasPrefix(c.got, c.want) {
			t.Errorf("%s: the SDK reports %q, want %q and a message", c.name, c.got, c.want)
		}
	}
}
