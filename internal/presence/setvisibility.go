package presence

import (
	"cmp"
	"slices"
)

// setRules records the requested rules. finish applies them, because they depend on
// the commit's revision and on everything else that it changes.
func (d *draft) setRules(e *SetVisibility) error {
	if err := checkRules(e); err != nil {
		return err
	}
	if d.asked != nil || !d.Rules.match(e) {
		d.asked, d.changed = e, true
	}
	return nil
}

// match reports whether the rules are already those that e asks for.
func (r *VisibilityRules) match(e *SetVisibility) bool {
	if r == nil {
		return e.Everyone == VisibilityAll && len(e.Watchers) == 0
	}
	named := 0
	for i := range r.Watchers {
		w := &r.Watchers[i]
		if w.Default {
			continue
		}
		named++
		if level, ok := e.Watchers[w.User]; !ok || level != w.Visibility {
			return false
		}
	}
	return e.Everyone == r.Everyone.Visibility && named == len(e.Watchers)
}

// A ruling computes the rules of one commit. For each watcher the new rule continues
// from what was visible under the old one.
type ruling struct {
	old    *VisibilityRules
	shown  *Presence // by this commit, unrestricted
	now    Instant
	commit Revision
}

// ruled is what the asked rules become in a commit that shows p.
func (d *draft) ruled(p *Presence) *VisibilityRules {
	r := ruling{old: d.Rules, shown: p, now: d.now, commit: d.Revision}
	if r.old == nil {
		r.old = &VisibilityRules{}
	}
	next := VisibilityRules{Everyone: r.next(r.old.Everyone, d.asked.Everyone)}
	for _, user := range r.affected(d.asked) {
		level, named := d.asked.Watchers[user]
		if !named {
			level = d.asked.Everyone
		}
		rule := r.next(r.old.of(user), level)
		if !named && rule == next.Everyone {
			continue // no history to keep
		}
		rule.Default = !named
		next.Watchers = append(next.Watchers, WatcherRule{User: user, VisibilityRule: rule})
	}
	next.evictOldest()
	if len(next.Watchers) == 0 && next.Everyone == (VisibilityRule{}) {
		return nil
	}
	return &next
}

// affected are the watchers with a rule of their own, before or now, in order.
func (r *ruling) affected(e *SetVisibility) []UserID {
	users := make([]UserID, 0, len(r.old.Watchers)+len(e.Watchers))
	for i := range r.old.Watchers {
		users = append(users, r.old.Watchers[i].User)
	}
	for user := range e.Watchers {
		users = append(users, user)
	}
	slices.Sort(users)
	return slices.Compact(users)
}

// next is the rule that follows old at the requested level.
func (r *ruling) next(old VisibilityRule, level Visibility) VisibilityRule {
	old.Default = false
	switch level {
	case old.Visibility:
		return r.simplify(old)
	case VisibilityOffline:
		return r.hide(old)
	default:
		return r.simplify(r.reveal(old, level))
	}
}

// hide makes the user appear offline from now on. For a watcher who saw the user
// offline already nothing changes, so the revision stays.
func (r *ruling) hide(old VisibilityRule) VisibilityRule {
	before := old.show(r.shown)
	rule := VisibilityRule{Visibility: VisibilityOffline, Since: before.Since, Revision: before.Revision}
	if !before.SameFor(&Presence{Status: Offline, Since: before.Since}) {
		rule.Revision = r.commit
	}
	// A watcher who was shown no times must not see one now: it would reveal the rule.
	if before.Status != Offline && before.Since != 0 {
		rule.Since = r.now
	}
	return rule
}

// reveal changes to a level that shows the status. Where the watcher sees the same as
// before, the revision stays; while a hidden user is offline, the view stays too.
func (r *ruling) reveal(old VisibilityRule, level Visibility) VisibilityRule {
	before, hiding := old.show(r.shown), old.hides(r.shown)
	rule := VisibilityRule{Visibility: level, Since: old.Since, Revision: before.Revision}
	after := rule.show(r.shown)
	switch {
	case after.SameFor(&before) && after.Revision == before.Revision:
	case hiding && r.shown.Status == Offline:
		rule.LiftedRevision = r.commit
	case hiding:
		rule.Since, rule.Revision = r.now, r.commit
	default:
		rule.Revision = r.commit
	}
	return rule
}

// simplify clears fields that no longer matter, so that rules without history compare
// as equal.
func (r *ruling) simplify(rule VisibilityRule) VisibilityRule {
	if rule.hides(r.shown) {
		return rule
	}
	rule.LiftedRevision = 0
	if rule.Since <= r.shown.Since {
		rule.Since = 0
	}
	if rule.Revision <= r.shown.StatusRevision {
		rule.Revision = 0
	}
	return rule
}

// evictOldest bounds the number of rules that are kept for watchers who are no longer
// named. Those that changed longest ago are evicted first; the revision of their view
// may go back once.
func (r *VisibilityRules) evictOldest() {
	excess := len(r.Watchers) - 2*MaxRules
	if excess <= 0 {
		return
	}
	var kept []WatcherRule
	for _, w := range r.Watchers {
		if w.Default {
			kept = append(kept, w)
		}
	}
	slices.SortStableFunc(kept, func(a, b WatcherRule) int { return cmp.Compare(a.Revision, b.Revision) })
	evicted := make(map[UserID]bool, excess)
	for _, w := range kept[:excess] {
		evicted[w.User] = true
	}
	r.Watchers = slices.DeleteFunc(r.Watchers, func(w WatcherRule) bool { return evicted[w.User] })
}
