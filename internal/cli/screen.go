package cli

import (
	"os"
	"strings"
	"unicode"
)

// An area is that of a terminal, in characters.
type area struct{ width, height int }

// screen is how large the terminal is that standard output is; false if it is
// none that can be painted on.
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

// printable is text without what would move the cursor: notes and names come from
// others.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// wide are the ranges of which a character takes two columns.
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

// columns is how many columns of a terminal a character takes.
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

// widthOf is how many columns a text takes.
func widthOf(text string) int {
	n := 0
	for _, r := range text {
		n += columns(r)
	}
	return n
}

// cut is text in at most so many columns.
func cut(text string, most int) string {
	if widthOf(text) <= most {
		return text
	}
	var b strings.Builder
	left := most - 1
	for _, r := range text {
		if left -= columns(r); left < 0 {
			break
		}
		b.WriteRune(r)
	}
	if most > 0 {
		b.WriteRune('…')
	}
	return b.String()
}

// padded is text in exactly so many columns.
func padded(text string, to int) string {
	text = cut(text, to)
	return text + strings.Repeat(" ", max(0, to-widthOf(text)))
}
