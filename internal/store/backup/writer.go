package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// A Writer writes a stream. After an error the stream must be discarded.
type Writer struct {
	to         io.Writer
	table      *crc32.Table
	digest     hash.Hash
	chunkBytes int

	header  Header
	frame   []byte // the current frame, with its head
	number  uint32 // of frame
	last    []byte // key
	written int64
	total   trailer
}

// NewWriter begins a stream whose chunks have about chunkBytes of keys and values
// each; zero: ChunkBytes.
func NewWriter(to io.Writer, h Header, chunkBytes int) (*Writer, error) {
	if chunkBytes <= 0 {
		chunkBytes = ChunkBytes
	}
	w := &Writer{to: to, table: castagnoli(), digest: sha256.New(), chunkBytes: chunkBytes, header: h}
	if err := w.send([]byte(magic + version)); err != nil {
		return nil, err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	w.frame = append(make([]byte, headSize, headSize+chunkBytes+sumSize), text...)
	return w, w.flush(headerKind)
}

var errOrder = errors.New("keys of a backup come in ascending order")

// Add appends a pair. Keys must be unique and in ascending order. It copies key and
// value.
func (w *Writer) Add(key, value []byte) error {
	if w.total.Pairs > 0 && bytes.Compare(key, w.last) <= 0 {
		return fmt.Errorf("%w: %q after %q", errOrder, key, w.last)
	}
	size := len(key) + len(value)
	if size > maxPayload/2 {
		return fmt.Errorf("a pair of %d bytes is too large for a backup", size)
	}
	if len(w.frame) > headSize && len(w.frame)+size > headSize+w.chunkBytes {
		if err := w.flushChunk(); err != nil {
			return err
		}
	}
	w.frame = binary.AppendUvarint(w.frame, uint64(len(key)))
	w.frame = binary.AppendUvarint(w.frame, uint64(len(value)))
	w.frame = append(append(w.frame, key...), value...)
	w.last = append(w.last[:0], key...)
	w.total.Pairs++
	w.total.Bytes += int64(size)
	return nil
}

func (w *Writer) flushChunk() error {
	w.total.Chunks++
	return w.flush(chunkKind)
}

// Written is how many bytes of the stream were written.
func (w *Writer) Written() int64 { return w.written }

// Close ends the stream. It does not close the underlying writer.
func (w *Writer) Close(counts Counts) (Info, error) {
	if len(w.frame) > headSize {
		if err := w.flushChunk(); err != nil {
			return Info{}, err
		}
	}
	w.total.Counts = counts
	w.total.SHA256 = hex.EncodeToString(w.digest.Sum(nil))
	text, err := json.Marshal(w.total)
	if err != nil {
		return Info{}, err
	}
	w.frame = append(w.frame, text...)
	if err := w.flush(trailerKind); err != nil {
		return Info{}, err
	}
	return Info{
		Header: w.header, Counts: counts, Chunks: w.total.Chunks,
		Bytes: w.written, SHA256: hex.EncodeToString(w.digest.Sum(nil)),
	}, nil
}

// flush completes the frame and begins the next.
func (w *Writer) flush(kind byte) error {
	w.frame[0] = kind
	binary.BigEndian.PutUint32(w.frame[1:], w.number)
	binary.BigEndian.PutUint32(w.frame[5:], uint32(len(w.frame)-headSize))
	w.frame = binary.BigEndian.AppendUint32(w.frame, crc32.Checksum(w.frame, w.table))
	err := w.send(w.frame)
	w.frame = w.frame[:headSize]
	w.number++
	return err
}

func (w *Writer) send(b []byte) error {
	w.digest.Write(b)
	n, err := w.to.Write(b)
	w.written += int64(n)
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}
