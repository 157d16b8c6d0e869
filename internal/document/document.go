// Package document keeps values in the store's small documents: JSON with a
// format number, and changes that are made again when they lose a race.
//
// It is separate because directory and auth keep theirs alike, and store must not
// know what is in a document. It guarantees that a value of a newer format is
// refused rather than misread, and that its errors never name a key, which may
// be the digest of a secret.
package document

import (
	"encoding/json"
	"errors"
	"fmt"

	"porchlight.dev/porchlight/internal/store"
)

// FormatVersion is of the values that this server writes. It reads this version
// and older ones.
const FormatVersion = 1

// Format is embedded by every value.
type Format struct {
	V int `json:"v"`
}

// Current is the format to write.
func Current() Format { return Format{V: FormatVersion} }

func (f Format) version() int { return f.V }

// A Value is a struct that embeds Format.
type Value interface{ version() int }

// New is a document with v as its value. version is that of the document it
// replaces, "" for none.
func New(key store.Key, version string, v Value) store.Doc {
	value, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("%T cannot be written as JSON: %v", v, err)) // only plain fields are in it
	}
	return store.Doc{Key: key, Version: version, Value: value}
}

// Deletion removes a document that was read.
func Deletion(doc *store.Doc) store.Doc { return store.Doc{Key: doc.Key, Version: doc.Version} }

// Decode reads a document's value into v, a pointer.
func Decode(doc *store.Doc, v Value) error {
	if err := json.Unmarshal(doc.Value, v); err != nil {
		return fmt.Errorf("a document of %q is damaged: %w", doc.Collection, err)
	}
	if got := v.version(); got < 1 || got > FormatVersion {
		return fmt.Errorf("a document of %q has format %d; this server reads up to %d", doc.Collection, got, FormatVersion)
	}
	return nil
}

// All decodes documents in their order.
func All[T any](docs []store.Doc, decode func(*store.Doc) (T, error)) ([]T, error) {
	all := make([]T, 0, len(docs))
	for i := range docs {
		v, err := decode(&docs[i])
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// Attempts bounds how often a change is made again after it lost a race.
const Attempts = 8

// Again runs try until it does not lose a race, at most Attempts times. try reads
// afresh what it depends on.
func Again(try func() error) error {
	var err error
	for range Attempts {
		if err = try(); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return err
}
