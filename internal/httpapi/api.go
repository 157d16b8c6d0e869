// Package httpapi is the native API over HTTP: sessions, claims, notes and
// presence, contacts and visibility, the administration of users, apps and
// tokens, and the pages that document both APIs.
//
// It is separate from the other dialects because each has its own words, errors
// and strictness over the same calls, and from api because wire types carry no
// behaviour. It guarantees the order of checks that the documentation promises
// (token, scope, body, user, permission, then what package presence decides),
// that another account's object is indistinguishable from one that does not exist, and
// that every error is a problem of the catalogue in package api.
//
// It must not decide anything about presence, nor send changes: streams do.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/watch"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
)

// Cursors write the cursors that a client gives to a stream; *hub.Hub is one.
type Cursors interface {
	ReadCursor(ctx context.Context, at store.Cursor) (string, error)
}

// API is the native dialect and its routes. Set the fields, then Mount.
type API struct {
	Publisher *publish.Publisher
	Views     *view.Reader
	Watches   *watch.Registry
	Directory *directory.Directory
	Authority *auth.Authority
	Cursors   Cursors
	Quotas    *quota.Guard // nil: none
	// Reads is who may read many users at once; nil for everybody.
	Reads *quota.Turns
	Clock func() time.Time
	// Site is what the server is called, for its pages, tickets and streams. nil:
	// anything.
	Site *wire.Site
	Log  *slog.Logger
	// DemoToken is filled into the API reference, so that its requests work at
	// once. Anybody who can open the page can use it: for demonstrations only.
	DemoToken string
}

var _ wire.Dialect = (*API)(nil)

// A route is one of the API's, with what a token needs to use it at all.
type route struct {
	method, pattern string
	need            need
	serve           func(*call) error
}

// A need is what a token must have before the request is examined.
type need struct {
	grade grade
	scope auth.Scope
}

type grade uint8

const (
	anyToken  grade = iota
	plainly         // the scope, in either form
	asManager       // the scope's :admin form
)

func plain(s auth.Scope) need   { return need{plainly, s} }
func manager(s auth.Scope) need { return need{asManager, s} }

// routes is the whole native API.
func (a *API) routes() []route {
	return slices.Concat(a.presenceRoutes(), a.contactRoutes(), a.watchRoutes(), a.directoryRoutes())
}

func (a *API) presenceRoutes() []route {
	return []route{
		{"POST", "/v1/sessions", plain(auth.SessionWrite), withBody(a.signIn)},
		{"GET", "/v1/sessions", plain(auth.SessionRead), a.listSessions},
		{"POST", "/v1/sessions/refresh", plain(auth.SessionWrite), withLargeBody(a.refreshMany)},
		{"GET", "/v1/sessions/{session}", plain(auth.SessionRead), a.readSession},
		{"PATCH", "/v1/sessions/{session}", plain(auth.SessionWrite), withBody(a.refresh)},
		{"DELETE", "/v1/sessions/{session}", plain(auth.SessionWrite), a.signOut},
		{"POST", "/v1/users/{user}/sessions", plain(auth.SessionWrite), withBody(a.signIn)},
		{"GET", "/v1/users/{user}/sessions", plain(auth.SessionRead), a.listSessions},

		{"GET", "/v1/users/{user}/claims", plain(auth.ClaimRead), a.listClaims},
		{"PUT", "/v1/users/{user}/claims/{claim}", plain(auth.ClaimWrite), withBody(a.setClaim)},
		{"DELETE", "/v1/users/{user}/claims/{claim}", plain(auth.ClaimWrite), a.endClaim},
		{"PUT", "/v1/users/{user}/note", plain(auth.ClaimWrite), withBody(a.setNote)},
		{"DELETE", "/v1/users/{user}/note", plain(auth.ClaimWrite), a.removeNote},

		{"GET", "/v1/users/{user}/presence", plain(auth.PresenceRead), a.readPresence},
		{"GET", "/v1/users/{user}/presence/explain", plain(auth.PresenceRead), a.explain},
		{"POST", "/v1/presence/query", plain(auth.PresenceRead), withLargeBody(a.query)},
	}
}

func (a *API) directoryRoutes() []route {
	return []route{
		{"POST", "/v1/users", manager(auth.DirectoryWrite), withBody(a.createUser)},
		{"GET", "/v1/users", manager(auth.DirectoryRead), a.listUsers},
		{"GET", "/v1/users/{user}", plain(auth.DirectoryRead), a.readUser},
		{"PATCH", "/v1/users/{user}", plain(auth.DirectoryWrite), withBody(a.updateUser)},
		{"DELETE", "/v1/users/{user}", manager(auth.DirectoryWrite), a.deleteUser},

		{"POST", "/v1/apps", manager(auth.DirectoryWrite), withBody(a.createApp)},
		{"GET", "/v1/apps", manager(auth.DirectoryRead), a.listApps},
		{"GET", "/v1/apps/{app}", manager(auth.DirectoryRead), a.readApp},
		{"DELETE", "/v1/apps/{app}", manager(auth.DirectoryWrite), a.deleteApp},
		{"POST", "/v1/apps/{app}/secret", manager(auth.DirectoryWrite), a.rotateSecret},

		{"POST", "/v1/tokens", plain(auth.DirectoryWrite), withBody(a.createToken)},
		{"GET", "/v1/tokens", plain(auth.DirectoryRead), a.listTokens},
		{"DELETE", "/v1/tokens/{token}", plain(auth.DirectoryWrite), a.revokeToken},

		{"GET", "/v1/account", plain(auth.DirectoryRead), a.readAccount},
		{"GET", "/v1/me", need{}, a.me},
	}
}

// Mount adds the routes. Paths under /v1/ and /docs speak this dialect.
func (a *API) Mount(rt *wire.Router) {
	rt.Area("/v1/", a)
	rt.Area("/docs", a)
	for _, r := range a.routes() {
		rt.Handle(r.method, r.pattern, a, a.guarded(r))
	}
	a.mountPages(rt)
}

// A call is one request by a known principal.
type call struct {
	w http.ResponseWriter
	r *http.Request
	p *auth.Principal
}

func (a *API) guarded(of route) wire.Handler {
	return a.admitted(of.method, of.pattern, of.need, func(w http.ResponseWriter, r *http.Request, p *auth.Principal) error {
		return of.serve(&call{w, r, p})
	})
}

// A PrincipalHandler serves a request of a principal.
type PrincipalHandler func(w http.ResponseWriter, r *http.Request, p *auth.Principal) error

// Guarded is the handler of a route that needs a scope, in either form.
func (a *API) Guarded(method, pattern string, scope auth.Scope, serve PrincipalHandler) wire.Handler {
	return a.admitted(method, pattern, plain(scope), serve)
}

// admitted lets through whoever has a token with what is needed, and is within its
// limits.
func (a *API) admitted(method, pattern string, need need, serve PrincipalHandler) wire.Handler {
	resource, limited := resourceOf(method, pattern)
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := wire.Principal(w, r, a.Authority)
		if err != nil {
			return err
		}
		if err := need.check(p); err != nil {
			return err
		}
		if limited {
			if err := a.Quotas.Take(resource, p.Caller(wire.ClientOf(w).LimitKey())); err != nil {
				return err
			}
		}
		return serve(w, r, p)
	}
}

// RequireScope is nil for a principal that has the scope, in either form.
func RequireScope(p *auth.Principal, s auth.Scope) error { return plain(s).check(p) }

func (n need) check(p *auth.Principal) error {
	name := n.scope.String()
	switch {
	case n.grade == plainly && !p.May(n.scope):
		return &wire.ScopeError{Scopes: []string{name, name + ":admin"}}
	case n.grade == asManager && !p.Scopes.HasAdmin(n.scope):
		return &wire.ScopeError{Scopes: []string{name + ":admin"}}
	default:
		return nil
	}
}
