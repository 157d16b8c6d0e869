// Package ui has the pages for people: the board at / shows everybody's presence
// live, and /me is a user's own session, which lasts while the page is open. Its style
// sheet is that of all pages.
//
// It is separate from httpapi because the pages are clients: they use the public API
// and could be served from anywhere with the same origin. It guarantees that nothing
// is loaded from elsewhere, that no script or style runs but its own files, and that a
// token given to a page stays in its tab.
//
// It must not hold state on the server, nor need a route of its own to do anything.
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

//go:embed *.html *.css *.js icon.svg
var files embed.FS

// policy allows a page's own files and requests to its own server.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// A file is a page or a part of one. The media types are fixed here because package mime
// depends on the machine.
type file struct{ pattern, name, mediaType string }

var parts = []file{
	{"/{$}", "board.html", html},
	{"/me", "me.html", html},
	{"/signin", "signin.html", html},
	{"/welcome", "welcome.html", html},
	{"/account", "account.html", html},
	{"/device", "device.html", html},
	{"/ui/base.css", "base.css", css},
	{"/ui/style.css", "style.css", css},
	{"/ui/docs.css", "docs.css", css},
	{"/ui/authorize.js", "authorize.js", script},
	{"/ui/board.js", "board.js", script},
	{"/ui/consent.js", "consent.js", script},
	{"/ui/device.js", "device.js", script},
	{"/ui/me.js", "me.js", script},
	{"/ui/account.js", "account.js", script},
	{"/ui/enter.js", "enter.js", script},
	{"/ui/welcome.js", "welcome.js", script},
	{"/ui/people.js", "people.js", script},
	{"/ui/signin.js", "signin.js", script},
	{"/ui/stream.js", "stream.js", script},
	{"/ui/view.js", "view.js", script},
	{"/ui/icon.svg", "icon.svg", "image/svg+xml"},
}

const (
	css    = "text/css; charset=utf-8"
	html   = "text/html; charset=utf-8"
	script = "text/javascript; charset=utf-8"
)

// Pages serves the pages. Set Dialect, in which errors are written, then Mount.
type Pages struct {
	Dialect wire.Dialect
	Site    *wire.Site // nil: the pages are served under every name
}

// Mount adds the routes.
func (p *Pages) Mount(rt *wire.Router) {
	for _, f := range parts {
		rt.Handle(http.MethodGet, f.pattern, p.Dialect, p.Site.OwnHost(f.handler()))
	}
}

// Consent is the page that asks a person whether an app may act for them. It is not mounted,
// because the authorization endpoint, which has its path, checks the app first.
func (p *Pages) Consent() wire.Handler {
	return p.Site.OwnHost(file{name: "authorize.html", mediaType: html}.handler())
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
