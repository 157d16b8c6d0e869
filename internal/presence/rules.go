package presence

import (
	"cmp"
	"slices"
)

// setRules takes note of the rules that are asked for. They are decided in
// finish: that needs the commit's revision and all that the commit changed.
func (d *draft) setRules(e *SetVisibility) error {
	if err := checkRules(e); err != nil {
		return err
	}
	if d.asked != nil || !d.Rules.say(e) {
		d.asked, d.changed = e, true
	}
	return nil
}

// say reports whether the rules are already those that e asks for.
func (r *VisibilityRules) say(e *SetVisibility) bool {
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
		if sight, ok := e.Watchers[w.User]; !ok || sight != w.Visibility {
			return false
		}
	}
	return e.Everyone == r.Everyone.Visibility && named == len(e.Watchers)
}

// A ruling decides the rules that one commit makes: every watcher goes on from
// what it saw under the old ones.
type ruling struct {
	old    *VisibilityRules
	shown  *Presence // by this commit, the truth
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
		sight, named := d.asked.Watchers[user]
		if !named {
			sight = d.asked.Everyone
		}
		rule := r.next(r.old.of(user), sight)
		if !named && rule == next.Everyone {
			continue // nothing to remember
		}
		rule.Default = !named
		next.Watchers = append(next.Watchers, WatcherRule{User: user, VisibilityRule: rule})
	}
	next.forgetOldest()
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

// next is the rule that old becomes with the sight that is asked for.
func (r *ruling) next(old VisibilityRule, sight Visibility) VisibilityRule {
	old.Default = false
	switch sight {
	case old.Visibility:
		return r.tidy(old)
	case VisibilityOffline:
		return r.hide(old)
	default:
		return r.tidy(r.uncover(old, sight))
	}
}

// hide makes the user seem offline from now on, or goes on so for whoever saw
// just that: nobody can tell then, so the revision stays.
func (r *ruling) hide(old VisibilityRule) VisibilityRule {
	before := old.show(r.shown)
	rule := VisibilityRule{Visibility: VisibilityOffline, Since: before.Since, Revision: before.Revision}
	if !before.SameFor(&Presence{Status: Offline, Since: before.Since}) {
		rule.Revision = r.commit
	}
	// Who is shown no times must not be shown one: it would tell of the rule.
	if before.Status != Offline && before.Since != 0 {
		rule.Since = r.now
	}
	return rule
}

// uncover shows more than hiding, or more or less than was shown. Where that is
// nothing else than before the revision stays, and where the user is offline
// behind a rule what was seen stays, too.
func (r *ruling) uncover(old VisibilityRule, sight Visibility) VisibilityRule {
	before, hiding := old.show(r.shown), old.hides(r.shown)
	rule := VisibilityRule{Visibility: sight, Since: old.Since, Revision: before.Revision}
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

// tidy drops what can make no difference any more, so that rules without a
// memory are equal.
func (r *ruling) tidy(rule VisibilityRule) VisibilityRule {
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

// forgetOldest bounds what is kept of watchers who are no longer named: those
// whose view changed longest ago go first. Their views may go back once.
func (r *VisibilityRules) forgetOldest() {
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
	gone := make(map[UserID]bool, excess)
	for _, w := range kept[:excess] {
		gone[w.User] = true
	}
	r.Watchers = slices.DeleteFunc(r.Watchers, func(w WatcherRule) bool { return gone[w.User] })
}
