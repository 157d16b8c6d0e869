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
	Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error)
}

const maxNameBytes = 128

// nameOf is a name as it is stored, which may be empty unless it is required.
func nameOf(given string, required bool) (string, error) {
	name, err := presence.Text("name", given)
	switch {
	case err != nil:
		return "", err
	case name == "" && required, len(name) > maxNameBytes:
		return "", &presence.FieldError{Field: "name", Reason: "must have 1 to 128 bytes"}
	default:
		return name, nil
	}
}
