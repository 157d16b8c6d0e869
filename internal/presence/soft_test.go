package presence_test

import (
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

func TestSoft(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "a", Client: Desktop, Lease: 2 * time.Minute})
	s.must(SignIn{Session: "idle", Client: Desktop, Lease: time.Hour})
	s.must(Refresh{Session: "idle", Activity: IsIdle})
	for _, row := range []struct {
		name    string
		after   time.Duration
		e       Refresh
		already Seen
		soft    bool
	}{
		{"more than half of the lease remains", 50 * time.Second, Refresh{Session: "a"}, Seen{}, true},
		{"less than half remains", 61 * time.Second, Refresh{Session: "a"}, Seen{}, false},
		{"continuing activity", 50 * time.Second, Refresh{Session: "a", Activity: IsActive}, Seen{}, true},
		{"another lease", 50 * time.Second, Refresh{Session: "a", Lease: time.Hour}, Seen{}, false},
		{"the edge to idle", 50 * time.Second, Refresh{Session: "a", Activity: IsIdle}, Seen{}, false},
		{"still idle", 50 * time.Second, Refresh{Session: "idle", Activity: IsIdle}, Seen{}, true},
		{"the edge to active", 50 * time.Second, Refresh{Session: "idle", Activity: IsActive}, Seen{}, false},
		{"what is remembered does not make an idle session active", 50 * time.Second, Refresh{Session: "idle", Activity: IsActive},
			Seen{Session: "idle", IdleAt: noon.Add(time.Hour)}, false},
		{"an unknown session", 0, Refresh{Session: "x"}, Seen{}, false},
		{"with a key", 0, Refresh{Session: "a", Request: Request{Key: [16]byte{1}}}, Seen{}, false},
		{"with a condition", 0, Refresh{Session: "a", Request: Request{IfMatch: []Revision{1}}}, Seen{}, false},
	} {
		if _, soft := Soft(&s.state, row.e, row.already, s.policy, noon.Add(row.after)); soft != row.soft {
			t.Errorf("%s: soft %v", row.name, soft)
		}
	}
}

// What memory holds puts ends off: a session that was refreshed softly is still
// there when its instant on record comes.
func TestSeenPutsEndsOff(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "a", Client: Desktop, Lease: 2 * time.Minute})
	seen, soft := Soft(&s.state, Refresh{Session: "a", Activity: IsActive}, Seen{}, s.policy, noon.Add(time.Minute))
	if !soft {
		t.Fatal("not soft")
	}
	s.now = noon.Add(2 * time.Minute)
	s.must(Tick{Seen: []Seen{seen}})
	s.want(Available)
	_, next := Compose(s.state, s.state.At)
	if want := noon.Add(3 * time.Minute); next != want {
		t.Errorf("next %v, want %v", next.Time(), want.Time())
	}
	s.pass(time.Minute)
	s.want(Offline)
}

func TestView(t *testing.T) {
	p := Presence{Status: Busy, Note: "n", Since: 10, Until: 20, Revision: 30, StatusRevision: 25}
	hidden := Rule{Sight: SeesOffline, Since: 5, Revision: 6}
	offline := Presence{Status: Offline, Since: 5, Revision: 6, StatusRevision: 6}
	status := Presence{Status: Busy, Revision: 25, StatusRevision: 25}
	rules := &Rules{
		Watchers: map[UserID]Rule{"friend": {Sight: SeesAll}, "ex": hidden},
		Groups:   map[string]Rule{"sales": {Sight: SeesStatus}, "team": {Sight: SeesAll}, "press": hidden},
		Everyone: Rule{Sight: SeesStatus},
	}
	for _, row := range []struct {
		name  string
		rules *Rules
		w     Watcher
		want  Presence
	}{
		{"no rules", nil, Watcher{User: "x"}, p},
		{"the zero rules", &Rules{}, Watcher{User: "x"}, p},
		{"everyone", rules, Watcher{User: "x"}, status},
		{"a watcher's own rule before the groups'", rules, Watcher{User: "friend", Groups: []string{"press"}}, p},
		{"hidden", rules, Watcher{User: "ex"}, offline},
		{"a group", rules, Watcher{User: "x", Groups: []string{"team"}}, p},
		{"the strictest of groups", rules, Watcher{User: "x", Groups: []string{"team", "press", "sales"}}, offline},
		{"the truth", rules, Watcher{User: "ex", Truth: true}, p},
	} {
		if got := View(p, row.rules, row.w); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
	// While hidden nothing that happens can be told.
	other := Presence{Status: Available, Note: "m", Since: 90, Revision: 99, StatusRevision: 99, Handheld: true}
	if View(p, rules, Watcher{User: "ex"}) != View(other, rules, Watcher{User: "ex"}) {
		t.Error("a hidden change shows")
	}
}

// An explanation agrees with what is composed, in every state.
func TestExplain(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(claim("standup", Meeting, InMeeting, 30*time.Minute))
	s.must(claim("lunch", Calendar, InCalendarEvent, time.Hour))
	s.must(manual(DoNotDisturb, 10*time.Minute))
	x := Explain(&s.state, s.now)
	if x.Presence != Committed(&s.state) || len(x.Claims) != 3 || len(x.Sessions) != 1 {
		t.Fatalf("%+v", x)
	}
	for i, want := range []struct {
		id  ClaimID
		row int
		why string
	}{
		{"manual", 1, "decides"},
		{"standup", 2, `loses to "manual" of row 1`},
		{"lunch", 5, `loses to "manual" of row 1`},
	} {
		got := x.Claims[i]
		if got.ID != want.id || got.Row != want.row || got.Why != want.why {
			t.Errorf("claim %d: %s row %d %q", i, got.ID, got.Row, got.Why)
		}
	}
	wantSteps := []Step{
		{At: noon.Add(10 * time.Minute), Status: InMeeting, Why: "the manual claim do_not_disturb ends"},
		{At: noon.Add(30 * time.Minute), Status: InCalendarEvent, Why: `the claim "standup" of source meeting, in_meeting, ends`},
		{At: noon.Add(60 * time.Minute), Status: Offline, Why: "the last session ends unless it is refreshed"},
	}
	if len(x.Next) != len(wantSteps) {
		t.Fatalf("%+v", x.Next)
	}
	for i, want := range wantSteps {
		if x.Next[i] != want {
			t.Errorf("step %d: %+v, want %+v", i, x.Next[i], want)
		}
	}
	s.must(manual(Available))
	x = Explain(&s.state, s.now)
	if got := x.Claims[len(x.Claims)-1]; got.ID != "lunch" || got.Counts || got.Why[:8] != "silenced" {
		t.Errorf("%+v", got)
	}
}
