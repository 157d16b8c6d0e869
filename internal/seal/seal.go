// Package seal encrypts secrets that the server must be able to read again, such as
// those that sign webhooks.
//
// It is separate because auth and webhook both store such secrets. It guarantees that a
// sealed secret can be opened only for the purpose for which it was sealed, and that no
// change to it stays unnoticed. The key is a document of the same store: sealing keeps
// secrets out of logs, exports and single documents that somebody reads, and does not
// protect them from those who have the whole store or a backup.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// systemAccount holds the documents of the server itself.
const systemAccount = presence.AccountID("")

var keyKey = store.Key{Collection: "seal", Key: "key"}

const keyBytes = 32 // AES-256

type keyValue struct {
	document.Format

	Key []byte `json:"key"`
}

// documents is what a Sealer needs of a store.
type documents interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
}

// A Sealer seals and opens with the key of a store, which it creates on first use.
type Sealer struct {
	Store documents

	aead atomic.Pointer[cipher.AEAD]
}

// ErrOpen: what was sealed was changed, or sealed for another purpose or by another store.
var ErrOpen = errors.New("a sealed secret cannot be opened")

// Seal encrypts plain for a purpose, such as the key of the document that it is stored in.
func (s *Sealer) Seal(ctx context.Context, purpose string, plain []byte) ([]byte, error) {
	aead, err := s.cipher(ctx)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, []byte(purpose)), nil
}

// Open decrypts what Seal returned for the same purpose, or answers ErrOpen.
func (s *Sealer) Open(ctx context.Context, purpose string, sealed []byte) ([]byte, error) {
	aead, err := s.cipher(ctx)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

func (s *Sealer) cipher(ctx context.Context) (cipher.AEAD, error) {
	if aead := s.aead.Load(); aead != nil {
		return *aead, nil
	}
	key, err := s.loadKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the key that seals secrets: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	s.aead.Store(&aead)
	return aead, nil
}

func (s *Sealer) loadKey(ctx context.Context) ([]byte, error) {
	var value keyValue
	err := document.Again(func() error {
		docs, err := s.Store.Load(ctx, systemAccount, keyKey)
		if err != nil {
			return err
		}
		if len(docs) > 0 {
			return document.Decode(&docs[0], &value)
		}
		value = keyValue{document.Current(), make([]byte, keyBytes)}
		_, _ = rand.Read(value.Key) // never fails
		return s.Store.Write(ctx, systemAccount, document.New(keyKey, "", value))
	})
	return value.Key, err
}
