package store

import (
	"errors"
	"fmt"

	"porchlight.dev/porchlight/internal/presence"
)

// The checks below are for backends: what a call may hold is the contract's, and
// the same on each.

var errNoKey = errors.New("a document without a key")

// CheckUser refuses ids past the contract's bounds: ErrTooLarge.
func CheckUser(u User) error {
	if len(u.Account) > MaxKeyBytes || len(u.ID) > MaxKeyBytes {
		return fmt.Errorf("%w: an id of more than %d bytes", ErrTooLarge, MaxKeyBytes)
	}
	return nil
}

// CheckKey refuses a key that is empty, or past the contract's bounds.
func CheckKey(account presence.AccountID, k Key) error {
	if k.Key == "" {
		return errNoKey
	}
	if len(account) > MaxKeyBytes || len(k.Collection) > MaxKeyBytes || len(k.Key) > MaxKeyBytes {
		return fmt.Errorf("%w: a key of more than %d bytes", ErrTooLarge, MaxKeyBytes)
	}
	return nil
}

// CheckDocs refuses what one Write may not hold: too many documents, one past the
// bounds, or two of one key.
func CheckDocs(account presence.AccountID, docs []Doc) error {
	if len(docs) > MaxWrite {
		return fmt.Errorf("%w: %d documents in one write, of at most %d", ErrTooLarge, len(docs), MaxWrite)
	}
	seen := make(map[Key]bool, len(docs))
	for i := range docs {
		d := &docs[i]
		if err := CheckKey(account, d.Key); err != nil {
			return err
		}
		if len(d.Value) > MaxDocBytes {
			return fmt.Errorf("%w: a document of %d bytes, of at most %d", ErrTooLarge, len(d.Value), MaxDocBytes)
		}
		if seen[d.Key] {
			return fmt.Errorf("document %q of %q stands twice in one write", d.Key.Key, d.Collection)
		}
		seen[d.Key] = true
	}
	return nil
}
