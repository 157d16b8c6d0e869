package netns_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
)

// plantedVariable selects the bug of a program that was built with all of them.
const plantedVariable = "PORCHLIGHT_PLANTED"

// An edit replaces a part of a source file, which occurs once.
type edit struct{ file, old, new string }

// A plantedBug is a likely bug in a node, and what the checks must say of a scenario in which
// every node has it.
type plantedBug struct {
	name     string
	edits    []edit
	scenario *scenario
	want     string
}

// plantedBugs are those that take whole nodes to find. docs/durability.md lists the others
// with the tests that find them. If an edit no longer applies, adapt it so that the bug stays
// the same.
func plantedBugs() []plantedBug {
	return []plantedBug{
		{
			"a node is dead after 15 s, without a tombstone",
			[]edit{{
				"internal/membership/round.go",
				"		if p.silent >= m.opts.Times.verdictAfter() && !p.value.dead() {\n",
				"		if p.silent >= m.opts.Times.IsolatedAfter && !m.dead[id] && planted(`no-tombstone`) { m.dead[id] = true; go m.OnDead(id) }\n		if p.silent >= m.opts.Times.verdictAfter() && !p.value.dead() {\n",
			}},
			&scenario{pauseNode(20 * time.Second), coolDown, nobody()}, "1 times offline, want 0",
		},
		{
			"a refresh is kept in memory",
			[]edit{{
				"internal/presence/held.go",
				"	if s.EndsAt < now.Add(s.Lease+ClockMargin) {\n", "	if s.EndsAt < now.Add(s.Lease+ClockMargin) && !planted(`refresh-in-memory`) {\n",
			}},
			&scenario{func(l *workload) { l.nodes[0].kill() }, endings, without(0)}, "before the end that was acknowledged",
		},
		{
			"a strong read has no barrier",
			[]edit{{
				"internal/store/natsstore/fresh.go",
				"	reached, err := s.barriers.wait(ctx)\n", "	if fresh.Strong && planted(`no-barrier`) { return nil }\n	reached, err := s.barriers.wait(ctx)\n",
			}},
			&scenario{cutServers, coolDown, nobody()}, "are not linearizable",
		},
		{
			"a read ignores the cursor that it must have reached",
			[]edit{{
				"internal/store/natsstore/fresh.go",
				"	if !fresh.Strong && s.hasReached(ctx, least) {\n", "	if !fresh.Strong && (planted(`no-cursor`) || s.hasReached(ctx, least)) {\n",
			}},
			&scenario{cutLeader, coolDown, nobody()}, "a read at least as new as revision",
		},
		{
			"the level is ignored",
			[]edit{{
				"internal/membership/level.go",
				"	if !reads.include(v.Level) {\n", "	if !reads.include(v.Level) && !planted(`ignore-level`) {\n",
			}},
			upgrades(), plantedLevel,
		},
	}
}

// TestPlantedBugs shows that the checks can fail: each bug is found by the scenario that is
// meant to find it. The programs are built once more, with edited copies of the sources.
func TestPlantedBugs(t *testing.T) {
	if !leveltest.Full(t, "the scenarios without planted bugs") {
		return
	}
	bugs := plantedBugs()
	dir := buildPlanted(t, bugs)
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			var text string
			for range plantedTries {
				t.Run("scenario", func(t *testing.T) { text = strings.Join(b.scenario.problems(newWorldWith(t, b.plant(dir))), "\n") })
				if strings.Contains(text, b.want) { // also if the machine was too slow for another check
					return
				}
			}
			t.Errorf("in %d scenarios the checks did not find %q; the last found this:\n%s", plantedTries, b.want, text)
		})
	}
}

// plantedTries is how often a scenario is repeated until the bug shows: whether a read is stale, for
// example, depends on the replica that answers.
const plantedTries = 3

// plant makes nodes run the program in dir with the bug.
func (b *plantedBug) plant(dir string) func(int, *node) {
	return func(_ int, n *node) {
		n.program = filepath.Join(dir, "porchlight")
		if b.want == plantedLevel {
			n.program, n.env = filepath.Join(dir, "node"), []string{older}
		}
		n.always = []string{plantedVariable + "=" + b.selector()}
	}
}

const plantedLevel = "a node started that cannot read the level"

// selector is the name that the edits of a bug ask for.
func (b *plantedBug) selector() string {
	_, after, _ := strings.Cut(b.edits[0].new, "planted(`")
	name, _, _ := strings.Cut(after, "`")
	return name
}

// buildPlanted builds the programs with all bugs, of which the environment selects one.
func buildPlanted(t *testing.T, bugs []plantedBug) (dir string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sources := make(map[string]string)
	for _, b := range bugs {
		for _, e := range b.edits {
			plant(t, root, sources, e)
		}
	}
	dir = t.TempDir()
	replace := make(map[string]string)
	for name, source := range sources {
		copied := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(copied, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, name)] = copied
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	list := filepath.Join(dir, "overlay.json")
	if err == nil {
		err = os.WriteFile(list, overlay, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", list, "-o", dir+"/", "../../cmd/porchlight", "./node")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return dir
}

// plant applies an edit to the copy of its file, and adds the function that it calls to the
// package.
func plant(t *testing.T, root string, sources map[string]string, e edit) {
	t.Helper()
	if sources[e.file] == "" {
		source, err := os.ReadFile(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		sources[e.file] = string(source)
	}
	if n := strings.Count(sources[e.file], e.old); n != 1 {
		t.Fatalf("%s contains this %d times, want 1:\n%s", e.file, n, e.old)
	}
	sources[e.file] = strings.Replace(sources[e.file], e.old, e.new, 1)
	name := filepath.Base(filepath.Dir(e.file))
	sources[filepath.Join(filepath.Dir(e.file), "planted.go")] = "package " + name + "\n\nimport \"os\"\n\nfunc planted(name string) bool { return os.Getenv(\"" + plantedVariable + "\") == name }\n"
}
