package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	checkpointEvents   = 1000 // after which there is a checkpoint
	checkpointInterval = time.Hour
)

// A Reason is why there is a checkpoint.
type Reason string

// The reasons.
const (
	ReasonInterval  Reason = "interval"  // an hour, or 1,000 events
	ReasonExport    Reason = "export"    // the end of an export
	ReasonKey       Reason = "key"       // another key signs from now on
	ReasonRetention Reason = "retention" // the events up to it were dropped
)

// A Checkpoint states the hash of an event, and thereby of all before it.
type Checkpoint struct {
	document.Format

	Kind     string `json:"kind"` // checkpointKind
	Account  string `json:"account"`
	Sequence uint64 `json:"sequence"`
	Time     string `json:"time"`
	Hash     string `json:"event_hash"`
	Reason   Reason `json:"reason"`
	// Previous is the sequence of the checkpoint before; 0: none.
	Previous uint64 `json:"previous_checkpoint"`
	Key      string `json:"key,omitempty"` // id of the key; "": not signed
	// Signature is Ed25519 over the line without this member.
	Signature string `json:"signature,omitempty"`

	line []byte
}

const checkpointKind = "checkpoint"

// Line is the checkpoint as an export has it.
func (c *Checkpoint) Line() []byte { return c.line }

// newCheckpoint is a checkpoint at the end of a log.
func (l *Log) newCheckpoint(account presence.AccountID, h *headValue, reason Reason, now string) *Checkpoint {
	c := &Checkpoint{
		Format: document.Current(), Kind: checkpointKind, Account: string(account), Sequence: h.Sequence, Time: now, Hash: h.Hash,
		Reason: reason, Previous: h.Checkpoint,
	}
	if l.Key != nil {
		c.Key = l.Key.ID()
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("a checkpoint cannot be written as JSON: %v", err)) // only plain values are in it
	}
	c.line = text
	if l.Key != nil {
		c.line = seal(text, signatureMember, func(text []byte) string {
			c.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(l.Key.private, text))
			return c.Signature
		})
	}
	return c
}

// doc is the checkpoint's document. Its key has the hash too, so that a checkpoint of another
// log with the same number of events, which is evidence, is in nobody's way. One that follows
// another at the same event comes after it.
func (c *Checkpoint) doc() store.Doc {
	sum, again := sha256.Sum256(c.line), "0"
	if c.Previous == c.Sequence {
		again = "1"
	}
	key := sequenceKey(c.Sequence) + "." + again + "." + hex.EncodeToString(sum[:8])
	return store.Doc{Key: store.Key{Collection: checkpointCollection, Key: key}, Value: c.line}
}

func parseCheckpoint(line []byte) (*Checkpoint, error) {
	c := &Checkpoint{line: line}
	if err := json.Unmarshal(line, c); err != nil || c.Kind != checkpointKind {
		return nil, errors.New("is damaged: it is not a checkpoint")
	}
	return c, nil
}

// signedBy reports whether the key signed the checkpoint.
func (c *Checkpoint) signedBy(public ed25519.PublicKey) bool {
	text, value, ok := unseal(c.line, signatureMember)
	if !ok || value != c.Signature {
		return false
	}
	signature, err := base64.StdEncoding.DecodeString(value)
	return err == nil && ed25519.Verify(public, text, signature)
}

// logCheckpoint leaves a copy of a checkpoint outside the store.
func (l *Log) logCheckpoint(ctx context.Context, c *Checkpoint) {
	if c != nil {
		l.Log.InfoContext(ctx, "audit checkpoint", slog.String("account", c.Account), slog.Uint64("sequence", c.Sequence),
			slog.String("event_hash", c.Hash), slog.String("key", c.Key), slog.String("checkpoint", string(c.line)))
	}
}

// A Key signs checkpoints.
type Key struct{ private ed25519.PrivateKey }

// NewKey makes a key.
func NewKey() (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Key{private}, nil
}

// KeyID identifies a public key: the beginning of its SHA-256, in hexadecimal.
func KeyID(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:8])
}

// Public is the key with which anybody can verify.
func (k *Key) Public() ed25519.PublicKey {
	public, _ := k.private.Public().(ed25519.PublicKey)
	return public
}

// ID is the id of the key.
func (k *Key) ID() string { return KeyID(k.Public()) }

const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// PEM is the private key in PKCS #8.
func (k *Key) PEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		panic(fmt.Sprintf("an Ed25519 key cannot be encoded: %v", err)) // it always can
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der})
}

// PublicPEM is the public key in the form that openssl reads.
func (k *Key) PublicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		panic(fmt.Sprintf("an Ed25519 key cannot be encoded: %v", err)) // it always can
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der})
}

// ParseKey reads a private key in PEM.
func ParseKey(text []byte) (*Key, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != privateBlock {
		return nil, errors.New(`not a private key in PEM; make one with "porchlight audit key"`)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key cannot be read as PKCS #8")
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("the private key is not an Ed25519 key")
	}
	return &Key{private}, nil
}

// ParsePublicKeys reads one or more public keys in PEM. A private key is accepted too.
func ParsePublicKeys(text []byte) (keys []ed25519.PublicKey, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var parsed any
		if block.Type == privateBlock {
			parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		} else {
			parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("the %s cannot be read: %w", strings.ToLower(block.Type), err)
		}
		switch key := parsed.(type) {
		case ed25519.PublicKey:
			keys = append(keys, key)
		case ed25519.PrivateKey:
			keys = append(keys, (&Key{key}).Public())
		default:
			return nil, errors.New("the key is not an Ed25519 key")
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("not a public key in PEM")
	}
	return keys, nil
}
