package presence_test

import (
	"fmt"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// largest is a record at the limits: idle sessions that expire one after the other, and
// out_of_office claims with the given begin and end.
func largest(t *testing.T, begin, end func(i int) Instant) State {
	t.Helper()
	s := newScript(t)
	for i := range MaxSessions {
		id := SessionID(fmt.Sprint("s", i))
		app := AppID(fmt.Sprint("app-", i/MaxSessionsPerApp))
		s.must(SignIn{Session: id, Client: Desktop, Lease: MinLease + time.Duration(i)*time.Second, Activity: ActivityIdle, App: app})
	}
	for i := range MaxClaims {
		e := claim(ClaimID(fmt.Sprint("c", i)), App, OutOfOffice)
		e.Since, e.Until = begin(i), end(i)
		e.App = AppID(fmt.Sprint("app-", i/MaxClaimsPerApp))
		s.must(e)
	}
	return s.state
}

// TestComposeOfLargestRecord: the claims begin one after the other and end in reverse,
// so none of the edges shows, and Compose evaluates all of them to find the last. When
// until was computed again at each edge, one such record delayed every user's commits.
// The cost is measured relative to one evaluation of a record of that size, so it does
// not depend on the machine.
func TestComposeOfLargestRecord(t *testing.T) {
	const edges = MaxSessions + 2*MaxClaims
	slow := largest(t,
		func(i int) Instant { return noon.Add(time.Duration(i) * time.Hour) },
		func(i int) Instant { return noon.Add(time.Duration(2*MaxClaims-i) * time.Hour) })
	never := func(int) Instant { return 0 }
	still := largest(t, never, never)

	end := noon.Add(2 * MaxClaims * time.Hour)
	if p, next := Compose(slow, noon); p.Status != OutOfOffice || p.Until != end || next != end {
		t.Fatalf("%+v, next %v", p, next.Time())
	}
	look, compose := time.Hour, time.Hour
	for range 20 { // the fastest run: the machine is shared
		begun := time.Now()
		for range edges {
			Compose(still, noon)
		}
		look = min(look, time.Since(begun)/edges)
		begun = time.Now()
		Compose(slow, noon)
		compose = min(compose, time.Since(begun))
	}
	if compose > 6*edges*look {
		t.Errorf("composing took %v: %d evaluations of %v for %d edges", compose, compose/look, look, edges)
	}
}
