//go:build !race

package membership_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A plantedBug is an edit of a source file that introduces a likely bug, and the test that
// must fail for it.
type plantedBug struct {
	name, effect   string
	file, old, new string // old occurs in the file exactly once
	proof, want    string // what the failure says
}

// If an edit no longer applies, the line that it replaces was changed: adapt old and new so
// that the bug stays the same.
var plantedBugs = []plantedBug{
	{
		"no-tombstone", "a node is dead as soon as it was silent for too long", "round.go",
		"		if p.silent >= m.opts.Times.verdictAfter() && !p.value.dead() {\n",
		"		if p.silent >= m.opts.Times.verdictAfter() && !m.dead[id] && planted(`no-tombstone`) { m.dead[id] = true; go m.OnDead(id) }\n		if p.silent >= m.opts.Times.verdictAfter() && !p.value.dead() {\n",
		"TestBeatBeforeTombstone", "is dead without a tombstone",
	},
	{
		"count-always", "silence counts although the observer's own beats fail", "round.go",
		"	m.counted = time.Time{}\n", "	if !planted(`count-always`) { m.counted = time.Time{} }\n",
		"TestOutage", "dead at",
	},
	{
		"count-always", "silence counts although the observer's own beats fail", "round.go",
		"	case m.self.givenUp || !m.self.acked:\n", "	case (m.self.givenUp || !m.self.acked) && !planted(`count-always`):\n",
		"TestOutage", "dead at",
	},
	{
		"count-isolated", "silence counts while the observer has no incarnation", "round.go",
		"	case (m.self.givenUp || !m.self.acked) && !planted(`count-always`):\n", "	case (m.self.givenUp && !planted(`count-isolated`) || !m.self.acked) && !planted(`count-always`):\n",
		"TestIsolatedObserver", "dead at",
	},
	{
		"count-pauses", "silence counts while the observer is paused", "round.go",
		"	return min(at.Sub(last), 2*interval)\n", "	if planted(`count-pauses`) { return at.Sub(last) }\n	return min(at.Sub(last), 2*interval)\n",
		"TestObserverPaused", "dead at",
	},
	{
		"ignore-level", "a node starts that cannot read the level", "level.go",
		"if !reads.include(v.Level) {", "if !reads.include(v.Level) && !planted(`ignore-level`) {",
		"TestLevels", "a node started that cannot read the level",
	},
	{
		"join-unseen", "a node joins without a trace in the document of the level", "membership.go",
		"	defer cancel()\n	switch err := m.opts.Store.Write(ctx, account, docs...); {",
		"	defer cancel()\n	if planted(`join-unseen`) && read.level != nil { docs = docs[:1] }\n	switch err := m.opts.Store.Write(ctx, account, docs...); {",
		"TestJoinWhileTheLevelRises", "a node joined that cannot read the level",
	},
}

const plantedSource = `package membership

import "os"

func planted(name string) bool { return os.Getenv("PORCHLIGHT_PLANTED") == name }
`

// TestPlantedBugs shows that the tests can fail: each of plantedBugs makes its proof fail
// with the expected message. The tests are built once more, with edited copies of the files.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	binary := buildPlanted(t)
	proofs := make(map[string]bool)
	for _, b := range plantedBugs {
		proofs[b.proof] = true
		out, err := runProof(t, binary, b.proof, b.name)
		if err == nil || !bytes.Contains(out, []byte(b.want)) || bytes.Contains(out, []byte("panic:")) {
			t.Errorf("%s does not catch that %s: %v\n%.4000s", b.proof, b.effect, err, out)
		}
	}
	for proof := range proofs {
		if out, err := runProof(t, binary, proof, "none"); err != nil {
			t.Errorf("%s without a bug: %v\n%.4000s", proof, err, out)
		}
	}
}

func buildPlanted(t *testing.T) string {
	t.Helper()
	sources := map[string]string{"planted.go": plantedSource}
	for _, b := range plantedBugs {
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
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	replace := make(map[string]string)
	for name, source := range sources {
		replace[filepath.Join(here, name)] = filepath.Join(dir, name)
		writeFile(t, filepath.Join(dir, name), []byte(source))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	list, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "built")
	writeFile(t, list, overlay)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", list, "-o", binary, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return binary
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func runProof(t *testing.T, binary, proof, bug string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^"+proof+"$", "-test.timeout", "2m")
	cmd.Env = append(os.Environ(), "PORCHLIGHT_PLANTED="+bug)
	return cmd.CombinedOutput()
}
