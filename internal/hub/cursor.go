package hub

import (
	"bytes"
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
	"math"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Cursor is a decoded cursor: a position of the store's log, the time of the commits
// there, the hub that issued it, and the generation of the owner's contacts.
type Cursor struct {
	At store.Position
	// Second is since 1970, by the clocks of those who commit: what is committed after At
	// is later. Zero: not known.
	Second   int64
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

// tag authenticates the numbers of a cursor, an even count: a CBC-MAC. It is sound because
// the first number tells how many there are: no position is as high as tagged2.
func (cs *Cursors) tag(numbers ...uint64) [tagLength]byte {
	var mac [aes.BlockSize]byte
	for ; len(numbers) > 0; numbers = numbers[2:] {
		var b [aes.BlockSize]byte
		binary.BigEndian.PutUint64(b[:], numbers[0])
		binary.BigEndian.PutUint64(b[8:], numbers[1])
		subtle.XORBytes(mac[:], mac[:], b[:])
		cs.block.Encrypt(mac[:], mac[:])
	}
	return [tagLength]byte(mac[:])
}

// The text of a cursor is, in base64url, the version, the number of positions, the
// positions, three more numbers, the tag, and the epoch. There is one position while
// a store has one log. Texts of version 1 begin with their only position.
const (
	// version2 is the version after two bytes with which no position begins.
	version2 = "\x80\x00\x02"
	// tagged2 is the first number under the tag of version 2.
	tagged2 = math.MaxUint64 - 2
)

// Text is the text of a cursor.
func (cs *Cursors) Text(c Cursor) string {
	var space [128]byte
	raw := append(space[:0], version2...)
	raw = binary.AppendUvarint(raw, 1)
	raw = appendNumbers(raw, &c)
	tag := cs.tag(tagged2, 1, uint64(c.At), uint64(c.Second), uint64(c.Hub), c.Contacts)
	raw = append(append(raw, tag[:]...), cs.epoch...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// textV1 is the text that version 1 gave a cursor.
func (cs *Cursors) textV1(c Cursor) string {
	raw := appendNumbers(nil, &c)
	tag := cs.tag(uint64(c.At), uint64(c.Second), uint64(c.Hub), c.Contacts)
	raw = append(append(raw, tag[:]...), cs.epoch...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func appendNumbers(raw []byte, c *Cursor) []byte {
	raw = binary.AppendUvarint(raw, uint64(c.At))
	raw = binary.AppendUvarint(raw, uint64(c.Second))
	raw = binary.AppendUvarint(raw, uint64(c.Hub))
	return binary.AppendUvarint(raw, c.Contacts)
}

// ErrCursor: the text is not a cursor that this store issued.
var ErrCursor = errors.New("not a cursor of this store")

// maxCursor bounds the text of a cursor.
const maxCursor = 256

// Parse reads what Text wrote, also in earlier versions: store.ErrEpoch for a cursor of
// another epoch, ErrCursor for anything else that this store did not issue.
func (cs *Cursors) Parse(text string) (Cursor, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > maxCursor {
		return Cursor{}, ErrCursor
	}
	write := cs.textV1
	if rest, ok := bytes.CutPrefix(raw, []byte(version2)); ok {
		write = cs.Text
		positions, n := binary.Uvarint(rest)
		if n <= 0 || positions != 1 {
			return Cursor{}, ErrCursor
		}
		raw = rest[n:]
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
	case subtle.ConstantTimeCompare([]byte(write(c)), []byte(text)) != 1: // a number has one text only
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
	c := Cursor{At: position, Second: h.fresh.Load(), Hub: h.id}
	if uint64(position) < h.at.Load() {
		c.Second = 0 // that of a later position
	}
	return cs.Text(c), nil
}

// WriteCursor is the text of a cursor that covers a write, logged or not, of this node.
func (h *Hub) WriteCursor(ctx context.Context, r *store.Record) (string, error) {
	// A record has the position of its newest entry in the log, which may be older.
	_, at, err := h.opts.Store.Read(ctx, nil, store.Freshness{AtLeast: store.NewCursor(h.epoch, r.At)})
	if err != nil {
		return "", err
	}
	return h.ReadCursor(ctx, at)
}

// StoreCursor is the store's cursor of a cursor's text.
func (h *Hub) StoreCursor(ctx context.Context, text string) (store.Cursor, error) {
	at, err := h.ParseCursor(ctx, text)
	return store.NewCursor(h.epoch, at), err
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

// resumePointOf is where a Follow resumes, by the text of its cursor. Everything that is
// read after it is at least as new as the cursor, which any node may have issued.
func (h *Hub) resumePointOf(ctx context.Context, text string) (resumePoint, error) {
	from := h.parseResumePoint(text)
	if !from.resumes || uint64(from.At) <= h.at.Load() {
		return from, nil
	}
	_, _, err := h.opts.Store.Read(ctx, nil, store.Freshness{AtLeast: store.NewCursor(h.epoch, from.At)})
	if errors.Is(err, store.ErrEpoch) {
		return resumePoint{reset: ResetEpoch}, nil
	}
	return from, err
}

func (h *Hub) parseResumePoint(text string) resumePoint {
	if text == "" {
		return resumePoint{}
	}
	c, err := h.cursors.Load().Parse(text)
	switch {
	case errors.Is(err, store.ErrEpoch):
		return resumePoint{reset: ResetEpoch}
	case err != nil:
		return resumePoint{reset: ResetUnreadable}
	case c.Second > h.opts.Clock().Unix()+margin:
		c.Second = 0 // some clock was set back: repeat rather than skip
	}
	return resumePoint{Cursor: c, resumes: true}
}
