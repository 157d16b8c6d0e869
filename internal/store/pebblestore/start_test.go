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

	"porchlight.dev/porchlight/internal/leveltest"
)

// A startFault replaces one operation, and all later ones if it is permanent.
type startFault struct {
	errno     error
	permanent bool
	text      string // in the error
}

func startFaults() map[string]startFault {
	return map[string]startFault{
		"EIO":             {syscall.EIO, false, "check the disk under data"},
		"EIO permanent":   {syscall.EIO, true, "check the disk under data"},
		"ENOSPC":          {syscall.ENOSPC, false, "free space on the disk under data"},
		"EACCES":          {syscall.EACCES, false, "let the user that porchlight runs as read and write data"},
		"EROFS permanent": {syscall.EROFS, true, "mount the disk under data for writing"},
		"EMFILE":          {syscall.EMFILE, false, "raise the limit of open files"},
		"ends early":      {io.EOF, false, ""},
	}
}

// A startImage is a directory to start on.
type startImage struct {
	fs *vfs.MemFS
	j  *journal
	// faults are those injected here; `make test-full` injects all.
	faults []string
}

// startImages are an empty disk, a directory that was closed, and one after a crash,
// with tables, logs to replay and obsolete files.
func startImages(t *testing.T) map[string]startImage {
	t.Helper()
	disk := vfs.NewCrashableMem()
	o := smallOptions()
	o.FS, o.MinFreeBytes = disk, -1
	s := mustOpen(t, "data", o)
	j := newJournal()
	j.runLoad(s, 4, 100, 1)
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	return map[string]startImage{
		"none":    {vfs.NewCrashableMem(), newJournal(), []string{"EIO"}},
		"closed":  {disk, j, []string{"EIO", "ends early"}},
		"crashed": {crashed, j, []string{"EIO", "EIO permanent", "ENOSPC", "EACCES", "EROFS permanent", "EMFILE", "ends early"}},
	}
}

// TestEveryFailureAtStart: whichever operation of a start fails, in whatever way, no
// goroutine panics; the error names the directory and what to do; and the next start,
// on a healthy disk, finds everything.
func TestEveryFailureAtStart(t *testing.T) {
	t.Parallel()
	step := int64(faultStep(t))
	all := leveltest.Full(t, "some of the faults of each start")
	for name, image := range startImages(t) {
		for kind, fault := range startFaults() {
			if nothingToRead := name == "none" && kind == "ends early"; nothingToRead || !slices.Contains(image.faults, kind) && !all {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				failed := 0
				for nth := int64(1); image.startFailing(t, nth, fault, &failed); nth += step {
				}
				t.Logf("%d starts failed", failed)
				if failed < 5 {
					t.Error("INVALID: too few starts failed")
				}
			})
		}
	}
}

// startFailing opens a copy with the nth operation failing, and reports whether any
// operation failed.
func (i startImage) startFailing(t *testing.T, nth int64, fault startFault, failed *int) bool {
	t.Helper()
	disk := &faultyDisk{nth: nth, fault: fault}
	copied := i.fs.CrashClone(vfs.CrashCloneCfg{})
	o := smallOptions()
	o.MinFreeBytes, o.FS = -1, errorfs.Wrap(copied, errorfs.InjectorFunc(disk.inject))
	s, err := Open("data", o)
	disk.repaired.Store(true)
	switch {
	case err == nil:
		mustClose(t, s)
	case !strings.Contains(err.Error(), " data") || !strings.Contains(err.Error(), fault.text):
		t.Errorf("%s fails: the error does not contain %q: %v", disk.failed(), fault.text, err)
	default:
		*failed++
	}
	o.FS = copied.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, uint64(nth)))})
	again, err := Open("data", o)
	if err != nil {
		t.Errorf("reopen after %s failed: %v", disk.failed(), err)
		return disk.failed() != ""
	}
	if lost := i.j.check(t, again, i.j.known(), "after a failed start"); lost > 0 {
		t.Errorf("%d changes are lost after %s failed", lost, disk.failed())
	}
	mustClose(t, again)
	return disk.failed() != ""
}

// A faultyDisk has one fault.
type faultyDisk struct {
	nth         int64
	fault       startFault
	count       atomic.Int64
	firstFailed atomic.Pointer[string]
	repaired    atomic.Bool
}

// failed names the first operation that failed, "" for none.
func (d *faultyDisk) failed() string {
	if op := d.firstFailed.Load(); op != nil {
		return *op
	}
	return ""
}

func (d *faultyDisk) inject(op errorfs.Op) error {
	if d.repaired.Load() || op.Kind == errorfs.OpGetDiskUsage {
		return nil
	}
	if errors.Is(d.fault.errno, io.EOF) && op.Kind != errorfs.OpFileRead && op.Kind != errorfs.OpFileReadAt {
		return nil
	}
	if n := d.count.Add(1); n != d.nth && (n < d.nth || !d.fault.permanent) {
		return nil
	}
	name := fmt.Sprintf("operation %d, of kind %d on %s,", d.nth, op.Kind, op.Path)
	d.firstFailed.CompareAndSwap(nil, &name)
	if errors.Is(d.fault.errno, io.EOF) {
		return io.EOF
	}
	return &os.PathError{Op: "injected", Path: op.Path, Err: d.fault.errno}
}
