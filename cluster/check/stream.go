package check

import (
	"cmp"
	"maps"
	"slices"
)

// Offline is the status of a user without sessions.
const Offline = "offline"

// An Entry is a change in the log.
type Entry struct {
	User     string
	Commit   uint64 // the revision of the user's record
	Revision uint64 // of the last commit that changed what watchers see
	Status   string
	Note     string
	Gap      bool // it says that entries of the user before it are missing
}

// A Stream is what one client received, in order, over all its connections and nodes.
type Stream struct {
	Name   string
	Events []Entry // of which each has no commit
	Resets int     // that the client received after it had a cursor
}

// A log has the entries of each user, by revision.
type log map[string][]Entry

func newLog(entries []Entry) log {
	_, groups := byUser(entries, func(e *Entry) string { return e.User })
	for _, own := range groups {
		slices.SortStableFunc(own, func(a, b Entry) int { return cmp.Compare(a.Commit, b.Commit) })
	}
	return groups
}

// visible are the entries that change what a watcher sees, of sorted ones.
func visible(own []Entry) []Entry {
	return slices.CompactFunc(slices.Clone(own), func(a, b Entry) bool { return a.Revision == b.Revision })
}

// inGap reports whether the log says that it lacks the commit.
func inGap(own []Entry, commit uint64) bool {
	next := slices.IndexFunc(own, func(e Entry) bool { return e.Commit > commit })
	return next >= 0 && own[next].Gap
}

// Log checks the log itself: no revision of a user's record occurs twice.
func Log(entries []Entry) (found []string) {
	var p problems
	for user, own := range newLog(entries) {
		for i := 1; i < len(own); i++ {
			if own[i].Commit == own[i-1].Commit {
				p.add("%s: the log has revision %d twice", user, own[i].Commit)
			}
		}
	}
	return p
}

// Streams joins streams with the log, which was read after them: what was received is in the
// log, revisions never fall, and no stream was reset. A stream may leave out versions, but
// never the last one: settled has the users that each stream follows, with the revision that each
// must have received at least.
func Streams(streams []Stream, entries []Entry, settled map[string]uint64) (found []string) {
	var p problems
	all := newLog(entries)
	for i := range streams {
		s := &streams[i]
		if s.Resets > 0 {
			p.add("%s: %d resets", s.Name, s.Resets)
		}
		_, groups := byUser(s.Events, func(e *Entry) string { return e.User })
		for _, user := range slices.Sorted(maps.Keys(settled)) {
			last := p.joined(s.Name, user, groups[user], all[user])
			if last < settled[user] {
				p.add("%s: %s is at revision %d, and in the log at %d", s.Name, user, last, settled[user])
			}
		}
	}
	return p
}

// joined compares what a stream received of one user with the user's changes, and returns
// the last revision.
func (p *problems) joined(name, user string, events, own []Entry) (last uint64) {
	changes := visible(own)
	for i, e := range events {
		found := slices.IndexFunc(changes, func(c Entry) bool { return c.Revision == e.Revision })
		switch {
		case i > 0 && e.Revision < events[i-1].Revision:
			p.add("%s: %s went from revision %d back to %d", name, user, events[i-1].Revision, e.Revision)
		case found < 0 && e.Revision > 0 && !inGap(own, e.Revision): // zero: never changed
			p.add("%s: %s has revision %d, which the log does not have", name, user, e.Revision)
		case found >= 0 && (changes[found].Status != e.Status || changes[found].Note != e.Note):
			c := changes[found]
			p.add("%s: %s is %q (%q) at revision %d, and in the log %q (%q)", name, user, e.Status, e.Note, e.Revision, c.Status, c.Note)
		}
		last = e.Revision
	}
	return last
}
