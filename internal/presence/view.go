package presence

// Sight is how much of a presence a watcher may see.
type Sight uint8

// A watcher sees everything, only the status without note and times, or a user
// who appears offline.
const (
	SeesAll Sight = iota
	SeesStatus
	SeesOffline
)

// A Rule is one of a user's rules of visibility. Since and Revision are those
// of the moment at which the user began to appear offline under it: frozen, so
// that appearing offline cannot be told from being offline.
type Rule struct {
	Sight    Sight
	Since    Instant
	Revision Revision
}

// Rules say who sees what of a user: by watcher first, then by the watcher's
// groups (the strictest of them), then everyone. The zero Rules show all to
// everyone in the account.
type Rules struct {
	Watchers map[UserID]Rule
	Groups   map[string]Rule
	Everyone Rule
}

// A Watcher is a user who looks. Truth marks those who see a presence whatever
// the rules: the user, administrators and account-level tokens.
type Watcher struct {
	User   UserID
	Groups []string
	Truth  bool
}

// View is the part of p that the watcher may see. Its Revision is that of the
// last commit that changed what this watcher sees.
func View(p Presence, rules *Rules, w Watcher) Presence {
	if w.Truth || rules == nil {
		return p
	}
	rule := rules.of(w)
	switch rule.Sight {
	case SeesAll:
		return p
	case SeesStatus:
		return Presence{Status: p.Status, Revision: p.StatusRevision, StatusRevision: p.StatusRevision}
	default:
		return Presence{Status: Offline, Since: rule.Since, Revision: rule.Revision, StatusRevision: rule.Revision}
	}
}

func (r *Rules) of(w Watcher) Rule {
	if rule, ok := r.Watchers[w.User]; ok {
		return rule
	}
	var strictest Rule
	found := false
	for _, group := range w.Groups {
		if rule, ok := r.Groups[group]; ok && (!found || rule.Sight > strictest.Sight) {
			strictest, found = rule, true
		}
	}
	if found {
		return strictest
	}
	return r.Everyone
}
