package leveltest_test

import (
	"testing"

	"porchlight.dev/porchlight/internal/leveltest"
)

func TestLevels(t *testing.T) {
	for name, want := range map[string]struct {
		count int
		full  bool
	}{"": {1, false}, "full": {2, true}, "soak": {3, true}} {
		t.Setenv(leveltest.Variable, name)
		if n := leveltest.Count(t, "a count", 1, 2, 3); n != want.count {
			t.Errorf("%q: the count is %d, want %d", name, n, want.count)
		}
		if got := leveltest.Full(t, "a part"); got != want.full {
			t.Errorf("%q: Full is %v", name, got)
		}
	}
	t.Setenv(leveltest.Variable, "ful")
	defer func() {
		if recover() == nil {
			t.Error("an unknown level is accepted")
		}
	}()
	leveltest.Count(t, "a count", 1, 2, 3)
}
