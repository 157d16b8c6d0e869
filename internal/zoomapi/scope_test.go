package zoomapi

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/docs"
)

// TestScopesPage compares Zoom's names in docs/scopes.md with those that are accepted.
func TestScopesPage(t *testing.T) {
	text, err := docs.Served.ReadFile("scopes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Zoom's names\n")
	got := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(.*)` \\| (.*) \\|$").FindAllStringSubmatch(table, -1) {
		got[row[1]] = row[2]
	}
	want := make(map[string]string)
	for _, alias := range Scopes() {
		var native []string
		for _, scope := range alias.Scopes {
			name := scope.String()
			if alias.Admin {
				name += ":admin"
			}
			native = append(native, "`"+name+"`")
		}
		slices.Sort(native)
		want[alias.Name] = strings.Join(native, ", ")
	}
	if !maps.Equal(got, want) {
		t.Errorf("docs/scopes.md has\n%v\nwant\n%v", got, want)
	}
}
