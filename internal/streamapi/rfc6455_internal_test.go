package streamapi

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"porchlight.dev/porchlight/internal/wire"
)

// maskedFrame is a frame in the form that clients send.
func maskedFrame(op ws.OpCode, fin bool, payload string) []byte {
	f := ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload)))
	return ws.MustCompileFrame(f)
}

// A received is what a reader returned.
type received struct {
	kind    ws.OpCode
	payload string
}

// readParts reads data in parts and returns the messages and the close code.
func readParts(r *reader, parts ...[]byte) (got []received, code ws.StatusCode) {
	for _, part := range parts {
		err := r.read(bytes.Clone(part), func(kind ws.OpCode, payload []byte) bool {
			got = append(got, received{kind, string(payload)})
			return true
		})
		if broken, ok := errors.AsType[*breach](err); ok {
			return got, broken.code
		}
	}
	return got, 0
}

func readAll(parts ...[]byte) ([]received, ws.StatusCode) {
	r := newReader()
	return readParts(&r, parts...)
}

// TestReaderAtEverySplit: the messages do not depend on how the network splits the
// data, and no complete message is retained.
func TestReaderAtEverySplit(t *testing.T) {
	t.Parallel()
	long := string(bytes.Repeat([]byte("é"), 200))
	stream := slices.Concat(
		maskedFrame(ws.OpText, true, `{"type":"ping"}`),
		maskedFrame(ws.OpText, false, "\xc3"),
		maskedFrame(ws.OpPing, true, "within"),
		maskedFrame(ws.OpContinuation, false, ""),
		maskedFrame(ws.OpContinuation, true, "\xa9"),
		maskedFrame(ws.OpPong, true, ""),
		maskedFrame(ws.OpText, true, long),
		maskedFrame(ws.OpBinary, true, "\xff"),
		maskedFrame(ws.OpClose, true, "\x03\xe8"),
	)
	want := []received{
		{ws.OpText, `{"type":"ping"}`},
		{ws.OpContinuation, ""},
		{ws.OpPing, "within"},
		{ws.OpContinuation, ""},
		{ws.OpText, "é"},
		{ws.OpPong, ""},
		{ws.OpText, long},
		{ws.OpBinary, "\xff"},
		{ws.OpClose, "\x03\xe8"},
	}
	var bytewise [][]byte
	for i := range stream {
		bytewise = append(bytewise, stream[i:i+1])
		r := newReader()
		if got, code := readParts(&r, stream[:i], stream[i:]); !slices.Equal(got, want) || code != 0 {
			t.Errorf("split at %d: %+v, %d", i, got, code)
		}
		if r.partial != nil || r.fragments != nil {
			t.Errorf("split at %d: %d and %d bytes are retained", i, len(r.partial), len(r.fragments))
		}
	}
	if got, code := readAll(bytewise...); !slices.Equal(got, want) || code != 0 {
		t.Errorf("byte by byte: %+v, %d", got, code)
	}
}

// TestReaderReleasesBuffers: the buffer of a frame is not retained for the first byte
// of the next.
func TestReaderReleasesBuffers(t *testing.T) {
	t.Parallel()
	r := newReader()
	stream := append(maskedFrame(ws.OpText, true, strings.Repeat("x", wire.MaxBody)), maskedFrame(ws.OpText, true, "{}")[:1]...)
	for part := range slices.Chunk(stream, 4<<10) {
		if _, code := readParts(&r, part); code != 0 {
			t.Fatalf("ended with %d", code)
		}
	}
	if len(r.partial) != 1 || cap(r.partial) > 64 {
		t.Errorf("%d bytes are retained, with a capacity of %d", len(r.partial), cap(r.partial))
	}
}

// TestReaderStops: data after the frame at which the caller stops is not read.
func TestReaderStops(t *testing.T) {
	t.Parallel()
	r, n := newReader(), 0
	err := r.read(slices.Concat(maskedFrame(ws.OpText, true, "a"), []byte{0xff, 0xff}), func(ws.OpCode, []byte) bool {
		n++
		return false
	})
	if n != 1 || err != nil {
		t.Errorf("%d frames, %v", n, err)
	}
}

// TestCloseAnswer: a close frame is answered with its code, or with the code for what
// is invalid in it.
func TestCloseAnswer(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]ws.StatusCode{
		"":                 1000,
		"\x03\xe8":         1000,
		"\x03\xe8bye":      1000,
		"\x03\xe9":         1001,
		"\x0b\xb8":         3000,
		"\x03":             1002,
		"\x03\xed":         1002, // 1005
		"\x03\xee":         1002, // 1006
		"\x00\x00":         1002,
		"\x03\xe8\xff\xfe": 1007,
	} {
		got := closeAnswer([]byte(payload))
		if code := ws.StatusCode(got[2])<<8 | ws.StatusCode(got[3]); code != want || len(got) != 4 || got[0] != 0x88 {
			t.Errorf("%q is answered with % x, want the code %d", payload, got, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(slices.Concat(maskedFrame(ws.OpText, false, "\xc3"), maskedFrame(ws.OpPing, true, ""), maskedFrame(ws.OpContinuation, true, "\xa9")), []byte{1, 3, 9})
	f.Add(maskedFrame(ws.OpClose, true, "\x03\xe8"), []byte{2})
	f.Add([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, []byte{10})
	f.Add([]byte{0x81, 2, '{', '}'}, []byte(nil))
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		want, code := readAll(stream)
		for _, w := range want {
			switch {
			case w.kind.IsControl() && len(w.payload) > 125, len(w.payload) > wire.MaxBody:
				t.Errorf("%v with %d bytes", w.kind, len(w.payload))
			case w.kind == ws.OpText && !utf8.ValidString(w.payload):
				t.Errorf("a text message with %q", w.payload)
			case w.kind.IsReserved():
				t.Errorf("opcode %v", w.kind)
			default:
			}
		}
		var parts [][]byte
		rest := stream
		for _, n := range cuts {
			n := min(int(n), len(rest))
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		got, gotCode := readAll(append(parts, rest)...)
		if !slices.Equal(got, want) || gotCode != code {
			t.Errorf("at once: %+v, %d; in parts: %+v, %d", want, code, got, gotCode)
		}
	})
}
