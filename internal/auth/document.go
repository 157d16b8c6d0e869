package auth

import (
	"context"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// system is the account that the documents of the server itself are in: what is
// looked up before the account is known.
const system presence.AccountID = ""

// documents is what the authority needs of a store.
type documents interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
}

// checkName refuses what cannot be shown as a name: 1 to 128 bytes of printable
// text, or none where that is allowed.
func checkName(name string, required bool) error {
	if name == "" && !required {
		return nil
	}
	return presence.CheckID("name", name)
}
