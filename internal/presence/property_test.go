package presence_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "porchlight.dev/porchlight/internal/presence"
)

// drawState draws a state of up to 5 sessions and 8 claims whose instants are near
// noon, so that many coincide.
func drawState(t *rapid.T) State {
	instant := rapid.Custom(func(t *rapid.T) Instant {
		return noon.Add(time.Duration(rapid.IntRange(-6, 12).Draw(t, "tens")) * 10 * time.Minute)
	})
	orNever := rapid.Custom(func(t *rapid.T) Instant {
		if rapid.IntRange(0, 3).Draw(t, "never") == 0 {
			return 0
		}
		return instant.Draw(t, "instant")
	})
	s := State{Revision: Revision(noon), At: noon, AvailableAt: orNever.Draw(t, "availableAt")}
	if s.AvailableAt > noon {
		s.AvailableAt = noon
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "sessions") {
		s.Sessions = append(s.Sessions, Session{
			ID:     SessionID(fmt.Sprint("s", i)),
			Client: rapid.SampledFrom([]ClientType{Desktop, Mobile, Pad, Web}).Draw(t, "client"),
			IdleAt: orNever.Draw(t, "idleAt"), EndsAt: max(instant.Draw(t, "endsAt"), noon+1),
		})
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "claims") {
		c := Claim{
			ID:     ClaimID(fmt.Sprint("c", i)),
			Source: rapid.SampledFrom([]Source{Meeting, Call, Calendar, Schedule, App}).Draw(t, "source"),
			Status: Status(rapid.IntRange(int(Away), int(OutOfOffice)).Draw(t, "status")),
			Note:   rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "note"),
			Since:  instant.Draw(t, "since"), Until: orNever.Draw(t, "until"),
		}
		if i == 0 && rapid.Bool().Draw(t, "manual") {
			c.ID, c.Source = ManualClaim, Manual
		}
		if c.Until == 0 || c.Until > noon {
			s.Claims = append(s.Claims, c)
		}
	}
	if rapid.Bool().Draw(t, "hasNote") {
		s.Note = Note{Text: "own", Until: max(instant.Draw(t, "noteUntil"), noon+1)}
	}
	s.Shown.Status = RecordedOf(s).Shown.Status
	s.Shown.Since = noon
	return s
}

// TestOrderOfFactsDoesNotMatter: the order of facts in a state does not matter.
func TestOrderOfFactsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		want, wantNext := Compose(s, noon)
		shuffle := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s.Claims, s.Sessions = slices.Clone(s.Claims), slices.Clone(s.Sessions)
		shuffle.Shuffle(len(s.Claims), func(i, j int) { s.Claims[i], s.Claims[j] = s.Claims[j], s.Claims[i] })
		shuffle.Shuffle(len(s.Sessions), func(i, j int) { s.Sessions[i], s.Sessions[j] = s.Sessions[j], s.Sessions[i] })
		if got, next := Compose(s, noon); got != want || next != wantNext {
			t.Fatalf("%+v, next %d; shuffled %+v, next %d", want, wantNext, got, next)
		}
	})
}

// TestComposingTwiceIsTheSame: composing twice gives the same, and a tick at the same
// instant changes nothing.
func TestComposingTwiceIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		p, next := Compose(s, noon)
		if again, nextAgain := Compose(s, noon); again != p || nextAgain != next {
			t.Fatalf("%+v, then %+v", p, again)
		}
		if _, err := apply(s, Tick{}, Policy{}, noon); !errors.Is(err, ErrNoChange) {
			t.Fatalf("a tick at the same instant: %v", err)
		}
	})
}

// TestNextIsExact: nothing changes before next, and something changes at it.
func TestNextIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		p, next := Compose(s, noon)
		seen := func(at Instant) Presence {
			q, _ := Compose(s, at)
			q.Since = 0
			return q
		}
		now := seen(noon)
		end := next
		if next == 0 {
			end = noon.Add(3 * time.Hour)
		}
		for at := noon; at < end; at = at.Add(5 * time.Minute) {
			if got := seen(at); got != now {
				t.Fatalf("at %v: %+v, before next %v: %+v", at.Time(), got, next.Time(), p)
			}
		}
		if next != 0 {
			if got := seen(next - 1); got != now {
				t.Fatalf("just before next: %+v, was %+v", got, now)
			}
			if seen(next) == now {
				t.Fatalf("nothing changes at next %v: %+v", next.Time(), now)
			}
		}
	})
}

// TestUntilIsWhenTheStatusChanges: if all sessions stay as they are, the status changes
// at until and not before.
func TestUntilIsWhenTheStatusChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		p := RecordedOf(s).Shown
		for i := range s.Sessions { // sessions stay as they are at noon
			session := &s.Sessions[i]
			session.EndsAt = noon.Add(24 * time.Hour)
			if session.IdleAt > noon {
				session.IdleAt = 0
			}
		}
		var want Instant
		for at := noon; at <= noon.Add(3*time.Hour); at = at.Add(5 * time.Minute) {
			if q, _ := Compose(s, at); q.Status != p.Status {
				want = at
				break
			}
		}
		if p.Until != want {
			t.Fatalf("until %v, but the status %v changes at %v", p.Until.Time(), p.Status, want.Time())
		}
	})
}

// TestLateTicksAreExact: a tick at every expiry and one late tick give the same state:
// since is exact however late an expiry is evaluated.
func TestLateTicksAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		end := noon.Add(time.Duration(rapid.IntRange(1, 180).Draw(t, "minutes")) * time.Minute)
		stepwise := s
		for {
			_, next := Compose(stepwise, stepwise.At)
			if next == 0 || next > end {
				break
			}
			var err error
			if stepwise, err = apply(stepwise, Tick{}, Policy{}, next); err != nil {
				t.Fatal(err)
			}
		}
		atOnce, err := apply(s, Tick{}, Policy{}, end)
		if errors.Is(err, ErrNoChange) {
			atOnce, err = s, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		a, b := RecordedOf(stepwise).Shown, RecordedOf(atOnce).Shown
		if a.Status != b.Status || a.Since != b.Since || a.Note != b.Note || a.Until != b.Until {
			t.Fatalf("stepwise %+v, at once %+v", a, b)
		}
	})
}

// TestExtendedSessionsPostponeChanges: whichever sessions are extended, nothing changes
// before the recorded next change. Apply relies on that.
func TestExtendedSessionsPostponeChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		was := RecordedOf(s)
		var seen []SoftState
		for _, session := range s.Sessions {
			later := func(t0 Instant) Instant {
				return t0.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "later")) * 10 * time.Minute)
			}
			seen = append(seen, SoftState{Session: session.ID, IdleAt: later(session.IdleAt), EndsAt: later(session.EndsAt)})
		}
		shown, next := Compose(WithSoftState(s, seen), s.At)
		if shown != was.Shown {
			t.Fatalf("extending sessions changed %+v to %+v", was.Shown, shown)
		}
		if was.Next == 0 && next != 0 || next != 0 && next < was.Next {
			t.Fatalf("the next change at %d moved forward to %d", was.Next, next)
		}
	})
}

// TestHandheldLeftAlone: a phone that memory has extended is shown as such from the end of
// the desktop client on, although the recorded sessions end together under a status that no
// session changes.
func TestHandheldLeftAlone(t *testing.T) {
	ends := noon.Add(10 * time.Minute)
	s := State{
		Revision: 1, At: noon, UserState: UserActive,
		Sessions: []Session{{ID: "desk", Client: Desktop, IdleAt: noon, EndsAt: ends}, {ID: "phone", Client: Mobile, IdleAt: noon, EndsAt: ends}},
		Shown:    Shown{Status: OutOfOffice, Since: noon, StatusRevision: 1, Revision: 1},
		Claims:   []Claim{{ID: "holiday", Source: Manual, Status: OutOfOffice, Since: noon}},
	}
	was := RecordedOf(s)
	if was.Next != ends || was.Shown.Handheld {
		t.Fatalf("%+v, next %v; want %v", was.Shown, was.Next.Time(), ends.Time())
	}
	extended, err := Apply(was, Tick{Soft: []SoftState{{Session: "phone", EndsAt: ends.Add(time.Hour)}}}, Policy{}, ends)
	if err != nil || !extended.Shown.Handheld || extended.Shown.Status != OutOfOffice {
		t.Errorf("the phone extended: %+v, %v", extended.Shown, err)
	}
	both, err := Apply(was, Tick{}, Policy{}, ends)
	if err != nil || both.Next != 0 || both.Shown.Revision != was.Shown.Revision {
		t.Errorf("both ended: %+v, next %v, %v; want a commit that shows the same and expects nothing more", both.Shown, both.Next, err)
	}
}

// FuzzApply applies arbitrary events: the invariants of a state hold after each.
func FuzzApply(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13})
	f.Add([]byte{0, 1, 0, 1, 8, 6, 3, 1, 3, 3, 0, 1, 8, 20, 1, 1, 2, 0, 0, 1, 8, 32, 2, 1})
	f.Add([]byte{16, 3, 0, 5, 32, 9, 1, 1, 48, 200, 7, 0, 64, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, now, p := State{}, noon, DefaultPolicy()
		for len(data) >= 4 {
			e := fuzzEvent(data)
			now = now.Add(time.Duration(int8(data[3])) * time.Minute) // also backwards
			data = data[4:]
			before := clone(s)
			next, err := apply(s, e, p, now)
			if !reflect.DeepEqual(clone(s), before) {
				t.Fatal("Apply wrote into the state it was given")
			}
			if err != nil {
				if !reflect.DeepEqual(next, s) {
					t.Fatalf("%v, but the state changed", err)
				}
				continue
			}
			checkState(t, &s, &next, e)
			s = next
		}
	})
}

func clone(s State) State {
	s.Sessions, s.Claims, s.Answers = slices.Clone(s.Sessions), slices.Clone(s.Claims), slices.Clone(s.Answers)
	if s.Rules != nil {
		rules := *s.Rules
		rules.Watchers = slices.Clone(rules.Watchers)
		s.Rules = &rules
	}
	return s
}

func fuzzEvent(b []byte) Event {
	status := Status(b[1] % 11)
	id := string('a' + rune(b[2]%4))
	request := Request{Update: b[2]&64 != 0}
	if b[2]&128 != 0 {
		request.Key, request.Body = [16]byte{b[2] & 3, 1}, [16]byte{b[1] & 1}
	}
	switch b[0] % 9 {
	case 0:
		return SignIn{Request: request, Session: SessionID(id), Client: Mobile, Version: "5.2.9", Lease: time.Duration(b[1]) * time.Minute}
	case 1:
		return Refresh{Request: request, Session: SessionID(id), Activity: Activity(b[1] % 3)}
	case 2:
		return SignOut{Request: request, Session: SessionID(id)}
	case 3:
		return SetClaim{Request: request, ID: ManualClaim, Source: Manual, Status: status, Lasts: time.Duration(b[1]) * time.Minute}
	case 4:
		return SetClaim{Request: request, ID: ClaimID(id), Source: []Source{App, Meeting, Schedule, Calendar}[b[1]&3], Status: status}
	case 5:
		return EndClaim{Request: request, ID: ClaimID(id)}
	case 6:
		return SetNote{Request: request, Text: strings.Repeat("n", int(b[1]))}
	case 8:
		rules := map[UserID]Visibility{"w": Visibility(b[1] >> 2 & 3), UserID(id): Visibility(b[2] >> 4 & 3)}
		return SetVisibility{Request: request, Everyone: Visibility(b[1] & 3), Watchers: rules}
	default:
		return Tick{Soft: []SoftState{{Session: SessionID(id), EndsAt: noon.Add(time.Duration(b[1]) * time.Minute), Lease: time.Duration(b[2]) * time.Minute}}}
	}
}

func checkState(t *testing.T, before, s *State, e Event) {
	if s.Revision <= before.Revision || s.At < before.At || Revision(s.At) > s.Revision {
		t.Fatalf("revision %d at %d after %d at %d", s.Revision, s.At, before.Revision, before.At)
	}
	if !slices.IsSortedFunc(s.Sessions, func(a, b Session) int { return strings.Compare(string(a.ID), string(b.ID)) }) ||
		!slices.IsSortedFunc(s.Claims, func(a, b Claim) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
		t.Fatal("not sorted")
	}
	p, next := Compose(*s, s.At)
	if p.Status != s.Shown.Status || p.Since != s.Shown.Since || p.Since > s.At {
		t.Fatalf("%T: shown %+v, composed %+v at %d", e, s.Shown, p, s.At)
	}
	if next != 0 && next <= s.At {
		t.Fatalf("next %d is not after %d", next, s.At)
	}
	if p.Revision > s.Revision || p.StatusRevision > p.Revision {
		t.Fatalf("revisions %d, %d of a commit %d", p.Revision, p.StatusRevision, s.Revision)
	}
	was := RecordedOf(*before).Shown
	if changed := !p.SameFor(&was); before.Exists() && changed != (p.Revision == s.Revision) {
		t.Fatalf("%T: presence changed: %v, its revision %d of commit %d", e, changed, p.Revision, s.Revision)
	}
}
