package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A failStopFS is a file system on which an error of the write-ahead log, or of
// syncing a directory, fails the store and parks the goroutine. Pebble would panic on
// some of these errors, which ends the process without a log message, and ignore
// others.
//
// Errors of other files are returned to Pebble, which retries or calls Fatalf.
//
// It also orders a marker after its target. Pebble syncs their directory once for
// both, and once for a new marker and the removal of the old one: that is enough only
// where names reach the disk in order, which most file systems do and none guarantees.
//
// And it delays errors of tables: Pebble retries a failed table at once, for as long
// as the disk is full.
type failStopFS struct {
	vfs.FS
	stop func(err error) // does not return
	// logStep is how many zeros a log writes ahead at a time.
	logStep func() int64
}

var _ vfs.FS = (*failStopFS)(nil)

func (fs *failStopFS) Unwrap() vfs.FS { return fs.FS }

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

func (fs *failStopFS) isMarker(name string) bool {
	return strings.HasPrefix(fs.PathBase(name), "marker.")
}

func (fs *failStopFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if fs.isMarker(name) {
		if err := syncDir(fs, fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	f, err := fs.FS.Create(name, category)
	if isTable(name) {
		return fs.table(f, err)
	}
	return fs.log(name, f, err)
}

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

func (fs *failStopFS) table(f vfs.File, err error) (vfs.File, error) {
	if err = delayError(err); err != nil {
		return nil, err
	}
	return &tableFile{File: f}, nil
}

// tableRetryDelay is how long an error of a table is delayed.
const tableRetryDelay = 250 * time.Millisecond

func delayError(err error) error {
	if err != nil {
		time.Sleep(tableRetryDelay)
	}
	return err
}

// A tableFile delays errors of writing. Its writer lets other goroutines run every tableTurn: the
// goroutines of a compaction wake each other, which the scheduler prefers. On one processor with
// thousands of busy connections, a trace showed that the connections got 4 % of it for 100 ms.
type tableFile struct {
	vfs.File

	turn time.Time // when the writer let others run
}

const tableTurn = 2 * time.Millisecond

func (f *tableFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if time.Since(f.turn) >= tableTurn {
		runtime.Gosched()
		f.turn = time.Now()
	}
	return n, delayError(err)
}

func (f *tableFile) Sync() error     { return delayError(f.File.Sync()) }
func (f *tableFile) SyncData() error { return delayError(f.File.SyncData()) }

func (f *tableFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, delayError(err)
}

func (fs *failStopFS) Remove(name string) error {
	if fs.isMarker(name) {
		if err := syncDir(fs, fs.PathDir(name)); err != nil {
			return err
		}
	}
	return fs.FS.Remove(name)
}

func (fs *failStopFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(old, name, category)
	f, err = fs.log(name, f, err)
	if log, ok := f.(*logFile); ok {
		if info, err := f.Stat(); err == nil {
			log.ahead = info.Size()
		}
	}
	return f, err
}

func (fs *failStopFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return f, err
	}
	return &failStopFile{File: f, fs: fs}, nil
}

func (fs *failStopFS) log(name string, f vfs.File, err error) (vfs.File, error) {
	if !isLog(name) {
		return f, err
	}
	if err != nil {
		fs.stop(err)
	}
	return &logFile{failStopFile: &failStopFile{File: f, fs: fs}, zeros: make([]byte, fs.logStep())}, nil
}

// A failStopFile stops the goroutine at errors of writing.
type failStopFile struct {
	vfs.File
	fs *failStopFS
}

func (f *failStopFile) check(err error) {
	if err != nil {
		f.fs.stop(err)
	}
}

func (f *failStopFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.check(err)
	return n, nil
}

func (f *failStopFile) Sync() error {
	f.check(f.File.Sync())
	return nil
}

func (f *failStopFile) SyncData() error {
	f.check(f.File.SyncData())
	return nil
}

func (f *failStopFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.check(err)
	return full, nil
}

func (f *failStopFile) Close() error {
	f.check(f.File.Close())
	return nil
}

func (fs *failStopFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil || isTable(name) {
		return f, err
	}
	return &wholeFile{File: f}, nil
}

var errReadShort = errors.New("unexpected end of file")

// A wholeFile is read sequentially. It turns a premature end of file into an error: the
// reader of a log would mistake it for the effect of a crash. Tables have checksums
// that detect it.
type wholeFile struct {
	vfs.File
	read int64
}

func (f *wholeFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.read += int64(n)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	info, failed := f.Stat()
	if failed == nil && info.Size() > f.read {
		failed = fmt.Errorf("%s: %w", info.Name(), errReadShort)
	}
	if failed != nil {
		return n, failed
	}
	return n, err
}
