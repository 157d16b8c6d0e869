package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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

// formatVersion is of the documents that this package writes. It reads this
// version and older ones, and refuses a newer one.
const formatVersion = 1

type format struct {
	V int `json:"v"`
}

func (f format) version() int { return f.V }

// document is a document with v as its JSON value.
func document(key store.Key, version string, v any) store.Doc {
	value, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("auth: %T cannot be written as JSON: %v", v, err)) // only plain fields are in it
	}
	return store.Doc{Key: key, Version: version, Value: value}
}

func deletion(doc *store.Doc) store.Doc { return store.Doc{Key: doc.Key, Version: doc.Version} }

// decode reads a document. Errors name the collection only: a key may be the
// digest of a secret.
func decode(doc *store.Doc, v interface{ version() int }) error {
	if err := json.Unmarshal(doc.Value, v); err != nil {
		return fmt.Errorf("a document of %q is damaged: %w", doc.Collection, err)
	}
	if got := v.version(); got < 1 || got > formatVersion {
		return fmt.Errorf("a document of %q has format %d; this server reads up to %d", doc.Collection, got, formatVersion)
	}
	return nil
}

// attempts bounds how often a change is made again after it lost a race.
const attempts = 8

// again runs try until it does not lose a race, at most attempts times. try
// reads afresh what it depends on.
func again(try func() error) error {
	var err error
	for range attempts {
		if err = try(); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return err
}

// checkName refuses what cannot be shown as a name: 1 to 128 bytes of printable
// text, or none where that is allowed.
func checkName(name string, required bool) error {
	if name == "" && !required {
		return nil
	}
	return presence.CheckID("name", name)
}
