package hub

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Cursor is a decoded cursor: a position of the store's log, the time and the hub
// that issued it, and the generation of the owner's contacts.
type Cursor struct {
	At       store.Position
	Second   int64 // since 1970; zero: not known
	Hub      uint32
	Contacts uint64 // the generation of the contacts; zero: none
}

// Cursors writes and reads the text of cursors. The text is authenticated with a
// key that all nodes of a store share and that outlives restarts, so that a client
// can use only cursors that were issued.
type Cursors struct {
	epoch string
	block cipher.Block
}

// serverAccount holds the documents of the server itself.
const serverAccount = presence.AccountID("")

// cursorKey is the document of the key.
var cursorKey = store.Key{Collection: "cursor", Key: "key"}

type cursorKeyValue struct {
	document.Format

	Key []byte `json:"key"`
}

// NewCursors loads the key of st, or creates it.
func NewCursors(ctx context.Context, st store.Store) (*Cursors, error) {
	var value cursorKeyValue
	err := document.Again(func() error {
		docs, err := st.Load(ctx, serverAccount, cursorKey)
		if err != nil {
			return err
		}
		if len(docs) > 0 {
			return document.Decode(&docs[0], &value)
		}
		value = cursorKeyValue{document.Current(), make([]byte, sha256.Size)}
		_, _ = rand.Read(value.Key) // never fails
		return st.Write(ctx, serverAccount, document.New(cursorKey, "", value))
	})
	if err != nil {
		return nil, fmt.Errorf("load the key of cursors: %w", err)
	}
	return newCursors(value.Key, st.Epoch())
}

func newCursors(key []byte, epoch string) (*Cursors, error) {
	ofEpoch := sha256.Sum256(append(key[:len(key):len(key)], epoch...))
	block, err := aes.NewCipher(ofEpoch[:])
	return &Cursors{epoch, block}, err
}

const tagLength = 8

// tag authenticates a cursor: a CBC-MAC, which is sound for input of one length.
func (cs *Cursors) tag(c *Cursor) [tagLength]byte {
	var b [2 * aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[0:], uint64(c.At))
	binary.BigEndian.PutUint64(b[8:], uint64(c.Second))
	binary.BigEndian.PutUint64(b[16:], uint64(c.Hub))
	binary.BigEndian.PutUint64(b[24:], c.Contacts)
	first, second := b[:aes.BlockSize], b[aes.BlockSize:]
	cs.block.Encrypt(first, first)
	subtle.XORBytes(second, second, first)
	cs.block.Encrypt(second, second)
	return [tagLength]byte(second)
}

// Text is the text of a cursor: in base64url, its numbers, their tag and the epoch.
func (cs *Cursors) Text(c Cursor) string {
	var space [96]byte
	raw := binary.AppendUvarint(space[:0], uint64(c.At))
	raw = binary.AppendUvarint(raw, uint64(c.Second))
	raw = binary.AppendUvarint(raw, uint64(c.Hub))
	raw = binary.AppendUvarint(raw, c.Contacts)
	tag := cs.tag(&c)
	raw = append(append(raw, tag[:]...), cs.epoch...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ErrCursor: the text is not a cursor that this store issued.
var ErrCursor = errors.New("not a cursor of this store")

// maxCursor bounds the text of a cursor.
const maxCursor = 256

// Parse reads what Text wrote: store.ErrEpoch for a cursor of another epoch,
// ErrCursor for anything else that this store did not issue.
func (cs *Cursors) Parse(text string) (Cursor, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > maxCursor {
		return Cursor{}, ErrCursor
	}
	var numbers [4]uint64
	for i := range numbers {
		number, n := binary.Uvarint(raw)
		if n <= 0 {
			return Cursor{}, ErrCursor
		}
		numbers[i], raw = number, raw[n:]
	}
	c := Cursor{At: store.Position(numbers[0]), Second: int64(numbers[1]), Hub: uint32(numbers[2]), Contacts: numbers[3]}
	switch {
	case len(raw) <= tagLength:
		return Cursor{}, ErrCursor
	case string(raw[tagLength:]) != cs.epoch:
		return Cursor{}, store.ErrEpoch
	case subtle.ConstantTimeCompare([]byte(cs.Text(c)), []byte(text)) != 1: // a number has one text only
		return Cursor{}, ErrCursor
	}
	return c, nil
}

// Cursors encodes the hub's cursors; it loads the key on first use.
func (h *Hub) Cursors(ctx context.Context) (*Cursors, error) {
	if cs := h.cursors.Load(); cs != nil {
		return cs, nil
	}
	cs, err := NewCursors(ctx, h.opts.Store)
	if err != nil {
		return nil, err
	}
	h.cursors.CompareAndSwap(nil, cs)
	return cs, nil
}

// ReadCursor is the text of the cursor of a plain read.
func (h *Hub) ReadCursor(ctx context.Context, at store.Cursor) (string, error) {
	cs, err := h.Cursors(ctx)
	if err != nil {
		return "", err
	}
	position, _ := at.Position(h.epoch) // a store has one epoch while it is open
	return cs.Text(Cursor{At: position, Second: h.opts.Clock().Unix(), Hub: h.id}), nil
}

// ParseCursor is the position of a cursor's text.
func (h *Hub) ParseCursor(ctx context.Context, text string) (store.Position, error) {
	cs, err := h.Cursors(ctx)
	if err != nil {
		return 0, err
	}
	c, err := cs.Parse(text)
	return c.At, err
}

// mark is a cursor of a position that is no later than what has been delivered.
func (h *Hub) mark(at store.Position) Cursor {
	return Cursor{At: at, Second: h.fresh.Load(), Hub: h.id}
}

// Cursor is the low-water mark of what has been queued, for a message that is queued
// after it was asked for.
func (s *Stream) Cursor() *Cursor {
	c := s.hub.mark(store.Position(s.hub.at.Load()))
	return &c
}

// cursorText is the text of a cursor on this stream, with the generation of the owner's
// contacts that was sent. It is empty while the stream covers less than the client may
// assume: no user, or not those of a Follow without an answer yet. The caller holds s.mu.
func (s *Stream) cursorText(c *Cursor) string {
	if c == nil || s.unanswered > 0 || !s.covers {
		return ""
	}
	with := *c
	if s.sentContacts != nil {
		with.Contacts = s.sentContacts.Gen
	}
	return s.hub.cursors.Load().Text(with)
}

// resumePointOf is where a Follow resumes, by the text of its cursor.
func (h *Hub) resumePointOf(text string) resumePoint {
	if text == "" {
		return resumePoint{}
	}
	c, err := h.cursors.Load().Parse(text)
	switch {
	case errors.Is(err, store.ErrEpoch):
		return resumePoint{reset: ResetEpoch}
	case err != nil || c.Second > h.opts.Clock().Unix()+margin:
		return resumePoint{reset: ResetUnreadable}
	}
	return resumePoint{Cursor: c, resumes: true}
}
