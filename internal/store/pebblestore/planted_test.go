//go:build !faultinject && !race

package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestPlantedBugs shows that the proofs can fail: each bug that can be planted
// makes one fail, with the words for what it does; and with none planted they
// pass. It runs the tests of this package, built with the tag faultinject.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	const (
		everywhere = "TestCrashEverywhere"
		lost       = "acknowledged changes are lost: the log ends at commit"
	)
	binary := build(t, "test", "-c", "-tags", "faultinject", ".")
	proofs := map[string]bool{}
	for b, c := range map[bug]struct{ proof, says string }{
		skipSync:      {everywhere, "acknowledged changes are lost"},
		answerFirst:   {everywhere, lost},
		answerRefused: {everywhere, "acknowledged changes are lost"},
		answerFailed:  {"TestDiskErrors/sync", `\d+ acknowledged changes are lost`},
		reuseRevision: {everywhere, `is at \d+ and at \d+`},
		staleState:    {everywhere, `revision \d+ of user\d is used again`},
		logTwice:      {everywhere, "is at |the log has a hole, or something twice"},
		endTwice:      {everywhere, `the end of (claim|session)\d+ of user\d is committed twice`},
		keepExpiry:    {everywhere, "the expiry index has .*, the record says"},
		halfWrite:     {everywhere, "the documents are of no write, or of half of one"},
		forgetNumber:  {everywhere, "the database ends at number|the logs end at number"},
		positionFirst: {"TestCursorIsNoNewer", "came with a record at"},
		readUnsynced:  {everywhere, "acknowledged changes are lost"},
		watchUnsynced: {"TestNothingShownBeforeTheSync", "Watch came back before the change was durable"},
		readerAhead:   {everywhere, "the reader was given entry .* it skipped some"},
		forgetReader:  {"TestConformance/Reopen/FeedGoesOn", "after reopening the reader began at"},
		dropUnread:    {"TestTrim", "a reader has not seen them"},
	} {
		proofs[c.proof] = true
		t.Run(string(b), func(t *testing.T) {
			out, err := runProof(t, binary, c.proof, b)
			if err == nil {
				t.Fatalf("%s does not catch it:\n%s", c.proof, out)
			}
			if !regexp.MustCompile(c.says).Match(out) || bytes.Contains(out, []byte("panic:")) || !bytes.Contains(out, []byte("--- FAIL: ")) {
				t.Errorf("%s failed, and not with %q: %v\n%.4000s", c.proof, c.says, err, out)
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

// build runs the go command, and gives the path of what it made.
func build(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "built")
	args = append(args[:len(args)-1:len(args)-1], "-o", path, args[len(args)-1])
	cmd := exec.CommandContext(t.Context(), "go", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return path
}

// runProof runs a test in its short form with a bug planted.
func runProof(t *testing.T, binary, proof string, b bug) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.short", "-test.v", "-test.run", "^"+strings.ReplaceAll(proof, "/", "$/^"))
	cmd.Env = append(os.Environ(), "PORCHLIGHT_SOAK=", "PORCHLIGHT_PLANTED="+string(b))
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("%s with %s: %v\n%.4000s", proof, b, err, out)
	}
	return out, err
}

// TestNothingPlanted: what is shipped has no bug to plant, nor the means.
func TestNothingPlanted(t *testing.T) {
	t.Parallel()
	traces := func(args ...string) (found []string) {
		t.Helper()
		binary := build(t, append(append([]string{"build"}, args...), "porchlight.dev/porchlight/cmd/porchlight")...)
		data, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("PORCHLIGHT_PLANTED")) {
			found = append(found, "the variable's name")
		}
		symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", binary).Output()
		if err != nil {
			t.Fatalf("go tool nm: %v", err)
		}
		if !bytes.Contains(symbols, []byte("pebblestore.(*committer).stage")) {
			t.Error("the symbols are not those of porchlight")
		}
		for _, name := range []string{"pebblestore.planted", "pebblestore.(*committer).spoil"} {
			if bytes.Contains(symbols, []byte(name)) {
				found = append(found, name)
			}
		}
		if bytes.Contains(data, []byte(forgetNumber)) {
			found = append(found, "the name of a bug")
		}
		return found
	}
	if found := traces(); len(found) != 0 {
		t.Errorf("the binary has %q", found)
	}
	if found := traces("-tags", "faultinject"); len(found) < 3 {
		t.Errorf("built with faultinject it has %q only: the test cannot see it", found)
	}
}
