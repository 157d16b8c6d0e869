package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/store/backup"
)

// TestRestoreKilled: a restore that is killed at any disk operation, with anything
// between none and all of the unsynced data kept, leaves no store or the whole one, and
// the next restore succeeds.
func TestRestoreKilled(t *testing.T) {
	s := mustOpen(t, "original", Options{FS: vfs.NewMem()})
	fillStore(t, s, 13)
	want := pairs(t, s)
	data, _ := takeBackup(t, s, 1<<10)
	// The next restore is of another backup: nothing of the first may remain in it.
	next := mustOpen(t, "next", Options{FS: vfs.NewMem()})
	mustUpdate(t, next, crashUser(99))
	wantNext := pairs(t, next)
	dataNext, _ := takeBackup(t, next, 1<<10)

	mem := vfs.NewCrashableMem()
	var mu sync.Mutex // guards points and rng
	rng := rand.New(rand.NewPCG(1, 7))
	var points []*vfs.MemFS
	shares := leveltest.Count(t, "shares of the unsynced data kept at each operation of a restore", 1, 3, 3)
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
	if _, err := Restore(t.Context(), "new/data", bytes.NewReader(data), Options{FS: fs}, nil); err != nil {
		t.Fatal(err)
	}
	// When Restore has returned, everything is on the disk.
	done := mem.CrashClone(vfs.CrashCloneCfg{})
	if got := restoredContent(t, done); !reflect.DeepEqual(got, want) {
		t.Error("the restored store is not the original after a crash")
	}
	if names, err := done.List("new"); err != nil || !slices.Equal(names, []string{"data"}) {
		t.Errorf("the directory has %q, %v", names, err)
	}
	none, whole := 0, 0
	for i, fs := range points {
		if names, err := fs.List("new/data"); err == nil && len(names) > 0 {
			whole++
			if got := restoredContent(t, fs); !reflect.DeepEqual(got, want) {
				t.Fatalf("point %d: the store is not the original", i)
			}
		} else {
			none++
			if _, err := Open("new/data", Options{FS: fs, MustExist: true}); !errors.Is(err, ErrMissing) {
				t.Fatalf("point %d: %v, want ErrMissing", i, err)
			}
			if _, err := Restore(t.Context(), "new/data", bytes.NewReader(dataNext), Options{FS: fs}, nil); err != nil {
				t.Fatalf("point %d: the next restore: %v", i, err)
			}
			if names, err := fs.List("new"); err != nil || !slices.Equal(names, []string{"data"}) {
				t.Fatalf("point %d: the directory has %q, %v", i, names, err)
			}
			if got := restoredContent(t, fs); !reflect.DeepEqual(got, wantNext) {
				t.Fatalf("point %d: the next restore differs from its backup", i)
			}
		}
	}
	if none < 35*shares || whole == 0 {
		t.Errorf("INVALID: killed %d times before the end and %d times after it", none, whole)
	}
	t.Logf("killed at %d points: %d times there was nothing yet, %d times everything", len(points), none, whole)
}

func restoredContent(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	s, err := Open("new/data", Options{FS: fs, MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	return pairs(t, s)
}

// TestRestoreDiskErrors: a disk error at any operation of a restore ends it, and leaves
// no store or the whole one.
func TestRestoreDiskErrors(t *testing.T) {
	data := smallBackup(t)
	failed, step := 0, faultStep(t)
	for nth := int64(1); ; nth += int64(step) {
		mem := vfs.NewMem()
		var count atomic.Int64
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && op.Kind != errorfs.OpRemoveAll && count.Add(1) >= nth {
				return errDisk
			}
			return nil
		}))
		_, err := Restore(t.Context(), "data", bytes.NewReader(data), Options{FS: fs}, nil)
		if count.Load() < nth {
			if err != nil {
				t.Errorf("without an error: %v", err)
			}
			break
		}
		failed++
		if err == nil {
			continue // the operation was on an obsolete file
		}
		if !strings.Contains(err.Error(), errDisk.Error()) { // Pebble does not wrap all errors
			t.Fatalf("operation %d fails: %v", nth, err)
		}
		if names, err := mem.List("data"); err == nil && len(names) > 0 {
			s, err := Open("data", Options{FS: mem, MustExist: true})
			if err != nil {
				t.Fatalf("operation %d failed, and the directory does not open: %v", nth, err)
			}
			mustClose(t, s)
		}
	}
	if failed < 30/step {
		t.Errorf("INVALID: only %d errors", failed)
	}
	t.Logf("%d errors", failed)
}

// TestRestoreRefuses: a restore creates a directory and never changes one, and refuses
// before it writes anything.
func TestRestoreRefuses(t *testing.T) {
	data := smallBackup(t)
	ended, end := context.WithCancelCause(t.Context())
	end(errRefused)
	for name, c := range map[string]struct {
		ctx     context.Context
		prepare func(t *testing.T, fs *vfs.MemFS)
		o       Options
		want    error
		text    string
	}{
		"a store is there": {prepare: func(t *testing.T, fs *vfs.MemFS) {
			s, err := Open("data", Options{FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			mustClose(t, s)
		}, want: ErrOccupied, text: "specify one that is missing or empty"},
		"a file is there": {prepare: func(t *testing.T, fs *vfs.MemFS) {
			if err := fs.MkdirAll("data", 0o700); err != nil {
				t.Fatal(err)
			}
			f, err := fs.Create("data/novel.txt", "")
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}, want: ErrOccupied, text: `contains "novel.txt"`},
		"another restore runs": {prepare: func(t *testing.T, fs *vfs.MemFS) {
			if err := fs.MkdirAll("data.restoring", 0o700); err != nil {
				t.Fatal(err)
			}
			lock, err := fs.Lock("data.restoring/LOCK")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { lock.Close() })
		}, want: ErrLocked, text: "wait until it has ended"},
		"the disk is almost full": {
			o:    Options{FreeBytes: func() (uint64, error) { return DefaultMinFreeBytes, nil }},
			want: backup.ErrNoSpace, text: "choose a directory on another disk",
		},
		"the context has ended": {ctx: ended, want: errRefused},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			if c.prepare != nil {
				c.prepare(t, fs)
			}
			before := fs.String()
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			c.o.FS = fs
			_, err := Restore(c.ctx, "data", bytes.NewReader(data), c.o, nil)
			if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
			if after := fs.String(); after != before {
				t.Errorf("the directory changed from\n%s to\n%s", before, after)
			}
		})
	}
}

// TestRestoreIntoEmpty: Restore uses an existing directory that is empty.
func TestRestoreIntoEmpty(t *testing.T) {
	data := smallBackup(t)
	fs := vfs.NewMem()
	if err := fs.MkdirAll("new/data", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), "new/data", bytes.NewReader(data), Options{FS: fs}, nil); err != nil {
		t.Fatal(err)
	}
	if len(restoredContent(t, fs)) == 0 {
		t.Error("the restored store is empty")
	}
}

// TestRestoreToSmallDisk: a restore leaves as much space free as a store on the same disk does.
func TestRestoreToSmallDisk(t *testing.T) {
	data := smallBackup(t)
	fs := sizedFS{vfs.NewMem(), 200 << 20}
	if _, err := Restore(t.Context(), "data", bytes.NewReader(data), Options{FS: fs}, nil); err != nil {
		t.Error(err)
	}
	fs = sizedFS{vfs.NewMem(), 40 << 20} // half is free, less than an eighth and a table
	if _, err := Restore(t.Context(), "data", bytes.NewReader(data), Options{FS: fs}, nil); !errors.Is(err, backup.ErrNoSpace) {
		t.Errorf("on a full disk: %v, want %v", err, backup.ErrNoSpace)
	}
}
