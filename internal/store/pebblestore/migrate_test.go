package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"porchlight.dev/porchlight/internal/leveltest"
)

// TestMigrations: there is one step from each format to the next, up to the current
// one.
func TestMigrations(t *testing.T) {
	for i, m := range migrations() {
		if m.from != i+1 || m.what == "" {
			t.Errorf("step %d is from %d, %q", i, m.from, m.what)
		}
	}
	if n := len(migrations()) + 1; n != formatVersion {
		t.Errorf("the steps lead to format %d, but the current one is %d", n, formatVersion)
	}
}

// TestMigrateFirst: a directory of the first format gets everything that the second
// has, and its marker.
func TestMigrateFirst(t *testing.T) {
	for _, kind := range []string{"clean", "killed"} {
		mem := copyFromDisk(t, filepath.Join(goldenDir, "1", kind))
		var logged strings.Builder
		o := goldenOptions(mem, goldenNow)
		o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		mustClose(t, mustOpen(t, "data", o))
		if n := strings.Count(logged.String(), "migrating the data directory"); n != formatVersion-1 {
			t.Errorf("%s: %d log lines report the migration", kind, n)
		}
		if format, err := atomicfs.ReadMarker(mem, "data", formatMarker); err != nil || format != strconv.Itoa(formatVersion) {
			t.Errorf("%s: marker %q, %v", kind, format, err)
		}
		if st, err := readWatermark(mem, "data"); err != nil || !st.clean || st.position != 59 {
			t.Errorf("%s: watermark %+v, %v", kind, st, err)
		}
		if r, err := Verify(context.Background(), "data", VerifyOptions{FS: mem}); err != nil || r.Format != formatVersion {
			t.Errorf("%s: Verify: %+v, %v", kind, r, err)
		}
	}
}

// TestMigrateFirstAgain: a version of the first format does not advance the watermark
// that a migration began in its directory, so the next start does not use it against
// the database.
func TestMigrateFirstAgain(t *testing.T) {
	mem := copyFromDisk(t, filepath.Join(goldenDir, "1", "killed"))
	w := &watermark{fs: mem, dir: "data"}
	if err := errors.Join(w.begin(&watermarkState{position: 1e6}, false), w.end()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, "data", goldenOptions(mem, goldenNow)))
}

// olderOptions are those of a version that knows formats up to the given one.
func olderOptions(fs vfs.FS, format int) Options {
	o := goldenOptions(fs, goldenNow)
	o.migrations = append([]migration{}, migrations()[:format-1]...)
	return o
}

// TestDowngrade: an older version refuses a directory of a newer format and changes
// nothing in it.
func TestDowngrade(t *testing.T) {
	for format := 2; format <= formatVersion; format++ {
		for _, kind := range []string{"clean", "killed"} {
			mem := copyFromDisk(t, filepath.Join(goldenDir, strconv.Itoa(format), kind))
			says := fmt.Sprintf("has format %d, this version supports formats up to %d", format, format-1)
			checkOpenRefused(t, mem, olderOptions(mem, format-1), ErrNewer, says, "use a newer porchlight")
		}
	}
}

// nextFormatOptions are those of a version with the format after the current one.
func nextFormatOptions(fs vfs.FS) Options {
	o := goldenOptions(fs, goldenNow)
	o.migrations = append(migrations(), migration{from: formatVersion, what: "come"})
	return o
}

// TestMigrateKilled: a migration that is killed at any disk operation leaves the old
// directory or the new one. The old one opens with the old version, and the new version
// migrates it.
func TestMigrateKilled(t *testing.T) {
	for _, from := range []string{"1/clean", "1/killed", "2/killed", "3/killed", "4/killed"} {
		t.Run(strings.ReplaceAll(from, "/", " "), func(t *testing.T) {
			want := readGolden(t, from)
			points := migrationCrashes(t, from, want)
			wasOld, wasNew := 0, 0
			for _, fs := range points {
				if checkKilled(t, fs, want) {
					wasOld++
				} else {
					wasNew++
				}
			}
			if wasOld < 20 || wasNew < 3 {
				t.Errorf("INVALID: %d old, %d new: too few kills during the migration", wasOld, wasNew)
			}
			t.Logf("%d kills: %d left the old directory, %d the new one", len(points), wasOld, wasNew)
		})
	}
}

func readGolden(t *testing.T, from string) string {
	t.Helper()
	mem := copyFromDisk(t, filepath.Join(goldenDir, from))
	s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
	defer mustClose(t, s)
	return goldenListing(t, s)
}

// migrationCrashes migrates and takes a crash image at every disk operation.
func migrationCrashes(t *testing.T, from, want string) []*vfs.MemFS {
	t.Helper()
	mem := vfs.NewCrashableMem()
	if ok, err := vfs.Clone(vfs.Default, mem, filepath.Join(goldenDir, from), "data", vfs.CloneSync); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := syncDir(mem, "/"); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	var mu sync.Mutex // guards points and rng
	var points []*vfs.MemFS
	shares := leveltest.Count(t, "shares of the unsynced data kept at each operation of a migration", 1, 1, 3)
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(o errorfs.Op) error {
		if o.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		keeps := []int{0, 50, 100} // percent of the unsynced data
		if shares == 1 {
			keeps = keeps[len(points)%3:][:1]
		}
		for _, keep := range keeps {
			points = append(points, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng}))
		}
		return nil
	}))
	s := mustOpen(t, "data", nextFormatOptions(fs))
	if got := goldenListing(t, s); got != want {
		t.Fatalf("the migrated directory holds\n%s\nwant\n%s", got, want)
	}
	mustClose(t, s)
	return points
}

// checkKilled opens the directory with both versions and reports whether it was old.
func checkKilled(t *testing.T, fs *vfs.MemFS, want string) (wasOld bool) {
	t.Helper()
	s, err := Open("data", goldenOptions(fs.CrashClone(vfs.CrashCloneCfg{}), goldenNow))
	if wasOld = err == nil; wasOld {
		if got := goldenListing(t, s); got != want {
			t.Errorf("the old version has\n%s\nwant\n%s", got, want)
		}
		mustClose(t, s)
	} else if !errors.Is(err, ErrNewer) {
		t.Errorf("the old version: %v, want ErrNewer", err)
	}
	s, err = Open("data", nextFormatOptions(fs))
	if err != nil {
		t.Errorf("the new version: %v", err)
		return wasOld
	}
	defer mustClose(t, s)
	if got := goldenListing(t, s); got != want {
		t.Errorf("the new version has\n%s\nwant\n%s", got, want)
	}
	return wasOld
}
