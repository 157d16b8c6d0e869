package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"porchlight.dev/porchlight/internal/store"
)

// An audit reads what Pebble would take for cut off by a crash, before Pebble
// does, and refuses what is damaged. It writes nothing.
type audit struct {
	fs  vfs.FS
	dir string
	// fenced: the directory has a fence, and stated is what that says.
	fenced bool
	stated fenceState

	manifest  manifestMark // of the whole file
	unflushed uint64       // the first write-ahead log in use
	logs      []uint64     // in use

	next uint64         // Pebble's number of the next batch; zero: not known
	seq  store.Position // the last in a log; zero: none
	left string         // the last state of the store in a log; "": none
	cut  cutLog
}

// auditFiles audits a directory. format is what its marker says, zero for none.
func auditFiles(fs vfs.FS, dir string, format int) (*audit, error) {
	a := &audit{fs: fs, dir: dir}
	if err := a.readFence(format); err != nil {
		return nil, err
	}
	desc, err := pebble.Peek(dir, fs)
	if err != nil {
		return nil, err
	}
	if !desc.Exists {
		return a, nil // inspect has looked whether there should be one
	}
	if err := a.auditManifest(desc.ManifestFilename); err != nil {
		return nil, err
	}
	return a, inOrder(func() error { return a.auditOptions(desc) }, a.auditLogs)
}

// auditOptions looks at the files that Pebble refuses without a name.
func (a *audit) auditOptions(desc *pebble.DBDesc) error {
	if a.fenced && desc.FormatMajorVersion == pebble.FormatDefault && a.stated.seq != 0 {
		return damaged("marker.format-version", errors.New("the file is missing"))
	}
	if desc.OptionsFilename == "" {
		return nil
	}
	text, err := readAll(a.fs, desc.OptionsFilename)
	if err != nil {
		return err
	}
	var o pebble.Options
	o.EnsureDefaults()
	if err := o.CheckCompatibility(a.dir, string(text)); err != nil {
		return damaged(a.fs.PathBase(desc.OptionsFilename), err)
	}
	return nil
}

// firstFenced is the format that has a fence. An older porchlight changes a
// directory of an older format without one, whatever fence lies there.
const firstFenced = 2

func (a *audit) readFence(format int) (err error) {
	if format > 0 && format < firstFenced {
		return nil
	}
	a.stated, err = readFence(a.fs, a.dir)
	if a.fenced = err == nil; a.fenced {
		return nil
	}
	unmarked := format == 0 // its creation may not have come to an end
	if unmarked && (errors.Is(err, errNoFence) || errors.Is(err, errBadFence)) {
		return nil
	}
	if !errors.Is(err, errNoFence) && !errors.Is(err, errBadFence) {
		return fmt.Errorf("read %s: %w", fenceName, err)
	}
	return damaged(fenceName, err)
}

// auditManifest holds the MANIFEST against the fence, and reads what it says of
// write-ahead logs.
func (a *audit) auditManifest(path string) error {
	name := a.fs.PathBase(path)
	data, err := readAll(a.fs, path)
	if errors.Is(err, os.ErrNotExist) {
		return damaged(name, err)
	}
	if err != nil {
		return err
	}
	a.manifest.number, _ = numberOf(name, manifestPrefix, "")
	a.manifest.length, a.manifest.sum = uint64(len(data)), sumOf(data)
	if a.fenced {
		if err := a.holdManifest(name, data); err != nil {
			return err
		}
	}
	return a.readManifest(name, data)
}

// statedManifest is where the fence has the MANIFEST in use; negative: it has not.
func (a *audit) statedManifest() int {
	return slices.IndexFunc(a.stated.manifests, func(m manifestMark) bool { return m.number == a.manifest.number })
}

func (a *audit) holdManifest(name string, data []byte) error {
	i := a.statedManifest()
	if i < 0 && len(a.stated.manifests) == 0 {
		return nil // the first start was cut off
	}
	if i < 0 {
		return damaged(name, errors.New("it is not the one in use: a marker.manifest file is missing or old"))
	}
	m := a.stated.manifests[i]
	if m.length > uint64(len(data)) {
		return damaged(name, fmt.Errorf("it ends at byte %d of %d", len(data), m.length))
	}
	if sumOf(data[:m.length]) != m.sum {
		return damaged(name, errors.New("its checksum is wrong"))
	}
	if a.stated.clean && m.length != uint64(len(data)) {
		return damaged(name, fmt.Errorf("it goes on after byte %d", m.length))
	}
	return nil
}

// readManifest reads the number of the first log in use, which stands near the
// beginning of each edit that changes it.
func (a *audit) readManifest(name string, data []byte) error {
	r := record.NewReader(bytes.NewReader(data), 0)
	for edits := 0; ; edits++ {
		edit, err := r.Next()
		var text []byte
		if err == nil {
			text, err = io.ReadAll(edit)
		}
		switch {
		case errors.Is(err, io.EOF) || isCutOff(err):
			if edits == 0 {
				return damaged(name, errors.New("it holds nothing that can be read"))
			}
			return nil
		case err != nil:
			return damaged(name, err)
		}
		if n := firstLog(text); n != 0 {
			a.unflushed = n
		}
	}
}

func isCutOff(err error) bool {
	return errors.Is(err, record.ErrZeroedChunk) || errors.Is(err, record.ErrInvalidChunk) || errors.Is(err, record.ErrUnexpectedEOF)
}

// Tags of a MANIFEST's edits, in the order in which they are written.
const (
	tagComparator = 1
	tagLogNumber  = 2
)

// firstLog is the number of the first log in use by an edit, zero if that does
// not say.
func firstLog(edit []byte) uint64 {
	tag, n := binary.Uvarint(edit)
	if n > 0 && tag == tagComparator {
		length, m := binary.Uvarint(edit[n:])
		if m <= 0 || length > uint64(len(edit)-n-m) {
			return 0
		}
		edit = edit[n+m+int(length):]
		tag, n = binary.Uvarint(edit)
	}
	if n <= 0 || tag != tagLogNumber {
		return 0
	}
	number, n := binary.Uvarint(edit[n:])
	if n <= 0 {
		return 0
	}
	return number
}

// auditLogs reads the logs in use: each goes on where the one before it ended,
// and the last one ends no earlier than the fence says.
func (a *audit) auditLogs() error {
	logs, err := wal.Scan(wal.Dir{FS: a.fs, Dirname: a.dir})
	if err != nil {
		return err
	}
	logs = slices.DeleteFunc(logs, func(l wal.LogicalLog) bool { return uint64(l.Num) < a.unflushed })
	for _, l := range logs {
		a.logs = append(a.logs, uint64(l.Num))
	}
	for _, n := range a.stated.logs {
		if n >= a.unflushed && !slices.Contains(a.logs, n) {
			return damaged(logName(n), errors.New("the file is missing"))
		}
	}
	for i, l := range logs {
		if err := a.auditLog(l, i == len(logs)-1); err != nil {
			return err
		}
	}
	return a.holdLogs()
}

func logName(number uint64) string { return fmt.Sprintf("%06d%s", number, logSuffix) }

// suspects names the logs in use, or the directory if there is none.
func (a *audit) suspects() string {
	if len(a.logs) == 0 {
		return a.dir
	}
	names := make([]string, len(a.logs))
	for i, n := range a.logs {
		names[i] = logName(n)
	}
	return strings.Join(names, " or ")
}

// holdLogs holds what the logs end with against the fence. Logs without anything
// are of a database that has it all in tables, which is looked at when it is
// open.
func (a *audit) holdLogs() error {
	if !a.fenced || len(a.logs) == 0 {
		return nil
	}
	last := a.suspects()
	if a.seq != 0 && a.seq < a.stated.seq {
		return damaged(last, fmt.Errorf("the logs end at number %d, and %d was on the disk", a.seq, a.stated.seq))
	}
	if a.stated.clean && a.left != stateClean {
		return damaged(last, errors.New("its end is missing: the store was closed in order, and the log does not say so"))
	}
	return nil
}

// auditLog reads one log.
func (a *audit) auditLog(l wal.LogicalLog, last bool) error {
	r := l.OpenForRead()
	defer func() { _ = r.Close() }() // was read
	name := logName(uint64(l.Num))
	var batch bytes.Buffer
	for {
		text, at, err := r.NextRecord()
		batch.Reset()
		if err == nil {
			_, err = io.Copy(&batch, text)
		}
		switch {
		case errors.Is(err, io.EOF) && last:
			return nil
		case errors.Is(err, io.EOF):
			return a.auditEnd(name, uint64(l.Num))
		case isCutOff(err) && last:
			return a.auditTail(name, uint64(l.Num), at.Physical)
		case isCutOff(err):
			return damaged(name, fmt.Errorf("at byte %d: %w", at.Physical, err))
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := a.auditBatch(batch.Bytes()); err != nil {
			if at.Physical == 0 {
				name = a.suspects() // the end of the one before
			}
			return damaged(name, fmt.Errorf("at byte %d: %w", at.Physical, err))
		}
	}
}

// auditEnd looks for what Pebble writes when it closes a log, which it syncs
// before it begins the next.
func (a *audit) auditEnd(name string, number uint64) error {
	data, err := readAll(a.fs, a.fs.PathJoin(a.dir, name))
	if err != nil {
		return err
	}
	end := lastChunk(data, 0, number)
	if end+chunkHead > len(data) || uint64(binary.LittleEndian.Uint32(data[end+7:])) != number+1 {
		return damaged(name, fmt.Errorf("it ends at byte %d, and more was written", end))
	}
	return nil
}

// auditBatch: batches have one number after another.
func (a *audit) auditBatch(batch []byte) error {
	h, ok := batchrepr.ReadHeader(batch)
	if !ok {
		return errors.New("a batch without a head")
	}
	if first := uint64(h.SeqNum); a.next != 0 && first != a.next {
		return fmt.Errorf("batch %d follows, and %d is missing", first, a.next)
	}
	a.next = uint64(h.SeqNum) + uint64(h.Count)
	r := batchrepr.Read(batch)
	for {
		kind, key, value, ok, err := r.Next()
		if err != nil || !ok {
			return err
		}
		if kind != pebble.InternalKeyKindSet {
			continue
		}
		switch string(key) {
		case metaSeq:
			n, err := cutNumber(value)
			if err != nil {
				return err
			}
			a.seq = store.Position(n)
		case metaState:
			a.left = string(value)
		}
	}
}

// auditTail looks behind the place where the last log cannot be read. A crash
// cuts off what was not synced; so if anything that stands behind was written
// when the log was synced beyond this place, the place is damaged. Pebble looks
// for that too, but only from the next 32 KiB on. With relaxed durability the log
// says synced of what was not, so there Pebble must not look.
func (a *audit) auditTail(name string, number uint64, at int64) error {
	if a.stated.relaxed {
		a.cut = cutLog{name, at}
		return nil
	}
	data, err := readAll(a.fs, a.fs.PathJoin(a.dir, name))
	if err != nil {
		return err
	}
	bad := lastChunk(data, int(at), number)
	for i := bad + 1; i+chunkHead <= len(data); i++ {
		if _, synced, ok := logChunk(data, i, number); ok && synced > uint64(bad) {
			return damaged(name, fmt.Errorf("it cannot be read at byte %d, and was synced up to byte %d", bad, synced))
		}
	}
	return nil
}

// lastChunk is where the chunks end that can be read from a place on.
func lastChunk(data []byte, from int, number uint64) int {
	for end := from; ; {
		next, _, ok := logChunk(data, end, number)
		if !ok {
			return end
		}
		end = next
	}
}

// The forms of a log's chunks; see the documentation of Pebble's package record.
// A log begins with checksum 4, length 2, kind 1 and log number 4 bytes. In those
// of the newer kinds the sync offset follows. The first log of a database that
// format 1 made is of the older ones.
const (
	chunkBlock   = 32 << 10
	chunkHead    = 11
	syncedHead   = chunkHead + 8
	chunkKinds   = 5 // and the three after it
	syncedKinds  = 9 // likewise
	kindsOfChunk = 4 // full, first, middle, last
)

// logChunk reads the chunk at a place: where the next one is, and how far the log
// was synced when it was written, zero if it does not say.
func logChunk(data []byte, at int, number uint64) (next int, synced uint64, ok bool) {
	blockEnd := min((at/chunkBlock+1)*chunkBlock, len(data))
	if left := data[min(at, blockEnd):blockEnd]; len(left) < syncedHead && len(bytes.Trim(left, "\x00")) == 0 {
		return blockEnd, 0, blockEnd < len(data) // too little for a chunk
	}
	if at+chunkHead > blockEnd {
		return 0, 0, false
	}
	head, size := data[at:blockEnd], chunkHead
	switch kind := head[6]; {
	case kind >= syncedKinds && kind < syncedKinds+kindsOfChunk:
		size = syncedHead
	case kind < chunkKinds || kind >= chunkKinds+kindsOfChunk:
		return 0, 0, false
	}
	end := size + int(binary.LittleEndian.Uint16(head[4:]))
	if end > len(head) || uint64(binary.LittleEndian.Uint32(head[7:])) != number {
		return 0, 0, false
	}
	sum := sumOf(head[6:end])
	if binary.LittleEndian.Uint32(head) != (sum>>15|sum<<17)+0xa282ead8 {
		return 0, 0, false
	}
	if size == syncedHead {
		synced = binary.LittleEndian.Uint64(head[chunkHead:])
	}
	return at + end, synced, true
}

// begin is what the fence states when the store opens: what it did, and what was
// found.
func (a *audit) begin() fenceState {
	st := a.stated
	st.logs = a.logs
	if !a.fenced && a.manifest.number != 0 {
		st.manifests = []manifestMark{a.manifest}
	}
	// Those of starts that were cut off before they put theirs in place are over:
	// kept, they would drive out the one in use.
	if i := a.statedManifest(); i >= 0 {
		st.manifests = st.manifests[i : i+1 : i+1]
	}
	return st
}

// hold is for the open database: it must have come as far as the fence says.
func (a *audit) hold(seq store.Position) error {
	if !a.fenced || seq == a.stated.seq || seq > a.stated.seq && !a.stated.clean {
		return nil
	}
	return damaged(a.suspects(), fmt.Errorf("the database ends at number %d, and %d was on the disk", seq, a.stated.seq))
}
