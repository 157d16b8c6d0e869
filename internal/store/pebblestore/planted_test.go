//go:build !race

package pebblestore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
)

// A plantedBug is an edit of one source file that introduces a likely bug, and the test
// that must fail for it.
type plantedBug struct {
	name     string
	effect   string
	file     string
	old, new string // old occurs in the file exactly once
	proof    string
	want     string // regular expression for the failure of the proof
}

const (
	everywhere = "TestCrashEverywhere"
	lost       = "acknowledged changes are lost: the log ends at commit"
)

// If an edit no longer applies, the line that it replaces was changed: adapt old and
// new so that the bug stays the same. Drop a bug only with the code that it could occur
// in.
var plantedBugs = []plantedBug{
	{
		"skip-sync", "a batch is not synced to the disk", "committer.go",
		"c.s.db.Apply(g.batch, pebble.Sync)", "c.applyUnsynced(g.batch)",
		everywhere, "acknowledged changes are lost",
	},
	{
		"answer-first", "an update is answered before it is applied", "committer.go",
		"	o.record, o.err = it.record(), nil\n",
		"	o.record, o.err = it.record(), nil\n	if planted(`answer-first`) { c.s.answer(o); return }\n",
		everywhere, lost,
	},
	{
		"answer-refused", "a refused update shows a change that is not durable", "committer.go",
		"if c.s.progress.durableAt() >= seen {", "if c.s.progress.durableAt() >= seen || planted(`answer-refused`) {",
		everywhere, "acknowledged changes are lost",
	},
	{
		"answer-failed", "an update is answered although the disk failed", "op.go",
		"	if o.cancel() {\n		return store.Record{}, s.haltedError()\n	}\n	return",
		"	if o.cancel() {\n		return store.Record{}, s.haltedError()\n	}\n	if planted(`answer-failed`) { return store.Record{}, nil }\n	return",
		"TestDiskErrors/sync", `\d+ acknowledged changes are lost`,
	},
	{
		"reuse-revision", "a commit takes the revision of the one before it", "committer.go",
		"	c.stage(it)\n", "	c.spoil(&next, was, it)\n	c.stage(it)\n",
		everywhere, `is at \d+ and at \d+`,
	},
	{
		"log-twice", "a commit has two log entries", "committer.go",
		"	c.stage(it)\n", "	c.spoil(&next, was, it)\n	c.stage(it)\n",
		everywhere, "is at |log entries are missing or repeated",
	},
	{
		"end-twice", "a commit reports an expiry that its record does not have", "committer.go",
		"	c.stage(it)\n", "	c.spoil(&next, was, it)\n	c.stage(it)\n",
		everywhere, `the expiry of (claim|session)\d+ of user\d is committed twice`,
	},
	{
		"stale-state", "an update does not see staged states", "committer.go",
		"if st, ok := c.users[u]; ok {", "if st, ok := c.users[u]; ok && !planted(`stale-state`) {",
		everywhere, `revision \d+ of user\d is used again`,
	},
	{
		"keep-expiry", "an entry of the expiry index is not deleted", "committer.go",
		"if !it.armed.IsZero() {", "if !it.armed.IsZero() && !planted(`keep-expiry`) {",
		everywhere, "the expiry index has .*, but the record has",
	},
	{
		"half-write", "documents of one write are in two batches", "docs.go",
		"		c.stageDoc(keys[i], olds[i], &docs[i])\n",
		"		c.stageDoc(keys[i], olds[i], &docs[i])\n		if planted(`half-write`) && i == 0 { c.commit() }\n",
		everywhere, "the documents match no write, or half of one|script: document was changed concurrently",
	},
	{
		"forget-number", "positions used by documents are not persisted", "committer.go",
		"	c.stageNumber(g)\n", "	if len(g.entries) > 0 || !planted(`forget-number`) { c.stageNumber(g) }\n",
		everywhere, "the database ends at position",
	},
	{
		"position-first", "a position is visible before its records", "group.go",
		"	for i, it := range g.items {\n		s.cache.install(it, g.stored[i])\n",
		"	s.showPositionFirst(g)\n	for i, it := range g.items {\n		s.cache.install(it, g.stored[i])\n",
		"TestCursorIsNoNewer", "was returned with a record at",
	},
	{
		"read-unsynced", "a read shows a change that is not durable", "read.go",
		"durable = s.progress.durableAt() >= s.progress.neededBy(u, it.at); ", "durable = s.progress.durableAt() >= it.at || planted(`read-unsynced`); ",
		everywhere, "acknowledged changes are lost",
	},
	{
		"watch-unsynced", "a watcher gets a change that is not durable", "committer.go",
		"	start := time.Now()\n", "	c.s.showUnsynced(g)\n	start := time.Now()\n",
		"TestNothingShownBeforeTheSync", "Watch returned before the change was durable",
	},
	{
		"log-unsynced", "the log is read beyond the durable position", "log.go",
		"	to := appendLogKey(nil, s.progress.durableAt()+1)\n",
		"	to := appendLogKey(nil, s.progress.durableAt()+1)\n	if planted(`log-unsynced`) { to = appendLogKey(nil, store.Position(s.progress.staged.Load())+1) }\n",
		"TestNothingShownBeforeTheSync", "the log in the database shows 2 entries",
	},
	{
		"tail-unsynced", "the log in memory has entries that are not durable", "committer.go",
		"	start := time.Now()\n", "	c.s.showUnsynced(g)\n	start := time.Now()\n",
		"TestNothingShownBeforeTheSync", `Log shows \d entries`,
	},
	{
		"erase-unsynced", "Erase returns before it is durable", "erase.go",
		"	c.seq++ // so", "	if planted(`erase-unsynced`) { return }\n	c.seq++ // so",
		everywhere, "of an erased user",
	},
	{
		"erase-part", "Erase stops before the oldest entry", "erase.go",
		"found, rest, err := s.chain(ctx, u, at, eraseGroup)", "found, rest, err := s.chain(ctx, u, at, eraseGroup)\n		if planted(`erase-part`) && len(found) > 1 { found, rest = found[:len(found)-1], 0 }",
		everywhere, "of an erased user",
	},
	{
		"erase-memory", "Erase does not redact the log in memory", "group.go",
		"	s.logCache.replace(g.redacted)\n", "	if !planted(`erase-memory`) { s.logCache.replace(g.redacted) }\n",
		"TestConformance/Erase/Redacts", "gives .*, which was ",
	},
	{
		"erase-dropped", "Erase restores dropped entries", "erase.go",
		"if e.At <= c.s.trimmedTo() {", "if e.At <= c.s.trimmedTo() && !planted(`erase-dropped`) {",
		"TestEraseOfDropped", "want the two that were not dropped",
	},
	{
		"no-watermark", "a truncated database is opened", "watermark.go",
		"	if s.lastWatermark == nil {\n", "	if s.lastWatermark == nil || planted(`no-watermark`) {\n",
		"TestWatermarkWindow", "gives a wrong answer though the watermark was advanced",
	},
}

// plantedHelpers is a file that is compiled with the edited ones.
const plantedHelpers = `package pebblestore

import (
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

func planted(name string) bool { return os.Getenv("PORCHLIGHT_PLANTED") == name }

func (c *committer) applyUnsynced(b *pebble.Batch) error {
	if planted("skip-sync") {
		return c.s.db.Apply(b, pebble.NoSync)
	}
	return c.s.db.Apply(b, pebble.Sync)
}

func (s *Store) showPositionFirst(g *group) {
	if planted("position-first") {
		s.progress.durable.Store(uint64(g.last))
		time.Sleep(time.Millisecond)
	}
}

func (s *Store) showUnsynced(g *group) {
	if planted("watch-unsynced") {
		s.watchers.add(g)
	}
	if planted("tail-unsynced") {
		s.logCache.add(g.entries)
		s.progress.wake()
	}
}

// spoil changes a commit that was logged but is not staged yet.
func (c *committer) spoil(change *store.Change, was, it *item) {
	switch {
	case planted("reuse-revision") && was.State.Revision != 0:
		it.State.Revision = was.State.Revision
		it.Recorded = presence.RecordedOf(it.State)
		change.Recorded = it.Recorded
		c.g.entries = c.g.entries[:len(c.g.entries)-1]
		c.log(change, was, it)
	case planted("log-twice"):
		c.seq++
		it.at = c.seq
		c.log(change, was, it)
	case planted("end-twice") && change.By.Cause == store.CauseTime:
		revision := it.State.Revision
		it.State = was.State
		it.State.Revision = revision
		it.Recorded = presence.RecordedOf(it.State)
		c.rearm(it)
	}
}
`

// plantedTries is how often a proof is repeated until it fails: some bugs only show if a goroutine
// waits at the right moment.
const plantedTries = 10

// TestPlantedBugs shows that the proofs can fail: each of plantedBugs makes its proof
// fail with the expected message, and without a bug the proofs pass. The tests of this
// package are built once more from edited copies of its files, in which the environment
// selects the bug.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	binary := buildPlanted(t)
	proofs := map[string]bool{}
	for _, b := range plantedBugs {
		proofs[b.proof] = true
		t.Run(b.name, func(t *testing.T) {
			var out []byte
			var err error
			for try := 0; try < plantedTries && err == nil; try++ {
				out, err = runProof(t, binary, b.proof, b.name)
			}
			if err == nil {
				t.Fatalf("in %d runs %s does not catch that %s:\n%s", plantedTries, b.proof, b.effect, out)
			}
			if !regexp.MustCompile(b.want).Match(out) || bytes.Contains(out, []byte("panic:")) || !bytes.Contains(out, []byte("--- FAIL: ")) {
				t.Errorf("%s failed, but not with %q: %v\n%.4000s", b.proof, b.want, err, out)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		for proof := range proofs {
			if out, err := runProof(t, binary, proof, "none"); err != nil || !bytes.Contains(out, []byte("--- PASS: ")) {
				t.Errorf("%s with no bug planted: %v\n%.4000s", proof, err, out)
			}
		}
	})
}

// buildPlanted builds the tests of this package with all bugs.
func buildPlanted(t *testing.T) string {
	t.Helper()
	sources := map[string]string{"planted.go": plantedHelpers}
	applied := map[string]bool{}
	for _, b := range plantedBugs {
		if applied[b.file+b.old] {
			continue
		}
		applied[b.file+b.old] = true
		if sources[b.file] == "" {
			data, err := os.ReadFile(b.file)
			if err != nil {
				t.Fatal(err)
			}
			sources[b.file] = string(data)
		}
		if n := strings.Count(sources[b.file], b.old); n != 1 {
			t.Fatalf("cannot plant %s: %s contains this %d times, want 1:\n%s", b.name, b.file, n, b.old)
		}
		sources[b.file] = strings.Replace(sources[b.file], b.old, b.new, 1)
	}
	return buildOverlaid(t, sources)
}

// buildOverlaid builds the tests of this package with some files replaced.
func buildOverlaid(t *testing.T, sources map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, source := range sources {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(here, name)] = path
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "built")
	if err := os.WriteFile(list, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", list, "-o", binary, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return binary
}

// runProof runs a test, at the lowest level, with a bug planted.
func runProof(t *testing.T, binary, proof, bug string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.run", "^"+strings.ReplaceAll(proof, "/", "$/^"))
	cmd.Env = append(os.Environ(), leveltest.Variable+"=", "PORCHLIGHT_PLANTED="+bug)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("%s with %s: %v\n%.4000s", proof, bug, err, out)
	}
	return out, err
}
