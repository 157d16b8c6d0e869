package zoomapi

import (
	"testing"

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
