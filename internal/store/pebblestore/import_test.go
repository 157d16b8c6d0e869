package pebblestore

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/store/backup"
	"porchlight.dev/porchlight/internal/store/transfer"
)

func accept(context.Context, transfer.Source) error { return nil }

// sourceOf fills a store, and opens it as a source. It returns its content.
func sourceOf(t *testing.T, users int) (*Source, map[string]string) {
	t.Helper()
	fs := vfs.NewMem()
	s, err := Open("source", Options{FS: fs, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	fillStore(t, s, users)
	content := pairs(t, s)
	mustClose(t, s)
	from, err := OpenSource("source", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := from.Close(); err != nil {
			t.Error(err)
		}
	})
	return from, content
}

// TestImportKilled: an import that is killed at any disk operation, with anything between
// none and all of the unsynced data kept, leaves no store or the whole one, and the next
// import succeeds.
func TestImportKilled(t *testing.T) {
	from, want := sourceOf(t, 13)
	next, wantNext := sourceOf(t, 4)
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex // guards points and rng
	rng := rand.New(rand.NewPCG(1, 7))
	var points []*vfs.MemFS
	shares := leveltest.Count(t, "shares of the unsynced data kept at each operation of an import", 1, 3, 3)
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			mu.Lock()
			defer mu.Unlock()
			for range shares {
				keep := []int{0, 50, 100}[len(points)%3]
				points = append(points, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng}))
			}
		}
		return nil
	}))
	if err := Import(t.Context(), "new/data", from, Options{FS: fs}, accept); err != nil {
		t.Fatal(err)
	}
	// When Import has returned, everything is on the disk.
	done := mem.CrashClone(vfs.CrashCloneCfg{})
	if got := restoredContent(t, done); !reflect.DeepEqual(got, want) {
		t.Errorf("the new store is not the source after a crash:\n%q\n%q", got, want)
	}
	none, whole := 0, 0
	for i, fs := range points {
		if names, err := fs.List("new/data"); err == nil && len(names) > 0 {
			whole++
			if got := restoredContent(t, fs); !reflect.DeepEqual(got, want) {
				t.Fatalf("point %d: the store is not the source", i)
			}
			continue
		}
		none++
		if _, err := Open("new/data", Options{FS: fs, MustExist: true}); !errors.Is(err, ErrMissing) {
			t.Fatalf("point %d: %v, want ErrMissing", i, err)
		}
		if err := Import(t.Context(), "new/data", next, Options{FS: fs}, accept); err != nil {
			t.Fatalf("point %d: the next import: %v", i, err)
		}
		if names, err := fs.List("new"); err != nil || !slices.Equal(names, []string{"data"}) {
			t.Fatalf("point %d: the directory has %q, %v", i, names, err)
		}
		if got := restoredContent(t, fs); !reflect.DeepEqual(got, wantNext) {
			t.Fatalf("point %d: the next import differs from its source", i)
		}
	}
	if none < 20*shares || whole == 0 {
		t.Errorf("INVALID: killed %d times before the end and %d times after it", none, whole)
	}
	t.Logf("killed at %d points: %d times there was nothing yet, %d times everything", len(points), none, whole)
}

// TestImportRefuses: an import ends without a store if the caller refuses the copy, the disk
// is full, or the directory contains something.
func TestImportRefuses(t *testing.T) {
	from, _ := sourceOf(t, 4)
	unequal := errors.New("not the same")
	for name, c := range map[string]struct {
		o     Options
		check transfer.Verify
		file  string
		want  error
		text  string
	}{
		"refused":  {Options{MinFreeBytes: -1}, func(context.Context, transfer.Source) error { return unequal }, "", unequal, "migration to data"},
		"occupied": {Options{MinFreeBytes: -1}, accept, "data/x", ErrOccupied, `data contains "x"; a migration creates a new data directory`},
		"full":     {Options{MinFreeBytes: 1 << 30, FreeBytes: func() (uint64, error) { return 1 << 20, nil }}, accept, "", backup.ErrNoSpace, "free space, or choose a directory on another disk"},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.FS = vfs.NewMem()
			if c.file != "" {
				if err := c.o.FS.MkdirAll("data", 0o700); err != nil {
					t.Fatal(err)
				}
				f, err := c.o.FS.Create(c.file, vfs.WriteCategoryUnspecified)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			err := Import(t.Context(), "data", from, c.o, c.check)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
			if names, _ := c.o.FS.List(""); c.file == "" && len(names) > 0 {
				t.Errorf("left behind: %q", names)
			}
		})
	}
}

// TestImportNewEpoch: a directory that may have lost positions, since it was not closed with
// durability OS, is not copied with its epoch.
func TestImportNewEpoch(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, err := Open("source", Options{FS: fs, MinFreeBytes: -1, Durability: OS})
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, s, crashUser(1))
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	mustClose(t, s)
	for epoch, fs := range map[string]vfs.FS{"": crashed, s.Epoch(): fs} {
		from, err := OpenSource("source", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if got := from.Info().Epoch; got != epoch {
			t.Errorf("epoch %q, want %q", got, epoch)
		}
		o := Options{FS: vfs.NewMem(), MinFreeBytes: -1}
		if err := errors.Join(Import(t.Context(), "data", from, o, accept), from.Close()); err != nil {
			t.Fatal(err)
		}
		o.MustExist = true
		copied, err := Open("data", o)
		if err != nil {
			t.Fatal(err)
		}
		if got := copied.Epoch(); got == "" || got != epoch && epoch != "" || epoch == "" && got == s.Epoch() {
			t.Errorf("the copy of a store with epoch %q has epoch %q", epoch, got)
		}
		mustClose(t, copied)
	}
}
