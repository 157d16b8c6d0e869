package directory

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

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
		panic(fmt.Sprintf("directory: %T cannot be written as JSON: %v", v, err)) // only plain fields are in it
	}
	return store.Doc{Key: key, Version: version, Value: value}
}

// deletion removes what document wrote.
func deletion(key store.Key, version string) store.Doc { return store.Doc{Key: key, Version: version} }

func decode(doc *store.Doc, v interface{ version() int }) error {
	if err := json.Unmarshal(doc.Value, v); err != nil {
		return fmt.Errorf("document %s/%s is damaged: %w", doc.Collection, doc.Key.Key, err)
	}
	if got := v.version(); got < 1 || got > formatVersion {
		return fmt.Errorf("document %s/%s has format %d; this server reads up to %d", doc.Collection, doc.Key.Key, got, formatVersion)
	}
	return nil
}

// NewID is a new id as accounts, users and apps have them: 22 characters of
// base64url, 128 random bits. It does not begin with "-", which commands would
// take for a flag.
func NewID() string {
	for {
		var raw [16]byte
		rand.Read(raw[:]) // it never fails: the process would end
		if id := base64.RawURLEncoding.EncodeToString(raw[:]); id[0] != '-' {
			return id
		}
	}
}

// plausibleID reports whether text can be an id at all.
func plausibleID(id string) bool { return presence.CheckID("id", id) == nil }

// maxNameBytes is the most of a name in any of its fields.
const maxNameBytes = 256

// checkName refuses what cannot be shown on one line.
func checkName(field, name string) error {
	control := func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
	if len(name) > maxNameBytes || !utf8.ValidString(name) || strings.ContainsFunc(name, control) {
		return &presence.FieldError{Field: field, Reason: "must be at most 256 bytes of printable text on one line"}
	}
	return nil
}
