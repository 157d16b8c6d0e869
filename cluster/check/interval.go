package check

import "time"

// A Put is an update that the minimum interval limits, and that was accepted.
type Put struct {
	User string
	Span // from the call to the answer
}

// Interval checks that between two accepted updates of a user, over all nodes, at least the
// interval has passed: whichever of them was made first, the other one was answered at least
// that much after the first was sent. tolerance is how far the clocks of nodes may differ.
func Interval(puts []Put, interval, tolerance time.Duration) (found []string) {
	var p problems
	users, groups := byUser(puts, func(put *Put) string { return put.User })
	for _, user := range users {
		own := groups[user]
		for i, a := range own {
			for _, b := range own[:i] {
				if apart := max(a.To.Sub(b.From), b.To.Sub(a.From)); apart < interval-tolerance {
					p.add("%s: two updates within %v were accepted", user, apart)
				}
			}
		}
	}
	return p
}

// OncePerBurst checks simultaneous updates of one user: exactly one is accepted. If the
// outcome of some is unknown, the one may be among them.
func OncePerBurst(user string, accepted, unknown int) (found []string) {
	var p problems
	if accepted > 1 || accepted == 0 && unknown == 0 {
		p.add("%s: of simultaneous updates %d were accepted, and the outcome of %d is unknown", user, accepted, unknown)
	}
	return p
}
