package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

func mustOpen(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, s) })
	return s
}

func mustClose(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// filesIfExist are the files of a directory, or none if it does not exist.
func filesIfExist(t *testing.T, fs *vfs.MemFS) map[string]string {
	t.Helper()
	if _, err := fs.Stat("data"); err != nil {
		return nil
	}
	return contents(t, fs)
}

func mustUpdate(t *testing.T, s *Store, u store.User) store.Record {
	t.Helper()
	r, err := s.Update(context.Background(), u, storetest.UpdateFunc(store.By{}, benchState))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkOpenRefused checks that Open refuses dir with an error that is want and contains
// each of the texts, and leaves the files as they are.
func checkOpenRefused(t *testing.T, fs *vfs.MemFS, o Options, want error, texts ...string) {
	t.Helper()
	o.FS = fs
	before := filesIfExist(t, fs)
	s, err := Open("data", o)
	if err == nil {
		mustClose(t, s)
	}
	if !errors.Is(err, want) {
		t.Fatalf("Open: %v, want %v", err, want)
	}
	for _, text := range append(texts, "data") {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error %q does not contain %q", err, text)
		}
	}
	if len(before) > 0 {
		sameFiles(t, fs, before)
	}
}

func TestOpenMissing(t *testing.T) {
	checkOpenRefused(t, vfs.NewMem(), Options{MustExist: true}, ErrMissing, "porchlight init")
	fs := vfs.NewMem()
	mustClose(t, mustOpen(t, "data", Options{FS: fs}))
	mustClose(t, mustOpen(t, "data", Options{FS: fs, MustExist: true}))
}

func TestOpenForeign(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("data", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create("data/holiday.jpg", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	checkOpenRefused(t, fs, Options{}, ErrForeign, "holiday.jpg", "a directory of its own")
}

// TestOpenOthersDatabase: a Pebble database of another program is opened to identify
// it, but nothing is written there.
func TestOpenOthersDatabase(t *testing.T) {
	fs := vfs.NewMem()
	db, err := pebble.Open("data", &pebble.Options{FS: fs, Logger: pebbleLog{newStore("", Options{}.withDefaults())}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("theirs"), nil, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("data", Options{FS: fs}); !errors.Is(err, ErrForeign) {
		t.Fatalf("Open: %v, want ErrForeign", err)
	}
	if marker, err := atomicfs.ReadMarker(fs, "data", formatMarker); err != nil || marker != "" {
		t.Errorf("the directory was marked %q, %v", marker, err)
	}
}

func TestOpenNewerFormat(t *testing.T) {
	fs := vfs.NewMem()
	mustClose(t, mustOpen(t, "data", Options{FS: fs}))
	marker, _, err := atomicfs.LocateMarker(fs, "data", formatMarker)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(marker.Move(strconv.Itoa(formatVersion+1)), marker.Close()); err != nil {
		t.Fatal(err)
	}
	checkOpenRefused(t, fs, Options{}, ErrNewer,
		fmt.Sprintf("data directory data has format %d, this version supports formats up to %d: use a newer porchlight, or restore a backup into a new directory", formatVersion+1, formatVersion))
}

// TestOpenNewerFormatUnmarked: the database records the format too, in case the marker
// is lost.
func TestOpenNewerFormatUnmarked(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "data", Options{FS: fs})
	if err := s.db.Set([]byte(metaFormat), []byte(strconv.Itoa(formatVersion+1)), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if err := fs.Remove("data/marker." + formatMarker + ".000001." + strconv.Itoa(formatVersion)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("data", Options{FS: fs}); !errors.Is(err, ErrNewer) {
		t.Fatalf("Open: %v, want ErrNewer", err)
	}
}

func TestOpenLocked(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, Options{})
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "stop the other porchlight") {
		t.Errorf("a second Open: %v", err)
	}
}

func TestEpoch(t *testing.T) {
	fs := vfs.NewCrashableMem()
	first := mustOpen(t, "data", Options{FS: fs})
	epoch := first.Epoch()
	mustUpdate(t, first, crashUser(0))
	_, cursor, err := first.Read(context.Background(), []store.User{crashUser(0)}, store.Freshness{})
	if err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	if s := mustOpen(t, "data", Options{FS: crashed}); s.Epoch() != epoch {
		t.Error("the epoch changed after a crash with fsync")
	}
	mustClose(t, first)

	relaxed := Options{FS: fs, Durability: OS}
	second := mustOpen(t, "data", relaxed)
	if second.Epoch() != epoch {
		t.Error("the epoch changed over a clean close")
	}
	crashed = fs.CrashClone(vfs.CrashCloneCfg{})
	third := mustOpen(t, "data", Options{FS: crashed})
	if third.Epoch() == epoch {
		t.Error("the epoch is the same after an unclean start with relaxed durability")
	}
	if _, err := cursor.Position(third.Epoch()); !errors.Is(err, store.ErrEpoch) {
		t.Errorf("a cursor of the previous epoch: %v, want ErrEpoch", err)
	}
	mustClose(t, second)
	if s := mustOpen(t, "data", relaxed); s.Epoch() != epoch {
		t.Error("the epoch changed over a clean close with relaxed durability")
	} else {
		mustClose(t, s)
	}
	if s := mustOpen(t, "data", Options{FS: fs, NewEpoch: true}); s.Epoch() == epoch {
		t.Error("the epoch is the same although a new one was requested")
	}
}

// TestOpenFails: a disk error during Open is returned and does not block.
func TestOpenFails(t *testing.T) {
	opened, failed, step := 0, 0, faultStep(t)
	for nth := 1; nth < 120; nth += step {
		fs := failFrom(vfs.NewMem(), nth)
		s, err := Open("data", Options{FS: fs})
		if err != nil {
			failed++
			continue
		}
		opened++
		_ = s.Close() // may return the injected error
	}
	if opened == 0 || failed < 10/step {
		t.Errorf("%d opened, %d failed", opened, failed)
	}
}
