// Package ui is the page at /me: a user's own session in a browser. While it
// is open, the user is signed in, sees the own status live and can set it.
//
// It is separate from httpapi because it is a client: it uses the public API, by
// the documentation of streams, and could be served from anywhere that has the
// same origin. It guarantees that nothing of it comes from elsewhere, that no
// script or style runs but its own files, and that a token given to it stays in the
// tab.
//
// It must not hold state on the server, nor need a route of its own to do
// anything.
package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"time"

	"porchlight.dev/porchlight/internal/wire"
)

//go:embed index.html me.css me.js stream.js view.js icon.svg
var files embed.FS

// policy allows the page's own files and requests to its own server.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// A file is a part of the page. The media types are fixed here because package mime
// depends on the machine.
type file struct{ pattern, name, mediaType string }

var parts = []file{
	{"/me", "index.html", "text/html; charset=utf-8"},
	{"/me/me.css", "me.css", "text/css; charset=utf-8"},
	{"/me/me.js", "me.js", "text/javascript; charset=utf-8"},
	{"/me/stream.js", "stream.js", "text/javascript; charset=utf-8"},
	{"/me/view.js", "view.js", "text/javascript; charset=utf-8"},
	{"/me/icon.svg", "icon.svg", "image/svg+xml"},
}

// Page is the page and its routes. Set Dialect, in which errors are written, then
// Mount.
type Page struct {
	Dialect wire.Dialect
	Site    *wire.Site // nil: the page is served under every name
}

// Mount adds the routes.
func (p *Page) Mount(rt *wire.Router) {
	for _, f := range parts {
		rt.Handle(http.MethodGet, f.pattern, p.Dialect, p.Site.OwnHost(f.handler()))
	}
}

// handler serves the file. Browsers cache it and revalidate it each time, so that an
// old script never meets a new version of the server.
func (f file) handler() wire.Handler {
	content, err := files.ReadFile(f.name)
	sum := sha256.Sum256(content)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return func(w http.ResponseWriter, r *http.Request) error {
		if err != nil {
			return err
		}
		h := w.Header()
		h.Set("Content-Type", f.mediaType)
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-cache")
		h.Set("Etag", tag)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		return nil
	}
}
