package pebblestore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Store keeps everything in one directory. See the package's comment for its
// goroutines and locks.
type Store struct {
	dir  string
	opts Options
	log  *slog.Logger
	lazy *lazyFS // with durability OS

	// guard lets Close wait for readers of db; dbClosed refuses later ones.
	guard    sync.RWMutex
	dbClosed bool
	db       *pebble.DB
	lock     *pebble.Lock // of the directory
	// lastWatermark is the watermark as of opening; nil: there was none.
	lastWatermark *watermarkState
	watermark     *watermark
	// format is that of the directory's marker as of opening, zero for none: the
	// marker is the last step of creating a directory.
	format int
	epoch  string

	queue           chan *op
	ops             opPool
	closing         chan struct{} // closed by Close
	committerDone   chan struct{} // closed when the committer has ended
	replier         replier
	maintenanceDone chan struct{} // closed when maintenance has ended
	warmUpDone      chan struct{} // closed when reading ahead has ended
	*failure
	closeOnce sync.Once
	closeErr  error

	cache    *cache
	progress progress
	logCache *logCache
	watchers watchers
	schedule *dueSchedule
	trimmed  atomic.Uint64
	space
	stats counters
}

var _ store.Store = (*Store)(nil)

// Reasons to refuse a directory. The full error names the remedy.
var (
	ErrLocked  = errors.New("another process uses the data directory")
	ErrNewer   = errors.New("the data directory has a newer format")
	ErrForeign = errors.New("the directory contains other data")
	ErrMissing = errors.New("there is no data directory")
	// ErrUnfinished: the machine stopped while the directory was created.
	ErrUnfinished = errors.New("the data directory is unfinished")
)

const formatMarker = "porchlight-format"

// Open opens the store in dir, and creates it if the directory is missing or empty. It
// changes nothing in a directory that it refuses, with one exception: the loss of the
// log's end is only detected after Pebble has replayed the logs into tables. Later
// starts refuse such a directory as well. An error names the directory and the remedy.
func Open(dir string, opts Options) (*Store, error) {
	s := newStore(dir, opts.withDefaults())
	if err := s.openDir(); err != nil {
		return nil, s.openError(err)
	}
	s.start()
	return s, nil
}

func (s *Store) openDir() error {
	exists, err := s.inspect()
	if err != nil {
		return err
	}
	if !exists {
		if s.opts.MustExist {
			return fmt.Errorf("%w: %s holds no store; check the path, or run porchlight init", ErrMissing, s.dir)
		}
		if err := s.opts.FS.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
	}
	s.fitDisk()
	if err := s.openDB(); err != nil {
		return err
	}
	err = s.runIsolated(func() error { return runSteps(s.migrate, s.load) })
	if err == nil {
		err = s.markOpen()
	}
	if err != nil {
		return errors.Join(err, s.closeDB())
	}
	return nil
}

func newStore(dir string, opts Options) *Store {
	s := &Store{
		dir: dir, opts: opts, log: opts.Logger,
		queue:           make(chan *op, queueLength),
		closing:         make(chan struct{}),
		committerDone:   make(chan struct{}),
		maintenanceDone: make(chan struct{}),
		warmUpDone:      make(chan struct{}),
		failure:         newFailure(),
		replier:         newReplier(),
		cache:           newCache(opts.CacheRecords, opts.CacheBytes),
		schedule:        newDueSchedule(),
		stats:           newCounters(),
	}
	if opts.migrations == nil {
		s.opts.migrations = migrations()
	}
	if opts.FreeBytes == nil {
		s.opts.FreeBytes = s.freeBytes
	}
	s.opts.FS = &failStopFS{FS: s.withReserve(opts.FS), stop: s.stop, logStep: s.logStep}
	if opts.Durability == OS {
		s.lazy = newLazyFS(s.opts.FS)
		s.opts.FS = s.lazy
	}
	s.watermark = &watermark{fs: s.opts.FS, dir: dir}
	return s
}

func (s *Store) start() {
	s.sampleSpace()
	s.refillReserve()
	last := store.Position(s.progress.durable.Load())
	c := &committer{s: s, seq: last, users: make(map[store.User]stagedItem), docs: make(map[string]stagedDoc)}
	go c.run()
	go s.replyAll()
	go s.maintain()
	go s.warmUp()
}

func (s *Store) freeBytes() (uint64, error) {
	usage, err := s.opts.FS.GetDiskUsage(s.dir)
	return usage.AvailBytes, err
}

func (s *Store) now() presence.Instant { return presence.InstantOf(s.opts.Clock()) }

// inspect reports whether the directory holds a store. It writes nothing.
func (s *Store) inspect() (exists bool, err error) {
	fs := s.opts.FS
	names, err := fs.List(s.dir)
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(names) == 0) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	format, err := atomicfs.ReadMarker(fs, s.dir, formatMarker)
	if err != nil {
		return false, err
	}
	if format != "" {
		if s.format, err = strconv.Atoi(format); err != nil || s.format > s.newestFormat() {
			return false, s.newerError(format)
		}
	}
	desc, err := pebble.Peek(s.dir, fs)
	if err != nil {
		return false, err
	}
	if desc.Exists {
		return true, nil
	}
	if stated, err := readWatermark(fs, s.dir); s.format != 0 || err == nil && stated.position != 0 {
		return false, damaged("marker.manifest", errors.New("the file that names the current MANIFEST is missing"))
	}
	// An interrupted first start leaves these files, which hold no data yet.
	for _, name := range names {
		if !isPebbleFile(name) {
			return false, fmt.Errorf("%w: %s contains %q but no store; give porchlight a directory of its own", ErrForeign, s.dir, name)
		}
	}
	return false, nil
}

func (s *Store) newerError(format string) error {
	return fmt.Errorf("%w: data directory %s has format %s, this version supports formats up to %d: use a newer porchlight, or restore a backup into a new directory",
		ErrNewer, s.dir, format, s.newestFormat())
}

func isPebbleFile(name string) bool {
	for _, prefix := range []string{watermarkName, "LOCK", "MANIFEST-", "OPTIONS-", "CURRENT", "marker."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, ".log") || strings.HasSuffix(name, ".dbtmp") || strings.HasSuffix(name, ".sst")
}

// openDB locks the directory and opens the database.
func (s *Store) openDB() (err error) {
	if s.lock, err = pebble.LockDirectory(s.dir, s.opts.FS); err != nil {
		return lockError(s.dir, err, ownDirectory)
	}
	err = s.runIsolated(func() (err error) {
		if err := s.loadWatermark(); err != nil {
			return err
		}
		if err := s.watermark.begin(s.lastWatermark, s.opts.Durability == OS); err != nil {
			return err
		}
		s.db, err = s.newDB()
		return err
	})
	if err == nil {
		return nil
	}
	if !s.isFailed() {
		err = errors.Join(err, s.watermark.end(), s.lock.Close())
	}
	return err
}

func (s *Store) newDB() (*pebble.DB, error) {
	o := s.pebbleOptions()
	fs, err := s.readableLogs()
	if err != nil {
		return nil, err
	}
	o.FS = &startFS{FS: fs, isOpen: s.open.Load, stop: s.stop}
	return pebble.Open(s.dir, o)
}

// openReadOnly opens the database of a locked directory for reading.
func (s *Store) openReadOnly() (err error) {
	if err := s.loadWatermark(); err != nil {
		return err
	}
	o := s.pebbleOptions()
	if o.FS, err = s.readableLogs(); err != nil {
		return err
	}
	o.ReadOnly = true
	s.db, err = pebble.Open(s.dir, o)
	return err
}

func noCompression() *sstable.CompressionProfile { return sstable.NoCompression }

func (s *Store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:        s.opts.FS,
		Lock:      s.lock,
		CacheSize: s.opts.BlockBytes,
		// Zero means Pebble's default, 1000.
		MaxOpenFiles: s.opts.OpenFiles,
		// An older porchlight that knows this value format must be able to open
		// the database, so Pebble's format changes only together with ours.
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                uint64(s.opts.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		Logger:                      pebbleLog{s},
		EventListener:               s.events(),
	}
	for i := range o.Levels {
		l := &o.Levels[i]
		l.FilterPolicy = bloom.FilterPolicy(10)
		// Most reads are of single random records. Larger index blocks mean
		// fewer lookups; without compression nothing needs to be unpacked.
		l.IndexBlockSize = 32 << 10
		l.Compression = noCompression
		o.TargetFileSizes[i] = 16 << 20
	}
	return o
}

// load reads the metadata, and marks the store as open.
func (s *Store) load() error {
	first, err := s.checkFormat()
	if err != nil {
		return err
	}
	if err := s.loadNumbers(); err != nil {
		return err
	}
	seq := s.progress.durableAt()
	if err := s.checkWatermark(seq); err != nil {
		return err
	}
	lastState, err := s.meta(metaState)
	if err != nil {
		return err
	}
	if s.epoch, err = s.meta(metaEpoch); err != nil {
		return err
	}
	b := s.db.NewBatch()
	// Older versions stored the positions of consumers here; package tail does not
	// use them.
	if err := b.DeleteRange([]byte{readerPrefix}, []byte{readerPrefix + 1}, nil); err != nil {
		return err
	}
	// With relaxed durability, positions that were published may be lost and
	// assigned again to other changes.
	if first || s.opts.NewEpoch || lastState == stateOpenOS {
		s.epoch = rand.Text()
		if err := b.Set([]byte(metaEpoch), []byte(s.epoch), nil); err != nil {
			return err
		}
	}
	state := stateOpenFsync
	if s.opts.Durability == OS {
		state = stateOpenOS
	}
	err = errors.Join(
		b.Set([]byte(metaFormat), []byte(strconv.Itoa(s.newestFormat())), nil),
		b.Set([]byte(metaState), []byte(state), nil),
		s.commitNow(b),
		s.watermark.opened(seq, s.opts.Durability == OS),
	)
	if err != nil {
		return err
	}
	return s.writeFormatMarker()
}

// commitNow commits b durably in either mode. It is for use before the committer
// starts and after it has ended.
func (s *Store) commitNow(b *pebble.Batch) error {
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	if s.lazy != nil {
		return s.lazy.syncAll()
	}
	return nil
}

// checkFormat reports whether the database is new, and refuses a foreign one.
func (s *Store) checkFormat() (first bool, err error) {
	format, err := s.meta(metaFormat)
	if err != nil {
		return false, err
	}
	if format != "" {
		if n, err := strconv.Atoi(format); err != nil || n > s.newestFormat() {
			return false, s.newerError(format)
		}
		return false, nil
	}
	empty := true
	err = s.scan(nil, nil, func([]byte, []byte) (bool, error) {
		empty = false
		return false, nil
	})
	switch {
	case err == nil && !empty:
		err = fmt.Errorf("%w: a Pebble database of another program", ErrForeign)
	case err == nil && s.format != 0:
		err = damaged(s.dir, errors.New("the database is empty and was not before"))
	}
	return true, err
}

// writeFormatMarker writes the format beside the database, where it can be read
// without opening the database.
func (s *Store) writeFormatMarker() error {
	marker, value, err := atomicfs.LocateMarker(s.opts.FS, s.dir, formatMarker)
	if err != nil {
		return err
	}
	if want := strconv.Itoa(s.newestFormat()); value != want {
		err = marker.Move(want)
	}
	return errors.Join(err, marker.Close())
}

func (s *Store) loadNumbers() error {
	seq, err := s.metaNumber(metaSeq)
	if err != nil {
		return err
	}
	trimmed, err := s.metaNumber(metaTrim)
	if err != nil {
		return err
	}
	// A batch writes both. If the number were too low, callers would wait forever for
	// sequence numbers that were assigned long ago.
	if last, err := s.lastLogged(); err != nil || uint64(last) > seq {
		return errors.Join(err, damaged("the database", fmt.Errorf("the log ends at position %d, but the last position assigned is %d", last, seq)))
	}
	s.progress.staged.Store(seq)
	s.progress.durable.Store(seq)
	s.trimmed.Store(trimmed)
	s.logCache = newLogCache(store.Position(seq))
	return nil
}

// lastLogged is the position of the last log entry, zero for none.
func (s *Store) lastLogged() (at store.Position, err error) {
	prefix := []byte{logPrefix}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upperBound(prefix)})
	if err != nil {
		return 0, err
	}
	if it.Last() {
		at, _ = cutLogKey(it.Key())
	}
	return at, s.readError(it.Close())
}

func (s *Store) meta(name string) (text string, err error) {
	err = s.get([]byte(name), func(value []byte) error {
		text = string(value)
		return nil
	})
	return text, err
}

func (s *Store) metaNumber(name string) (n uint64, err error) {
	err = s.get([]byte(name), func(value []byte) error {
		n, err = cutNumber(value)
		return err
	})
	return n, err
}

// Epoch implements store.Store.
func (s *Store) Epoch() string { return s.epoch }

// Close implements store.Store. Operations that have started are answered first.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	close(s.closing)
	// The committer must end first: Pebble panics on writes after it was closed.
	s.awaitCommitter()
	s.halt()
	<-s.replier.done
	closed := make(chan struct{})
	defer close(closed)
	go s.abandonFailed(closed)
	err := s.runIsolated(s.closeIdleDB)
	if s.isFailed() {
		// The cause was reported; this error follows from it. What the database still
		// holds is released when the process ends.
		return nil
	}
	return err
}

// closeIdleDB closes the database when nothing uses it any more. It may never return once
// the database is abandoned.
func (s *Store) closeIdleDB() error {
	<-s.maintenanceDone
	<-s.warmUpDone
	s.guard.Lock()
	defer s.guard.Unlock()
	s.dbClosed = true
	return s.closeDB()
}

// failedCloseTimeout is how long Close waits for the readers and the database of a failed
// store.
const failedCloseTimeout = 5 * time.Second

// abandonFailed abandons the database if it is not closed in time after the store failed.
func (s *Store) abandonFailed(closed <-chan struct{}) {
	select {
	case <-s.failed:
	case <-closed:
		return
	}
	select {
	case <-time.After(failedCloseTimeout):
		s.failure.abandon()
	case <-closed:
	}
}

// stallTimeout is how long Close waits for the committer of a failed store.
const stallTimeout = time.Second

// awaitCommitter returns when the committer has ended, or may never end: when memtables
// cannot be flushed, Pebble stalls writers for good.
func (s *Store) awaitCommitter() {
	select {
	case <-s.committerDone:
		return
	case <-s.abandoned:
		return
	case <-s.failed:
	}
	select {
	case <-s.committerDone:
	case <-s.abandoned:
	case <-time.After(stallTimeout):
		s.failure.abandon()
	}
}

// closeDB closes the database, and marks it as cleanly closed if it was open and has
// not failed.
func (s *Store) closeDB() error {
	if s.isAbandoned() {
		return nil
	}
	return s.runIsolated(func() error {
		if !s.open.Load() || s.isFailed() {
			return errors.Join(s.db.Close(), s.watermark.end(), s.lock.Close())
		}
		b := s.db.NewBatch()
		err := errors.Join(b.Set([]byte(metaState), []byte(stateClean), nil), s.commitNow(b))
		flushed := s.flushLogs()
		last := s.progress.durableAt()
		err = errors.Join(err, s.db.Close())
		if err == nil && flushed && !s.isFailed() {
			err = s.removeLogs()
		}
		if err == nil && !s.isFailed() {
			err = s.watermark.seal(last)
		}
		return errors.Join(err, s.watermark.end(), s.lock.Close())
	})
}
