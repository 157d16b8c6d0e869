package presence_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "porchlight.dev/porchlight/internal/presence"
)

func everyone(level Visibility) SetVisibility { return SetVisibility{Everyone: level} }

func except(level Visibility, watchers map[UserID]Visibility) SetVisibility {
	return SetVisibility{Everyone: level, Watchers: watchers}
}

// viewFor is a watcher's view of what was committed.
func (s *script) viewFor(w UserID) Presence {
	return View(RecordedOf(s.state).Shown, s.state.Rules, Watcher{User: w})
}

// TestChangesOfRules: a watcher's view gets a new revision when it changes, and only
// then. The view after a change of rules is compared with the view before.
func TestChangesOfRules(t *testing.T) {
	// The user is in one of these states, in a script of 10 minutes.
	busy := func(s *script) { s.signIn(); s.must(manual(Busy)) }
	offline := func(s *script) { s.signIn(); s.must(SignOut{Session: "desk"}) }
	noted := func(s *script) { offline(s); s.must(SetNote{Text: "gone fishing"}) }
	none := func(*script) {}
	rules := func(e SetVisibility, then func(*script)) func(*script) {
		return func(s *script) { s.must(e); s.advance(time.Minute); then(s) }
	}
	signOut := func(s *script) { s.must(SignOut{Session: "desk"}) }
	const anEvent, no = true, false
	exception := func(level Visibility) map[UserID]Visibility { return map[UserID]Visibility{"w": level} }
	for _, row := range []struct {
		name  string
		user  func(*script)
		then  func(*script) // what happens a minute later
		e     SetVisibility
		event bool
		want  Presence // Since: zero none, 1 the instant of e, 2 as before, 3 a minute before e
	}{
		{"hidden while busy", busy, none, everyone(VisibilityOffline), anEvent, Presence{Since: 1}},
		{"hidden while offline: nobody can tell", offline, none, everyone(VisibilityOffline), no, Presence{Since: 2}},
		{"hidden while offline with a note: it goes", noted, none, everyone(VisibilityOffline), anEvent, Presence{Since: 2}},
		{"hidden from this watcher alone", busy, none, except(VisibilityAll, exception(VisibilityOffline)), anEvent, Presence{Since: 1}},
		{"hidden from everyone but this watcher", busy, none, except(VisibilityOffline, exception(VisibilityAll)), no, Presence{Status: Busy, Since: 2}},
		{"hidden from others: nothing to see", busy, none, except(VisibilityAll, map[UserID]Visibility{"x": VisibilityOffline}), no, Presence{Status: Busy, Since: 2}},
		{"status only", busy, none, everyone(VisibilityStatus), anEvent, Presence{Status: Busy}},
		{"all again after status only", busy, rules(everyone(VisibilityStatus), none), everyone(VisibilityAll), anEvent, Presence{Status: Busy, Since: 2}},
		{"hidden after status only: no time gives it away", busy, rules(everyone(VisibilityStatus), none), everyone(VisibilityOffline), anEvent, Presence{}},
		{"status only, hidden while offline: nobody can tell", offline, rules(everyone(VisibilityStatus), none), everyone(VisibilityOffline), no, Presence{}},
		{"hidden, now by name", busy, rules(everyone(VisibilityOffline), none), except(VisibilityAll, exception(VisibilityOffline)), no, Presence{Since: 2}},
		{"hidden by name, now with everyone", busy, rules(except(VisibilityAll, exception(VisibilityOffline)), none), everyone(VisibilityOffline), no, Presence{Since: 2}},
		{"lifted while busy: since no earlier than that", busy, rules(everyone(VisibilityOffline), none), everyone(VisibilityAll), anEvent, Presence{Status: Busy, Since: 1}},
		{"lifted by name while busy", busy, rules(everyone(VisibilityOffline), none), except(VisibilityOffline, exception(VisibilityAll)), anEvent, Presence{Status: Busy, Since: 1}},
		{"lifted by leaving the list", busy, rules(except(VisibilityAll, exception(VisibilityOffline)), none), everyone(VisibilityAll), anEvent, Presence{Status: Busy, Since: 1}},
		{"lifted in two steps while busy: since no earlier than the first", busy, rules(everyone(VisibilityOffline), func(s *script) {
			s.must(everyone(VisibilityStatus))
		}), everyone(VisibilityAll), anEvent, Presence{Status: Busy, Since: 3}},
		{"lifted to the status while busy", busy, rules(everyone(VisibilityOffline), none), everyone(VisibilityStatus), anEvent, Presence{Status: Busy}},
		{"hidden while offline, lifted: nothing happened", offline, rules(everyone(VisibilityOffline), none), everyone(VisibilityAll), no, Presence{Since: 2}},
		{"lifted after signing out behind it: veiled", busy, rules(everyone(VisibilityOffline), signOut), everyone(VisibilityAll), no, Presence{Since: 2}},
		{"lifted to the status after signing out: veiled", busy, rules(everyone(VisibilityOffline), signOut), everyone(VisibilityStatus), no, Presence{Since: 2}},
		{"lifted by leaving the list after signing out: veiled", busy, rules(except(VisibilityAll, exception(VisibilityOffline)), signOut), everyone(VisibilityAll), no, Presence{Since: 2}},
		{"hidden again behind the veil", busy, rules(everyone(VisibilityOffline), func(s *script) {
			signOut(s)
			s.must(everyone(VisibilityAll))
		}), everyone(VisibilityOffline), no, Presence{Since: 2}},
		{"all, then the status, then all behind one veil", busy, rules(everyone(VisibilityOffline), func(s *script) {
			signOut(s)
			s.must(everyone(VisibilityStatus))
		}), everyone(VisibilityAll), no, Presence{Since: 2}},
	} {
		s := newScript(t)
		row.user(s)
		s.advance(10 * time.Minute)
		row.then(s)
		s.advance(time.Minute)
		before, truth := s.viewFor("w"), RecordedOf(s.state).Shown
		s.must(row.e)
		got, want := s.viewFor("w"), row.want
		switch row.want.Since {
		case 3:
			want.Since = s.now.Add(-time.Minute)
		case 1:
			want.Since = s.now
		case 2:
			want.Since = before.Since
			if before.Since == 0 {
				want.Since = truth.Since
			}
		}
		if want.Status == Busy && want.Since != 0 {
			want.Until = truth.Until
		}
		if !got.SameFor(&want) {
			t.Errorf("%s: %+v, want %+v", row.name, got, want)
		}
		if told := got.Revision == s.state.Revision; told != row.event || (!told && got.Revision != before.Revision) {
			t.Errorf("%s: revision %d after %d in commit %d", row.name, got.Revision, before.Revision, s.state.Revision)
		}
		if now := RecordedOf(s.state).Shown; now != truth {
			t.Errorf("%s: the full view changed to %+v from %+v", row.name, now, truth)
		}
	}
}

// TestHidingEndsWithNextStatus: a user hides, changes status, signs out and stops
// hiding while offline: watchers see nothing until the status changes, and then only
// what is new.
func TestHidingEndsWithNextStatus(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.advance(time.Minute)
	s.must(everyone(VisibilityOffline))
	hidden := s.viewFor("w")
	for _, e := range []Event{manual(Busy), SignOut{Session: "desk"}, everyone(VisibilityAll), SetNote{Text: "n"}, EndClaim{ID: ManualClaim}, SetNote{}} {
		s.advance(time.Minute)
		s.must(e)
		if got := s.viewFor("w"); got != hidden {
			t.Fatalf("after %T: %+v, was %+v", e, got, hidden)
		}
	}
	s.advance(time.Minute)
	s.signIn()
	want := Presence{Status: Available, Since: s.now, Active: true, Revision: s.state.Revision, StatusRevision: s.state.Revision}
	if got := s.viewFor("w"); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	s.advance(time.Minute)
	s.must(SignOut{Session: "desk"})
	if got := s.viewFor("w"); got != RecordedOf(s.state).Shown || got.Since != s.now {
		t.Errorf("offline again: %+v", got)
	}
	s.must(except(VisibilityAll, map[UserID]Visibility{"x": VisibilityAll}))
	s.must(everyone(VisibilityAll))
	if s.state.Rules != nil {
		t.Errorf("rules remain although none is needed: %+v", s.state.Rules)
	}
}

// TestRulesAfterUnpublishedExpiry: an expiry without a tick is part of the commit of
// the rules: it is shown as always, or hidden by them.
func TestRulesAfterUnpublishedExpiry(t *testing.T) {
	for _, row := range []struct {
		first, then Visibility
		told        bool
		since       Instant
	}{
		{VisibilityAll, VisibilityOffline, true, noon.Add(MinLease)},
		{VisibilityAll, VisibilityStatus, true, 0},
		{VisibilityStatus, VisibilityOffline, true, 0},
		{VisibilityStatus, VisibilityAll, true, noon.Add(MinLease)},
		{VisibilityOffline, VisibilityAll, false, noon},
		{VisibilityOffline, VisibilityStatus, false, noon},
	} {
		s := newScript(t)
		s.must(SignIn{Session: "desk", Client: Desktop, Lease: MinLease})
		if row.first != VisibilityAll {
			s.must(everyone(row.first))
		}
		s.now = s.now.Add(time.Hour)
		s.must(everyone(row.then))
		got := s.viewFor("w")
		if got.Status != Offline || got.Since != row.since || (got.Revision == s.state.Revision) != row.told {
			t.Errorf("%d, then %d: %+v in commit %d", row.first, row.then, got, s.state.Revision)
		}
	}
}

func TestSetRulesIsRefused(t *testing.T) {
	many := func(n int) map[UserID]Visibility {
		watchers := make(map[UserID]Visibility)
		for i := range n {
			watchers[UserID(fmt.Sprint(i))] = VisibilityStatus
		}
		return watchers
	}
	for _, row := range []struct {
		e    SetVisibility
		want string
	}{
		{everyone(3), "everyone must be a level of visibility"},
		{except(VisibilityAll, map[UserID]Visibility{"w": 3}), "watchers must each have a level of visibility"},
		{except(VisibilityAll, map[UserID]Visibility{"": VisibilityAll}), "watchers must be 1 to 128 bytes of printable text"},
		{except(VisibilityAll, many(MaxRules+1)), "a user has at most 500 visibility rules of watchers"},
		{except(VisibilityAll, many(MaxRules)), ""},
	} {
		s := newScript(t)
		err := s.apply(row.e)
		var field *FieldError
		var limit *LimitError
		if text := fmt.Sprint(err); err != nil && (text != row.want || (!errors.As(err, &field) && !errors.As(err, &limit))) {
			t.Errorf("%v, want %s", err, row.want)
		}
		if (err == nil) != (row.want == "") || fmt.Sprint(Check(row.e)) != fmt.Sprint(err) {
			t.Errorf("%v, checked %v, want %s", err, Check(row.e), row.want)
		}
	}
}

func TestSameRulesChangeNothing(t *testing.T) {
	s := newScript(t)
	s.wantError(everyone(VisibilityAll), ErrNoChange)
	for _, e := range []SetVisibility{
		everyone(VisibilityOffline), everyone(VisibilityStatus), except(VisibilityStatus, map[UserID]Visibility{"w": VisibilityAll, "x": VisibilityStatus}),
		except(VisibilityStatus, map[UserID]Visibility{"w": VisibilityAll}), except(VisibilityStatus, map[UserID]Visibility{"x": VisibilityAll}),
		except(VisibilityAll, map[UserID]Visibility{"x": VisibilityAll}), everyone(VisibilityAll),
	} {
		s.must(e)
		s.wantError(e, ErrNoChange)
		if named := len(slices.DeleteFunc(watchers(&s.state), func(w WatcherRule) bool { return w.Default })); named != len(e.Watchers) {
			t.Errorf("%+v: %d watchers are listed", e, named)
		}
	}
	keyed := everyone(VisibilityAll)
	keyed.Key = [16]byte{1}
	s.must(keyed) // the answer is kept
	var repeat *RepeatError
	if err := s.apply(keyed); !errors.As(err, &repeat) || repeat.Answer.Revision != s.state.Revision {
		t.Errorf("repeated: %v", err)
	}
}

func watchers(s *State) []WatcherRule {
	if s.Rules == nil {
		return nil
	}
	return slices.Clone(s.Rules.Watchers)
}

// TestFormerWatchersAreBounded: what is kept of former watchers is bounded.
func TestFormerWatchersAreBounded(t *testing.T) {
	s := newScript(t)
	s.signIn()
	for round := range 4 {
		named := make(map[UserID]Visibility)
		for i := range MaxRules {
			named[UserID(fmt.Sprintf("%d-%03d", round, i))] = VisibilityOffline
		}
		s.must(except(VisibilityAll, named))
		s.advance(time.Second)
	}
	all := watchers(&s.state)
	if len(all) != 2*MaxRules {
		t.Fatalf("%d watchers", len(all))
	}
	for i, w := range all { // rounds 2 and 3: the newest former watchers, and those with a rule
		if round, _, _ := strings.Cut(string(w.User), "-"); round != fmt.Sprint(2+i/MaxRules) || w.Default != (i < MaxRules) {
			t.Fatalf("%+v", w)
		}
	}
	s.must(everyone(VisibilityStatus)) // the instant from which they see the user again is kept
	s.must(manual(Busy))               // until the next status
	s.must(everyone(VisibilityAll))
	if n := len(watchers(&s.state)); n != 0 {
		t.Errorf("all see the same, but %d watchers are kept", n)
	}
}

// TestFormerWatchersAreDropped: a former watcher is kept only while that makes a
// difference.
func TestFormerWatchersAreDropped(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(except(VisibilityAll, map[UserID]Visibility{"w": VisibilityOffline}))
	s.must(except(VisibilityAll, map[UserID]Visibility{"x": VisibilityOffline}))
	if all := watchers(&s.state); len(all) != 2 || all[0].User != "w" || !all[0].Default {
		t.Errorf("just lifted: %+v", all)
	}
	s.must(manual(Busy))
	s.must(except(VisibilityAll, map[UserID]Visibility{"x": VisibilityStatus}))
	if all := watchers(&s.state); len(all) != 1 || all[0].User != "x" {
		t.Errorf("after the next status: %+v", all)
	}
}

// TestUserStateAndRules: a deactivated user's rules are kept, and a deleted user's are
// dropped.
func TestUserStateAndRules(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(except(VisibilityStatus, map[UserID]Visibility{"w": VisibilityOffline}))
	hidden := s.viewFor("w")
	s.must(SetUserState{State: UserDeactivated})
	if s.wantError(everyone(VisibilityAll), ErrDeactivated); s.viewFor("w") != hidden || s.viewFor("x").Status != Offline {
		t.Errorf("deactivated: %+v", s.state.Rules)
	}
	s.must(SetUserState{State: UserActive})
	next, errs, err := applyEach(s.state, []Event{everyone(VisibilityOffline), SetUserState{State: UserDeleted}}, s.policy, s.now)
	if err != nil || errs[0] != nil || errs[1] != nil || next.Rules != nil {
		t.Errorf("%v, %v: %+v", errs, err, next.Rules)
	}
	s.must(SetUserState{State: UserDeleted})
	if s.wantError(everyone(VisibilityAll), ErrDeleted); s.state.Rules != nil || s.viewFor("w").Status != Offline {
		t.Errorf("deleted: %+v", s.state.Rules)
	}
}

// TestRulesOfNewRecord: a hidden user without a record looks like one who just got a
// record.
func TestRulesOfNewRecord(t *testing.T) {
	s, err := apply(State{}, everyone(VisibilityOffline), DefaultPolicy(), noon)
	want := Presence{Since: noon, Revision: Revision(noon), StatusRevision: Revision(noon)}
	if got := View(RecordedOf(s).Shown, s.Rules, Watcher{User: "w"}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// drawEvent draws an event of a user without a note: an offline user's note is visible,
// so hiding can be detected for a user with a note.
func drawEvent(t *rapid.T) Event {
	id := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id")
	switch rapid.IntRange(0, 5).Draw(t, "event") {
	case 0:
		return SignOut{Session: SessionID(id)}
	case 1:
		return Refresh{Session: SessionID(id), Activity: ActivityIdle}
	case 2:
		status := rapid.SampledFrom([]Status{Available, Away, Busy, DoNotDisturb}).Draw(t, "status")
		return SetClaim{ID: ManualClaim, Source: Manual, Status: status, Note: rapid.SampledFrom([]string{"", "n"}).Draw(t, "note")}
	case 3:
		return SetClaim{ID: ClaimID(id), Source: Calendar, Status: InCalendarEvent, Lasts: time.Minute}
	case 4:
		return EndClaim{ID: ClaimID(id)}
	default:
		return SignIn{Session: SessionID(id), Client: Mobile, Lease: 10 * time.Minute}
	}
}

func drawRules(t *rapid.T) SetVisibility {
	level := rapid.Map(rapid.IntRange(0, 2), func(n int) Visibility { return Visibility(n) })
	e := SetVisibility{Everyone: level.Draw(t, "everyone"), Watchers: make(map[UserID]Visibility)}
	for _, w := range []UserID{"v", "w"} {
		if rapid.Bool().Draw(t, "named") {
			e.Watchers[w] = level.Draw(t, "level")
		}
	}
	return e
}

// A user has a state and the list of views that a watcher received.
type user struct {
	state State
	views []Presence
}

// apply applies e and records w's view if its revision changed.
func (u *user) apply(t *rapid.T, e Event, now Instant, w UserID) {
	next, err := apply(u.state, e, Policy{}, now)
	if err != nil {
		return // refused, or no change
	}
	u.state = next
	p := View(RecordedOf(next).Shown, next.Rules, Watcher{User: w})
	if n := len(u.views); n > 0 && p.Revision == u.views[n-1].Revision {
		if was := &u.views[n-1]; !p.SameFor(was) || p.StatusRevision != was.StatusRevision {
			t.Fatalf("%T: %+v became %+v without a new revision", e, u.views[n-1], p)
		}
		return
	}
	u.views = append(u.views, p)
}

// TestHidingIsLikeBeingOffline: two users do the same until one signs out and the other
// hides and continues. The first signs in again when the second stops hiding, or does
// nothing if the second is offline then. No watcher can tell them apart.
func TestHidingIsLikeBeingOffline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		later := func() { now = now.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "seconds")) * time.Second) }
		named := rapid.Bool().Draw(t, "named")
		rules := func(level Visibility) SetVisibility {
			if named {
				return except(VisibilityAll, map[UserID]Visibility{"w": level})
			}
			return everyone(level)
		}
		statusOnly := rapid.Bool().Draw(t, "status only")
		var honest, hiding user
		both := func(e Event) { honest.apply(t, e, now, "w"); hiding.apply(t, e, now, "w") }
		both(SetUserState{State: UserActive})
		if statusOnly {
			both(rules(VisibilityStatus))
		}
		for range rapid.IntRange(0, 8).Draw(t, "before") {
			later()
			both(drawEvent(t))
		}
		later()
		both(Tick{})
		honest.signOutAll(t, now)
		hiding.apply(t, rules(VisibilityOffline), now, "w")
		for range rapid.IntRange(0, 12).Draw(t, "behind") {
			later()
			hiding.apply(t, drawEvent(t), now, "w")
			hiding.apply(t, Tick{}, now, "w")
		}
		compareLogs(t, &honest, &hiding)
		if p, _ := Compose(hiding.state, now); p.Status == Offline {
			// Even if the view is allowed again, nothing is shown yet.
			level := rapid.SampledFrom([]Visibility{VisibilityAll, VisibilityStatus}).Draw(t, "lifted")
			later()
			hiding.apply(t, rules(level), now, "w")
			compareLogs(t, &honest, &hiding)
			return
		}
		later()
		hiding.apply(t, rules(VisibilityAll), now, "w")
		if p := hiding.views[len(hiding.views)-1]; p.Status != Offline && (p.Since != now || p.Revision != hiding.state.Revision) {
			t.Fatalf("shown again, as %+v at %d", p, now)
		}
	})
}

// signOutAll signs the user out of all sessions in one commit.
func (u *user) signOutAll(t *rapid.T, now Instant) {
	var events []Event
	for _, s := range u.state.Sessions {
		events = append(events, SignOut{Session: s.ID})
	}
	next, _, err := applyEach(u.state, events, Policy{}, now)
	if errors.Is(err, ErrNoChange) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	u.state = next
	if p := View(RecordedOf(next).Shown, next.Rules, Watcher{User: "w"}); p.Revision != u.views[len(u.views)-1].Revision {
		u.views = append(u.views, p)
	}
}

// compareLogs compares everything that a watcher can compare in two logs.
func compareLogs(t *rapid.T, a, b *user) {
	if len(a.views) != len(b.views) {
		t.Fatalf("%d and %d views:\n%+v\n%+v", len(a.views), len(b.views), a.views, b.views)
	}
	for i := range a.views {
		p, q := &a.views[i], &b.views[i]
		if !p.SameFor(q) || p.Revision != q.Revision {
			t.Fatalf("view %d:\n%+v\n%+v", i+1, *p, *q)
		}
	}
}

// TestViewsOfAnySequence: after any sequence of events and rules, each watcher's view
// changes with its revision and never without, revisions never decrease, a hidden view
// does not change, the full view is unaffected, and equal rules change nothing.
func TestViewsOfAnySequence(t *testing.T) {
	all := []UserID{"v", "w", "x"}
	rapid.Check(t, func(t *rapid.T) {
		var s State
		now := noon
		last := make(map[UserID]Presence)
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
			e := drawEvent(t)
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0, 1:
				e = drawRules(t)
			case 2:
				e = SetNote{Text: rapid.SampledFrom([]string{"", "own"}).Draw(t, "note")}
			}
			before := clone(s)
			next, err := apply(s, e, Policy{}, now)
			if !reflect.DeepEqual(clone(s), before) {
				t.Fatal("Apply wrote into the state it was given")
			}
			if err != nil {
				continue
			}
			for _, w := range all {
				p := View(RecordedOf(next).Shown, next.Rules, Watcher{User: w})
				if was, seen := last[w]; seen {
					checkSteps(t, w, &was, &p, e, &s, &next)
				}
				last[w] = p
			}
			if rules, ok := e.(SetVisibility); ok {
				checkRuled(t, &s, &next, rules, now)
			}
			s = next
		}
	})
}

func checkSteps(t *rapid.T, w UserID, was, p *Presence, e Event, s, next *State) {
	changed := p.Revision != was.Revision
	switch {
	case p.Revision < was.Revision || p.StatusRevision < was.StatusRevision || p.Revision > next.Revision:
		t.Fatalf("%s: %+v after %+v in commit %d", w, *p, *was, next.Revision)
	case changed && p.Revision != next.Revision:
		t.Fatalf("%s: revision %d, neither the old one, %d, nor the commit's, %d", w, p.Revision, was.Revision, next.Revision)
	case !changed && !p.SameFor(was):
		t.Fatalf("%s: %+v became %+v without a new revision", w, *was, *p)
	}
	level := visibilityOf(s.Rules, w)
	if _, ok := e.(SetVisibility); ok {
		if visibilityOf(next.Rules, w) == level && next.Shown == s.Shown && (changed || p.StatusRevision != was.StatusRevision) {
			t.Fatalf("%s: with the same visibility %+v became %+v", w, *was, *p)
		}
		return
	}
	if level == VisibilityOffline && *p != *was {
		t.Fatalf("%s: while hidden %+v became %+v", w, *was, *p)
	}
	if level == VisibilityStatus && changed && p.Status == was.Status {
		t.Fatalf("%s: notified of %+v after %+v, although only the status is visible", w, *p, *was)
	}
}

func visibilityOf(rules *VisibilityRules, w UserID) Visibility {
	if rules == nil {
		return VisibilityAll
	}
	for _, own := range rules.Watchers {
		if own.User == w {
			return own.Visibility
		}
	}
	return rules.Everyone.Visibility
}

// checkRuled checks the effect of SetVisibility alone.
func checkRuled(t *rapid.T, s, next *State, e SetVisibility, now Instant) {
	if p, _ := Compose(*s, s.At); s.Exists() && p.Status == next.Shown.Status && next.Shown.Revision == next.Revision && p.Since == next.Shown.Since && p.Note == RecordedOf(*next).Shown.Note && p.Until == RecordedOf(*next).Shown.Until {
		t.Fatalf("the full view has the revision of the rules: %+v", next.Shown)
	}
	for _, w := range []UserID{"v", "w", "x"} {
		want, named := e.Watchers[w]
		if !named {
			want = e.Everyone
		}
		if got := visibilityOf(next.Rules, w); got != want {
			t.Fatalf("%s: level %d, want %d", w, got, want)
		}
		if View(RecordedOf(*next).Shown, next.Rules, Watcher{User: w, Truth: true}) != RecordedOf(*next).Shown {
			t.Fatalf("%s does not have the full view", w)
		}
	}
	if next.Rules != nil && !slices.IsSortedFunc(next.Rules.Watchers, func(a, b WatcherRule) int { return strings.Compare(string(a.User), string(b.User)) }) {
		t.Fatalf("not sorted: %+v", next.Rules)
	}
	if _, err := apply(*next, e, Policy{}, now); !errors.Is(err, ErrNoChange) {
		t.Fatalf("the same rules again: %v", err)
	}
}
