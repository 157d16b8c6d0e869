// Package javascript embeds the module of the JavaScript SDK that the server's pages use.
//
// It is separate from ui, which serves the module, because a package can embed only files of
// its own directory: the SDK and the pages have one client. It must contain nothing but the
// files.
package javascript

import "embed"

// Served contains client.js.
//
//go:embed client.js
var Served embed.FS
