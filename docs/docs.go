// Package docs has the pages of this directory that a server serves under /docs.
//
// It is separate from httpapi, which serves them, because a package can embed only what
// is below it. It must not have anything but the files.
package docs

import "embed"

// Served has the pages, in Markdown, and the pictures that they show.
//
//go:embed concepts.md scopes.md streaming.md divergences.md presence.svg
var Served embed.FS
