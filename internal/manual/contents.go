package manual

import (
	"strings"

	"porchlight.dev/porchlight/docs"
)

// A chapter is a group of pages in the contents. Names are those of files in docs, without
// the extension.
type chapter struct {
	Title string
	Names []string
}

// contents are all pages, in the order in which they are best read: a chapter on each line of
// docs/contents.txt, with its title and the names of its pages.
func contents() ([]chapter, error) {
	text, err := docs.Served.ReadFile("contents.txt")
	var chapters []chapter
	for line := range strings.Lines(string(text)) {
		title, names, _ := strings.Cut(line, ":")
		chapters = append(chapters, chapter{title, strings.Fields(names)})
	}
	return chapters, err
}
