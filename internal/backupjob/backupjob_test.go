package backupjob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/store/backup"
)

// daily is midnight in UTC.
type daily struct{}

func (daily) Next(t time.Time) time.Time { return t.Truncate(24 * time.Hour).Add(24 * time.Hour) }

// A fixture is a schedule at each midnight, of a store whose position counts backups.
// Tests run in a bubble of synctest, whose time begins at a midnight.
type fixture struct {
	*Schedule
	settled sync.Mutex // what a test sets comes before what the schedule does next
	made    int
	failure error         // of Make
	takes   time.Duration // how long Make does
	log     bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{Schedule: &Schedule{
		Dir: t.TempDir(), Times: daily{}, Keep: 3, Slot: NewSlot(time.Now),
		Verify: func(_ context.Context, from io.Reader) (backup.Info, error) {
			return backup.Copy(io.Discard, from, func(int64) {})
		},
	}}
	f.Clock = func() time.Time {
		f.settle()
		return time.Now()
	}
	f.Log = slog.New(slog.NewTextHandler(&f.log, nil))
	f.Make = func(ctx context.Context, to io.Writer, progress func(done, total int64)) (backup.Info, error) {
		f.made++
		w, err := backup.NewWriter(to, backup.Header{Engine: "test", Position: uint64(f.made), Created: time.Now()}, 1<<10)
		if err == nil {
			err = w.Add([]byte("key"), []byte("value"))
		}
		progress(1, 2)
		select {
		case <-time.After(f.takes):
		case <-ctx.Done():
			return backup.Info{}, context.Cause(ctx)
		}
		if err = errors.Join(err, f.failure); err != nil {
			return backup.Info{}, err
		}
		return w.Close(backup.Counts{})
	}
	return f
}

// run starts the schedule, and returns what stops it.
func (f *fixture) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// settle orders the test's changes before the schedule's next reading, for the race detector:
// the two meet only in time otherwise.
func (f *fixture) settle() {
	f.settled.Lock()
	f.settled.Unlock() //nolint:staticcheck // there is nothing to do in between
}

// after lets time pass, and returns the names in the directory.
func (f *fixture) after(t *testing.T, d time.Duration) []string {
	t.Helper()
	f.settle()
	time.Sleep(d)
	synctest.Wait()
	return f.names(t)
}

func (f *fixture) names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func (f *fixture) plant(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.Dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestSchedule: the first backup is made a minute after the start, the others at their
// times; the newest are kept, with nothing else deleted, for their owner alone.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.plant(t, "notes")
		f.plant(t, "porchlight-19990101T000000Z-1.backup.old")
		rest := []string{"notes"}
		defer f.run(t)()
		expect(t, "at once", f.after(t, time.Second), "notes", "porchlight-19990101T000000Z-1.backup.old")
		want := append(rest, "porchlight-19990101T000000Z-1.backup.old", "porchlight-20000101T000100Z-1.backup")
		expect(t, "after a minute", f.after(t, time.Minute), want...)
		want = append(want, "porchlight-20000102T000000Z-2.backup")
		expect(t, "the next day", f.after(t, 24*time.Hour), want...)
		expect(t, "after five days", f.after(t, 4*24*time.Hour), "notes", "porchlight-19990101T000000Z-1.backup.old",
			"porchlight-20000104T000000Z-4.backup", "porchlight-20000105T000000Z-5.backup", "porchlight-20000106T000000Z-6.backup")
		newest, err := Newest(f.Dir, time.Now())
		if info, statErr := os.Stat(newest.Path); err != nil || statErr != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the newest is %+v, %v, %v", newest, err, statErr)
		}
		stats := f.Slot.Stats()
		if !stats.Last.Equal(time.Date(2000, 1, 6, 0, 0, 0, 0, time.UTC)) || stats.Bytes == 0 || stats.Failures != 0 || !stats.Next.Equal(stats.Last.Add(24*time.Hour)) {
			t.Errorf("%+v", stats)
		}
	})
}

// TestMissed: however many times were missed while the server was down, one backup makes
// up for them; without a missed one, a start makes none.
func TestMissed(t *testing.T) {
	for name, c := range map[string]struct {
		last string
		want int // backups within an hour of the start
	}{
		"five missed":   {"porchlight-19991227T000000Z-9.backup", 1},
		"none missed":   {"porchlight-20000101T000000Z-9.backup", 0},
		"of the future": {"porchlight-20300101T000000Z-9.backup", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.plant(t, c.last)
				time.Sleep(time.Hour)
				stop := f.run(t)
				f.after(t, time.Hour)
				if stop(); f.made != c.want {
					t.Errorf("%d backups, want %d", f.made, c.want)
				}
				defer f.run(t)()
				if f.after(t, time.Hour); f.made != c.want {
					t.Errorf("%d backups after another start, want %d", f.made, c.want)
				}
				if f.after(t, 24*time.Hour); f.made != c.want+1 {
					t.Errorf("%d backups a day later, want %d", f.made, c.want+1)
				}
			})
		})
	}
}

// TestFailures: a backup that fails in any way leaves no file, deletes none, and is retried
// with growing delays until it succeeds.
func TestFailures(t *testing.T) {
	const old = "porchlight-19991201T000000Z-1.backup"
	broken := errors.New("broken")
	for name, breakIt := range map[string]func(*fixture){
		"the store": func(f *fixture) { f.failure = broken },
		"the check": func(f *fixture) {
			f.Verify = func(context.Context, io.Reader) (backup.Info, error) { return backup.Info{}, broken }
		},
		"the space": func(f *fixture) { f.Available = func() (uint64, error) { return 10, nil } },
		"half of it": func(f *fixture) {
			left := uint64(200)
			f.Available = func() (uint64, error) { left /= 2; return left, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.Keep = 1
				f.plant(t, old)
				repaired := *f.Schedule
				breakIt(f)
				defer f.run(t)()
				expect(t, "after the failure", f.after(t, time.Minute), old)
				// 1, 2, 4, 8, 16, 32 minutes, and then an hour each.
				if f.after(t, 63*time.Minute); f.Slot.Stats().Failures != 7 {
					t.Errorf("%d failures after an hour", f.Slot.Stats().Failures)
				}
				if f.after(t, 2*time.Hour); f.Slot.Stats().Failures != 9 || f.Slot.Stats().Reason == "" {
					t.Errorf("%+v after three hours", f.Slot.Stats())
				}
				expect(t, "after nine failures", f.names(t), old)
				f.failure, f.Verify, f.Available = nil, repaired.Verify, nil
				if names := f.after(t, time.Hour); len(names) != 1 || names[0] == old {
					t.Errorf("after the repair: %q", names)
				}
				if stats := f.Slot.Stats(); stats.InRow != 0 || stats.Reason != "" || stats.Failures != 9 {
					t.Errorf("%+v", stats)
				}
			})
		})
	}
}

// TestNoDirectory: a directory that is not there is waited for, and never created.
func TestNoDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.Dir = filepath.Join(f.Dir, "mount")
		defer f.run(t)()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if _, err := os.Stat(f.Dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(f.Slot.Stats().Reason, "mount its disk") {
			t.Errorf("%v; %+v", err, f.Slot.Stats())
		}
		if err := os.Mkdir(f.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if names := f.after(t, 5*time.Minute); len(names) != 1 {
			t.Errorf("%q", names)
		}
	})
}

// TestStop: a stop in the middle of a backup leaves no file and is no failure; the next
// start makes the backup, over what a killed one left.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.takes = time.Hour
		stop := f.run(t)
		expect(t, "in the middle", f.after(t, 2*time.Minute), inProgress+".partial")
		if stats := f.Slot.Stats(); !stats.Running || stats.Done != 1 || stats.Total != 2 {
			t.Errorf("%+v", stats)
		}
		stop()
		expect(t, "stopped", f.names(t))
		if stats := f.Slot.Stats(); stats.Running || stats.Failures != 0 {
			t.Errorf("%+v", stats)
		}
		f.plant(t, inProgress+".partial")
		f.takes = 0
		defer f.run(t)()
		if names := f.after(t, 2*time.Minute); len(names) != 1 || strings.Contains(names[0], "partial") {
			t.Errorf("after another start: %q", names)
		}
	})
}

// TestOneAtATime: a scheduled backup waits for one on request and the other way round.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		release := make(chan struct{})
		go func() {
			_, _ = f.Slot.Run(func(func(done, total int64)) (backup.Info, error) {
				<-release
				return backup.Info{Bytes: 5}, nil
			}, func() bool { return false })
		}()
		defer f.run(t)()
		expect(t, "while another runs", f.after(t, 90*time.Second))
		if f.made != 0 || f.Slot.Stats().Failures != 0 {
			t.Errorf("%d made, %+v", f.made, f.Slot.Stats())
		}
		f.takes = time.Hour
		close(release)
		f.after(t, time.Minute)
		if _, err := f.Slot.Run(nil, nil); !errors.Is(err, ErrBusy) || f.made != 1 {
			t.Errorf("%v, with %d made", err, f.made)
		}
	})
}

// TestEndingBackup: a backup can follow one that its reader has given up, although that ends a
// little later.
func TestEndingBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlot(time.Now)
		takes := func(d time.Duration) error {
			_, err := s.Run(func(func(done, total int64)) (backup.Info, error) {
				time.Sleep(d)
				return backup.Info{}, nil
			}, nil)
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- takes(busyFor / 2) }()
		synctest.Wait()
		if err := takes(0); err != nil {
			t.Errorf("the second: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the first: %v", err)
		}
	})
}

// TestLastIsKept: the backup that was made last stays, even if the clock was set back so
// that its name is older than all others.
func TestLastIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.Keep = 1
		f.plant(t, "porchlight-20990101T000000Z-7.backup")
		f.plant(t, "porchlight-20990102T000000Z-8.backup")
		const directory = "porchlight-19980101T000000Z-1.backup"
		if err := os.Mkdir(filepath.Join(f.Dir, directory), 0o700); err != nil {
			t.Fatal(err)
		}
		defer f.run(t)()
		expect(t, "the next day", f.after(t, 24*time.Hour), directory, "porchlight-20000102T000000Z-1.backup")
	})
}

// TestFutureIsOldest: a backup from before the clock was set back is deleted before those that
// were made since, and is not taken for the newest one.
func TestFutureIsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for _, name := range []string{"porchlight-20280101T000000Z-7.backup", "porchlight-20280102T000000Z-8.backup", "porchlight-20280103T000000Z-9.backup"} {
			f.plant(t, name)
		}
		if newest, err := Newest(f.Dir, time.Now()); err != nil || filepath.Base(newest.Path) != "porchlight-20280103T000000Z-9.backup" {
			t.Errorf("the newest of those of the future is %+v; %v", newest, err)
		}
		defer f.run(t)()
		expect(t, "after two days", f.after(t, 48*time.Hour), "porchlight-20000102T000000Z-1.backup", "porchlight-20000103T000000Z-2.backup", "porchlight-20280103T000000Z-9.backup")
		if newest, err := Newest(f.Dir, time.Now()); err != nil || filepath.Base(newest.Path) != "porchlight-20000103T000000Z-2.backup" {
			t.Errorf("the newest is %+v; %v", newest, err)
		}
	})
}

// TestPruneGoesOn: a backup that cannot be deleted keeps no other one.
func TestPruneGoesOn(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for day := range 6 {
		name := filepath.Join(dir, nameOf(time.Date(2026, 3, 1+day, 0, 0, 0, 0, time.UTC), uint64(day)))
		names = append(names, name)
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stuck := errors.New("it is on a disk of its own")
	err := prune(dir, names[5], 3, func(name string) error {
		if name == names[0] {
			return stuck
		}
		return os.Remove(name)
	})
	left, listed := List(dir)
	if listed != nil {
		t.Fatal(listed)
	}
	var paths []string
	for _, f := range left {
		paths = append(paths, f.Path)
	}
	if want := []string{names[0], names[3], names[4], names[5]}; !errors.Is(err, stuck) || !slices.Equal(paths, want) {
		t.Errorf("left %v, want %v; %v", paths, want, err)
	}
}
