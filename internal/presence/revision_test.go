package presence_test

import (
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// TestRevisionsOfWhatIsShown: the revision that watchers see changes with the shown
// presence and with nothing else; a commit that only renews a session does not change
// it.
func TestRevisionsOfWhatIsShown(t *testing.T) {
	for _, row := range []struct {
		name               string
		after              time.Duration
		e                  Event
		shown, ofTheStatus bool // whether the revision changes
	}{
		{"the status", 0, manual(Away), true, true},
		{"the note only", 0, SetNote{Text: "n"}, true, false},
		{"until only", 0, manual(Busy, 2*time.Hour), true, false},
		// Its lease expired without a tick: it was offline in between.
		{"since only", 40 * time.Second, signIn("desk"), true, false},
		{"a refresh", 10 * time.Second, Refresh{Session: "desk"}, false, false},
		{"a refresh with activity", 10 * time.Second, Refresh{Session: "desk", Activity: ActivityActive}, false, false},
		{"the edge to idle under a claim", 0, Refresh{Session: "desk", Activity: ActivityIdle}, false, false},
		{"a second session", 0, signIn("second"), false, false},
		{"a claim under the one that wins", 0, claim("e", Calendar, InCalendarEvent), false, false},
	} {
		s := newScript(t)
		s.must(SignIn{Session: "desk", Client: Desktop, Lease: MinLease})
		s.must(manual(Busy, time.Hour))
		before := RecordedOf(s.state).Shown
		s.now = s.now.Add(row.after)
		s.must(row.e)
		after := RecordedOf(s.state).Shown
		if moved := after.Revision == s.state.Revision; moved != row.shown || (!moved && after.Revision != before.Revision) {
			t.Errorf("%s: revision %d after %d in commit %d", row.name, after.Revision, before.Revision, s.state.Revision)
		}
		if moved := after.StatusRevision == s.state.Revision; moved != row.ofTheStatus || (!moved && after.StatusRevision != before.StatusRevision) {
			t.Errorf("%s: status revision %d after %d in commit %d", row.name, after.StatusRevision, before.StatusRevision, s.state.Revision)
		}
	}
}
