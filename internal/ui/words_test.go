package ui_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// TestWordsAreComplete: the pages have words for everything that the API can name: scopes,
// types of events, failures of deliveries and actions of the audit log.
func TestWordsAreComplete(t *testing.T) {
	var scopes []string
	for _, s := range auth.AllScopes() {
		scopes = append(scopes, s.String())
	}
	failures := regexp.MustCompile(`enum: \["", ([a-z, ]+, canceled)\]`).FindStringSubmatch(read(t, "../../api/openapi.yaml"))
	if failures == nil {
		t.Fatal("the API has no failures")
	}
	for _, c := range []struct {
		what, script string
		names        *regexp.Regexp
		want         []string
	}{
		{"scopes", section(t, "texts/scopes.js", "\n  scopes: {"), regexp.MustCompile(`"([a-z]+:[a-z]+)": \{`), scopes},
		{"grouped scopes", section(t, "texts/scopes.js", "\n  groups: ["), regexp.MustCompile(`"([a-z]+:[a-z]+)"`), scopes},
		{"native events", section(t, "admin/subevents.js", "const native = ["), regexp.MustCompile(`"([a-z_.]+)"`), httpapi.EventForm{}.Types()},
		{"Zoom's events", section(t, "admin/subevents.js", "const zoom = ["), regexp.MustCompile(`"([a-z_.]+)"`), zoomapi.EventForm{}.Types()},
		{"failures", section(t, "texts/subscriptions.js", "\n  failures: {"), regexp.MustCompile(`(?m)^    ([a-z]+):`), strings.Split(failures[1], ", ")},
		{"actions", section(t, "texts/audit.js", "\n  actions: {"), regexp.MustCompile(`"([a-z.-]+)": "`), accountActions(t)},
	} {
		var got []string
		for _, match := range c.names.FindAllStringSubmatch(c.script, -1) {
			got = append(got, match[1])
		}
		if g, w := slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(c.want)); fmt.Sprint(g) != fmt.Sprint(w) {
			t.Errorf("%s: the pages have %v, want %v", c.what, g, w)
		}
	}
}

// section is the part of a script from a beginning to the bracket that closes it.
func section(t *testing.T, name, begin string) string {
	t.Helper()
	_, after, found := strings.Cut(read(t, "assets/"+name), begin)
	if !found {
		t.Fatalf("%s has no %q", name, begin)
	}
	closing := map[byte]string{'{': "\n  }", '[': "\n  ]"}[begin[len(begin)-1]]
	if strings.HasPrefix(begin, "const") {
		closing = "]"
	}
	part, _, _ := strings.Cut(after, closing)
	return part
}

// accountActions are those that docs/audit.md lists for the log of an account.
func accountActions(t *testing.T) []string {
	t.Helper()
	actions := map[string]bool{}
	_, table, _ := strings.Cut(read(t, "../../docs/audit.md"), "## What is recorded")
	table, _, _ = strings.Cut(table, "\n## ")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.Contains(strings.ToLower(line), "only in the server's log") {
			continue
		}
		for _, match := range regexp.MustCompile("`([a-z-]+\\.[a-z]+)`").FindAllStringSubmatch(cells[1], -1) {
			actions[match[1]] = true
		}
	}
	return slices.Collect(maps.Keys(actions))
}
