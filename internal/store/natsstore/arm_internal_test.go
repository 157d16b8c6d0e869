package natsstore

import (
	"math/rand/v2"
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

// TestCommitsOfMinutelyRefreshes: a session on the default lease whose client refreshes it every
// 55 to 65 s costs at most 31 commits an hour, those included that only move its timer.
func TestCommitsOfMinutelyRefreshes(t *testing.T) {
	const hours = 100
	policy := presence.DefaultPolicy()
	policy.Ahead = true
	for _, activity := range []presence.Activity{presence.ActivityActive, presence.ActivityIdle, presence.ActivityUnspecified} {
		random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
		now := presence.InstantOf(time.Unix(1_800_000_000, 0))
		rec, commits := &record{}, 0
		commit := func(e presence.Event) {
			next, err := presence.Apply(rec.Recorded, e, policy, now)
			if err != nil {
				t.Fatal(err)
			}
			rec = &record{Recorded: next.Recorded, armed: rec.armed}
			rec.armTimer()
			commits++
		}
		commit(presence.SignIn{Session: "s", Client: presence.Desktop, Lease: presence.DefaultLease, Activity: activity})
		for end := now.Add(hours * time.Hour); now < end; {
			now = now.Add(55*time.Second + time.Duration(random.Int64N(int64(10*time.Second))))
			for rec.armed <= now { // it fires
				if rec.Next <= now {
					commit(presence.Tick{})
					continue
				}
				rec = &record{Recorded: rec.Recorded, armed: timerInstant(rec.Next, max(rec.armed, rec.State.At))} // see rearmOnce
				commits++
			}
			e := presence.Refresh{Session: "s", Activity: activity}
			if !presence.OnRecord(&rec.State, e, policy, now) {
				commit(e)
			}
		}
		if perHour := float64(commits) / hours; perHour > 31 || perHour < 25 {
			t.Errorf("activity %d: %.1f commits an hour", activity, perHour)
		}
	}
}
