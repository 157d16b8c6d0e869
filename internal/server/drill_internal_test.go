package server

import (
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/store/backup"
)

// TestCompare: a drill notices each figure that differs, but for what a migration adds.
func TestCompare(t *testing.T) {
	want := backup.Info{Header: backup.Header{Format: 4, Position: 1}, Counts: backup.Counts{Records: 2, Entries: 3, Documents: 4}}
	same := VerifyReport{Format: 4, Position: 1, Records: 2, Entries: 3, Documents: 4}
	for name, change := range map[string]func(*VerifyReport){
		"position is 9": func(r *VerifyReport) { r.Position = 9 },
		"records is 9":  func(r *VerifyReport) { r.Records = 9 },
		"entries is 9":  func(r *VerifyReport) { r.Entries = 9 },
		"documents is 9 in the restored store and 4 in the backup": func(r *VerifyReport) { r.Documents = 9 },
		"": func(r *VerifyReport) { r.Format, r.Entries, r.Documents = 5, 9, 9 },
	} {
		got := same
		change(&got)
		if err := compare(&want, &got); (err == nil) != (name == "") || err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := compare(&want, &same); err != nil {
		t.Error(err)
	}
}
