package presence

import "time"

// An Instant is a point in time as records keep it: microseconds since 1970,
// UTC. The zero Instant is none. Instants compare with < and ==, and take a third
// of the room of a time.Time, which is what composing a thousand users costs.
type Instant int64

// InstantOf is the instant of t, cut to the microsecond; the zero time has none.
// The first microsecond of 1970 counts as the second, for its instant is none.
func InstantOf(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	if i := Instant(t.UnixMicro()); i != 0 {
		return i
	}
	return 1
}

// Time is i in UTC; the zero Instant is the zero time.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(i)).UTC()
}

// IsZero reports whether i is none.
func (i Instant) IsZero() bool { return i == 0 }

// Add is i, later by d.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d/time.Microsecond) }

// Sub is the time from o to i.
func (i Instant) Sub(o Instant) time.Duration { return time.Duration(i-o) * time.Microsecond }
