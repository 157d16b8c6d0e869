package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
)

// The fence is a small file beside the database that states what is known to be
// on the disk: a number that the database must reach, how its MANIFEST begins,
// and which write-ahead logs there are. Pebble takes whatever cannot be read at
// the end of its files for something that a crash cut off, and opens without it;
// with the fence, a database that ends too early is refused instead.
//
// It never says more than what was synced before, so no crash makes it refuse
// what the crash left. It is written after the MANIFEST is synced, about once a
// second while there is something to say, and when the store opens and closes:
// never on the way of a commit.
//
// The file has two slots, written in turn and in place: a crash spoils one of
// them at most, and no space is taken on a full disk.
const (
	fenceName     = "porchlight-fence"
	fenceSlot     = 4096
	fenceVersion  = 1
	fenceFiles    = 256 // of each kind; far more than there are
	keptManifests = 2   // a new one is synced before it is put in place
)

var (
	errNoFence  = errors.New("there is no fence")
	errBadFence = errors.New("neither of its copies can be read")
)

// fenceState is what the fence states.
type fenceState struct {
	turn uint64 // counts writings
	// clean: the store was closed, and seq is exact.
	clean bool
	// relaxed: the store ran with durability OS, which tells Pebble that logs
	// are synced when they are not.
	relaxed   bool
	seq       store.Position // durable
	manifests []manifestMark // the newest last
	logs      []uint64       // that a directory sync has covered
}

// A manifestMark is the beginning of a MANIFEST, which never changes.
type manifestMark struct {
	number uint64
	length uint64
	sum    uint32
}

func sumOf(data []byte) uint32 { return sumOn(0, data) }

func sumOn(sum uint32, data []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), data)
}

// encode fills a slot.
func (st *fenceState) encode() []byte {
	b := make([]byte, 4, fenceSlot)
	flags := byte(0)
	if st.clean {
		flags |= 1
	}
	if st.relaxed {
		flags |= 2
	}
	b = append(b, fenceVersion, flags)
	b = binary.AppendUvarint(b, st.turn)
	b = binary.AppendUvarint(b, uint64(st.seq))
	b = binary.AppendUvarint(b, uint64(len(st.manifests)))
	for _, m := range st.manifests {
		b = binary.AppendUvarint(b, m.number)
		b = binary.AppendUvarint(b, m.length)
		b = binary.LittleEndian.AppendUint32(b, m.sum)
	}
	b = binary.AppendUvarint(b, uint64(len(st.logs)))
	for _, n := range st.logs {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, make([]byte, fenceSlot-len(b))...)
	binary.LittleEndian.PutUint32(b, sumOf(b[4:]))
	return b
}

// decodeFence reads a slot, and is false for one that is not whole.
func decodeFence(slot []byte) (st fenceState, ok bool) {
	if len(slot) != fenceSlot || binary.LittleEndian.Uint32(slot) != sumOf(slot[4:]) || slot[4] != fenceVersion {
		return fenceState{}, false
	}
	d := fenceDecoder{rest: slot[6:]}
	st = fenceState{clean: slot[5]&1 != 0, relaxed: slot[5]&2 != 0}
	st.turn = d.number()
	st.seq = store.Position(d.number())
	for range min(d.number(), fenceFiles) {
		st.manifests = append(st.manifests, manifestMark{d.number(), d.number(), d.sum()})
	}
	for range min(d.number(), fenceFiles) {
		st.logs = append(st.logs, d.number())
	}
	return st, !d.bad
}

type fenceDecoder struct {
	rest []byte
	bad  bool
}

func (d *fenceDecoder) number() uint64 {
	u, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return u
}

func (d *fenceDecoder) sum() uint32 {
	if len(d.rest) < 4 {
		d.bad = true
		return 0
	}
	u := binary.LittleEndian.Uint32(d.rest)
	d.rest = d.rest[4:]
	return u
}

// readFence gives the newer of the two slots that are whole.
func readFence(fs vfs.FS, dir string) (fenceState, error) {
	data, err := readAll(fs, fs.PathJoin(dir, fenceName))
	if errors.Is(err, os.ErrNotExist) {
		return fenceState{}, errNoFence
	}
	if err != nil {
		return fenceState{}, err
	}
	var newest fenceState
	found := false
	for i := 0; i+fenceSlot <= min(len(data), 2*fenceSlot); i += fenceSlot {
		if st, ok := decodeFence(data[i : i+fenceSlot]); ok && (!found || st.turn > newest.turn) {
			newest, found = st, true
		}
	}
	if !found {
		return fenceState{}, errBadFence
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

// A fence keeps the file while the store is open.
type fence struct {
	fs  vfs.FS
	dir string

	mu    sync.Mutex // guards the fields below, and is held while writing
	file  vfs.File   // nil: not begun, or over
	state fenceState

	logs fencedLogs
}

func newFence(fs vfs.FS, dir string) *fence { return &fence{fs: fs, dir: dir} }

// begin states that the store is open, before anything in it is changed. What is
// known from before holds on.
func (f *fence) begin(st fenceState, relaxed bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := f.fs.PathJoin(f.dir, fenceName)
	file, err := f.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if errors.Is(err, os.ErrNotExist) {
		file, err = f.create(path)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", fenceName, err)
	}
	// The names of the logs that were found may not be durable yet.
	if err := syncDir(f.fs, f.dir); err != nil {
		return errors.Join(fmt.Errorf("sync the directory: %w", err), file.Close())
	}
	f.file, f.state = file, st
	f.state.clean, f.state.relaxed = false, relaxed
	f.logs.set(st.logs)
	return f.write()
}

func (f *fence) create(path string) (vfs.File, error) {
	file, err := f.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(make([]byte, 2*fenceSlot))
	if err = errors.Join(err, file.Sync(), file.Close(), syncDir(f.fs, f.dir)); err != nil {
		return nil, err
	}
	return f.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write writes the state into the slot that is not the newest.
func (f *fence) write() error {
	if f.file == nil {
		return nil
	}
	f.state.turn++
	f.state.logs = f.logs.take()
	_, err := f.file.WriteAt(f.state.encode(), int64(f.state.turn%2)*fenceSlot)
	if err == nil {
		err = f.file.SyncData()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", fenceName, err)
	}
	return nil
}

// advance states that everything up to seq is durable.
func (f *fence) advance(seq store.Position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq <= f.state.seq && !f.logs.changed() {
		return nil
	}
	f.state.seq = max(f.state.seq, seq)
	return f.write()
}

// wrote states that the MANIFEST m is durable.
func (f *fence) wrote(m manifestMark) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.state.manifests); n > 0 && f.state.manifests[n-1].number == m.number {
		f.state.manifests[n-1] = m
	} else {
		all := append(slices.Clone(f.state.manifests), m)
		f.state.manifests = all[max(0, len(all)-keptManifests):]
	}
	return f.write()
}

// seal states that the store was closed with seq as its last number, in both
// slots.
func (f *fence) seal(seq store.Position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.clean, f.state.seq = true, seq
	return errors.Join(f.write(), f.write())
}

// end lets go of the file, and leaves it as it is.
func (f *fence) end() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}

// moveFence states what is durable by now. The keeper calls it.
func (s *Store) moveFence() {
	seq := s.progress.durableAt()
	if s.lazy != nil { // that it is with the operating system
		if err := s.lazy.syncAll(); err != nil {
			s.fail(fmt.Errorf("sync: %w", err))
			return
		}
	}
	if err := s.fence.advance(seq); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			s.log.Error("the fence could not be moved on", slog.String("dir", s.dir), slog.Any("err", err))
			return
		}
		s.fail(err)
	}
}
