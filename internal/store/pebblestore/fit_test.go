package pebblestore

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

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
		if got := s.Stats().LowBytes; got != uint64(c.minFree) {
			t.Errorf("on %d MiB: the figures have %d bytes kept free, want %d", c.total>>20, got, c.minFree)
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
	t.Parallel() // it waits for the disk
	dir := t.TempDir()
	o := Options{MinFreeBytes: -1}
	s := mustOpen(t, dir, o)
	rewrite(t, s, 20)
	if got, limit := diskUsage(t, dir, "*.log"), int64(16<<20); got > limit {
		t.Errorf("the logs occupy %d KiB after 640 changes, want at most %d", got>>10, limit>>10)
	}
	for round := range 3 { // reuses an earlier log
		rewrite(t, s, 1000)
		want, _, err := s.Read(t.Context(), []store.User{benchUser(0)}, store.Freshness{})
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
		got, _, err := s.Read(t.Context(), []store.User{benchUser(0)}, store.Freshness{})
		if err != nil || got[0].At != want[0].At || got[0].State.Revision != want[0].State.Revision || s.progress.durableAt() != at {
			t.Fatalf("round %d: after a restart %+v, %v; want %+v", round, got, err, want)
		}
	}
}

// TestLogsAreWrittenAhead: a log has zeros beyond its records, so that a sync need not
// change its size, and a log that is reused keeps the size it has.
func TestLogsAreWrittenAhead(t *testing.T) {
	const step = 100
	mem := vfs.NewMem()
	fs := &failStopFS{FS: mem, stop: func(err error) { t.Error(err) }, logStep: func() int64 { return step }}
	f, err := fs.Create("000001.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	write := func(n, wantSize int) {
		t.Helper()
		p := bytes.Repeat([]byte{byte(len(want)%250 + 1)}, n)
		want = append(want, p...)
		if _, err := f.Write(p); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(mem, "000001.log")
		if err != nil || !bytes.HasPrefix(got, want) || len(got) != wantSize || len(bytes.TrimRight(got, "\x00")) != len(want) {
			t.Errorf("after %d bytes the log has %d, want %d: %v, %v", len(want), len(got), wantSize, got, err)
		}
	}
	write(10, 10+step)
	write(60, 10+step) // into the zeros
	write(50, 120+step)
	write(2*step, 320) // a large write has its own sync
	write(1, 321+step)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := readAll(mem, "000001.log")
	if err != nil {
		t.Fatal(err)
	}
	if f, err = fs.ReuseForWrite("000001.log", "000002.log", vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 30)); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(mem, "000002.log"); err != nil || !bytes.Equal(got[30:], whole[30:]) {
		t.Errorf("reused: %v, was %v, %v", got, whole, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNoSpaceAhead: where there is space for records and none for zeros, the store goes on.
func TestNoSpaceAhead(t *testing.T) {
	var failing atomic.Bool
	var refused atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileWriteAt || !isLog(op.Path) || !failing.Load() {
			return nil
		}
		refused.Add(1)
		return &os.PathError{Op: "injected", Path: op.Path, Err: syscall.ENOSPC}
	}))
	s := mustOpen(t, "data", Options{FS: fs, MinFreeBytes: -1, MemTableBytes: 64 << 10})
	failing.Store(true)
	for i := range 100 {
		mustUpdate(t, s, crashUser(i%crashUsers))
	}
	if refused.Load() == 0 {
		t.Error("INVALID: nothing was written ahead")
	}
}
