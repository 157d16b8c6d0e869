package natsstore

import (
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// TestArmTimer: an update stores another timer if the stored one would fire too late, or
// before half of the time has passed. A session that is refreshed at half of its lease then
// needs no commits because timers fired.
func TestArmTimer(t *testing.T) {
	now := presence.InstantOf(time.Unix(1_800_000_000, 0))
	in := func(seconds int) presence.Instant { return now.Add(time.Duration(seconds) * time.Second) }
	for name, c := range map[string]struct {
		armed, next, want presence.Instant
		stored            bool
	}{
		"none before":         {0, in(120), in(120), true},
		"too late":            {in(120), in(60), in(60), true},
		"as late":             {in(120), in(120), in(120), false},
		"a little earlier":    {in(120), in(197), in(120), false},
		"much earlier":        {in(77), in(197), in(197), true},
		"has fired":           {in(-1), in(60), in(60), true},
		"no longer needed":    {in(60), 0, in(60), false},
		"never was, and none": {0, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &record{armed: c.armed}
			rec.State.At, rec.Next = now, c.next
			if stored := rec.armTimer(); stored != c.stored || rec.armed != c.want {
				t.Errorf("%v, armed for %v; want %v, %v", stored, rec.armed.Sub(now), c.stored, c.want.Sub(now))
			}
		})
	}
}
