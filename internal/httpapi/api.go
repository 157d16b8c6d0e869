// Package httpapi is the native API over HTTP: sessions, claims, notes and
// presence, contacts and visibility, the administration of users, apps and
// tokens, and the pages that document both APIs.
//
// It is separate from the other dialects because each has its own words, errors
// and strictness over the same calls, and from api because wire types carry no
// behaviour. It guarantees the order of checks that the documentation promises
// (token, scope, body, user, permission, then the rules of package presence),
// that an object of another account gets the same response as one that does not
// exist, and that every error is a problem of the catalogue in package api.
//
// It must not decide anything about presence, nor send changes: streams do that.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/watch"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/signage"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// Cursors encode the cursors with which a client resumes a stream. *hub.Hub
// implements it.
type Cursors interface {
	ReadCursor(ctx context.Context, at store.Cursor) (string, error)
	WriteCursor(ctx context.Context, written *store.Record) (string, error)
	ParseCursor(ctx context.Context, text string) (store.Position, error)
	StoreCursor(ctx context.Context, text string) (store.Cursor, error)
}

// API is the native dialect and its routes. Set the fields, then Mount.
type API struct {
	Publisher *publish.Publisher
	Views     *view.Reader
	Watches   *watch.Registry
	// Subscriptions and Deliverer are those of webhooks.
	Subscriptions *webhook.Registry
	Deliverer     *webhook.Deliverer
	Histories     history.Reader
	Erasures      *erasure.Registry
	Directory     *directory.Directory
	Authority     *auth.Authority
	OAuth         *oauthapi.API
	Provisioner   *provision.Provisioner
	SignIns       *signin.Registry
	Provider      *signin.Provider // nil: none
	Signage       *signage.Registry
	Audit         audit.Repeater
	// Events reads the audit log.
	Events  *audit.Log
	Cursors Cursors
	Quotas  *quota.Guard // nil: none
	// Reads admits the requests that read many users; nil admits all at once.
	Reads *quota.Turns
	// Rates are the numbers of the rate limits' plan of this name, "" being that of the
	// server; nil: not told.
	Rates func(plan string) []api.AccountRate
	Clock func() time.Time
	// Site has the host names of the server, for its pages, tickets and streams.
	// nil accepts any.
	Site *wire.Site
	// BaseURL is the server's URL as the client sees it; nil: what the request says.
	BaseURL func(http.ResponseWriter) string
	Log     *slog.Logger
	// Measure returns what the server measures of itself.
	Measure func(ctx context.Context) (*api.ServerHealth, error)

	importing importQueue
}

var _ wire.Dialect = (*API)(nil)

// A route of the API, with what a token needs for it.
type route struct {
	method, pattern string
	need            need
	serve           func(*call) error
}

// A need is the scope that a token must have. It is checked before anything else
// of a request is read.
type need struct {
	level level
	scope auth.Scope
}

type level uint8

const (
	anyValidToken  level = iota
	withScope            // the scope, in either form
	withAdminScope       // the scope's :admin form
)

func needsScope(s auth.Scope) need { return need{withScope, s} }
func needsAdmin(s auth.Scope) need { return need{withAdminScope, s} }

// routes is the whole native API.
func (a *API) routes() []route {
	return slices.Concat(a.presenceRoutes(), a.contactRoutes(), a.watchRoutes(), a.subscriptionRoutes(), a.historyRoutes(), a.erasureRoutes(), a.directoryRoutes(), a.groupRoutes(), a.grantRoutes(), a.signInRoutes(), a.signageRoutes(), a.auditRoutes())
}

func (a *API) presenceRoutes() []route {
	return []route{
		{"POST", "/v1/sessions", needsScope(auth.SessionWrite), withBody(a.signIn)},
		{"GET", "/v1/sessions", needsScope(auth.SessionRead), a.listSessions},
		{"POST", "/v1/sessions/refresh", needsScope(auth.SessionWrite), withLargeBody(a.refreshMany)},
		{"GET", "/v1/sessions/{session}", needsScope(auth.SessionRead), a.readSession},
		{"PATCH", "/v1/sessions/{session}", needsScope(auth.SessionWrite), withBody(a.refresh)},
		{"DELETE", "/v1/sessions/{session}", needsScope(auth.SessionWrite), a.signOut},
		{"POST", "/v1/users/{user}/sessions", needsScope(auth.SessionWrite), withBody(a.signIn)},
		{"GET", "/v1/users/{user}/sessions", needsScope(auth.SessionRead), a.listSessions},

		{"GET", "/v1/users/{user}/claims", needsScope(auth.ClaimRead), a.listClaims},
		{"PUT", "/v1/users/{user}/claims/{claim}", needsScope(auth.ClaimWrite), withBody(a.setClaim)},
		{"DELETE", "/v1/users/{user}/claims/{claim}", needsScope(auth.ClaimWrite), a.endClaim},
		{"PUT", "/v1/users/{user}/note", needsScope(auth.ClaimWrite), withBody(a.setNote)},
		{"DELETE", "/v1/users/{user}/note", needsScope(auth.ClaimWrite), a.removeNote},

		{"GET", "/v1/users/{user}/presence", needsScope(auth.PresenceRead), a.readPresence},
		{"GET", "/v1/users/{user}/presence/explain", needsScope(auth.PresenceRead), a.explain},
		{"GET", "/v1/presence", needsScope(auth.PresenceRead), a.listPresence},
		{"POST", "/v1/presence/query", needsScope(auth.PresenceRead), withLargeBody(a.query)},
	}
}

func (a *API) directoryRoutes() []route {
	return []route{
		{"POST", "/v1/users", needsAdmin(auth.DirectoryWrite), withBody(a.createUser)},
		{"GET", "/v1/users", needsAdmin(auth.DirectoryRead), a.listUsers},
		{"POST", "/v1/users/import", needsAdmin(auth.DirectoryWrite), a.importUsers},
		{"GET", "/v1/users/export", needsAdmin(auth.DirectoryRead), a.exportUsers},
		{"GET", "/v1/users/{user}", needsScope(auth.DirectoryRead), a.readUser},
		{"PATCH", "/v1/users/{user}", needsScope(auth.DirectoryWrite), withBody(a.updateUser)},
		{"DELETE", "/v1/users/{user}", needsAdmin(auth.DirectoryWrite), a.deleteUser},

		{"POST", "/v1/apps", needsAdmin(auth.DirectoryWrite), withBody(a.createApp)},
		{"GET", "/v1/apps", needsAdmin(auth.DirectoryRead), a.listApps},
		{"GET", "/v1/apps/{app}", needsAdmin(auth.DirectoryRead), a.readApp},
		{"PATCH", "/v1/apps/{app}", needsAdmin(auth.DirectoryWrite), withBody(a.updateApp)},
		{"DELETE", "/v1/apps/{app}", needsAdmin(auth.DirectoryWrite), a.deleteApp},
		{"POST", "/v1/apps/{app}/secret", needsAdmin(auth.DirectoryWrite), a.rotateSecret},
		{"POST", "/v1/apps/{app}/webhook-secret", needsAdmin(auth.DirectoryWrite), withBody(a.rotateWebhookSecret)},

		{"POST", "/v1/tokens", needsScope(auth.DirectoryWrite), withBody(a.createToken)},
		{"GET", "/v1/tokens", needsScope(auth.DirectoryRead), a.listTokens},
		{"DELETE", "/v1/tokens", needsScope(auth.DirectoryWrite), a.revokeTokens},
		{"DELETE", "/v1/tokens/{token}", needsScope(auth.DirectoryWrite), a.revokeToken},

		{"GET", "/v1/health", needsAdmin(auth.DirectoryRead), a.readHealth},
		{"GET", "/v1/account", needsScope(auth.DirectoryRead), a.readAccount},
		{"PATCH", "/v1/account", needsAdmin(auth.DirectoryWrite), withBody(a.updateAccount)},
		{"GET", "/v1/me", need{}, a.me},
	}
}

// Mount adds the routes. Paths under /v1/ and /docs speak this dialect.
func (a *API) Mount(rt *wire.Router) {
	rt.Area("/v1/", a)
	rt.Handle(http.MethodGet, "/v1/oauth/authorization", a, a.readAuthorization())
	rt.Area("/docs", a)
	for _, r := range a.routes() {
		rt.Handle(r.method, r.pattern, a, a.routeHandler(r))
	}
	a.mountSignIn(rt)
	a.mountSignage(rt)
	a.mountProvider(rt)
	a.mountPages(rt)
}

// A call is one request of an authenticated principal.
type call struct {
	w http.ResponseWriter
	r *http.Request
	p *auth.Principal
}

// by is the caller as the author of changes of users.
func (c *call) by() *provision.By {
	return &provision.By{Actor: wire.Actor(c.w, c.p), Account: c.p.Account}
}

func (a *API) routeHandler(of route) wire.Handler {
	return a.authorize(of.method, of.pattern, of.need, func(w http.ResponseWriter, r *http.Request, p *auth.Principal) error {
		return of.serve(&call{w, r, p})
	})
}

// A PrincipalHandler serves a request of a principal.
type PrincipalHandler func(w http.ResponseWriter, r *http.Request, p *auth.Principal) error

// Guarded is the handler of a route that needs a scope, in either form.
func (a *API) Guarded(method, pattern string, scope auth.Scope, serve PrincipalHandler) wire.Handler {
	return a.authorize(method, pattern, needsScope(scope), serve)
}

// authorize checks the token, its scope and the caller's limits before it serves a
// request.
func (a *API) authorize(method, pattern string, need need, serve PrincipalHandler) wire.Handler {
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
			standing, err := a.Quotas.Take(resource, p.Caller(wire.ClientOf(w).LimitKey()))
			if err != nil {
				return err
			}
			wire.AnnounceLimit(w.Header(), standing)
		}
		return serve(w, r, p)
	}
}

// RequireScope is nil for a principal that has the scope, in either form.
func RequireScope(p *auth.Principal, s auth.Scope) error { return needsScope(s).check(p) }

func (n need) check(p *auth.Principal) error {
	name := n.scope.String()
	switch {
	case n.level == withScope && !p.May(n.scope):
		return &wire.ScopeError{Scopes: []string{name, name + ":admin"}}
	case n.level == withAdminScope && !p.Scopes.HasAdmin(n.scope):
		return &wire.ScopeError{Scopes: []string{name + ":admin"}}
	default:
		return nil
	}
}
