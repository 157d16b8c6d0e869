package check

import (
	"cmp"
	"slices"
)

// Offline is the status of a user without sessions.
const Offline = "offline"

// An Entry is a change in the log that a watcher sees.
type Entry struct {
	User         string
	Revision     uint64
	Status, Note string
}

// An Event is what a stream received of a user.
type Event struct {
	Entry
	// Complete: the event was part of a snapshot, or says that versions before it were not
	// sent. The versions before may then be missing.
	Complete bool
}

// A Stream is what one client received, in order, over all its connections and nodes.
type Stream struct {
	Name   string
	Events []Event
	Resets int // that the client received after it had a cursor
}

// A log has the entries of each user, by revision.
type log map[string][]Entry

func newLog(entries []Entry) log {
	_, groups := byUser(entries, func(e *Entry) string { return e.User })
	for _, own := range groups {
		slices.SortStableFunc(own, func(a, b Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	}
	return groups
}

// visible are the entries that change what a watcher sees, of sorted ones. The first of a
// user counts.
func visible(own []Entry) (changes []Entry) {
	for _, e := range own {
		if n := len(changes); n == 0 || e.Status != changes[n-1].Status || e.Note != changes[n-1].Note {
			changes = append(changes, e)
		}
	}
	return changes
}

// Log checks the log itself: no revision of a user occurs twice.
func Log(entries []Entry) (found []string) {
	var p problems
	for user, own := range newLog(entries) {
		for i := 1; i < len(own); i++ {
			if own[i].Revision == own[i-1].Revision {
				p.add("%s: the log has revision %d twice", user, own[i].Revision)
			}
		}
	}
	return p
}

// Streams joins streams with the log, after everything has become quiet: what was received
// is in the log, revisions rise, no version is missing that was not announced as left out,
// the last version is the log's, and no stream was reset. followed are the users that each
// stream follows.
func Streams(streams []Stream, entries []Entry, followed []string) (found []string) {
	var p problems
	all := newLog(entries)
	for i := range streams {
		s := &streams[i]
		if s.Resets > 0 {
			p.add("%s: %d resets", s.Name, s.Resets)
		}
		_, groups := byUser(s.Events, func(e *Event) string { return e.User })
		for _, user := range followed {
			p.joined(s.Name, user, groups[user], visible(all[user]))
		}
	}
	return p
}

// joined compares what a stream received of one user with the user's changes.
func (p *problems) joined(name, user string, events []Event, changes []Entry) {
	at := -1 // index of the newest change that was received
	for i, e := range events {
		was := at
		found := slices.IndexFunc(changes, func(c Entry) bool { return c.Revision == e.Revision })
		switch {
		case i > 0 && e.Revision < events[i-1].Revision:
			p.add("%s: %s went from revision %d back to %d", name, user, events[i-1].Revision, e.Revision)
			continue
		case found < 0 && e.Revision > 0:
			p.add("%s: %s has revision %d, which the log does not have", name, user, e.Revision)
			continue
		case found < 0:
			continue // never changed
		}
		at = found
		if c := changes[at]; c.Status != e.Status || c.Note != e.Note {
			p.add("%s: %s is %q (%q) at revision %d, and in the log %q (%q)", name, user, e.Status, e.Note, e.Revision, c.Status, c.Note)
		}
		if !e.Complete && at > was+1 {
			p.add("%s: of %s, %d changes before revision %d are missing", name, user, at-was-1, e.Revision)
		}
	}
	if n := len(changes); at != n-1 {
		p.add("%s: of %s, the last %d changes are missing", name, user, n-1-at)
	}
}
