package httpapi

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/presence"
)

func TestSessionRefs(t *testing.T) {
	long := strings.Repeat("x", presence.MaxIDBytes)
	for _, c := range [][2]string{
		{"KDcuGIm1QgePTO8WbOqwIQ", string(newSessionID())}, {"u", "s"}, {"ü", "a/b"}, {"u", "~"}, {long, long},
	} {
		text := SessionRef(presence.UserID(c[0]), presence.SessionID(c[1]))
		user, session, err := parseSessionRef(text)
		if string(user) != c[0] || string(session) != c[1] || err != nil {
			t.Errorf("%q: got %q %q, %v", c, user, session, err)
		}
	}
	encode := base64.RawURLEncoding.EncodeToString
	for name, text := range map[string]string{
		"empty":                 "",
		"no user":               encode([]byte("\x00s")),
		"no session":            encode([]byte("\x01u")),
		"truncated":             encode([]byte("\x05us")),
		"a control character":   encode([]byte("\x01us\n")),
		"not UTF-8":             encode([]byte("\x01\xffs")),
		"padded":                base64.URLEncoding.EncodeToString([]byte("\x01us")) + "=",
		"non-zero padding bits": "AXVzcx", // AXVzcw is valid
		"a line break":          encode([]byte("\x01us"))[:2] + "\n" + encode([]byte("\x01us"))[2:],
		"standard base64":       "AXV+cw",
		"too long":              strings.Repeat("A", maxSessionRef+1),
	} {
		if user, session, err := parseSessionRef(text); !errors.Is(err, presence.ErrUnknownSession) {
			t.Errorf("%s: got %q %q, %v", name, user, session, err)
		}
	}
}

// FuzzParseSessionRef: a text is the id of at most one session, and each session has
// exactly one id.
func FuzzParseSessionRef(f *testing.F) {
	f.Add(SessionRef("KDcuGIm1QgePTO8WbOqwIQ", newSessionID()))
	f.Add("AXVz")
	f.Add("AXV\nz")
	f.Fuzz(func(t *testing.T, text string) {
		user, session, err := parseSessionRef(text)
		if err != nil {
			return
		}
		if again := SessionRef(user, session); again != text {
			t.Errorf("%q is parsed as %q of %q, which is formatted as %q", text, session, user, again)
		}
		if presence.CheckID("user", string(user)) != nil || presence.CheckID("session", string(session)) != nil {
			t.Errorf("%q is parsed as %q of %q", text, session, user)
		}
	})
}
