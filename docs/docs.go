// Package docs embeds the pages of this directory that the server serves under /docs.
//
// It is separate from httpapi, which serves them, because a package can embed only files
// below its own directory. It must contain nothing but the files.
package docs

import "embed"

// Served contains the pages, in Markdown, and their images.
//
//go:embed accounts.md audit.md board.md cli.md concepts.md events.md history.md limits.md oauth.md scopes.md sign-in.md streaming.md divergences.md webhooks.md presence.svg
var Served embed.FS
