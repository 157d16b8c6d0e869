package presence_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

func TestSoft(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "a", Client: Desktop, Lease: 2 * time.Minute})
	s.must(SignIn{Session: "idle", Client: Desktop, Lease: time.Hour})
	s.must(Refresh{Session: "idle", Activity: ActivityIdle})
	s.must(SignIn{Session: "long", Client: Desktop, Lease: time.Hour})
	for _, row := range []struct {
		name    string
		after   time.Duration
		e       Refresh
		already SoftState
		soft    bool
	}{
		{"more than half of the lease remains", 50 * time.Second, Refresh{Session: "a"}, SoftState{}, true},
		{"less than half remains", 61 * time.Second, Refresh{Session: "a"}, SoftState{}, false},
		{"continuing activity", 50 * time.Second, Refresh{Session: "a", Activity: ActivityActive}, SoftState{}, true},
		{"another lease", 50 * time.Second, Refresh{Session: "a", Lease: time.Hour}, SoftState{}, false},
		{"the edge to idle", 50 * time.Second, Refresh{Session: "a", Activity: ActivityIdle}, SoftState{}, false},
		{"still idle", 50 * time.Second, Refresh{Session: "idle", Activity: ActivityIdle}, SoftState{}, true},
		{"the edge to active", 50 * time.Second, Refresh{Session: "idle", Activity: ActivityActive}, SoftState{}, false},
		{
			"what is remembered does not make an idle session active", 50 * time.Second,
			Refresh{Session: "idle", Activity: ActivityActive},
			SoftState{Session: "idle", IdleAt: noon.Add(time.Hour), Lease: time.Hour},
			false,
		},
		{"half of the idle time remains", 7*time.Minute + 30*time.Second, Refresh{Session: "long", Activity: ActivityActive}, SoftState{}, true},
		{"less than half of the idle time remains", 7*time.Minute + 31*time.Second, Refresh{Session: "long", Activity: ActivityActive}, SoftState{}, false},
		{"which only activity asks about", 8 * time.Minute, Refresh{Session: "long"}, SoftState{}, true},
		{"idle on record", 16 * time.Minute, Refresh{Session: "long", Activity: ActivityIdle}, SoftState{}, true},
		{
			"active by what is remembered: the edge to idle", 16 * time.Minute,
			Refresh{Session: "long", Activity: ActivityIdle},
			SoftState{Session: "long", IdleAt: noon.Add(20 * time.Minute), Lease: time.Hour},
			false,
		},
		{
			"what is remembered is not on record: the lease", 61 * time.Second,
			Refresh{Session: "a"},
			SoftState{Session: "a", EndsAt: noon.Add(170 * time.Second), Lease: 2 * time.Minute},
			false,
		},
		{
			"what is remembered is not on record: the idle time", 8 * time.Minute,
			Refresh{Session: "long", Activity: ActivityActive},
			SoftState{Session: "long", IdleAt: noon.Add(22 * time.Minute), Lease: time.Hour},
			false,
		},
		{"by a clock that was put back", -time.Second, Refresh{Session: "a"}, SoftState{}, false},
		{"an unknown session", 0, Refresh{Session: "x"}, SoftState{}, false},
		{"with a key", 0, Refresh{Session: "a", Request: Request{Key: [16]byte{1}}}, SoftState{}, false},
		{"with a condition", 0, Refresh{Session: "a", Request: Request{IfMatch: []Revision{1}}}, SoftState{}, false},
	} {
		if _, soft := SoftRefresh(&s.state, row.e, row.already, s.policy, noon.Add(row.after)); soft != row.soft {
			t.Errorf("%s: soft %v", row.name, soft)
		}
	}
}

// TestNotSoftBeforeTheFirstCommit: after a start the first refresh is written.
// Otherwise the recorded lease would count from the start.
func TestNotSoftBeforeTheFirstCommit(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.policy.Ready = s.now + 1
	if _, soft := SoftRefresh(&s.state, Refresh{Session: "desk"}, SoftState{}, s.policy, s.policy.Ready); soft {
		t.Error("soft on a record from before the start")
	}
	s.policy.Ready = s.now
	s.state.UserState = UserDeactivated // such a record has no sessions
	if _, soft := SoftRefresh(&s.state, Refresh{Session: "desk"}, SoftState{}, s.policy, s.now); soft {
		t.Error("soft for a user who is not active")
	}
}

// TestSoftStateAccumulates: soft state replaces the earlier soft state, so it continues
// from that.
func TestSoftStateAccumulates(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "a", Client: Desktop, Lease: time.Hour})
	refresh := func(after time.Duration, activity Activity, already SoftState) SoftState {
		t.Helper()
		seen, soft := SoftRefresh(&s.state, Refresh{Session: "a", Activity: activity}, already, s.policy, noon.Add(after))
		if !soft {
			t.Fatalf("after %v: not soft", after)
		}
		return seen
	}
	first := refresh(time.Minute, ActivityActive, SoftState{})
	second := refresh(2*time.Minute, ActivityUnspecified, first)
	if want := (SoftState{Session: "a", IdleAt: noon.Add(16 * time.Minute), EndsAt: noon.Add(62 * time.Minute), Lease: time.Hour}); second != want {
		t.Errorf("%+v, want %+v", second, want)
	}
}

// TestApplySoftState: soft state moves instants forward, never back, and ends no
// idleness.
func TestApplySoftState(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(signIn("idle"))
	s.must(Refresh{Session: "idle", Activity: ActivityIdle})
	s.policy.IdleAfter = 0
	s.must(signIn("never"))
	before := clone(s.state)
	for _, row := range []struct {
		name                 string
		seen                 SoftState
		movesIdle, movesEnds bool
	}{
		{"later", SoftState{"desk", noon.Add(2 * time.Hour), noon.Add(3 * time.Hour), MaxLease}, true, true},
		{"earlier", SoftState{"desk", noon.Add(time.Minute), noon.Add(2 * time.Minute), MaxLease}, false, false},
		{"nothing of activity", SoftState{"desk", 0, noon.Add(3 * time.Hour), MaxLease}, false, true},
		{"under another lease", SoftState{"desk", noon.Add(2 * time.Hour), noon.Add(3 * time.Hour), MinLease}, false, false},
		{"idle on record", SoftState{"idle", noon.Add(2 * time.Hour), noon.Add(3 * time.Hour), MaxLease}, false, true},
		{"never idles", SoftState{"never", noon.Add(2 * time.Hour), noon.Add(3 * time.Hour), MaxLease}, false, true},
	} {
		observed := WithSoftState(s.state, []SoftState{{Session: "ended", EndsAt: noon.Add(9 * time.Hour)}, row.seen})
		for i, was := range before.Sessions {
			if s.state.Sessions[i] != was {
				t.Fatalf("%s: Observe wrote into the state", row.name)
			}
			want := was
			if was.ID == row.seen.Session && row.movesIdle {
				want.IdleAt = row.seen.IdleAt
			}
			if was.ID == row.seen.Session && row.movesEnds {
				want.EndsAt = row.seen.EndsAt
			}
			if got := observed.Sessions[i]; got != want {
				t.Errorf("%s: %+v, want %+v", row.name, got, want)
			}
		}
	}
}

// TestSoftStatePostponesExpiry: a session that was refreshed softly is still there at
// its recorded expiry.
func TestSoftStatePostponesExpiry(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "a", Client: Desktop, Lease: 2 * time.Minute})
	seen, soft := SoftRefresh(&s.state, Refresh{Session: "a", Activity: ActivityActive}, SoftState{}, s.policy, noon.Add(time.Minute))
	if !soft {
		t.Fatal("not soft")
	}
	s.now = noon.Add(2 * time.Minute)
	s.must(Tick{Soft: []SoftState{seen}})
	s.want(Available)
	_, next := Compose(s.state, s.state.At)
	if want := noon.Add(3 * time.Minute); next != want {
		t.Errorf("next %v, want %v", next.Time(), want.Time())
	}
	s.advance(time.Minute)
	s.want(Offline)
}

func TestView(t *testing.T) {
	p := Presence{Status: Busy, Note: "n", Since: 10, Until: 20, Revision: 30, StatusRevision: 25}
	off := Presence{Status: Offline, Since: 12, Revision: 30, StatusRevision: 25}
	frozen := Presence{Status: Offline, Since: 5, Revision: 6, StatusRevision: 6}
	revised := func(p Presence, of, ofTheStatus Revision) Presence {
		p.Revision, p.StatusRevision = of, ofTheStatus
		return p
	}
	late := p
	late.Since = 15
	for _, row := range []struct {
		name string
		p    Presence
		rule VisibilityRule
		want Presence
	}{
		{"all", p, VisibilityRule{}, p},
		{"all, by a rule older than the presence", p, VisibilityRule{Revision: 20}, p},
		{"all, by a rule newer than the status", p, VisibilityRule{Revision: 27}, revised(p, 30, 27)},
		{"all, by a rule newer than all", p, VisibilityRule{Revision: 31}, revised(p, 31, 31)},
		{"all, after hiding until 15", p, VisibilityRule{Since: 15}, late},
		{"status", p, VisibilityRule{Visibility: VisibilityStatus}, Presence{Status: Busy, Revision: 25, StatusRevision: 25}},
		{"status, by a newer rule", p, VisibilityRule{Visibility: VisibilityStatus, Revision: 28}, Presence{Status: Busy, Revision: 28, StatusRevision: 28}},
		{"hidden", p, VisibilityRule{Visibility: VisibilityOffline, Since: 5, Revision: 6}, frozen},
		{"veiled", off, VisibilityRule{Since: 5, Revision: 6, LiftedRevision: 25}, frozen},
		{"veiled, status only", off, VisibilityRule{Visibility: VisibilityStatus, Since: 5, Revision: 6, LiftedRevision: 40}, frozen},
		{"veiled, the status has changed since", off, VisibilityRule{Since: 5, Revision: 6, LiftedRevision: 24}, off},
		{"veiled, not offline", p, VisibilityRule{Since: 5, Revision: 6, LiftedRevision: 40}, p},
		{"kept by default", p, VisibilityRule{Revision: 31, Default: true}, revised(p, 31, 31)},
	} {
		own := &VisibilityRules{Everyone: VisibilityRule{Visibility: VisibilityStatus, Revision: 99}, Watchers: []WatcherRule{{"a", VisibilityRule{}}, {"w", row.rule}, {"x", VisibilityRule{}}}}
		if got := View(row.p, own, Watcher{User: "w"}); got != row.want {
			t.Errorf("%s, rule of the watcher: %+v, want %+v", row.name, got, row.want)
		}
		if got := View(row.p, &VisibilityRules{Everyone: row.rule, Watchers: []WatcherRule{{"x", VisibilityRule{}}}}, Watcher{User: "w"}); got != row.want {
			t.Errorf("%s, rule for everyone: %+v, want %+v", row.name, got, row.want)
		}
		if got := View(row.p, own, Watcher{User: "w", Truth: true}); got != row.p {
			t.Errorf("%s, full view: %+v", row.name, got)
		}
		if got := View(row.p, nil, Watcher{User: "w"}); got != row.p {
			t.Errorf("%s, no rules: %+v", row.name, got)
		}
	}
}

// TestExplain: an explanation agrees with the composed presence in every state.
func TestExplain(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(claim("standup", Meeting, InMeeting, 30*time.Minute))
	s.must(claim("lunch", Calendar, InCalendarEvent, time.Hour))
	s.must(manual(DoNotDisturb, 10*time.Minute))
	x := Explain(&s.state, s.now)
	if x.Presence != RecordedOf(s.state).Shown || len(x.Claims) != 3 || len(x.Sessions) != 1 {
		t.Fatalf("%+v", x)
	}
	for i, want := range []struct {
		id  ClaimID
		row int
		why string
	}{
		{"manual", 1, "wins"},
		{"standup", 2, `loses to "manual" by rule 1`},
		{"lunch", 5, `loses to "manual" by rule 1`},
	} {
		got := x.Claims[i]
		if got.ID != want.id || got.Row != want.row || got.Why != want.why {
			t.Errorf("claim %d: %s row %d %q", i, got.ID, got.Row, got.Why)
		}
	}
	wantSteps := []Step{
		{At: noon.Add(10 * time.Minute), Status: InMeeting, Why: "the manual claim do_not_disturb expires"},
		{At: noon.Add(30 * time.Minute), Status: InCalendarEvent, Why: `the claim "standup" (in_meeting from meeting) expires`},
		{At: noon.Add(60 * time.Minute), Status: Offline, Why: "the last session expires unless it is renewed"},
	}
	if len(x.Next) != len(wantSteps) {
		t.Fatalf("%+v", x.Next)
	}
	for i, want := range wantSteps {
		if x.Next[i] != want {
			t.Errorf("step %d: %+v, want %+v", i, x.Next[i], want)
		}
	}
	wantSteps[2] = Step{At: noon.Add(60 * time.Minute), Status: Away, Why: `the claim "lunch" (in_calendar_event from calendar) expires`}
	if got := StepsWhileConnected(&s.state, s.now); !slices.Equal(got, wantSteps) {
		t.Errorf("while connected: %+v, want %+v", got, wantSteps)
	}
	s.must(manual(Available))
	x = Explain(&s.state, s.now)
	if got := x.Claims[len(x.Claims)-1]; got.ID != "lunch" || got.Counts || !strings.HasPrefix(got.Why, "does not apply: the user set available at ") {
		t.Errorf("%+v", got)
	}
}
