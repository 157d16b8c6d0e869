package presence_test

import (
	"fmt"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

func benchState(tb testing.TB) (State, Instant) {
	t0 := InstantOf(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	p := DefaultPolicy()
	var s State
	var err error
	do := func(e Event) {
		s, err = Apply(s, e, p, t0)
		if err != nil {
			tb.Fatal(err)
		}
		t0 = t0.Add(2 * time.Second)
	}
	for i := range 3 {
		do(SignIn{Session: SessionID(fmt.Sprint("session-", i)), Client: Desktop, Lease: time.Hour})
	}
	for i := range 5 {
		do(SetClaim{ID: ClaimID(fmt.Sprint("event-", i)), Source: Calendar, Status: InCalendarEvent, Lasts: time.Duration(i+1) * time.Hour})
	}
	return s, t0
}

func BenchmarkApplyCompose(b *testing.B) {
	s, now := benchState(b)
	p := DefaultPolicy()
	p.MinInterval = 0
	var e Event = SetClaim{Request: Request{Update: true}, ID: ManualClaim, Source: Manual, Status: Busy}
	b.ReportAllocs()
	for b.Loop() {
		next, err := Apply(s, e, p, now)
		if err != nil {
			b.Fatal(err)
		}
		if p, _ := Compose(next, now); p.Status != Busy {
			b.Fatal(p.Status)
		}
	}
}
