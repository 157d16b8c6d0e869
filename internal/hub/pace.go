package hub

import "time"

// SlowAfter is how long a reader has, from the first write that its connection
// refused, to take what waits for it.
const SlowAfter = 10 * time.Second

// paceBytes is how much a reader must take in SlowAfter if more than that waits.
const paceBytes = 256 << 10

// A Pace is what a reader must keep to whose connection has refused a write, which
// is to say that it did not take all of it at once. Within SlowAfter the reader takes
// all that waits, or paceBytes of it, and so on until nothing waits. Progress of fewer
// bytes does not prolong the time: who takes a byte a second does not keep up.
type Pace struct {
	by   time.Time
	left int // bytes to be taken by then
}

// NewPace is the pace of a reader that refused a write just now.
func NewPace() *Pace { return &Pace{by: time.Now().Add(SlowAfter), left: paceBytes} }

// Next is how many of n bytes to write now, and when they must have been taken.
func (p *Pace) Next(n int) (int, time.Time) { return min(n, p.left), p.by }

// Took notes that n bytes were taken.
func (p *Pace) Took(n int) {
	if p.left -= n; p.left <= 0 {
		*p = *NewPace()
	}
}
