// Package docs embeds the pages of this directory that the server serves under /help.
//
// It is separate from manual, which serves them, because a package can embed only files
// below its own directory. It must contain nothing but the files.
package docs

import "embed"

// Served contains the pages, in Markdown, their order, and their images.
//
//go:embed *.md guides/*.md contents.txt presence.svg
var Served embed.FS
