package httpapi

import (
	"crypto/rand"
	"encoding/base64"

	"porchlight.dev/porchlight/internal/presence"
)

// A session's id on the wire carries the user's, so that a session is found
// without an index: base64url of the length of the user's id, that id, and the
// id in the user's record. Clients see opaque text. It is no capability: whoever
// has one still needs a token that may act for the user.

// newSessionID is an id for a record: 96 random bits.
func newSessionID() presence.SessionID {
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // never fails
	return presence.SessionID(base64.RawURLEncoding.EncodeToString(raw[:]))
}

// sessionRef is the id of a session on the wire.
func sessionRef(u presence.UserID, s presence.SessionID) string {
	raw := make([]byte, 0, 1+len(u)+len(s))
	raw = append(raw, byte(len(u)))
	raw = append(raw, u...)
	raw = append(raw, s...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// maxSessionRef is the most characters that sessionRef makes of ids that are
// within presence.MaxIDBytes.
var maxSessionRef = base64.RawURLEncoding.EncodedLen(1 + 2*presence.MaxIDBytes)

// parseSessionRef reads what sessionRef made, and nothing else: each session has
// one text. What cannot be the id of any session is ErrUnknownSession.
func parseSessionRef(text string) (presence.UserID, presence.SessionID, error) {
	if len(text) > maxSessionRef {
		return "", "", presence.ErrUnknownSession
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw) <= 1+int(raw[0]) {
		return "", "", presence.ErrUnknownSession
	}
	user, session := string(raw[1:1+raw[0]]), string(raw[1+raw[0]:])
	if presence.CheckID("user", user) != nil || presence.CheckID("session", session) != nil {
		return "", "", presence.ErrUnknownSession
	}
	// The decoder passes over line breaks, which no id has.
	if sessionRef(presence.UserID(user), presence.SessionID(session)) != text {
		return "", "", presence.ErrUnknownSession
	}
	return presence.UserID(user), presence.SessionID(session), nil
}
