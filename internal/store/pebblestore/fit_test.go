package pebblestore

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// A sizedFS is a file system with a fixed disk size.
type sizedFS struct {
	vfs.FS
	total uint64
}

func (fs sizedFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{TotalBytes: fs.total, AvailBytes: fs.total / 2, UsedBytes: fs.total / 2}, nil
}

func (fs sizedFS) Unwrap() vfs.FS { return fs.FS }

// TestFitDisk: on a small disk, the sizes of memtables and logs and the reserved free
// space are a fraction of the disk; on an ordinary one they are as configured.
func TestFitDisk(t *testing.T) {
	for _, c := range []struct {
		total             uint64
		memTable, minFree int64
	}{
		{16 << 20, 256 << 10, 2 << 20},
		{200 << 20, 200 << 20 / 64, 25 << 20},
		{2 << 30, 32 << 20, 256 << 20},
		{1 << 40, 32 << 20, 256 << 20},
	} {
		s := mustOpen(t, "data", Options{FS: sizedFS{vfs.NewMem(), c.total}})
		if s.opts.MemTableBytes != c.memTable || s.opts.MinFreeBytes != c.minFree {
			t.Errorf("on %d MiB: memtables of %d and %d bytes kept free, want %d and %d", c.total>>20, s.opts.MemTableBytes, s.opts.MinFreeBytes, c.memTable, c.minFree)
		}
		mustUpdate(t, s, crashUser(0))
	}
	asked := mustOpen(t, "data", Options{FS: sizedFS{vfs.NewMem(), 200 << 20}, MemTableBytes: 1 << 20, MinFreeBytes: -1})
	if asked.opts.MemTableBytes != 1<<20 || asked.opts.MinFreeBytes != -1 {
		t.Errorf("configured sizes were changed: %+v", asked.opts)
	}
}

// diskUsage is the disk space of a directory's files.
func diskUsage(t *testing.T, dir, pattern string) (bytes int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			t.Fatalf("%T", info.Sys())
		}
		bytes += stat.Blocks * 512
	}
	return bytes
}

// rewrite changes a few users n times each: little data and many log entries.
func rewrite(t *testing.T, s *Store, n int) {
	t.Helper()
	var group sync.WaitGroup
	for u := range 32 {
		group.Go(func() {
			for range n {
				if _, err := s.Update(t.Context(), benchUser(u), storetest.UpdateFunc(store.By{}, benchState)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// TestLogsTakeWhatTheyNeed: the logs of a new store occupy no more than a few times
// what was written to them, and nothing after a clean stop. Everything is there at the
// next start.
func TestLogsTakeWhatTheyNeed(t *testing.T) {
	dir := t.TempDir()
	o := Options{MinFreeBytes: -1}
	s := mustOpen(t, dir, o)
	rewrite(t, s, 20)
	if got, limit := diskUsage(t, dir, "*.log"), int64(16<<20); got > limit {
		t.Errorf("the logs occupy %d KiB after 640 changes, want at most %d", got>>10, limit>>10)
	}
	for round := range 3 { // reuses an earlier log
		rewrite(t, s, 1000)
		want, _, err := s.Read(t.Context(), []store.User{benchUser(0)})
		if err != nil {
			t.Fatal(err)
		}
		at := s.progress.durableAt()
		mustClose(t, s)
		if got := diskUsage(t, dir, "*.log"); got > 0 {
			t.Errorf("round %d: the logs occupy %d KiB after a clean stop", round, got>>10)
		}
		if _, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, o)
		got, _, err := s.Read(t.Context(), []store.User{benchUser(0)})
		if err != nil || got[0].At != want[0].At || got[0].State.Revision != want[0].State.Revision || s.progress.durableAt() != at {
			t.Fatalf("round %d: after a restart %+v, %v; want %+v", round, got, err, want)
		}
	}
}
