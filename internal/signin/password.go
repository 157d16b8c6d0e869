package signin

import (
	_ "embed"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"porchlight.dev/porchlight/internal/presence"
)

// Bounds of a password, in characters of Unicode.
const (
	MinPassword = 8
	MaxPassword = 256
)

// common.txt has the passwords that attackers try first; common.LICENSE says where it is
// from.
//
//go:embed common.txt
var commonText string

// normal is the form in which passwords are hashed and counted. Keyboards produce one
// character in several ways: NFKC, which NIST SP 800-63B recommends, makes them equal.
func normal(password string) string { return norm.NFKC.String(password) }

// A policy is the rules for new passwords.
type policy struct{ common func() map[string]bool }

func newPolicy() policy {
	return policy{common: sync.OnceValue(func() map[string]bool {
		set := make(map[string]bool)
		for line := range strings.Lines(commonText) {
			set[strings.ToLower(strings.TrimSpace(line))] = true
		}
		return set
	})}
}

// check is the normal form of a password that a person with this e-mail address may have.
func (p policy) check(field, password, email string) (string, error) {
	text := normal(password)
	local, _, _ := strings.Cut(email, "@")
	reason := ""
	switch length := utf8.RuneCountInString(text); {
	case length < MinPassword || length > MaxPassword:
		reason = "must have 8 to 256 characters"
	case strings.EqualFold(text, normal(email)), strings.EqualFold(text, normal(local)):
		reason = "must not be the e-mail address"
	case p.common()[strings.ToLower(text)], repeated(text):
		reason = "is one of the passwords that attackers try first: choose another one"
	}
	if reason != "" {
		return "", &presence.FieldError{Field: field, Reason: reason}
	}
	return text, nil
}

// repeated reports whether a text is one character again and again.
func repeated(text string) bool {
	first, size := utf8.DecodeRuneInString(text)
	return strings.TrimLeft(text[size:], string(first)) == ""
}
