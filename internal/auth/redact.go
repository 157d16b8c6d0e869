package auth

import (
	"bytes"
	"encoding/hex"
	"io"
)

// redacted replaces what looks like a secret in logs and errors.
const redacted = "[redacted]"

// minTokenPart is how many characters must follow a token's prefix to count as a token.
const minTokenPart = 8

// webhookPrefix begins the secrets that sign webhooks, in the form of Standard Webhooks:
// what follows is standard base64.
const webhookPrefix = "whsec_"

// Redact returns text without anything that looks like a token, a ticket, an app's secret
// or the secret of webhooks, even if that is percent-encoded several times.
func Redact(text string) string {
	if len(text) < len(tokenPrefix)+minTokenPart {
		return text
	}
	if out, found := appendRedacted(nil, []byte(text), false); found {
		return string(out)
	}
	return text
}

// NewRedactor returns a writer that redacts what it passes on to w. Each write must
// consist of complete lines of a text or JSON log. Writes must not be concurrent.
func NewRedactor(w io.Writer) io.Writer { return &redactor{out: w} }

type redactor struct {
	out   io.Writer
	lines []byte // scratch
}

func (r *redactor) Write(b []byte) (int, error) {
	if !mayHoldSecret(b) {
		return r.out.Write(b)
	}
	r.lines = r.lines[:0]
	for line := range bytes.Lines(b) { // most of them still have none
		redacted, found := appendRedacted(r.lines, line, true)
		if !found {
			redacted = append(r.lines, line...)
		}
		r.lines = redacted
	}
	if _, err := r.out.Write(r.lines); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A run is a stretch of characters that secrets are made of.
type run struct {
	from    int    // in the text
	after   bool   // what percent-encodes a character that no secret has
	n       int    // characters
	last    [5]int // where the last ones began
	recent  [5]byte
	token   int  // where a token begins; -1: nowhere
	at      int  // how many characters come before it
	webhook bool // it is the secret of webhooks
}

// add takes the next character, which is at i.
func (r *run) add(c byte, i int) {
	if r.n == 0 {
		*r = run{from: i, after: r.after, token: -1}
	}
	if r.n++; c == '_' && !r.webhook {
		switch {
		case endsInWebhook(r.recent[:]):
			r.token, r.at, r.webhook = r.last[0], r.n-len(webhookPrefix), true
		case r.token < 0 && endsInToken(r.recent[:]):
			r.token, r.at = r.last[3], r.n-len(tokenPrefix)
		}
	}
	copy(r.recent[:], r.recent[1:])
	copy(r.last[:], r.last[1:])
	r.recent[4], r.last[4] = c, i
}

// continues reports whether c is the next character of the run, or the first of one.
func (r *run) continues(c byte) bool {
	switch {
	case r.n == 0 || !r.webhook:
		return secretByte(c)
	case r.recent[4] == '=':
		return c == '='
	default:
		return secretByte(c) || c == '+' || c == '/' || c == '='
	}
}

// endsInToken reports whether an underscore after text ends the prefix of a token.
func endsInToken(text []byte) bool { return endsIn(text, tokenPrefix) }

func endsInWebhook(text []byte) bool { return endsIn(text, webhookPrefix) }

// endsIn reports whether text ends in a prefix without its underscore, in letters of any case.
func endsIn(text []byte, prefix string) bool {
	n := len(text) - len(prefix) + 1
	return n >= 0 && bytes.EqualFold(text[n:], []byte(prefix[:len(prefix)-1]))
}

// secret is where in the text a secret begins that ends with the run. Within a
// longer word only a whole token is one: ids may have its prefix by chance.
func (r *run) secret() (int, bool) {
	switch part := r.n - r.at - len(tokenPrefix); {
	case r.n == 0:
		return 0, false
	case r.webhook:
		return r.token, r.n-r.at >= len(webhookPrefix)+minTokenPart
	case r.token >= 0 && (part >= secretLen || r.at == 0 && part >= minTokenPart):
		return r.token, true
	case r.after && r.n == secretLen-2: // no encoding, but a percent sign before a secret
		return r.from - 2, true
	default:
		return r.from, r.n == secretLen
	}
}

// isPin reports whether the text around the run says that it is the SHA-256 of a public key,
// which clients pin: it looks like a secret if it happens to have neither "+" nor "/".
func (r *run) isPin(before, after []byte) bool {
	return r.n == secretLen && r.token < 0 && bytes.HasSuffix(before, []byte("sha256//")) && bytes.HasPrefix(after, []byte("="))
}

// appendRedacted appends text without what looks like a secret to b, and reports whether
// it found a secret; if not, it appends nothing. In the lines of a log, a backslash
// within quotes begins an escape, which is not part of a secret.
func appendRedacted(b, text []byte, lines bool) (_ []byte, found bool) {
	if !mayHoldSecret(text) {
		return b, false
	}
	return appendScanned(b, text, lines)
}

// mayHoldSecret is a fast check, because most lines of a log have no secret: false means
// that appendScanned would find none.
func mayHoldSecret(text []byte) bool {
	return hasLongWord(text) || hasTokenPrefix(text) || hasEncodedPrefix(text)
}

// hasLongWord reports whether the characters of a secret, plain or encoded, are in the
// text in a row. It skips most of a text that has no such word.
func hasLongWord(text []byte) bool {
	const length = secretLen - 2
	for end := length; end <= len(text); {
		i := end - 1
		for i >= end-length && wordBytes[text[i]] {
			i--
		}
		if i < end-length {
			return true
		}
		end = i + 1 + length
	}
	return false
}

func hasTokenPrefix(text []byte) bool {
	for i := bytes.IndexByte(text, '_'); i >= 0; i = bytes.IndexByte(text, '_') {
		if endsInToken(text[:i]) || endsInWebhook(text[:i]) {
			return true
		}
		text = text[i+1:]
	}
	return false
}

// hasEncodedPrefix reports whether a character of a token's prefix is percent-encoded.
func hasEncodedPrefix(text []byte) bool {
	for i := bytes.IndexByte(text, '%'); i >= 0; i = bytes.IndexByte(text, '%') {
		c, _ := percentEncoded(text[i:])
		if bytes.IndexByte([]byte("pPlLwWhHsSeEcC_"), c) >= 0 {
			return true
		}
		text = text[i+1:]
	}
	return false
}

// appendScanned is appendRedacted for text that may hold a secret.
func appendScanned(b, text []byte, lines bool) (_ []byte, found bool) {
	var r run
	quoted := false
	done := 0 // of text is in b, once something is found
	end := func(i int) {
		if from, ok := r.secret(); ok && !r.isPin(text[:from], text[i:]) {
			b = append(append(b, text[done:from]...), redacted...)
			done, found = i, true
		}
		r.n = 0
	}
	for i := 0; i < len(text); {
		c, size := character(text[i:], quoted)
		if !r.continues(c) {
			end(i)
			r.after = !secretByte(c) && c != '%' && text[i] == '%'
		}
		if r.n > 0 || secretByte(c) {
			r.add(c, i)
		}
		switch text[i] {
		case '"':
			quoted = lines && !quoted
		case '\n':
			quoted = false
		}
		i += size
	}
	end(len(text))
	if found {
		b = append(b, text[done:]...)
	}
	return b, found
}

// character is the first of text, percent-encoded any number of times, and how
// many bytes it takes.
func character(text []byte, quoted bool) (c byte, size int) {
	switch c = text[0]; {
	case c == '%':
		return percentEncoded(text)
	case c == '\\' && quoted && len(text) > 1:
		return c, min(escapeLen(text[1]), len(text))
	}
	return c, 1
}

// escapeLen is how many bytes an escape of JSON or Go takes that has c after its
// backslash.
func escapeLen(c byte) int {
	switch c {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	default:
		return 2
	}
}

// percentEncoded reads %70, and %2570, and so on.
func percentEncoded(text []byte) (c byte, size int) {
	i := 1
	for len(text) >= i+4 && text[i] == '2' && text[i+1] == '5' {
		i += 2
	}
	if len(text) >= i+2 {
		var decoded [1]byte
		if _, err := hex.Decode(decoded[:], text[i:i+2]); err == nil {
			return decoded[0], i + 2
		}
	}
	return '%', 1
}

// secretByte reports whether secrets are made of c.
func secretByte(c byte) bool { return secretBytes[c] }

const secretAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

var (
	secretBytes = bytesOf(secretAlphabet)
	wordBytes   = bytesOf(secretAlphabet + "%") // of secrets, plain or percent-encoded
)

func bytesOf(alphabet string) (is [256]bool) {
	for _, c := range []byte(alphabet) {
		is[c] = true
	}
	return is
}
