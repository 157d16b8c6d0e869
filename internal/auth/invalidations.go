package auth

import (
	"hash/maphash"
	"sync/atomic"
)

// invalidations know which cached verdicts are older than a change of something that they
// depend on: an account, or an app, a user or a family of tokens in it. So a change in one
// account evicts no token of another.
//
// Changes are numbered. A verdict has the number of the last change before it was read, and
// each slot that of the newest change of what hashes to it. A verdict that shares a slot with a
// change by chance is read again without need.
type invalidations struct {
	seed    maphash.Seed
	changes atomic.Uint64
	newest  [1 << 12]atomic.Uint64
}

// slots are those of what a verdict depends on.
type slots [4]uint16

func (s *invalidations) slot(r Revocation) uint16 {
	return uint16(maphash.Comparable(s.seed, [...]string{string(r.Account), string(r.App), string(r.User), r.Family}) % uint64(len(s.newest))) //nolint:gosec // it is small
}

func (s *invalidations) slotsOf(p *Principal) slots {
	return slots{
		s.slot(Revocation{Account: p.Account}),
		s.slot(Revocation{Account: p.Account, App: p.App}),
		s.slot(Revocation{Account: p.Account, User: p.User}),
		s.slot(Revocation{Account: p.Account, Family: p.Family}),
	}
}

// add invalidates the verdicts that r covers and that were read before now, even by a read that
// is still running.
func (s *invalidations) add(r *Revocation) {
	covered := Revocation{Account: r.Account}
	switch {
	case r.All:
	case r.Family != "":
		covered.Family = r.Family
	case r.App != "":
		covered.App = r.App
	default:
		covered.User = r.User
	}
	change, slot := s.changes.Add(1), &s.newest[s.slot(covered)]
	for {
		before := slot.Load()
		if before >= change || slot.CompareAndSwap(before, change) {
			return
		}
	}
}

// cover reports whether a verdict is invalid. Every change invalidates a refusal, which may
// depend on something that did not exist yet.
func (s *invalidations) cover(v *verdict) bool {
	if v.principal == nil {
		return v.changes != s.changes.Load()
	}
	for _, slot := range v.slots {
		if s.newest[slot].Load() > v.changes {
			return true
		}
	}
	return false
}
