package store

import (
	"errors"
	"fmt"

	"porchlight.dev/porchlight/internal/presence"
)

// Every backend runs the checks below: the contract's limits are the same on each.

var errNoKey = errors.New("document key is empty")

// CheckUser refuses ids that exceed the contract's limits: ErrTooLarge.
func CheckUser(u User) error {
	if len(u.Account) > MaxKeyBytes || len(u.ID) > MaxKeyBytes {
		return fmt.Errorf("%w: id has more than %d bytes", ErrTooLarge, MaxKeyBytes)
	}
	return nil
}

// CheckKey refuses a key that is empty or exceeds the contract's limits.
func CheckKey(account presence.AccountID, k Key) error {
	if k.Key == "" {
		return errNoKey
	}
	return CheckList(account, k.Collection, k.Key)
}

// CheckList refuses arguments of List that exceed the contract's limits.
func CheckList(account presence.AccountID, collection, after string) error {
	if len(account) > MaxKeyBytes || len(collection) > MaxKeyBytes || len(after) > MaxKeyBytes {
		return fmt.Errorf("%w: key has more than %d bytes", ErrTooLarge, MaxKeyBytes)
	}
	return nil
}

// CheckDocs refuses arguments of Write: too many documents, one that exceeds the limits,
// or two with the same key.
func CheckDocs(account presence.AccountID, docs []Doc) error {
	if len(docs) > MaxWrite {
		return fmt.Errorf("%w: %d documents in one write, more than %d", ErrTooLarge, len(docs), MaxWrite)
	}
	seen := make(map[Key]bool, len(docs))
	for i := range docs {
		d := &docs[i]
		if err := CheckKey(account, d.Key); err != nil {
			return err
		}
		if len(d.Value) > MaxDocBytes {
			return fmt.Errorf("%w: document has %d bytes, more than %d", ErrTooLarge, len(d.Value), MaxDocBytes)
		}
		if seen[d.Key] {
			return fmt.Errorf("document %q of %q occurs twice in one write", d.Key.Key, d.Collection)
		}
		seen[d.Key] = true
	}
	return nil
}
