package storetest

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// DocumentedFormat compares the newest format of an engine with the table of formats in the
// page, a path of docs/upgrade.md. engine is the first column of its row.
func DocumentedFormat(t *testing.T, page, engine string, format int) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n| store | format | since |\n|---|---|---|\n")
	if !found {
		t.Fatalf("%s has no table of formats", page)
	}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if cells := strings.Split(line, "|"); strings.TrimSpace(cells[1]) == engine {
			if got := strings.TrimSpace(cells[2]); got != strconv.Itoa(format) {
				t.Errorf("docs/upgrade.md says that the format of a %s is %s, and this version writes %d: add the format with its version", engine, got, format)
			}
			return
		}
	}
	t.Errorf("docs/upgrade.md has no row for a %s", engine)
}
