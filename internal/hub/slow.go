package hub

import "time"

// SlowAfter is how long a reader has, from the first write that its connection
// refused, to read what is queued for it.
const SlowAfter = 10 * time.Second

// paceBytes is how much a reader must read in SlowAfter if more than that is queued.
const paceBytes = 256 << 10

// A Pace is the lowest permitted speed of a slow consumer: a reader whose connection did not accept
// a write in full. Within SlowAfter it must read all that is queued, or paceBytes of it,
// and so on until the queue is empty. Fewer bytes do not extend the deadline: a reader
// that takes a byte a second does not keep up.
type Pace struct {
	by   time.Time
	left int // bytes to be read by then
}

// NewPace is the pace of a reader that refused a write just now.
func NewPace() *Pace { return &Pace{by: time.Now().Add(SlowAfter), left: paceBytes} }

// Next is how many of n bytes to write now, and the deadline of that write.
func (p *Pace) Next(n int) (int, time.Time) { return min(n, p.left), p.by }

// NoteAccepted notes that the connection accepted n bytes.
func (p *Pace) NoteAccepted(n int) {
	if p.left -= n; p.left <= 0 {
		*p = *NewPace()
	}
}
