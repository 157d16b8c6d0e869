package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A startFault is what a disk does in place of one operation, and of all after it
// if it stays.
type startFault struct {
	errno error
	stays bool
	says  string // in the message
}

func startFaults() map[string]startFault {
	return map[string]startFault{
		"EIO":         {syscall.EIO, false, "check the disk under data"},
		"EIO stays":   {syscall.EIO, true, "check the disk under data"},
		"ENOSPC":      {syscall.ENOSPC, false, "free space on the disk under data"},
		"EACCES":      {syscall.EACCES, false, "let the user that porchlight runs as read and write data"},
		"EROFS stays": {syscall.EROFS, true, "mount the disk under data for writing"},
		"EMFILE":      {syscall.EMFILE, false, "raise the limit of open files"},
		"ends early":  {io.EOF, false, ""},
	}
}

// A startImage is a directory to start on.
type startImage struct {
	fs *vfs.MemFS
	j  *journal
	// faults are those that are tried on it, all in a soak.
	faults []string
}

// startImages are no directory, one that was closed, and one that a crash left
// with tables, logs to replay, and files that nobody needs any more.
func startImages(t *testing.T) map[string]startImage {
	t.Helper()
	disk := vfs.NewCrashableMem()
	o := small()
	o.FS, o.MinFreeBytes = disk, -1
	s := mustOpen(t, "data", o)
	j := newJournal()
	j.load(s, 4, 100, 1)
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	return map[string]startImage{
		"none":    {vfs.NewCrashableMem(), newJournal(), []string{"EIO"}},
		"closed":  {disk, j, []string{"EIO", "ends early"}},
		"crashed": {crashed, j, []string{"EIO", "EIO stays", "ENOSPC", "EACCES", "EROFS stays", "EMFILE", "ends early"}},
	}
}

// TestEveryFailureAtStart: whichever operation of a start fails, and in whatever
// way, there is no panic, on no goroutine; the error names the directory and what
// to do; and the next start, on a disk that is well, finds everything.
func TestEveryFailureAtStart(t *testing.T) {
	t.Parallel()
	for name, image := range startImages(t) {
		for kind, fault := range startFaults() {
			if nothingToRead := name == "none" && kind == "ends early"; nothingToRead || !slices.Contains(image.faults, kind) && os.Getenv("PORCHLIGHT_SOAK") == "" {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				failed := 0
				for nth := int64(1); image.start(t, nth, fault, &failed); nth++ {
				}
				t.Logf("%d starts failed", failed)
				if failed < 5 {
					t.Error("INVALID: too few")
				}
			})
		}
	}
}

// start starts on a copy, and is false when there was nothing left to fail.
func (i startImage) start(t *testing.T, nth int64, fault startFault, failed *int) bool {
	t.Helper()
	disk := &faultyDisk{nth: nth, fault: fault}
	copied := i.fs.CrashClone(vfs.CrashCloneCfg{})
	o := small()
	o.MinFreeBytes, o.FS = -1, errorfs.Wrap(copied, errorfs.InjectorFunc(disk.inject))
	s, err := Open("data", o)
	disk.well.Store(true)
	switch {
	case err == nil:
		mustClose(t, s)
	case !strings.Contains(err.Error(), " data") || !strings.Contains(err.Error(), fault.says):
		t.Errorf("%s fails: the message does not say %q: %v", disk.failed(), fault.says, err)
	default:
		*failed++
	}
	o.FS = copied.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, uint64(nth)))})
	again, err := Open("data", o)
	if err != nil {
		t.Errorf("after a start on which %s failed: %v", disk.failed(), err)
		return disk.failed() != ""
	}
	if lost := i.j.check(t, again, i.j.known(), "after a start that failed"); lost > 0 {
		t.Errorf("%d changes are lost after a start on which %s failed", lost, disk.failed())
	}
	mustClose(t, again)
	return disk.failed() != ""
}

// A faultyDisk has one fault.
type faultyDisk struct {
	nth   int64
	fault startFault
	count atomic.Int64
	first atomic.Pointer[string]
	well  atomic.Bool
}

// failed names the first operation that failed, "" for none.
func (d *faultyDisk) failed() string {
	if op := d.first.Load(); op != nil {
		return *op
	}
	return ""
}

func (d *faultyDisk) inject(op errorfs.Op) error {
	if d.well.Load() || op.Kind == errorfs.OpGetDiskUsage {
		return nil
	}
	if errors.Is(d.fault.errno, io.EOF) && op.Kind != errorfs.OpFileRead && op.Kind != errorfs.OpFileReadAt {
		return nil
	}
	if n := d.count.Add(1); n != d.nth && (n < d.nth || !d.fault.stays) {
		return nil
	}
	name := fmt.Sprintf("operation %d, of kind %d on %s,", d.nth, op.Kind, op.Path)
	d.first.CompareAndSwap(nil, &name)
	if errors.Is(d.fault.errno, io.EOF) {
		return io.EOF
	}
	return &os.PathError{Op: "injected", Path: op.Path, Err: d.fault.errno}
}
