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

// A smallDisk refuses files of a kind until enough of the reserve was released.
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

func plentyFree() (uint64, error) { return 1 << 40, nil }

func countReserved(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, reservePrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestReserve: a commit that finds the disk full uses the reserve. The store continues,
// refuses later writes, and restores the reserve when there is space.
func TestReserve(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	disk := &smallDisk{suffix: ".log"}
	var free atomic.Uint64
	free.Store(1 << 40)
	o := Options{FS: disk.wrap(), FreeBytes: func() (uint64, error) { return free.Load(), nil }}
	s := mustOpen(t, dir, o)
	if n := countReserved(t, dir); n != reserveFiles {
		t.Fatalf("%d files are reserved, want %d", n, reserveFiles)
	}
	free.Store(DefaultMinFreeBytes + 1) // maintenance must not refill the reserve meanwhile
	s.sampleSpace()
	// The store has not measured the free space since another program used it.
	disk.needs.Store(3)
	mustUpdate(t, s, crashUser(0))
	free.Store(1)
	s.sampled.Store(-int64(sampleInterval)) // maintenance may have found space meanwhile: measure again
	if n := disk.refused.Load(); n != 3 {
		t.Errorf("%d writes found the disk full, want 3", n)
	}
	if n := countReserved(t, dir); n != reserveFiles-3 {
		t.Errorf("%d files of the reserve remain, want %d", n, reserveFiles-3)
	}
	if _, err := s.Update(ctx, crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrFull) {
		t.Errorf("Update after the disk was found full: %v, want ErrFull", err)
	}
	free.Store(DefaultMinFreeBytes + 1) // enough to write, too little for the reserve
	s.sampleSpace()
	s.refillReserve()
	mustUpdate(t, s, crashUser(0))
	if n := countReserved(t, dir); n != reserveFiles-3 {
		t.Errorf("restoring the reserve filled the disk: %d files", n)
	}
	free.Store(1 << 40)
	s.sampleSpace()
	s.refillReserve()
	if n := countReserved(t, dir); n != reserveFiles {
		t.Errorf("%d files are reserved again, want %d", n, reserveFiles)
	}
	mustClose(t, s)
	if r, _, err := mustOpen(t, dir, o).Read(ctx, []store.User{crashUser(0)}, store.Freshness{}); err != nil || len(r) != 1 {
		t.Errorf("Read after a restart: %+v, %v", r, err)
	}
}

// TestReserveSpent: when the whole reserve is not enough, the store fails and does not
// acknowledge what it could not write.
func TestReserveSpent(t *testing.T) {
	disk := &smallDisk{suffix: ".log"}
	var free atomic.Uint64
	free.Store(1 << 40)
	s := mustOpen(t, t.TempDir(), Options{FS: disk.wrap(), FreeBytes: func() (uint64, error) { return free.Load(), nil }})
	free.Store(DefaultMinFreeBytes + 1) // maintenance must not refill the reserve meanwhile
	s.sampleSpace()
	disk.needs.Store(reserveFiles + 1)
	if _, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("Update: %v, want ErrUnknown", err)
	}
	<-s.Failed()
	if n := disk.refused.Load(); n != reserveFiles+1 {
		t.Errorf("%d writes found the disk full, want %d", n, reserveFiles+1)
	}
}

// TestTablesLeaveTheReserve: a flush that finds the disk full waits, fails nothing, and
// uses nothing of the reserve.
func TestTablesLeaveTheReserve(t *testing.T) {
	dir := t.TempDir()
	disk := &smallDisk{suffix: ".sst"}
	s := mustOpen(t, dir, Options{FS: disk.wrap(), FreeBytes: plentyFree})
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
	if n := countReserved(t, dir); n != reserveFiles {
		t.Errorf("%d files of the reserve remain, want all %d", n, reserveFiles)
	}
	disk.needs.Store(0)
	<-flushed
	if n := disk.refused.Load(); n > 2 {
		t.Errorf("the flush was tried %d times meanwhile: it must wait", n)
	}
}

// TestOpenOnAFullDisk: the content of the log is written into the reserve, if that is
// enough. If not, Open fails and says why; nothing is lost.
func TestOpenOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	disk := &smallDisk{suffix: ".sst"}
	o := Options{FS: disk.wrap(), FreeBytes: plentyFree}
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

// TestShortageIsDetectedAtOnce: writers measure the free space themselves and do not wait
// for maintenance.
func TestShortageIsDetectedAtOnce(t *testing.T) {
	var free, looks atomic.Int64
	free.Store(1 << 40)
	s := mustOpen(t, "data", Options{FS: vfs.NewMem(), FreeBytes: func() (uint64, error) {
		looks.Add(1)
		return uint64(free.Load()), nil
	}})
	mustUpdate(t, s, crashUser(0))
	free.Store(1)
	s.sampled.Store(-int64(sampleInterval)) // as if the last measurement were that old
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
		t.Errorf("the free space was measured %d times for writes that are refused anyway", n)
	}
}
