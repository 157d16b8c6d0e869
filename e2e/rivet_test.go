package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestRivet drives Zoom's own SDK: it fetches a server-to-server token, sets and
// reads a status, and turns the errors into its own.
func TestRivet(t *testing.T) {
	need(t, "node_modules/@zoom/rivet/package.json")
	d := startDemo(t)
	output, err := run(t, []string{
		"URL=" + d.URL, "ACCOUNT_ID=" + d.AccountID, "CLIENT_ID=" + d.ClientID, "CLIENT_SECRET=" + d.ClientSecret,
		"USER_ID=" + d.signedIn(t, 0).ID, "SIGNED_OUT_ID=" + d.signedOut(t).ID,
		"http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=", // axios would ask them for loopback
	}, "node", "rivet.mjs")
	if err != nil {
		t.Fatalf("rivet.mjs: %v\n%s", err, output)
	}
	var saw struct {
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
	if err := json.Unmarshal([]byte(output), &saw); err != nil {
		t.Fatalf("rivet.mjs printed %q: %v", output, err)
	}
	if saw.Tokens != 1 || saw.TokensAfter != 1 {
		t.Errorf("the SDK fetched %d tokens, then %d; want 1, kept", saw.Tokens, saw.TokensAfter)
	}
	if saw.Put.Status != 204 || !saw.Put.Tracked {
		t.Errorf("PUT: %+v, want 204 with a tracking id", saw.Put)
	}
	// Somebody else's do not disturb is shown without its end.
	if saw.Get.Status != 200 || len(saw.Get.Data) != 1 || saw.Get.Data["status"] != "Do_Not_Disturb" {
		t.Errorf("GET: %+v, want 200 with Do_Not_Disturb alone", saw.Get)
	}
	for _, c := range []struct{ name, got, want string }{
		{"a second update within the minute", saw.Again, "[429/429]: "},
		{"an unknown user", saw.Unknown, "[404/1001]: "},
		{"a user who is not signed in", saw.SignedOut, "[400/5301]: "},
		{"a misspelt status", saw.Misspelt, "[400/300]: "},
	} {
		if !strings.HasPrefix(c.got, c.want) {
			t.Errorf("%s: the SDK says %q, want %q and a message", c.name, c.got, c.want)
		}
	}
}
