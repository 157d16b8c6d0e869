package directory

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// NewID is a new id as accounts, users and apps have them: 22 characters of
// base64url, 128 random bits. It does not begin with "-", which commands would
// take for a flag.
func NewID() string {
	for {
		var raw [16]byte
		rand.Read(raw[:]) // never fails
		if id := base64.RawURLEncoding.EncodeToString(raw[:]); id[0] != '-' {
			return id
		}
	}
}

// isValidID reports whether text can be an id.
func isValidID(id string) bool { return presence.CheckID("id", id) == nil }

// keysOf are the keys of users' documents, without those of invalid ids.
func keysOf(ids []presence.UserID, key func(presence.UserID) store.Key) []store.Key {
	keys := make([]store.Key, 0, len(ids))
	for _, id := range ids {
		if isValidID(string(id)) {
			keys = append(keys, key(id))
		}
	}
	return keys
}

// maxNameBytes is the most of a name in any of its fields.
const maxNameBytes = 256

// cleanName is the normalized form of a name.
func cleanName(field, given string) (string, error) { return cleanText(field, given, maxNameBytes) }

func cleanText(field, given string, most int) (string, error) {
	text, err := presence.Text(field, given)
	if err == nil && len(text) > most {
		err = &presence.FieldError{Field: field, Reason: fmt.Sprintf("must be at most %d bytes", most)}
	}
	return text, err
}
