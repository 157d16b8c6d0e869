package zoomapi

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/docs"
	"porchlight.dev/porchlight/internal/presence"
)

// TestVocabulary: each status has a word in each direction, and an update may use the
// words of both, except those that cannot be set.
func TestVocabulary(t *testing.T) {
	webhook := map[presence.Status]string{
		presence.Offline: "Offline", presence.Available: "Available", presence.Away: "Away", presence.Busy: "Busy",
		presence.DoNotDisturb: "Do_Not_Disturb", presence.InCalendarEvent: "In_Calendar_Event", presence.InMeeting: "In_Meeting",
		presence.Presenting: "Presenting", presence.OnCall: "On_Phone_Call", presence.OutOfOffice: "Out_of_Office",
	}
	for _, s := range presence.Statuses() {
		for _, word := range []string{StatusWord(s), webhook[s]} {
			if got, ok := accepted[word]; ok != (s != presence.Offline) || ok && got != s {
				t.Errorf("an update may contain %q: %v, as %v", word, ok, got)
			}
		}
	}
}

// TestStatusTable compares the table of statuses in docs/concepts.md with the words of
// both APIs.
func TestStatusTable(t *testing.T) {
	text, err := docs.Served.ReadFile("concepts.md")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|[^|]*\\| `([A-Za-z_]+)` \\| (.*) \\|$")
	for _, cells := range row.FindAllStringSubmatch(string(text), -1) {
		words := regexp.MustCompile("`([^`]+)`").FindAllString(cells[3], -1)
		slices.Sort(words)
		got[cells[1]] = cells[2] + " " + strings.Join(words, " ")
	}
	want := make(map[string]string)
	for _, s := range presence.Statuses() {
		var words []string
		for word, status := range accepted {
			if status == s {
				words = append(words, "`"+word+"`")
			}
		}
		slices.Sort(words)
		want[s.String()] = StatusWord(s) + " " + strings.Join(words, " ")
	}
	if !maps.Equal(got, want) {
		t.Errorf("docs/concepts.md has\n%v\nwant\n%v", got, want)
	}
}
