package presence

import (
	"slices"
	"strings"
)

// Visibility is how much of a presence a watcher may see. Numbers are stored: append
// only.
type Visibility uint8

// A watcher sees everything, only the status without note and times, or a user
// who appears offline.
const (
	VisibilityAll Visibility = iota
	VisibilityStatus
	VisibilityOffline
)

// Valid reports whether s is one of the three.
func (s Visibility) Valid() bool { return s <= VisibilityOffline }

// A VisibilityRule is what one watcher, or everyone else, may see of a user, and what
// there is to remember so that no view tells more: appearing offline cannot be
// told from being offline, neither meanwhile nor afterwards.
type VisibilityRule struct {
	Visibility Visibility
	// Since is since when the user seems offline, while that is shown. After that
	// no since before it is shown: it would lie in the time of hiding.
	Since Instant
	// Revision is of the commit by which the rule last changed what is seen under
	// it; while the user seems offline, of the last that could be seen.
	Revision Revision
	// LiftedRevision is the commit that lifted the rule of a user who was offline behind
	// it; zero: none. Until the status changes after it the user seems offline as
	// before, or the real since would tell of the hiding.
	LiftedRevision Revision
	// Default marks a watcher who is no longer named: its sight is that of
	// everyone. It is kept for what the other fields remember.
	Default bool
}

// A WatcherRule is the rule for one watcher.
type WatcherRule struct {
	User UserID
	VisibilityRule
}

// VisibilityRules say who sees what of a user: by watcher first, then everyone. The zero
// VisibilityRules show all to everyone in the account. They are shared between readers:
// nobody writes into them.
type VisibilityRules struct {
	Everyone VisibilityRule
	Watchers []WatcherRule // by user
}

// A Watcher is a user who looks. Truth marks those who see a presence whatever
// the rules: the user, administrators and account-level tokens.
type Watcher struct {
	User  UserID
	Truth bool
}

// View is the part of p that the watcher may see. Its Revision is that of the
// last commit that changed what this watcher sees; it never goes back.
func View(p Presence, rules *VisibilityRules, w Watcher) Presence {
	if w.Truth || rules == nil {
		return p
	}
	rule := rules.of(w.User)
	return rule.show(&p)
}

func (r *VisibilityRules) of(user UserID) VisibilityRule {
	i, found := slices.BinarySearchFunc(r.Watchers, user, func(w WatcherRule, user UserID) int {
		return strings.Compare(string(w.User), string(user))
	})
	if found {
		return r.Watchers[i].VisibilityRule
	}
	return r.Everyone
}

// show is what is seen of p under the rule.
func (r *VisibilityRule) show(p *Presence) Presence {
	switch {
	case r.hides(p):
		return Presence{Status: Offline, Since: r.Since, Revision: r.Revision, StatusRevision: r.Revision}
	case r.Visibility == VisibilityStatus:
		revision := max(p.StatusRevision, r.Revision)
		return Presence{Status: p.Status, Revision: revision, StatusRevision: revision}
	default:
		seen := *p
		seen.Since = max(p.Since, r.Since)
		seen.Revision = max(p.Revision, r.Revision)
		seen.StatusRevision = max(p.StatusRevision, r.Revision)
		return seen
	}
}

// hides reports whether nothing of p is seen: hidden, or veiled still.
func (r *VisibilityRule) hides(p *Presence) bool {
	return r.Visibility == VisibilityOffline || (r.LiftedRevision != 0 && p.Status == Offline && p.StatusRevision <= r.LiftedRevision)
}
