package server

import "testing"

// TestSpaceOfSmallDisk: a backup leaves as much space free as the store needs on the same disk,
// which on a small one is less than low-disk.
func TestSpaceOfSmallDisk(t *testing.T) {
	dir := t.TempDir()
	usage := func(string, uint64) (free, total, refused uint64, err error) { return 100, 128, 16, nil }
	if got, err := availableFor(dir, dir, 256, usage); err != nil || got != 84 {
		t.Errorf("%d bytes are available of 100 that are free, with 16 that must remain; %v", got, err)
	}
}
