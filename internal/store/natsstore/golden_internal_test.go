package natsstore

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const goldenSubject = "porchlight.s.golden"

// goldenRecord is a record and the log entry in its message.
func goldenRecord() (*record, store.Entry) {
	const at = presence.Instant(1_795_334_400_000_000)
	state := presence.State{
		Revision: presence.Revision(at), At: at, Note: presence.Note{Text: "ñ"},
		Claims: []presence.Claim{{ID: "c", Source: presence.Schedule, Status: presence.OutOfOffice, Since: at, Until: at + 60e6}},
	}
	u := store.User{Account: "acme", ID: "u"}
	rec := &record{user: u, Recorded: presence.RecordedOf(state), armed: at + 60e6, ops: writeOps{{id: 7}, {id: 6, at: 3}}}
	change := store.Change{
		Change: presence.Change{Recorded: rec.Recorded},
		By:     store.By{Cause: store.CauseClaim, Actor: store.Actor{App: "app"}},
	}
	return rec, change.Entry(u, &presence.Recorded{})
}

// TestGoldenRecord: messages of every format, in
// testdata/golden/record-<formatVersion>.hex, are still decoded. Each file is written
// once, with the bytes that the failing test prints, and never changed.
func TestGoldenRecord(t *testing.T) {
	want, all := goldenRecord()
	all.Origin = presence.Origin{Claim: "c", Source: presence.Schedule}
	origin := all
	plain := all
	plain.Origin, plain.UserAfter = presence.Origin{}, store.UserFacts{}
	all.Ended = []store.SessionFacts{{ID: "s", Client: presence.Mobile}}
	all.Profile = &presence.Profile{Email: "ada@example.com"}
	entries := []store.Entry{plain, origin, all, all} // format 4 changed the subjects only
	now := seal(goldenSubject, appendRecord(newBody(512), want, &all, 3))
	for i, entry := range entries {
		path := filepath.Join("testdata", "golden", "record-"+string(rune('1'+i))+".hex")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v: keep\n%x", err, now)
			continue
		}
		data, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		if i == len(entries)-1 && !bytes.Equal(data, now) {
			t.Errorf("the current format has other bytes: %x", now)
		}
		rec, err := decodeRecord(want.user, storedMsg{subject: goldenSubject, seq: 9, data: data})
		if err != nil || !reflect.DeepEqual(rec.Recorded, want.Recorded) || rec.armed != want.armed || rec.at != 9 {
			t.Errorf("%s is the record %+v, %v; want %+v", path, rec, err, want)
		}
		head, err := parseRecord(goldenSubject, data)
		if err != nil || head.previous != 3 {
			t.Fatalf("%s: %+v, %v", path, head, err)
		}
		if e, err := store.DecodeEntry(head.entry); err != nil || !reflect.DeepEqual(any(e), any(entry)) {
			t.Errorf("%s has the entry %+v, %v; want %+v", path, e, err, entry)
		}
	}
	if len(entries) != formatVersion {
		t.Errorf("%d golden records of %d formats", len(entries), formatVersion)
	}
}
