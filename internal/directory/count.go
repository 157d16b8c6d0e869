package directory

import (
	"context"
	"fmt"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A countValue is how many users an account has. The document is there once the account
// had a limit of users, and each creation and deletion changes it in the same write, so
// that concurrent creations cannot exceed the limit.
type countValue struct {
	document.Format
	Users int `json:"users"`
}

var countKey = store.Key{Collection: "count", Key: "users"}

// countPage is how many documents are read at a time.
const countPage = 1000

// countNew is the change of the count for one more user, or a *LimitError; no change for
// an account that never had a limit. counted is the count as it is stored, or nil.
func (d *Directory) countNew(ctx context.Context, account presence.AccountID, counted *store.Doc, most int) ([]store.Doc, error) {
	if counted == nil && most == 0 {
		return nil, nil
	}
	v, version := countValue{Format: document.Current()}, ""
	if counted != nil {
		version = counted.Version
		if err := document.Decode(counted, &v); err != nil {
			return nil, err
		}
	}
	// A count that was made while others changed the users may be wrong. It is made again
	// before it refuses somebody.
	if counted == nil || most > 0 && v.Users >= most {
		var err error
		if v.Users, err = d.CountUsers(ctx, account); err != nil {
			return nil, err
		}
	}
	if most > 0 && v.Users >= most {
		return nil, &LimitError{Name: "users-per-account", Most: most, What: "users"}
	}
	v.Users++
	return []store.Doc{document.New(countKey, version, v)}, nil
}

// countGone is the change of the count for one user less.
func countGone(counted *store.Doc) (store.Doc, error) {
	var v countValue
	if err := document.Decode(counted, &v); err != nil {
		return store.Doc{}, err
	}
	v.Users = max(v.Users-1, 0)
	return document.New(countKey, counted.Version, v), nil
}

// CountUsers counts the users of an account, deactivated ones included. It reads all of
// them.
func (d *Directory) CountUsers(ctx context.Context, account presence.AccountID) (n int, err error) {
	for after := ""; ; {
		docs, err := d.docs.List(ctx, account, "user", after, countPage)
		if err != nil {
			return 0, fmt.Errorf("count users: %w", err)
		}
		if n += len(docs); len(docs) < countPage {
			return n, nil
		}
		after = docs[len(docs)-1].Key.Key
	}
}
