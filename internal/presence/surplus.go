package presence

import "cmp"

// An origin is whom a session, a claim or an answer counts for in the limits: an
// app, or the user's own clients that have tokens of one app.
type origin struct{ app, via AppID }

func (s *Session) origin() origin { return origin{s.App, s.Via} }
func (c *Claim) origin() origin   { return origin{c.App, c.Via} }
func (a *Answer) origin() origin  { return origin{app: a.App} }

// surplus is the index of what has to go before added comes, or -1 if nothing has
// to: an origin has at most each, and all have at most total. An origin at its
// limit gives up one of its own. When the total is reached, the origin gives one up
// that would then have the most, so that nobody loses anything to whoever has more.
// Among those the first by order goes, of equals the first in the list.
func surplus[T any](all []T, added *T, of func(*T) origin, each, total int, order func(a, b *T) int) int {
	if len(all) < each {
		return -1
	}
	own := of(added)
	counts := map[origin]int{own: 1}
	for i := range all {
		counts[of(&all[i])]++
	}
	full := counts[own] > each
	if !full && len(all) < total {
		return -1
	}
	goes := -1
	for i := range all {
		a := &all[i]
		if full && of(a) != own {
			continue
		}
		if goes < 0 || cmp.Or(cmp.Compare(counts[of(&all[goes])], counts[of(a)]), order(a, &all[goes])) < 0 {
			goes = i
		}
	}
	return goes
}

// endsFirst orders sessions by which is to go: an app's before the person's own, then the
// one that ends first, of which a held session counts as one that was renewed now, then the
// older one.
func endsFirst(now Instant) func(a, b *Session) int {
	return func(a, b *Session) int {
		return cmp.Or(cmp.Compare(own(a), own(b)), cmp.Compare(endsOf(a, now), endsOf(b, now)), cmp.Compare(a.Since, b.Since))
	}
}

// endsOf is when a session ends, of a held one as if it were renewed now.
func endsOf(s *Session, now Instant) Instant {
	if s.Held() {
		return now.Add(s.Lease)
	}
	return s.EndsAt
}

// own is 1 for a session of the user's own client.
func own(s *Session) int {
	if s.App == "" {
		return 1
	}
	return 0
}

// oldest leaves answers in their order, which is by age.
func oldest(_, _ *Answer) int { return 0 }
