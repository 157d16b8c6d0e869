package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
)

// texts lists the free-text fields for display: the request that sets one, and the path
// that returns it. %s is the text as JSON.
var texts = []struct{ name, method, path, body, back string }{
	{"note", "PUT", "/v1/users/{user}/note", `{"text":%s}`, "/v1/users/{user}/presence/explain"},
	{"note of a claim", "PUT", "/v1/users/{user}/claims/c", `{"source":"app","status":"busy","note":%s}`, "/v1/users/{user}/claims"},
	{"client version", "POST", "/v1/users/{user}/sessions", `{"client_type":"web","client_version":%s}`, "/v1/users/{user}/sessions"},
	{"first name", "PATCH", "/v1/users/{user}", `{"first_name":%s}`, "/v1/users/{user}"},
	{"last name", "PATCH", "/v1/users/{user}", `{"last_name":%s}`, "/v1/users/{user}"},
	{"display name", "PATCH", "/v1/users/{user}", `{"display_name":%s}`, "/v1/users/{user}"},
	{"department", "PATCH", "/v1/users/{user}", `{"department":%s}`, "/v1/users/{user}"},
	{"display name of a new user", "POST", "/v1/users", `{"email":"new@example.com","display_name":%s}`, "/v1/users"},
	{"app", "POST", "/v1/apps", `{"name":%s,"scopes":["presence:read"]}`, "/v1/apps"},
	{"token", "POST", "/v1/tokens", `{"name":%s,"scopes":["presence:read"]}`, "/v1/tokens"},
	{"group", "PUT", "/v1/users/{user}/contacts/bob@example.com", `{"group":%s}`, "/v1/users/{user}/contacts"},
	{"group in rules", "PUT", "/v1/users/{user}/visibility", `{"groups":{%s:"all"}}`, "/v1/users/{user}/visibility"},
}

// TestTexts: displayed text is trimmed and visible, and has no characters that change
// the display of surrounding text. The rules are the same for all fields.
func TestTexts(t *testing.T) {
	for _, field := range texts {
		t.Run(field.name, func(t *testing.T) {
			w, admin, fill := newConditionWorld(t)
			send := func(text string) *exchange {
				quoted, _ := json.Marshal(text)
				return w.do(field.method, fill.Replace(field.path), admin, strings.Replace(field.body, "%s", string(quoted), 1))
			}
			for _, bad := range []string{
				" ", "\u00a0\u3000", "\u200b", "\u200d\ufeff ", "\u3164", "\u115f\u1160", "\u2800\u2800", "\uffa0", "\u00ad", "\ufe0f", "\U000e0020",
				"a\u202eb", "\u202aa", "a\u2066b", "a\u2069", "a\ufdd0", "a\ufdef", "a\ufffe", "a\U0001ffff", "a\U0010fffe",
				"a\x00", "a\nb", "a\tb", "a\u0085b", "a\u2028b", "a\x7f",
			} {
				if p := send(bad).problem(&api.InvalidField); p.Field == "" {
					t.Errorf("%+q: no field", bad)
				}
			}
			back := func() string { return w.do("GET", fill.Replace(field.back), admin, "").want(200).body }
			if strings.Contains(back(), "Zürich") {
				t.Fatal("the text exists before the request")
			}
			// Joiners, weak direction marks and variation selectors are allowed.
			const fine = "Zürich \u200f\u05d0 👩\u200d💻 ✔\ufe0f"
			if x := send("\u2003 " + fine + " \u00a0\t"); x.status >= 300 {
				t.Fatalf("%d %s", x.status, x.body)
			}
			if quoted, _ := json.Marshal(fine); !strings.Contains(back(), string(quoted)) {
				t.Errorf("the text was returned changed: %s", back())
			}
		})
	}
}
