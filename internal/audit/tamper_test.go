package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/store"
)

type publicKey = ed25519.PublicKey

// found fails the test unless the lines have a problem, and returns it.
func (w *world) found(lines []string, what string) *audit.Problem {
	w.Helper()
	report := w.verify([]byte(strings.Join(lines, "\n") + "\n"))
	if report.Problem == nil {
		w.Errorf("%s: not found", what)
		return &audit.Problem{}
	}
	return report.Problem
}

func lines(export []byte) []string {
	return strings.Split(strings.TrimSuffix(string(export), "\n"), "\n")
}

func edited(all []string, i int, line string) []string {
	changed := slices.Clone(all)
	changed[i] = line
	return changed
}

// TestEdits: an edit of any member of any line is found, at its place.
func TestEdits(t *testing.T) {
	w := newWorld(t)
	w.record(6)
	all := lines(w.export())
	w.sound([]byte(strings.Join(all, "\n")), 7)
	member := regexp.MustCompile(`"[a-z_]+":(true|[0-9]+|"(?:[^"\\]|\\.)*"|\{.*?\}|\[.*?\])`)
	edits := 0
	for i, line := range all {
		for _, at := range member.FindAllStringSubmatchIndex(line, -1) {
			value := line[at[2]:at[3]]
			for _, other := range []string{`"other"`, "7", "false"} {
				if other == value {
					continue
				}
				p := w.found(edited(all, i, line[:at[2]]+other+line[at[3]:]), fmt.Sprintf("line %d: %s", i+1, line[at[0]:at[1]]))
				if i < 7 && p.Sequence != uint64(i+1) && !strings.HasPrefix(line[at[0]:], `"sequence"`) {
					t.Errorf("line %d: %s: found at %d: %s", i+1, line[at[0]:at[1]], p.Sequence, p.What)
				}
				edits++
			}
		}
	}
	if edits < 8*3*8 {
		t.Errorf("%d edits only", edits)
	}
}

// TestMissingAndMoved: a line that was removed, repeated or swapped with any other is found.
func TestMissingAndMoved(t *testing.T) {
	w := newWorld(t)
	w.record(6)
	all := lines(w.export())
	for i := range all {
		_ = w.found(slices.Delete(slices.Clone(all), i, i+1), fmt.Sprintf("line %d removed", i+1))
		_ = w.found(slices.Insert(slices.Clone(all), i, all[i]), fmt.Sprintf("line %d repeated", i+1))
		for j := range i {
			swapped := slices.Clone(all)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			if p := w.found(swapped, fmt.Sprintf("lines %d and %d swapped", i+1, j+1)); p.Sequence != uint64(j+1) {
				t.Errorf("lines %d and %d swapped: found at %d", i+1, j+1, p.Sequence)
			}
		}
		if i > 0 {
			_ = w.found(all[i:], fmt.Sprintf("%d lines missing at the front", i))
			_ = w.found(all[:i], fmt.Sprintf("%d lines missing at the end", len(all)-i))
		}
	}
	_ = w.found(nil, "everything removed")
}

// rehash makes the chain of changed events consistent again, as one can without the key.
func rehash(all []string) []string {
	previous, changed := "", slices.Clone(all)
	for i, line := range changed {
		if strings.Contains(line, `"kind":"checkpoint"`) {
			continue
		}
		line = regexp.MustCompile(`"previous":"[^"]*","hash":"[^"]*"\}$`).ReplaceAllString(line, `"previous":"`+previous+`"}`)
		sum := sha256.Sum256([]byte(line))
		previous = hex.EncodeToString(sum[:])
		changed[i] = line[:len(line)-1] + `,"hash":"` + previous + `"}`
	}
	return changed
}

func (w *world) hashOfLast(all []string) string {
	var last string
	for _, line := range all {
		var r struct{ Hash string }
		apptest.Check(w.T, json.Unmarshal([]byte(line), &r))
		if r.Hash != "" {
			last = r.Hash
		}
	}
	return last
}

// TestForger: somebody who makes the whole chain again, but lacks the key, is found out, even
// with checkpoints of another key or of none.
func TestForger(t *testing.T) {
	w := newWorld(t)
	w.record(6)
	all := lines(w.export())
	w.sound([]byte(strings.Join(rehash(all), "\n")), 7)
	if same := rehash(all); !slices.Equal(same, all) {
		t.Fatal("the forger does not know the format")
	}
	forged := rehash(edited(all, 3, strings.Replace(all[3], "app/3", "app/8", 1)))
	if p := w.found(forged, "a chain with a changed event"); p.Sequence != 1 {
		t.Errorf("found at %d: %s", p.Sequence, p.What)
	}
	last := len(forged) - 1
	forged[last] = regexp.MustCompile(`"event_hash":"[^"]*"`).ReplaceAllString(forged[last], `"event_hash":"`+w.hashOfLast(forged)+`"`)
	if p := w.found(forged, "with the signature of another checkpoint"); !strings.Contains(p.What, "signature") {
		t.Errorf("found as %q", p.What)
	}
	unsigned := edited(forged, last, regexp.MustCompile(`,"key":.*`).ReplaceAllString(forged[last], "}"))
	if p := w.found(unsigned, "without a signature"); p.Sequence != 1 {
		t.Errorf("found at %d: %s", p.Sequence, p.What)
	}
	other := newWorld(t)
	other.record(6)
	_ = w.found(lines(other.export()), "a log that another key signed")
}

// TestForgedStore: changes in the store below the server are found in the next export.
func TestForgedStore(t *testing.T) {
	load := func(w *world, collection, key string) store.Doc {
		docs, err := w.store.Load(t.Context(), account, store.Key{Collection: collection, Key: key})
		if err != nil || len(docs) != 1 {
			t.Fatal(len(docs), err)
		}
		return docs[0]
	}
	for _, tt := range []struct {
		name   string
		tamper func(w *world)
		first  uint64 // named
	}{
		{"an event is edited", func(w *world) {
			doc := load(w, "audit", "0000000000000003")
			doc.Value = bytes.Replace(doc.Value, []byte("ada"), []byte("eve"), 1)
			apptest.Check(t, w.store.Write(t.Context(), account, doc))
		}, 3},
		{"an event is no event", func(w *world) {
			doc := load(w, "audit", "0000000000000004")
			doc.Value = []byte("[]")
			apptest.Check(t, w.store.Write(t.Context(), account, doc))
		}, 4},
		{"an event is deleted", func(w *world) {
			doc := load(w, "audit", "0000000000000003")
			doc.Value = nil
			apptest.Check(t, w.store.Write(t.Context(), account, doc))
		}, 3},
		{"the first events are declared dropped", func(w *world) {
			doc := load(w, "audit-head", "head")
			doc.Value = bytes.Replace(doc.Value, []byte(`"dropped":0`), []byte(`"dropped":4`), 1)
			apptest.Check(t, w.store.Write(t.Context(), account, doc))
		}, 1},
		{"the end is set back", func(w *world) {
			event, end := load(w, "audit", "0000000000000005"), load(w, "audit-head", "head")
			var r audit.Record
			apptest.Check(t, json.Unmarshal(event.Value, &r))
			end.Value = regexp.MustCompile(`"sequence":\d+,"hash":"[^"]*"`).ReplaceAll(end.Value, fmt.Appendf(nil, `"sequence":5,"hash":"%s"`, r.Hash))
			var gone []store.Doc
			for _, key := range []string{"0000000000000006", "0000000000000007", "0000000000000008"} {
				doc := load(w, "audit", key)
				gone = append(gone, store.Doc{Key: doc.Key, Version: doc.Version})
			}
			apptest.Check(t, w.store.Write(t.Context(), account, append(gone, end)...))
		}, 7},
		{"the log begins again", func(w *world) {
			for _, collection := range []string{"audit", "audit-head"} {
				docs, err := w.store.List(t.Context(), account, collection, "", 100)
				apptest.Check(t, err)
				for i := range docs {
					docs[i].Value = nil
				}
				apptest.Check(t, w.store.Write(t.Context(), account, docs...))
			}
		}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.record(6)
			w.export() // event 7, with a checkpoint
			w.record(1)
			tt.tamper(w)
			report := w.verify(w.export())
			if report.Problem == nil || report.Problem.Sequence != tt.first {
				t.Errorf("found %v, want event %d", report.Problem, tt.first)
			}
		})
	}
}

// TestKnownCheckpoints: somebody who replaces the whole store, with a server that signs it, is
// found out by a checkpoint from elsewhere.
func TestKnownCheckpoints(t *testing.T) {
	w := newWorld(t)
	w.record(6)
	known, err := audit.ReadCheckpoints(bytes.NewReader(w.export()))
	if err != nil || len(known) != 1 {
		t.Fatal(len(known), err)
	}
	later := w.export()
	if report := w.verify(later, known...); report.Problem != nil {
		t.Error(report.Problem)
	}
	key := w.key
	w = newWorld(t)
	w.key, w.log.Key = key, key
	w.record(3)
	if report := w.verify(w.export(), known...); report.Problem == nil || report.Problem.Sequence != 5 {
		t.Errorf("a shorter log: %v", report.Problem)
	}
	w.record(5)
	if report := w.verify(w.export(), known...); report.Problem == nil || report.Problem.Sequence != 1 {
		t.Errorf("another log: %v", report.Problem)
	}
}
