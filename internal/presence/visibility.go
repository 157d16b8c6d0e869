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

// Valid reports whether s is a known level.
func (s Visibility) Valid() bool { return s <= VisibilityOffline }

// A VisibilityRule is what one watcher, or everyone else, may see of a user, and what
// must be remembered so that no view reveals more: a watcher can never distinguish
// appearing offline from being offline, neither at the time nor afterwards.
type VisibilityRule struct {
	Visibility Visibility
	// Since is when the user began to appear offline, while that is shown. Later, no
	// earlier since is shown, because it would fall into the time of hiding.
	Since Instant
	// Revision is that of the commit in which the rule last changed what is seen
	// under it; while the user appears offline, that of the last visible commit.
	Revision Revision
	// LiftedRevision is that of the commit that lifted the rule while the user was
	// offline; zero: none. Until the status changes again the user appears offline
	// as before: the real since would reveal the hiding.
	LiftedRevision Revision
	// Default marks a watcher who is no longer named and has the visibility of
	// everyone. The rule is kept for its other fields.
	Default bool
}

// A WatcherRule is the rule for one watcher.
type WatcherRule struct {
	User UserID
	VisibilityRule
}

// VisibilityRules define who sees what of a user. A rule for a watcher overrides the
// one for everyone. The zero value shows everything to everyone in the account. A
// value is shared between readers and never modified.
type VisibilityRules struct {
	Everyone VisibilityRule
	Watchers []WatcherRule // by user
}

// A Watcher is the user who asks. Truth is set for those whom the rules do not
// restrict: the user, administrators and account-level tokens.
type Watcher struct {
	User  UserID
	Truth bool
}

// View is what w may see of p. Its Revision is that of the
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

// show is what the rule lets a watcher see of p.
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

// hides reports whether the user appears offline: by the rule, or because lifting
// it must not be visible yet.
func (r *VisibilityRule) hides(p *Presence) bool {
	return r.Visibility == VisibilityOffline || (r.LiftedRevision != 0 && p.Status == Offline && p.StatusRevision <= r.LiftedRevision)
}
