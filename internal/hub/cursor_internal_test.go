package hub

import (
	"encoding/base64"
	"errors"
	"testing"

	"porchlight.dev/porchlight/internal/store"
)

// TestCursorsOfVersion1: cursors that version 1 issued are read, and cannot be altered.
func TestCursorsOfVersion1(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	cs, err := newCursors(key, "e1")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]Cursor{
		"rAKA4s-qBgcDI4y1GHcx8B5lMQ": {At: 300, Second: 1_700_000_000, Hub: 7, Contacts: 3},
		"gAKA4s-qBgcAWuHj1z64bbZlMQ": {At: 256, Second: 1_700_000_000, Hub: 7},
		"AAAAANtUOutfF_iCZTE":        {},
	} {
		if got, err := cs.Parse(text); err != nil || got != want {
			t.Errorf("%s is read as %+v, %v; want %+v", text, got, err, want)
		}
		if now := cs.Text(want); now == text {
			t.Errorf("%+v is still written as %s", want, text)
		}
		raw, _ := base64.RawURLEncoding.DecodeString(text)
		for i := range raw {
			for bit := range 8 {
				raw[i] ^= 1 << bit
				if c, err := cs.Parse(base64.RawURLEncoding.EncodeToString(raw)); err == nil {
					t.Errorf("%s with another bit in byte %d is read as %+v", text, i, c)
				}
				raw[i] ^= 1 << bit
			}
		}
	}
}

// TestCursorOfSeveralLogs: a cursor with several positions is of a later version.
func TestCursorOfSeveralLogs(t *testing.T) {
	cs, err := newCursors([]byte("0123456789abcdef0123456789abcdef"), "e1")
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(cs.Text(Cursor{At: 300, Hub: 7}))
	raw[len(version2)] = 2
	if c, err := cs.Parse(base64.RawURLEncoding.EncodeToString(raw)); !errors.Is(err, ErrCursor) && !errors.Is(err, store.ErrEpoch) {
		t.Errorf("it is read as %+v, %v", c, err)
	}
}
