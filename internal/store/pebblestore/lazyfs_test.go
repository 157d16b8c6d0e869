package pebblestore

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestLazySyncCoversClosingLogs: after syncAll everything that was written before is on
// the disk, even in a log that is being closed and is still syncing. Otherwise the
// watermark could exceed what survives a crash.
func TestLazySyncCoversClosingLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		var syncs atomic.Int32
		release := make(chan struct{})
		fs := newLazyFS(errorfs.Wrap(mem, errorfs.InjectorFunc(func(o errorfs.Op) error {
			if o.Kind == errorfs.OpFileSync || o.Kind == errorfs.OpFileSyncData {
				if syncs.Add(1) == 1 {
					<-release
				}
			}
			return nil
		})))
		f, err := fs.Create("000001.log", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := mem.OpenDir("")
		if err != nil {
			t.Fatal(err)
		}
		if err := dir.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("acknowledged")); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- f.Close() }()
		synctest.Wait() // Close is syncing
		if err := fs.syncAll(); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(mem.CrashClone(vfs.CrashCloneCfg{}), "000001.log")
		if err != nil || string(got) != "acknowledged" {
			t.Errorf("a crash leaves %q, %v", got, err)
		}
		close(release)
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	})
}
