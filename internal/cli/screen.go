package cli

import (
	"os"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// An area is the size of a terminal, in characters.
type area struct{ width, height int }

// screen returns a function that reports the size of the terminal at standard
// output. It is false if standard output is not a terminal that can be redrawn.
func (s *shell) screen() (func() area, bool) {
	file, ok := s.stdout.(*os.File)
	if !ok || s.getenv("TERM") == "dumb" {
		return nil, false
	}
	now, ok := sizeOf(file)
	if !ok {
		return nil, false
	}
	return func() area {
		if newer, ok := sizeOf(file); ok {
			now = newer
		}
		return now
	}, true
}

// printable replaces control characters, which could move the cursor, because notes
// and names come from other users.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// columns is the number of terminal columns of a character.
func columns(r rune) int {
	switch kind := width.LookupRune(r).Kind(); {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case kind == width.EastAsianWide, kind == width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// widthOf is the number of columns of a text.
func widthOf(text string) int {
	n := 0
	for _, r := range text {
		n += columns(r)
	}
	return n
}

// cut shortens text to at most limit columns.
func cut(text string, limit int) string {
	if widthOf(text) <= limit {
		return text
	}
	var b strings.Builder
	left := limit - 1
	for _, r := range text {
		if left -= columns(r); left < 0 {
			break
		}
		b.WriteRune(r)
	}
	if limit > 0 {
		b.WriteRune('…')
	}
	return b.String()
}

// padded cuts or pads text to exactly width columns.
func padded(text string, width int) string {
	text = cut(text, width)
	return text + strings.Repeat(" ", max(0, width-widthOf(text)))
}
