// Package ui has the pages for people: the board at / shows everyone's presence live,
// /me is a user's own session, which lasts while the page is open, /admin is for
// administrators, and /docs is the reference of the API, from which people send requests. It
// also has what the pages of other packages share: the head, the links
// and the style sheet.
//
// A page is a Page: a title, a script that draws it and a layout. The scripts are below
// assets, one for each page, with the components that they share; docs/adr/0026 says which
// library draws them and why.
//
// It is separate from httpapi because the pages are clients: they use the public API
// and could be served from anywhere with the same origin. It guarantees that nothing
// is loaded from elsewhere, that no script or style runs but its own files, and that a
// token given to a page stays in its tab.
//
// It must not hold state on the server, nor need a route of its own to do anything.
package ui

import (
	"net/http"

	"porchlight.dev/porchlight/internal/wire"
)

// mounted are the pages by their patterns.
func (p *Pages) mounted() map[string]*Page {
	return map[string]*Page{
		"/{$}":              {Title: "Board", Section: "/", Script: "board.js", Layout: "wide", Styles: []string{"board.css"}},
		"/me":               {Title: "My status", Section: "/me", Script: "me.js", Layout: "wide", Styles: []string{"me.css"}},
		"/admin":            administration(),
		"/admin/{rest...}":  administration(),
		"/signage/{secret}": {Title: "Who is here", Script: "signage.js", Styles: []string{"board.css"}, Bare: true},
		"/signin":           {Title: "Sign in", Script: "signin.js", Bare: true},
		"/welcome":          {Title: "Welcome", Script: "welcome.js", Bare: true},
		"/account":          {Title: "Account", Section: "/account", Script: "account.js"},
		"/device":           {Title: "Connect a device", Script: "device.js", Bare: true},
		"/docs":             {Title: "API reference", Section: "/docs", Script: "reference.js", Styles: []string{"reference.css"}, Layout: "full", DemoToken: p.DemoToken},
		"/docs/start":       {Title: "From the reference to an HTTP task", Section: "/docs", Script: "start.js", Styles: []string{"reference.css"}, Layout: "text", DemoToken: p.DemoToken},
	}
}

// administration is one page: its script shows the section that the path names.
func administration() *Page {
	return &Page{Title: "Administration", Section: "/admin", Script: "admin.js", Layout: "wide", Styles: []string{"users.css", "admin.css"}}
}

// Pages serves the pages. Set Dialect, in which errors are written, then Mount.
type Pages struct {
	Dialect wire.Dialect
	Site    *wire.Site // nil: the pages are served under every name

	// DemoToken is filled into the API reference, so that its requests work at once.
	// Everyone who can open the page can use it: set it for demonstrations only.
	DemoToken string
}

// Mount adds the routes.
func (p *Pages) Mount(rt *wire.Router) {
	for pattern, page := range p.mounted() {
		rt.Handle(http.MethodGet, pattern, p.Dialect, p.Site.OwnHost(page.Serve))
	}
	rt.Handle(http.MethodGet, "/ui/{version}/{file...}", p.Dialect, p.Site.OwnHost(loaded().serve))
}

// MountSetup adds the routes of a server whose store has no account: the page that makes it, at / and /setup.
func (p *Pages) MountSetup(rt *wire.Router) {
	setup := &Page{Title: "Set up Porchlight", Script: "setup.js", Bare: true}
	for _, pattern := range []string{"/{$}", "/setup"} {
		rt.Handle(http.MethodGet, pattern, p.Dialect, setup.Serve)
	}
	rt.Handle(http.MethodGet, "/ui/{version}/{file...}", p.Dialect, loaded().serve)
}

// Consent is the page that asks a person whether an app may act for them. It is not mounted,
// because the authorization endpoint, which has its path, checks the app first.
func (p *Pages) Consent() wire.Handler {
	return p.Site.OwnHost((&Page{Title: "Allow an app", Script: "authorize.js", Bare: true}).Serve)
}
