package cli

import (
	"regexp"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
)

// TestHints: every kind of problem has a hint, in terms of the command line.
func TestHints(t *testing.T) {
	wire := regexp.MustCompile(`\b(GET|PUT|POST|PATCH|DELETE)\b|/v[12]|/oauth|/docs|[Hh]eader|Retry-After|Idempotency|If-Match|ETag|[a-z]_|route|request body|[Ff]ield`)
	for _, kind := range api.Kinds() {
		if _, ok := hints[kind]; !ok {
			t.Errorf("%s has no hint", kind.Slug)
		}
		p := &api.Problem{
			Type: kind.Type(), Detail: "This is the detail.", WhatToDo: kind.WhatToDo,
			RetryAfter: 90, Setting: "write-limits", Instance: "7b6a8c49",
		}
		text, action := hintFor(p, func(string) string { return "--for" })
		if said := text + "\n" + action; wire.MatchString(said) {
			t.Errorf("%s: %q speaks of the API: %s", kind.Slug, wire.FindString(said), said)
		}
		if text == "" {
			t.Errorf("%s has no text", kind.Slug)
		}
	}
	if len(hints) != len(api.Kinds()) {
		t.Errorf("%d hints for %d kinds", len(hints), len(api.Kinds()))
	}
	p := &api.Problem{Type: api.QuotaExceeded.Type(), Detail: "Limit writes-per-user reached.", WhatToDo: api.QuotaExceeded.WhatToDo, RetryAfter: 90, Setting: "write-limits"}
	const want = "Repeat the command in 1m30s. If this happens often, the server's operator can raise the setting write-limits."
	if _, action := hintFor(p, nil); action != want {
		t.Errorf("action %q, want %q", action, want)
	}
	later := &api.Problem{Type: "/docs/problems/later", Detail: "Something new.", WhatToDo: "Do this."}
	if text, action := hintFor(later, nil); text != "Something new." || action != "Do this." {
		t.Errorf("a problem of a newer server: %q, %q", text, action)
	}
}

func TestFieldText(t *testing.T) {
	for _, test := range []struct{ field, detail, want string }{
		{"lease_seconds", `The field "lease_seconds" must be between 30 and 3600.`, "--lease must be between 30s and 1h."},
		{"expires_in_seconds", `The field "expires_in_seconds" must be between 1 and 604800 (7 days).`, "--expires must be between 1s and 7d."},
		{"duration_seconds", `The field "duration_seconds" must make do_not_disturb last at most 1440 minutes.`, "--for must make do_not_disturb last at most 1440 minutes."},
		{"note", `The field "note" must be at most 280 characters.`, "--note must be at most 280 characters."},
		{"scopes", `Unknown scope "x"; the scopes are: presence:read.`, `Unknown scope "x"; the scopes are: presence:read.`},
	} {
		p := &api.Problem{Type: api.InvalidField.Type(), Field: test.field, Detail: test.detail, WhatToDo: api.InvalidField.WhatToDo}
		got, action := hintFor(p, func(field string) string { return "--" + strings.Split(parameters[field][0], " ")[0] })
		if got != test.want || action != "" {
			t.Errorf("%s: %q, %q, want %q", test.detail, got, action, test.want)
		}
	}
}
