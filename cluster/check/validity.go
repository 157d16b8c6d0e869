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
	// Within: an operation counts as one beside the fault if it overlaps this span. It
	// begins with the fault and ends when its effects do. Zero: Fault.
	Within Span
}

// leastOverlap is the share of operations that must overlap the fault.
const leastOverlap = 0.2

// Validity reports why a run shows nothing: too few operations, a fault that did not
// happen, or that too few operations overlapped.
func Validity(r *Run) (found []string) {
	var p problems
	within := r.Within
	if within == (Span{}) {
		within = r.Fault
	}
	overlapping := 0
	for _, o := range r.Operations {
		if o.overlaps(within) {
			overlapping++
		}
	}
	if n := len(r.Operations); n < r.Least {
		p.add("INVALID: only %d operations succeeded, want %d", n, r.Least)
	}
	switch {
	case !r.Fault.From.Before(r.Fault.To):
		p.add("INVALID: the fault did not happen")
	case float64(overlapping) < leastOverlap*float64(len(r.Operations)):
		p.add("INVALID: only %d of %d operations overlapped the fault", overlapping, len(r.Operations))
	}
	return p
}
