package server

import (
	"math"
	"testing"

	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// TestSpaceOfSmallDisk: a backup leaves as much space free as the store needs on the same disk,
// which is at most an eighth of it.
func TestSpaceOfSmallDisk(t *testing.T) {
	dir := t.TempDir()
	const low = math.MaxInt64 // more than any disk has
	free, total, refused, err := pebblestore.DiskUsage(dir, low)
	if err != nil {
		t.Fatal(err)
	}
	if free < refused {
		t.Skipf("only %d of %d bytes are free", free, total)
	}
	if got, err := availableFor(dir, dir, low, pebblestore.DiskUsage); err != nil || got == 0 {
		t.Errorf("%d bytes are available of %d that are free, with %d that must remain; %v", got, free, refused, err)
	}
}
