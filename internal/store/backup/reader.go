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
	"strings"
)

// A Reader checks a stream and returns its pairs.
type Reader struct {
	from   io.Reader
	table  *crc32.Table
	digest hash.Hash

	header Header
	at     int64 // bytes read
	number uint32
	frame  []byte
	rest   []byte // of the chunk's pairs
	last   []byte // key
	total  trailer
	ended  bool
	info   Info
}

// NewReader reads the beginning of a stream.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{from: from, table: castagnoli(), digest: sha256.New()}
	if err := r.readMagic(); err != nil {
		return nil, err
	}
	kind, payload, err := r.readFrame()
	if err != nil {
		return nil, err
	}
	if kind != headerKind {
		return nil, damaged(r.at, "the first frame is no header")
	}
	if err := decodeJSON(payload, &r.header); err != nil {
		return nil, damaged(r.at, "the header cannot be read: %v", err)
	}
	return r, nil
}

// readMagic reads the first line, with the version.
func (r *Reader) readMagic() error {
	line := make([]byte, len(magic)+len(version))
	n, err := io.ReadFull(r.from, line)
	r.at += int64(n)
	if err != nil && !isEOF(err) {
		return fmt.Errorf("read the backup: %w", err)
	}
	line = line[:n]
	switch known := magic + version; {
	case string(line) == known:
		r.digest.Write(line)
		return nil
	case strings.HasPrefix(known, string(line)):
		return damaged(r.at, "it ends there")
	case bytes.HasPrefix(line, []byte(magic)):
		return fmt.Errorf("%w than this porchlight knows, or a damaged first line: use a newer porchlight", ErrNewer)
	default:
		return fmt.Errorf("%w: it begins with %q; check which file it is, and decrypt or decompress it first if you packed it", ErrNoBackup, line)
	}
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// decodeJSON refuses unknown members, and data after the value.
func decodeJSON(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if d.More() {
		return errors.New("unexpected data after the end")
	}
	return nil
}

// Header is the header of the stream.
func (r *Reader) Header() Header { return r.header }

// Info is valid once Next has returned io.EOF.
func (r *Reader) Info() Info { return r.info }

// Next returns the next pair, which is valid until the next call. It returns io.EOF
// after the last one, if the trailer is correct and nothing follows it.
func (r *Reader) Next() (key, value []byte, err error) {
	for len(r.rest) == 0 {
		if r.ended {
			return nil, nil, io.EOF
		}
		if err := r.readChunk(); err != nil {
			return nil, nil, err
		}
	}
	key, value, ok := r.cutPair()
	if !ok {
		return nil, nil, damaged(r.at, "chunk %d has a pair past its end", r.number-1)
	}
	if r.total.Pairs > 0 && bytes.Compare(key, r.last) <= 0 {
		return nil, nil, damaged(r.at, "chunk %d has keys out of order", r.number-1)
	}
	r.last = append(r.last[:0], key...)
	r.total.Pairs++
	r.total.Bytes += int64(len(key) + len(value))
	return key, value, nil
}

// Each calls each with all pairs, and read at the end of every chunk with the bytes read
// so far. It ends with the first error of any of them.
func (r *Reader) Each(read func(int64) error, each func(key, value []byte) error) error {
	for {
		key, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = each(key, value)
		}
		if err == nil && len(r.rest) == 0 {
			err = read(r.at)
		}
		if err != nil {
			return err
		}
	}
}

func (r *Reader) cutPair() (key, value []byte, ok bool) {
	k, n := binary.Uvarint(r.rest)
	if n <= 0 {
		return nil, nil, false
	}
	v, m := binary.Uvarint(r.rest[n:])
	if m <= 0 {
		return nil, nil, false
	}
	pair := r.rest[n+m:]
	if k > uint64(len(pair)) || v > uint64(len(pair))-k {
		return nil, nil, false
	}
	r.rest = pair[k+v:]
	return pair[:k:k], pair[k : k+v : k+v], true
}

// readChunk reads the next chunk, or the trailer.
func (r *Reader) readChunk() error {
	before := hex.EncodeToString(r.digest.Sum(nil))
	kind, payload, err := r.readFrame()
	switch {
	case err != nil:
		return err
	case kind == chunkKind && len(payload) > 0:
		r.total.Chunks++
		r.rest = payload
		return nil
	case kind == trailerKind:
		return r.checkTrailer(payload, before)
	default:
		return damaged(r.at, "frame %d is of kind %q, which does not belong there", r.number-1, kind)
	}
}

// checkTrailer compares the trailer with the data that was read.
func (r *Reader) checkTrailer(payload []byte, digest string) error {
	var want trailer
	if err := decodeJSON(payload, &want); err != nil {
		return damaged(r.at, "the trailer cannot be read: %v", err)
	}
	r.total.Counts, r.total.SHA256 = want.Counts, digest
	if want != r.total {
		return damaged(r.at, "the trailer speaks of %d chunks, %d pairs, %d bytes and digest %s; there are %d, %d, %d and %s",
			want.Chunks, want.Pairs, want.Bytes, want.SHA256, r.total.Chunks, r.total.Pairs, r.total.Bytes, digest)
	}
	n, err := io.ReadFull(r.from, make([]byte, 1))
	if n > 0 {
		return damaged(r.at, "there are bytes after its end")
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the backup: %w", err)
	}
	r.ended = true
	r.info = Info{
		Header: r.header, Counts: want.Counts, Chunks: r.total.Chunks,
		Bytes: r.at, SHA256: hex.EncodeToString(r.digest.Sum(nil)),
	}
	return nil
}

// next reads and checks one frame. The payload is valid until the next call.
func (r *Reader) readFrame() (kind byte, payload []byte, err error) {
	at := r.at
	r.frame = resized(r.frame, headSize)
	if err := r.readFull(r.frame); err != nil {
		return 0, nil, err
	}
	number := binary.BigEndian.Uint32(r.frame[1:])
	length := binary.BigEndian.Uint32(r.frame[5:])
	if length > maxPayload {
		return 0, nil, damaged(at, "frame %d claims %d bytes", r.number, length)
	}
	r.frame = resized(r.frame, headSize+int(length)+sumSize)
	if err := r.readFull(r.frame[headSize:]); err != nil {
		return 0, nil, err
	}
	body := r.frame[:headSize+int(length)]
	if crc32.Checksum(body, r.table) != binary.BigEndian.Uint32(r.frame[len(body):]) {
		return 0, nil, damaged(at, "the checksum of frame %d, which ends at byte %d, is wrong", r.number, r.at)
	}
	if number != r.number {
		return 0, nil, damaged(at, "frame %d stands where frame %d belongs", number, r.number)
	}
	r.number++
	r.digest.Write(r.frame)
	return body[0], body[headSize:], nil
}

// resized is b with a length of n, and its contents.
func resized(b []byte, n int) []byte {
	if cap(b) < n {
		b = append(make([]byte, 0, n), b...)
	}
	return b[:n]
}

func (r *Reader) readFull(b []byte) error {
	n, err := io.ReadFull(r.from, b)
	r.at += int64(n)
	if isEOF(err) {
		return damaged(r.at, "the file is truncated")
	}
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	return nil
}

// Copy copies a stream and checks it. It calls moved, unless it is nil, with the
// bytes copied so far. After an error the copy must be discarded.
func Copy(to io.Writer, from io.Reader, moved func(int64)) (Info, error) {
	r, err := NewReader(io.TeeReader(from, to))
	if err != nil {
		return Info{}, err
	}
	read := func(at int64) error {
		if moved != nil {
			moved(at)
		}
		return nil
	}
	if err := r.Each(read, func([]byte, []byte) error { return nil }); err != nil {
		return Info{}, err
	}
	return r.Info(), nil
}
