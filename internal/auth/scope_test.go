package auth_test

import (
	"errors"
	"strings"
	"testing"

	. "porchlight.dev/porchlight/internal/auth"
)

// formatScopes formats the permissions of a set of scopes by native names.
func formatScopes(s Scopes) string {
	var words []string
	for _, scope := range AllScopes() {
		switch {
		case s.HasAdmin(scope):
			words = append(words, scope.String()+":admin")
		case s.Has(scope):
			words = append(words, scope.String())
		}
	}
	return strings.Join(words, " ")
}

func TestParseScopes(t *testing.T) {
	for names, want := range map[string]string{
		"":                                   "",
		" \t\n":                              "",
		"presence:read":                      "presence:read",
		"presence:read:admin":                "presence:read:admin",
		"presence:read presence:read:admin":  "presence:read:admin",
		"session:write claim:read":           "session:write claim:read",
		"user:update:presence_status":        "claim:write",
		"user:update:presence_status:admin":  "claim:write:admin",
		"user:read:presence_status":          "presence:read",
		"user:read:presence_status:admin":    "presence:read:admin",
		"user:read:presence_status:master":   "presence:read:admin",
		"user:write":                         "claim:write",
		"user:write:admin":                   "claim:write:admin directory:write:admin",
		"user:read":                          "presence:read directory:read",
		"user:read:admin":                    "presence:read:admin directory:read:admin",
		"user:master":                        "presence:read:admin",
		"contact:read":                       "presence:read contact:read",
		"contact:read:admin":                 "presence:read:admin contact:read:admin",
		"contact:write":                      "contact:write",
		"contact:read:list_contacts":         "presence:read contact:read",
		"chat_contact:read":                  "presence:read contact:read",
		"team_chat:read:list_contacts":       "presence:read contact:read",
		"team_chat:read:contact":             "presence:read contact:read",
		"user:read:user":                     "directory:read",
		"user:read:user:admin":               "directory:read:admin",
		"user:read:list_users:admin":         "directory:read:admin",
		"user:write:user:admin":              "directory:write:admin",
		"user:delete:user:admin":             "directory:write:admin",
		"user:read user:write contact:write": "presence:read claim:write contact:write directory:read",
	} {
		s, err := scopeParser().ParseScopes(names)
		if err != nil || formatScopes(s) != want {
			t.Errorf("ParseScopes(%q) allows %q, %v; want %q", names, formatScopes(s), err, want)
		}
	}
}

func TestScopesKeepTheirNames(t *testing.T) {
	s := scopes(t, "  user:read\tpresence:read  user:read ")
	if got, want := s.String(), "user:read presence:read"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got := s.Names(); len(got) != 2 || got[0] != "user:read" || got[1] != "presence:read" {
		t.Errorf("Names() = %q", got)
	}
	for _, name := range scopeParser().ScopeNames() {
		if s := scopes(t, name); s.String() != name || formatScopes(s) == "" || strings.HasSuffix(name, ":admin") && !strings.Contains(formatScopes(s), ":admin") {
			t.Errorf("%s allows %q", name, formatScopes(s))
		}
	}
	if got := Scope(200).String(); got != "scope(200)" {
		t.Errorf("the name of an unknown scope is %q", got)
	}
}

func TestParseScopesRefuses(t *testing.T) {
	for _, names := range []string{"presence", "presence:read,claim:write", "Presence:read", "presence:read:master", "user:read nope", "admin", "\xff"} {
		s, err := scopeParser().ParseScopes(names)
		var refused *ScopeError
		if !errors.As(err, &refused) || s != (Scopes{}) {
			t.Errorf("ParseScopes(%q) = %v, %v; want a ScopeError", names, s, err)
		} else if text := err.Error(); !strings.Contains(text, "user:update:presence_status:admin") || !strings.Contains(text, "presence:read:admin") {
			t.Errorf("the error does not list the scopes: %s", text)
		}
	}
	if _, err := scopeParser().ParseScopes(strings.Repeat("a", 1<<20)); len(err.Error()) > 4096 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		part, whole string
		want        bool
	}{
		{"", "", true},
		{"", "presence:read", true},
		{"presence:read", "", false},
		{"presence:read", "presence:read:admin", true},
		{"presence:read:admin", "presence:read", false},
		{"user:read:presence_status", "presence:read", true},
		{"user:read", "presence:read", false},
	} {
		if got := scopes(t, c.part).Within(scopes(t, c.whole)); got != c.want {
			t.Errorf("%q within %q: %v, want %v", c.part, c.whole, got, c.want)
		}
	}
}

func TestPrincipalMay(t *testing.T) {
	for _, c := range []struct {
		names               string
		own, others, reader bool
	}{
		{"claim:read", false, false, false},
		{"presence:read", true, false, false},
		{"presence:read:admin", true, true, true},
		{"user:master", true, true, true},
	} {
		p := &Principal{User: "ann", Scopes: scopes(t, c.names)}
		if p.May(PresenceRead) != c.own || p.MayFor(PresenceRead, "ann") != c.own {
			t.Errorf("%s: May %v, MayFor oneself %v, want %v", c.names, p.May(PresenceRead), p.MayFor(PresenceRead, "ann"), c.own)
		}
		if got := p.MayFor(PresenceRead, "bob"); got != c.others {
			t.Errorf("%s: MayFor another %v, want %v", c.names, got, c.others)
		}
		if got := p.Watcher("bob").Truth; got != c.reader {
			t.Errorf("%s: sees another user unfiltered: %v, want %v", c.names, got, c.reader)
		}
		if !p.Watcher("ann").Truth {
			t.Errorf("%s: does not see oneself unfiltered", c.names)
		}
	}
}

func FuzzParseScopes(f *testing.F) {
	f.Add("presence:read user:write:admin")
	f.Add("user:read\u2003user:read")
	f.Add("nope \xff")
	f.Fuzz(func(t *testing.T, names string) {
		s, err := scopeParser().ParseScopes(names)
		if err != nil {
			if s != (Scopes{}) {
				t.Fatalf("%q: %v with an error", names, s)
			}
			return
		}
		if again, err := scopeParser().ParseScopes(s.String()); err != nil || again != s {
			t.Fatalf("%q: %v, parsed again %v, %v", names, s, again, err)
		}
	})
}
