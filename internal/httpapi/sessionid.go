package httpapi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
)

// A session's id on the wire contains the user's, so that a session is found
// without an index: base64url of the length of the user's id, that id, and the
// id in the user's record. It is opaque to clients. It grants nothing: its holder
// still needs a token that may act for the user.

// newSessionID is an id for a record: 96 random bits.
func newSessionID() presence.SessionID {
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // never fails
	return presence.SessionID(base64.RawURLEncoding.EncodeToString(raw[:]))
}

// RequestedSession is the session of a sign_in whose client sent text as its id. was
// is set if the text is an id that the server made: that session resumes if it is
// live. Otherwise the session is id, which is a hash of the text and the app. So a
// repeated sign_in gets the same session, and no client can name a session of
// another app.
func RequestedSession(p *auth.Principal, text string) (id, was presence.SessionID, err error) {
	if text == "" {
		return newSessionID(), "", nil
	}
	user, named, err := parseSessionRef(text)
	switch {
	case err == nil && user == p.User:
		was = named
	case err != nil && presence.CheckID("session", text) != nil:
		return "", "", &presence.FieldError{Field: "session", Reason: "must be a session's id, or 1 to 128 bytes of printable text that the client chose"}
	}
	app, via := p.Origin()
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", app, via, text))
	return presence.SessionID(base64.RawURLEncoding.EncodeToString(sum[:16])), was, nil
}

// SessionRef is the id of a session on the wire.
func SessionRef(u presence.UserID, s presence.SessionID) string {
	raw := make([]byte, 0, 1+len(u)+len(s))
	raw = append(raw, byte(len(u)))
	raw = append(raw, u...)
	raw = append(raw, s...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// maxSessionRef is the greatest length of SessionRef for ids of at most
// presence.MaxIDBytes.
var maxSessionRef = base64.RawURLEncoding.EncodedLen(1 + 2*presence.MaxIDBytes)

// parseSessionRef decodes the result of SessionRef, and no other encoding of it.
// Other text is ErrUnknownSession.
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
	// The decoder ignores line breaks, which no id has.
	if SessionRef(presence.UserID(user), presence.SessionID(session)) != text {
		return "", "", presence.ErrUnknownSession
	}
	return presence.UserID(user), presence.SessionID(session), nil
}
