package pebblestore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// A smallDisk has no room for files of a kind until enough of the reserve was
// given up.
type smallDisk struct {
	suffix  string
	needs   atomic.Int64 // files of the reserve
	refused atomic.Int64 // writes
}

func (d *smallDisk) wrap() vfs.FS {
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case op.Kind == errorfs.OpRemove && strings.HasPrefix(filepath.Base(op.Path), reservePrefix):
			d.needs.Add(-1)
		case op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, d.suffix) && d.needs.Load() > 0:
			d.refused.Add(1)
			return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	}))
}

func plenty() (uint64, error) { return 1 << 40, nil }

func reserved(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, reservePrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestReserve: a commit that finds the disk full is written into the reserve. The
// store goes on, refuses what comes later, and takes the reserve again when there
// is space.
func TestReserve(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	disk := &smallDisk{suffix: ".log"}
	var free atomic.Uint64
	free.Store(1 << 40)
	o := Options{FS: disk.wrap(), FreeBytes: func() (uint64, error) { return free.Load(), nil }}
	s := mustOpen(t, dir, o)
	if n := reserved(t, dir); n != reserveFiles {
		t.Fatalf("%d files are reserved, want %d", n, reserveFiles)
	}
	// Nobody has looked at the free space since another program took it.
	disk.needs.Store(3)
	mustUpdate(t, s, crashUser(0))
	free.Store(1)
	if n := disk.refused.Load(); n != 3 {
		t.Errorf("%d writes found the disk full, want 3", n)
	}
	if n := reserved(t, dir); n != reserveFiles-3 {
		t.Errorf("%d files are left of the reserve, want %d", n, reserveFiles-3)
	}
	if _, err := s.Update(ctx, crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrFull) {
		t.Errorf("Update after the disk was found full: %v, want ErrFull", err)
	}
	free.Store(DefaultMinFreeBytes + 1) // enough to write, too little for the reserve
	s.sampleSpace()
	s.refillReserve()
	mustUpdate(t, s, crashUser(0))
	if n := reserved(t, dir); n != reserveFiles-3 {
		t.Errorf("the reserve was taken where that made the disk full: %d files", n)
	}
	free.Store(1 << 40)
	s.sampleSpace()
	s.refillReserve()
	if n := reserved(t, dir); n != reserveFiles {
		t.Errorf("%d files are reserved again, want %d", n, reserveFiles)
	}
	mustClose(t, s)
	if r, _, err := mustOpen(t, dir, o).Read(ctx, []store.User{crashUser(0)}); err != nil || len(r) != 1 {
		t.Errorf("Read after a restart: %+v, %v", r, err)
	}
}

// TestReserveSpent: when the whole reserve is not enough, the store fails: it does
// not acknowledge what it could not write.
func TestReserveSpent(t *testing.T) {
	disk := &smallDisk{suffix: ".log"}
	s := mustOpen(t, t.TempDir(), Options{FS: disk.wrap(), FreeBytes: plenty})
	disk.needs.Store(reserveFiles + 1)
	if _, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("Update: %v, want ErrUnknown", err)
	}
	<-s.Failed()
	if n := disk.refused.Load(); n != reserveFiles+1 {
		t.Errorf("%d writes found the disk full, want %d", n, reserveFiles+1)
	}
}

// TestTablesLeaveTheReserve: a flush that finds the disk full is held up, fails
// nothing, and takes nothing of the reserve.
func TestTablesLeaveTheReserve(t *testing.T) {
	dir := t.TempDir()
	disk := &smallDisk{suffix: ".sst"}
	s := mustOpen(t, dir, Options{FS: disk.wrap(), FreeBytes: plenty})
	mustUpdate(t, s, crashUser(0))
	disk.needs.Store(1)
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		t.Fatal(err)
	}
	for disk.refused.Load() == 0 || !s.full.Load() {
		select {
		case <-s.Failed():
			t.Fatal("a flush that found the disk full failed the store")
		default:
		}
	}
	if n := reserved(t, dir); n != reserveFiles {
		t.Errorf("%d files are left of the reserve, want all %d", n, reserveFiles)
	}
	disk.needs.Store(0)
	<-flushed
	if n := disk.refused.Load(); n > 2 {
		t.Errorf("the flush was tried %d times meanwhile: it must be held up", n)
	}
}

// TestOpenOnAFullDisk: what the log holds is written into the reserve, if that is
// enough. If not, the store is not opened, and says why; nothing is lost.
func TestOpenOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	disk := &smallDisk{suffix: ".sst"}
	o := Options{FS: disk.wrap(), FreeBytes: plenty}
	s := mustOpen(t, dir, o)
	mustUpdate(t, s, crashUser(0))
	killed := t.TempDir() // with its log
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)

	dir = killed
	disk.needs.Store(3)
	s = mustOpen(t, dir, o)
	if n := disk.refused.Load(); n != 3 {
		t.Errorf("%d writes found the disk full, want 3", n)
	}
	mustUpdate(t, s, crashUser(0))
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(killed)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)

	disk.needs.Store(reserveFiles + 1)
	if _, err := Open(dir, o); !errors.Is(err, store.ErrFailed) || !strings.Contains(err.Error(), "free space on the disk under "+dir) {
		t.Fatalf("Open without space: %v", err)
	}
}

// TestShortageIsSeenAtOnce: writers look themselves, and do not wait for the
// keeper.
func TestShortageIsSeenAtOnce(t *testing.T) {
	var free, looks atomic.Int64
	free.Store(1 << 40)
	s := mustOpen(t, "data", Options{FS: vfs.NewMem(), FreeBytes: func() (uint64, error) {
		looks.Add(1)
		return uint64(free.Load()), nil
	}})
	mustUpdate(t, s, crashUser(0))
	free.Store(1)
	s.sampled.Store(-int64(sampleInterval)) // as if the last look were that old
	if _, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrFull) {
		t.Errorf("Update: %v, want ErrFull", err)
	}
	was := looks.Load()
	for range 1000 {
		if err := s.checkSpace(); !errors.Is(err, store.ErrFull) {
			t.Fatalf("checkSpace: %v, want ErrFull", err)
		}
	}
	if n := looks.Load() - was; n > 2 {
		t.Errorf("%d looks at the free space, for writes that are refused anyway", n)
	}
}
