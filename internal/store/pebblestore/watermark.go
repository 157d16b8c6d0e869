package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
)

// The watermark is a small file beside the database. It holds a durable position and
// whether the store was closed cleanly. Pebble treats unreadable data at the end of a
// log or a MANIFEST as an interrupted write, and opens without it. A database that ends
// before its watermark has lost acknowledged updates, and is refused.
//
// The watermark never exceeds what was synced before, so a crash alone never leads to a
// refusal. It is written about once a second if the position has changed, and when the
// store opens and closes, but never as part of a commit.
//
// The file has two slots, which are overwritten in turn: a crash damages at most one of
// them, and a full disk does not matter. Earlier versions of porchlight, which called
// the file a fence, read and write the same format. Their other fields are ignored and
// written as zeros.
const (
	watermarkName    = "porchlight-fence"
	watermarkSlot    = 4096
	watermarkVersion = 1
)

var (
	errNoWatermark  = errors.New("the file is missing")
	errBadWatermark = errors.New("both of its copies are damaged")
)

// A watermarkState is what a slot holds.
type watermarkState struct {
	writes uint64 // how many times the state was written
	// clean: the store was closed cleanly, and position is its last one.
	clean bool
	// relaxed: the store ran with durability OS, so the log may record a sync that
	// never happened.
	relaxed  bool
	position store.Position // durable
}

const (
	flagClean   = 1
	flagRelaxed = 2
)

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// encode gives the content of a slot.
func (st watermarkState) encode() []byte {
	b := make([]byte, 4, watermarkSlot)
	flags := byte(0)
	if st.clean {
		flags |= flagClean
	}
	if st.relaxed {
		flags |= flagRelaxed
	}
	b = append(b, watermarkVersion, flags)
	b = binary.AppendUvarint(b, st.writes)
	b = binary.AppendUvarint(b, uint64(st.position))
	b = b[:watermarkSlot]
	binary.LittleEndian.PutUint32(b, checksum(b[4:]))
	return b
}

// decodeWatermark reads a slot. It returns false for a damaged one.
func decodeWatermark(slot []byte) (st watermarkState, ok bool) {
	if len(slot) != watermarkSlot || binary.LittleEndian.Uint32(slot) != checksum(slot[4:]) || slot[4] != watermarkVersion {
		return watermarkState{}, false
	}
	writes, n := binary.Uvarint(slot[6:])
	if n <= 0 {
		return watermarkState{}, false
	}
	position, m := binary.Uvarint(slot[6+n:])
	return watermarkState{
		writes: writes, position: store.Position(position),
		clean: slot[5]&flagClean != 0, relaxed: slot[5]&flagRelaxed != 0,
	}, m > 0
}

// readWatermark gives the newer of the undamaged slots.
func readWatermark(fs vfs.FS, dir string) (watermarkState, error) {
	data, err := readAll(fs, fs.PathJoin(dir, watermarkName))
	if errors.Is(err, os.ErrNotExist) {
		return watermarkState{}, errNoWatermark
	}
	if err != nil {
		return watermarkState{}, err
	}
	var newest watermarkState
	found := false
	for i := 0; i+watermarkSlot <= min(len(data), 2*watermarkSlot); i += watermarkSlot {
		if st, ok := decodeWatermark(data[i : i+watermarkSlot]); ok && (!found || st.writes > newest.writes) {
			newest, found = st, true
		}
	}
	if !found {
		return watermarkState{}, errBadWatermark
	}
	return newest, nil
}

func readAll(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}

// firstFormatWithWatermark: with older formats a watermark file may be outdated, since
// an older porchlight changes the directory without advancing it.
const firstFormatWithWatermark = 2

// loadWatermark reads the position that the database must have reached.
func (s *Store) loadWatermark() error {
	if s.format > 0 && s.format < firstFormatWithWatermark {
		return nil
	}
	st, err := readWatermark(s.opts.FS, s.dir)
	missing := errors.Is(err, errNoWatermark) || errors.Is(err, errBadWatermark)
	switch {
	case err == nil:
		s.lastWatermark = &st
		return nil
	case missing && s.format == 0: // the creation of the directory may have been interrupted
		return nil
	case missing:
		return damaged(watermarkName, err)
	}
	return fmt.Errorf("read %s: %w", watermarkName, err)
}

// checkWatermark checks that the open database has reached its watermark.
func (s *Store) checkWatermark(last store.Position) error {
	if s.lastWatermark == nil {
		return nil
	}
	st := *s.lastWatermark
	if last < st.position || st.clean && last != st.position {
		return damaged(s.dir, fmt.Errorf("the database ends at position %d, but position %d had been synced to disk: acknowledged updates are lost", last, st.position))
	}
	if !st.clean {
		return nil
	}
	lastState, err := s.meta(metaState)
	if err == nil && lastState != stateClean {
		err = damaged(s.dir, errors.New("the store was closed cleanly, but the end of its database is missing"))
	}
	return err
}

// A watermark is the file while the store is open.
type watermark struct {
	fs  vfs.FS
	dir string

	mu    sync.Mutex // guards the fields below, and is held while writing
	file  vfs.File   // nil: not opened yet, or closed
	state watermarkState
}

// begin opens the file and records that the store is open, before anything is changed.
// The known position stays, and so does relaxed until the database is open: its logs are
// still those of the last time.
func (w *watermark) begin(known *watermarkState, relaxed bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	path := w.fs.PathJoin(w.dir, watermarkName)
	file, err := w.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if errors.Is(err, os.ErrNotExist) {
		file, err = w.create(path)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", watermarkName, err)
	}
	w.file = file
	if known != nil {
		w.state = *known
	}
	w.state.relaxed = relaxed || w.state.relaxed && !w.state.clean
	w.state.clean = false
	return w.write()
}

// opened records the position of the database, and the durability from now on, when the
// logs of the last time are no longer needed.
func (w *watermark) opened(at store.Position, relaxed bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at <= w.state.position && relaxed == w.state.relaxed {
		return nil
	}
	w.state.position, w.state.relaxed = max(w.state.position, at), relaxed
	return w.write()
}

func (w *watermark) create(path string) (vfs.File, error) {
	file, err := w.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(make([]byte, 2*watermarkSlot))
	if err = errors.Join(err, file.Sync(), file.Close(), syncDir(w.fs, w.dir)); err != nil {
		return nil, err
	}
	return w.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write writes the state into the slot that is not the newest.
func (w *watermark) write() error {
	if w.file == nil {
		return nil
	}
	w.state.writes++
	_, err := w.file.WriteAt(w.state.encode(), int64(w.state.writes%2)*watermarkSlot)
	if err == nil {
		err = w.file.SyncData()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", watermarkName, err)
	}
	return nil
}

// advance records that everything up to a position is durable.
func (w *watermark) advance(to store.Position) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to <= w.state.position {
		return nil
	}
	w.state.position = to
	return w.write()
}

// seal records in both slots that the store was closed cleanly, with last as its last
// position.
func (w *watermark) seal(last store.Position) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.clean, w.state.position = true, last
	return errors.Join(w.write(), w.write())
}

// end closes the file without writing.
func (w *watermark) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	return file.Close()
}

// advanceWatermark records the current durable position. With durability OS it first
// syncs the logs that were left to the operating system. Maintenance calls it.
func (s *Store) advanceWatermark() {
	durable := s.progress.durableAt()
	if s.lazy != nil { // durable then only means handed to the operating system
		if err := s.lazy.syncAll(); err != nil {
			s.fail(fmt.Errorf("sync: %w", err))
			return
		}
	}
	if err := s.watermark.advance(durable); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			s.log.Error("could not record the last synced position: disk full", slog.String("dir", s.dir), slog.Any("err", err))
			return
		}
		s.fail(err)
	}
}
