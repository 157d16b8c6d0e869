// Package leveltest says how often a long test repeats its steps: a few times (`make test`),
// in full (`make test-full`), or more often (`make soak`).
//
// It is separate so that one variable, which is read here alone, decides it for every
// package, and so that tools/left-out can list what `make test` leaves out: the calls of
// Count and Full. Every test runs at each level; a level changes only the number of repetitions and table rows.
// Only tests may import it.
package leveltest

import (
	"fmt"
	"os"
	"testing"
)

// Variable is what chooses the level: nothing, "full" or "soak".
const Variable = "TEST_LEVEL"

const (
	full = "full"
	soak = "soak"
)

// Count returns how many of something a test does at this level.
func Count(tb testing.TB, what string, inTest, inFull, inSoak int) int {
	tb.Helper()
	n := map[string]int{"": inTest, full: inFull, soak: inSoak}[level()]
	tb.Logf("%s: %d (make test: %d, make test-full: %d, make soak: %d)", what, n, inTest, inFull, inSoak)
	return n
}

// Full reports whether a test does all of something. At the lowest level it does a part,
// which what describes.
func Full(tb testing.TB, what string) bool {
	tb.Helper()
	if level() != "" {
		return true
	}
	tb.Logf("%s; all with make test-full", what)
	return false
}

func level() string {
	switch name := os.Getenv(Variable); name {
	case "", full, soak:
		return name
	default:
		panic(fmt.Sprintf("%s=%s: it is %q, %q, or nothing", Variable, name, full, soak))
	}
}
