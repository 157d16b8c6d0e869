package hub

import (
	"testing"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func recordAt(user presence.UserID, revision presence.Revision, at store.Position) store.Record {
	return store.Record{User: userOf("a", user), State: &presence.State{Revision: revision, At: presence.Instant(revision)}, At: at}
}

// TestRecent: recent knows when a revision was delivered although a hidden commit
// followed it.
func TestRecent(t *testing.T) {
	const second = 1_000_000
	const start = 1000 * second // of the hub, at position 10
	r := newRecent()
	r.begin(10, start)
	r.add([]store.Record{
		recordAt("bob", start+1, 11), recordAt("carol", start+2, 12), recordAt("bob", start+5, 15), recordAt("dave", start+9, 19),
	})
	for name, c := range map[string]struct {
		record       store.Record
		revision     presence.Revision
		position     store.Position
		after, known bool
	}{
		"at the position":               {recordAt("bob", start+5, 15), start + 1, 11, false, true},
		"after it":                      {recordAt("bob", start+5, 15), start + 1, 10, true, true},
		"left out between":              {recordAt("bob", start+5, 15), start + 3, 12, true, true},
		"left out, and covered":         {recordAt("bob", start+5, 15), start + 3, 15, false, true},
		"long before the hub began":     {recordAt("carol", start+2, 12), start - 100*second, 11, false, true},
		"perhaps before the hub began":  {recordAt("carol", start+2, 12), start - second, 11, true, true},
		"perhaps, and covered":          {recordAt("carol", start+2, 12), start - second, 12, false, true},
		"nothing delivered of the user": {recordAt("erin", 5, 3), 5, 11, false, true},
		"not delivered yet":             {recordAt("bob", start+7, 17), start + 6, 15, false, false},
		"a position before the hub":     {recordAt("bob", start+5, 15), start + 1, 9, false, false},
	} {
		after, known := r.since(&c.record, c.revision, c.position)
		if after != c.after || known != c.known {
			t.Errorf("%s: %v, %v", name, after, known)
		}
	}
	for i := range store.Position(maxRecent) { // evicts everything before
		r.add([]store.Record{recordAt(presence.UserID("u"+string(rune('a'+i%20))), start+100*second+presence.Revision(i), 20+i)})
	}
	bob := recordAt("bob", start+5, 15)
	if _, known := r.since(&bob, start+1, 18); known {
		t.Error("an evicted position is known")
	}
	if after, known := r.since(&bob, start+1, 19); after || !known {
		t.Errorf("above the evicted position: %v, %v", after, known)
	}
	if len(r.commits) != maxRecent || len(r.newest) != 20 {
		t.Errorf("%d commits of %d users are kept", len(r.commits), len(r.newest))
	}
}
