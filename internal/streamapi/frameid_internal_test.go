package streamapi

import (
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/wire"
)

// FuzzFrameID: the id of a valid frame is the one that is decoded, and no id is longer
// than an answer may have.
func FuzzFrameID(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a"}`, `{"type":"ping","id":7}`, `{"a":{"id":"b"},"id":"\u0061"}`, `{"id":null}`, "\ufeff{}", `{"id":"a"`, `[`, "{\"\xff\":1,\"id\":1}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var read struct {
			ID string `json:"id"`
		}
		err := wire.DecodeKnown(text, &read)
		got := frameID(text)
		if len(got) > maxFrameID {
			t.Fatalf("%q has the id %q", text, got)
		}
		if err == nil && len(read.ID) <= maxFrameID && !strings.Contains(string(text), "null") && got != read.ID {
			t.Fatalf("%q has the id %q, want %q", text, got, read.ID)
		}
	})
}
