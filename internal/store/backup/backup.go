// Package backup is the form of a backup: one stream of keys and values in order,
// in numbered chunks that are checked.
//
// It is separate from the engines so that the format of a backup depends on none of
// them: an engine writes its keys and values, and their format in the header. The
// package guarantees that a reader detects a changed byte, truncation, data after the
// end, and a chunk that is missing, repeated or misplaced; that reader and writer use
// constant memory and never seek; and that a file appears under its name complete and
// synced, or not at all. It must not know what a key or a value means.
//
// # The form
//
// A stream begins with the line "porchlight backup 1". Then come frames: a header,
// chunks, and a trailer. A frame is
//
//	kind (1 byte) number (4) length (4) payload CRC-32C of all of that (4)
//
// with big-endian numbers. Frames are numbered from 0. The payload of header and
// trailer is JSON. That of a chunk is pairs, in ascending order of their keys over
// all chunks:
//
//	length of the key (uvarint) length of the value (uvarint) key value
//
// The trailer has the counts of everything and the SHA-256 of all bytes before
// its frame. Nothing follows it.
//
// The checksum of each frame detects and locates damage before the frame is used. The
// digest detects damage that a 32-bit checksum misses.
package backup

import (
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Errors of reading a stream. Each is wrapped with the position and advice for the
// operator.
var (
	// ErrNoBackup: the stream is something else.
	ErrNoBackup = errors.New("this is not a backup made by porchlight")
	// ErrNewer: a newer porchlight made it.
	ErrNewer = errors.New("the backup has a newer format")
	// ErrDamaged: the stream differs from what was written.
	ErrDamaged = errors.New("the backup is damaged")
)

const (
	// magic is how a stream of any version begins, and version what follows it.
	magic   = "porchlight backup "
	version = "1\n"

	headerKind  = 'H'
	chunkKind   = 'C'
	trailerKind = 'T'

	headSize = 9
	sumSize  = 4

	// ChunkBytes is the size of keys and values in a chunk: small enough for memory,
	// and large enough that the overhead of frames is negligible.
	ChunkBytes = 512 << 10
	// maxPayload bounds the memory that a reader allocates for a damaged length.
	maxPayload = 16 << 20
)

// A Header describes the store whose keys and values follow.
type Header struct {
	Engine   string    `json:"engine"`   // that the keys and values are of
	Format   int       `json:"format"`   // of the engine's keys and values
	Epoch    string    `json:"epoch"`    // of the store
	Position uint64    `json:"position"` // of the last change that is in it
	Created  time.Time `json:"created"`
}

// Counts are of the contents of a store, in any engine.
type Counts struct {
	Records   int64 `json:"records"` // of users
	Entries   int64 `json:"log_entries"`
	Documents int64 `json:"documents"`
}

// A trailer ends a stream.
type trailer struct {
	Counts
	Chunks int64  `json:"chunks"`
	Pairs  int64  `json:"pairs"`
	Bytes  int64  `json:"bytes"`  // of keys and values
	SHA256 string `json:"sha256"` // of all before the trailer
}

// Info describes a complete stream.
type Info struct {
	Header
	Counts
	Chunks int64  `json:"chunks"`
	Bytes  int64  `json:"bytes"`  // of the stream
	SHA256 string `json:"sha256"` // of the stream, as sha256sum prints it
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func damaged(at int64, format string, args ...any) error {
	return fmt.Errorf("%w at byte %d: %s; use another copy of it, or an older backup", ErrDamaged, at, fmt.Sprintf(format, args...))
}
