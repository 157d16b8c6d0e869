package cli

import (
	"os"
	"strings"
	"unicode"
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

// wide are the ranges of characters that take two columns.
var wide = [][2]rune{
	{0x1100, 0x115f},
	{0x2e80, 0x303e},
	{0x3041, 0xa4cf},
	{0xac00, 0xd7a3},
	{0xf900, 0xfaff},
	{0xfe30, 0xfe6f},
	{0xff00, 0xff60},
	{0xffe0, 0xffe6},
	{0x1f300, 0x1faff},
	{0x20000, 0x3fffd},
}

// columns is the number of terminal columns of a character.
func columns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	for _, pair := range wide {
		if r >= pair[0] && r <= pair[1] {
			return 2
		}
	}
	return 1
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
