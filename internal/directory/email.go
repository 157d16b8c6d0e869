package directory

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/presence"
)

// MaxEmailBytes is the most of an e-mail address (RFC 5321).
const MaxEmailBytes = 254

// checkEmail refuses what is not an e-mail address. It is no parser of RFC 5322:
// it keeps out what could be taken for another address or for none.
func checkEmail(email string) error {
	local, domain, found := strings.Cut(email, "@")
	var reason string
	switch {
	case email == "":
		reason = "is required"
	case len(email) > MaxEmailBytes:
		reason = "must be at most 254 bytes"
	case !found || local == "" || domain == "" || strings.Contains(domain, "@"):
		reason = `must have text on both sides of one "@"`
	case !utf8.ValidString(email) || strings.ContainsFunc(email, notInEmail):
		reason = "must have no spaces and no control characters"
	default:
		return nil
	}
	return &presence.FieldError{Field: "email", Reason: reason}
}

// notInEmail are spaces, controls, invisible format characters, and what stands
// for a character that could not be read.
func notInEmail(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError
}

// foldEmail is the form in which two addresses are compared. It does not
// allocate for an address in lower case.
func foldEmail(email string) string { return strings.ToLower(email) }
