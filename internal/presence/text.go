package presence

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text reads free text that people are shown: notes, names of people, apps and
// groups. It is trimmed of white space. Refused is text that has nothing visible,
// and text with what would change how its surroundings look: control characters,
// line breaks, directional embeddings, overrides and isolates, and code points that
// are no characters. The error is a *FieldError for field. Empty text is nothing to
// refuse. How long it may be is for the caller to say.
func Text(field, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	clean := strings.TrimSpace(text)
	switch {
	case !utf8.ValidString(text):
		return "", &FieldError{Field: field, Reason: "must be UTF-8 text"}
	case strings.ContainsFunc(clean, breaking):
		return "", &FieldError{Field: field, Reason: "must be on one line, without control characters, directional overrides, embeddings and isolates (U+202A to U+202E, U+2066 to U+2069) and non-characters"}
	case !strings.ContainsFunc(clean, visible):
		return "", &FieldError{Field: field, Reason: "must have something visible, not white space and invisible characters alone"}
	}
	return clean, nil
}

// breaking reports whether r has no place in a line of text.
func breaking(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return true
	case '\u202a' <= r && r <= '\u202e', '\u2066' <= r && r <= '\u2069':
		return true
	case '\ufdd0' <= r && r <= '\ufdef', r&0xfffe == 0xfffe:
		return true
	default:
		return false
	}
}

// visible reports whether r shows by itself. What a newer Unicode assigns counts.
func visible(r rune) bool {
	const brailleBlank, nullNotehead = '\u2800', '\U0001d159'
	return r != brailleBlank && r != nullNotehead &&
		!unicode.IsSpace(r) && !unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
