package check

import "time"

// A Span is a time from when to when.
type Span struct{ From, To time.Time }

func (s Span) overlaps(o Span) bool { return s.From.Before(o.To) && o.From.Before(s.To) }

// A Run is how much happened in a test.
type Run struct {
	Operations []Span // that succeeded, each from the call to the answer
	Least      int    // that must have succeeded
	Fault      Span   // when the fault acted; zero: it did not
}

// leastOverlap is how many operations must overlap the fault, as a share of Least: without a
// majority few succeed, whatever the number before and after.
const leastOverlap = 0.2

// Validity reports why a run shows nothing: too few operations, a fault that did not
// happen, or that too few operations overlapped.
func Validity(r *Run) (found []string) {
	var p problems
	overlapping := 0
	for _, o := range r.Operations {
		if o.overlaps(r.Fault) {
			overlapping++
		}
	}
	if n := len(r.Operations); n < r.Least {
		p.add("INVALID: only %d operations succeeded, want %d", n, r.Least)
	}
	switch {
	case !r.Fault.From.Before(r.Fault.To):
		p.add("INVALID: the fault did not happen")
	case float64(overlapping) < leastOverlap*float64(r.Least):
		p.add("INVALID: only %d of %d operations overlapped the fault", overlapping, len(r.Operations))
	}
	return p
}
