package presence_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// A script applies events to one user as a server does: time advances with a tick at
// every instant at which the presence changes by itself.
type script struct {
	*testing.T
	policy   Policy
	state    State
	now      Instant
	expiries int // expiries that were published
}

var noon = InstantOf(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))

func newScript(t *testing.T) *script {
	t.Helper()
	s := &script{T: t, policy: DefaultPolicy(), now: noon}
	s.policy.ClientVersions = oldClients
	s.policy.Damping = 0 // covered by its own tests
	s.must(SetUserState{State: UserActive})
	return s
}

// apply is Apply on a stored state. The result must equal what composing the state
// again gives.
func apply(s State, e Event, p Policy, now Instant) (State, error) {
	next, err := Apply(RecordedOf(s), e, p, now)
	return checkComposed(next), err
}

func applyEach(s State, events []Event, p Policy, now Instant) (State, []error, error) {
	next, errs, err := ApplyEach(RecordedOf(s), events, p, now)
	return checkComposed(next), errs, err
}

func checkComposed(c Change) State {
	if again := RecordedOf(c.State); c.Shown != again.Shown || c.Next != again.Next {
		panic(fmt.Sprintf("Apply returned %+v until %d, but the state shows %+v until %d", c.Shown, c.Next, again.Shown, again.Next))
	}
	return c.State
}

func (s *script) apply(e Event) error {
	s.Helper()
	next, err := apply(s.state, e, s.policy, s.now)
	if err == nil {
		if next.Revision <= s.state.Revision {
			s.Fatalf("revision %d after %d", next.Revision, s.state.Revision)
		}
		s.state = next
	}
	return err
}

func (s *script) must(e Event) {
	s.Helper()
	if err := s.apply(e); err != nil {
		s.Fatalf("%+v: %v", e, err)
	}
}

func (s *script) wantError(e Event, want error) {
	s.Helper()
	if err := s.apply(e); !errors.Is(err, want) {
		s.Fatalf("%+v: got %v, want %v", e, err, want)
	}
}

// advance advances the time by d.
func (s *script) advance(d time.Duration) {
	s.Helper()
	end := s.now.Add(d)
	for {
		_, next := Compose(s.state, s.state.At)
		if next == 0 || next > end {
			break
		}
		s.now = next
		s.must(Tick{})
		s.expiries++
	}
	s.now = end
}

func (s *script) want(status Status) Presence {
	s.Helper()
	p := RecordedOf(s.state).Shown
	if p.Status != status {
		s.Fatalf("at +%v: %v, want %v", s.now.Sub(noon), p.Status, status)
	}
	return p
}

// signIn signs in a desktop whose lease outlasts the script.
func (s *script) signIn() { s.Helper(); s.must(signIn("desk")) }

func signIn(id SessionID) SignIn { return SignIn{Session: id, Client: Desktop, Lease: MaxLease} }

// activeFor keeps the session live through long scripts.
func (s *script) activeFor(d time.Duration) {
	s.Helper()
	for d > 0 {
		step := min(d, 10*time.Minute)
		s.advance(step)
		s.must(Refresh{Session: "desk", Activity: ActivityActive})
		d -= step
	}
}

func put(status Status, lasts ...time.Duration) SetClaim {
	e := SetClaim{Request: Request{Update: true}, ID: ManualClaim, Source: Manual, Status: status}
	if len(lasts) > 0 {
		e.Lasts = lasts[0]
	}
	return e
}

func claim(id ClaimID, source Source, status Status, lasts ...time.Duration) SetClaim {
	e := SetClaim{ID: id, Source: source, Status: status}
	if len(lasts) > 0 {
		e.Lasts = lasts[0]
	}
	return e
}

// manual is a native manual claim: neither the update interval nor the signed-in rule
// applies.
func manual(status Status, lasts ...time.Duration) SetClaim {
	return claim(ManualClaim, Manual, status, lasts...)
}

func benchState(tb testing.TB) (State, Instant) {
	now, p := noon, DefaultPolicy()
	var s State
	do := func(e Event) {
		next, err := apply(s, e, p, now)
		if err != nil {
			tb.Fatal(err)
		}
		s, now = next, now.Add(2*time.Second)
	}
	for i := range 3 {
		do(signIn(SessionID(fmt.Sprint("session-", i))))
	}
	for i := range 5 {
		do(claim(ClaimID(fmt.Sprint("event-", i)), Calendar, InCalendarEvent, time.Duration(i+1)*time.Hour))
	}
	return s, now
}

// BenchmarkApply measures Apply with 3 sessions and 5 claims, composed. The budget is 1
// µs and 2 allocations.
func BenchmarkApply(b *testing.B) {
	s, now := benchState(b)
	was, p := RecordedOf(s), DefaultPolicy()
	p.MinInterval = 0
	var e Event = put(Busy)
	b.ReportAllocs()
	for b.Loop() {
		next, err := Apply(was, e, p, now)
		if err != nil {
			b.Fatal(err)
		}
		if next.Shown.Status != Busy {
			b.Fatal(next.Shown.Status)
		}
	}
}

func TestApplyAllocations(t *testing.T) {
	s, now := benchState(t)
	was, p := RecordedOf(s), DefaultPolicy()
	var e Event = put(Busy)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := Apply(was, e, p, now); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 2 {
		t.Errorf("%v allocations, want at most 2", allocs)
	}
}
