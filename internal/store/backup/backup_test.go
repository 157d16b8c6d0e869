package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var testHeader = Header{Engine: "test", Format: 3, Epoch: "E", Position: 42, Created: time.Date(2026, 11, 22, 1, 2, 3, 4e6, time.UTC)}

// stream writes a stream of n pairs, a few in each chunk.
func stream(t *testing.T, n int) ([]byte, Info) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, testHeader, 64)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.Add(fmt.Appendf(nil, "key %05d", i), bytes.Repeat([]byte{byte(i)}, i%40)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := w.Close(Counts{Records: int64(n)})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), info
}

// readAll reads a stream to the end.
func readAll(from io.Reader) (pairs []string, info Info, err error) {
	r, err := NewReader(from)
	if err != nil {
		return nil, Info{}, err
	}
	for {
		key, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			return pairs, r.Info(), nil
		}
		if err != nil {
			return pairs, Info{}, err
		}
		pairs = append(pairs, string(key)+"="+string(value))
	}
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 2, 100} {
		data, wrote := stream(t, n)
		// One byte at a time, like the slowest pipe.
		pairs, read, err := readAll(iotest.OneByteReader(bytes.NewReader(data)))
		if err != nil || len(pairs) != n {
			t.Fatalf("%d pairs: read %d, %v", n, len(pairs), err)
		}
		for i, pair := range pairs {
			if want := fmt.Sprintf("key %05d=", i) + strings.Repeat(string(rune(byte(i))), i%40); i < 128 && pair != want {
				t.Errorf("pair %d is %q, want %q", i, pair, want)
			}
		}
		if wrote != read || read.Header != testHeader || read.Bytes != int64(len(data)) || read.Records != int64(n) {
			t.Errorf("%d pairs: written %+v, read %+v", n, wrote, read)
		}
		if n == 100 && read.Chunks < 20 {
			t.Errorf("INVALID: only %d chunks", read.Chunks)
		}
		var copied bytes.Buffer
		moved := int64(0)
		if info, err := Copy(&copied, bytes.NewReader(data), func(at int64) { moved = at }); err != nil || info != read || !bytes.Equal(copied.Bytes(), data) {
			t.Errorf("Copy of %d pairs: %+v, %v", n, info, err)
		}
		if n > 0 && moved == 0 {
			t.Error("Copy reported no progress")
		}
	}
}

// TestEveryByteChanged: a change of any single byte is detected.
func TestEveryByteChanged(t *testing.T) {
	data, _ := stream(t, 30)
	tried := 0
	for at := range data {
		for _, mask := range []byte{0x01, 0x80, 0xff, byte(1 + rand.IntN(255))} {
			changed := bytes.Clone(data)
			changed[at] ^= mask
			if _, _, err := readAll(bytes.NewReader(changed)); err == nil {
				t.Fatalf("byte %d of %d changed by %#x is not detected", at, len(data), mask)
			}
			tried++
		}
	}
	t.Logf("%d changes in a stream of %d bytes", tried, len(data))
}

// TestEveryTruncation: truncation at any byte, and data after the end, are detected.
func TestEveryTruncation(t *testing.T) {
	data, _ := stream(t, 30)
	for n := range data {
		if _, _, err := readAll(bytes.NewReader(data[:n])); !errors.Is(err, ErrDamaged) {
			t.Fatalf("the first %d of %d bytes: %v, want ErrDamaged", n, len(data), err)
		}
	}
	for _, more := range []string{"\x00", "\n", string(data)} {
		if _, _, err := readAll(strings.NewReader(string(data) + more)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes after the end: %v, want ErrDamaged", len(more), err)
		}
	}
}

// frames cuts a stream into its first line and its frames.
func frames(data []byte) (cut [][]byte) {
	first := len(magic) + len(version)
	cut = append(cut, data[:first])
	for rest := data[first:]; len(rest) > 0; {
		n := headSize + int(binary.BigEndian.Uint32(rest[5:])) + sumSize
		cut, rest = append(cut, rest[:n]), rest[n:]
	}
	return cut
}

// renumber makes the numbers of the frames consecutive.
func renumber(cut [][]byte) {
	for i, frame := range cut[1:] {
		frame = bytes.Clone(frame)
		binary.BigEndian.PutUint32(frame[1:], uint32(i))
		body := frame[:len(frame)-sumSize]
		binary.BigEndian.PutUint32(frame[len(body):], crc32.Checksum(body, castagnoli()))
		cut[1+i] = frame
	}
}

// TestMisplacedFrames: valid frames that are missing, repeated or misplaced are
// detected, even with adjusted numbers.
func TestMisplacedFrames(t *testing.T) {
	data, _ := stream(t, 30)
	n := len(frames(data))
	if n < 10 {
		t.Fatalf("INVALID: only %d frames", n)
	}
	tried := 0
	for _, fit := range []bool{false, true} {
		try := func(what string, cut [][]byte) error {
			t.Helper()
			if fit {
				renumber(cut)
			}
			_, _, err := readAll(bytes.NewReader(bytes.Join(cut, nil)))
			if err == nil {
				t.Errorf("%s (numbers adjusted: %v) is not detected", what, fit)
			}
			tried++
			return err
		}
		for i := 1; i < n; i++ {
			cut := frames(data)
			_ = try(fmt.Sprintf("frame %d missing", i), append(cut[:i:i], cut[i+1:]...))
			cut = frames(data)
			_ = try(fmt.Sprintf("frame %d twice", i), append(append(cut[:i:i], cut[i]), cut[i:]...))
			for j := i + 1; j < n; j++ {
				cut = frames(data)
				cut[i], cut[j] = cut[j], cut[i]
				err := try(fmt.Sprintf("frames %d and %d swapped", i, j), cut)
				// Detected at once, before the content is used.
				if at := "stands where"; !fit && !strings.Contains(fmt.Sprint(err), at) {
					t.Errorf("frames %d and %d swapped: %v, want %q", i, j, err, at)
				}
				if at := "keys out of order"; fit && i > 1 && j < n-1 && !strings.Contains(fmt.Sprint(err), at) {
					t.Errorf("chunks %d and %d swapped: %v, want %q", i, j, err, at)
				}
			}
		}
	}
	// A chunk of another stream has the right number, but the digest detects it.
	other := bytes.Replace(data, []byte("key 00002"), []byte("key 00Z02"), 1)
	cut := frames(other)
	renumber(cut)
	_, _, err := readAll(bytes.NewReader(bytes.Join(cut, nil)))
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("a chunk of another stream: %v", err)
	}
	t.Logf("%d streams", tried+1)
}

func TestRefused(t *testing.T) {
	data, _ := stream(t, 3)
	huge := bytes.Clone(data)
	copy(huge[len(magic)+len(version)+5:], []byte{0xff, 0xff, 0xff, 0xff})
	for name, c := range map[string]struct {
		data []byte
		want error
		text string
	}{
		"nothing":        {nil, ErrDamaged, "it ends there"},
		"something else": {[]byte("SQLite format 3\x00 and more of it"), ErrNoBackup, "check which file it is"},
		"compressed":     {[]byte{0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}, ErrNoBackup, "decompress it first"},
		"to come":        {bytes.Replace(data, []byte("backup 1\n"), []byte("backup 2\n"), 1), ErrNewer, "use a newer porchlight"},
		"a huge length":  {huge, ErrDamaged, "claims 4294967295 bytes"},
	} {
		_, _, err := readAll(bytes.NewReader(c.data))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.text)
		}
	}
	// A read error is not damage.
	broken := errors.New("broken pipe")
	for n := range data {
		_, _, err := readAll(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
			t.Fatalf("a read error after %d bytes: %v", n, err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	w, err := NewWriter(io.Discard, testHeader, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key  string
		size int
		ok   bool
	}{{"b", 1, true}, {"b", 1, false}, {"a", 1, false}, {"c", maxPayload, false}, {"c", 1, true}} {
		if err := w.Add([]byte(c.key), make([]byte, c.size)); (err == nil) != c.ok {
			t.Errorf("%q with %d bytes: %v", c.key, c.size, err)
		}
	}
	full := errors.New("no space")
	for n := range 3 {
		w, err := NewWriter(&limited{n, full}, testHeader, 8)
		if err == nil {
			err = w.Add([]byte("a"), []byte("12345678"))
		}
		if err == nil {
			_, err = w.Close(Counts{})
		}
		if !errors.Is(err, full) {
			t.Errorf("a write error after %d calls: %v", n, err)
		}
	}
}

// A limited writer fails after n calls.
type limited struct {
	n   int
	err error
}

func (l *limited) Write(p []byte) (int, error) {
	if l.n--; l.n < 0 {
		return 0, l.err
	}
	return len(p), nil
}
