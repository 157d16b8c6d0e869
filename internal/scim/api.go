package scim

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// Prefix is the path of every route.
const Prefix = "/scim/v2"

// API is the SCIM dialect and its routes. Set the fields, then Mount.
type API struct {
	Authority   *auth.Authority
	Directory   *directory.Directory
	Provisioner *provision.Provisioner
	Quotas      *quota.Guard // nil: none
	// Reads admits the requests that read all users or groups of an account; nil admits
	// all at once.
	Reads *quota.Turns
	// BaseURL is the server's URL as the client of a request sees it.
	BaseURL func(w http.ResponseWriter) string
	// MaxScanned is how many users or groups a list request reads at most; 0 is the
	// default.
	MaxScanned int
}

var _ wire.Dialect = (*API)(nil)

// A route is a method and a path below Prefix.
type route struct {
	method, path string
	serve        func(*call) error
}

func (a *API) routes() []route {
	return slices.Concat(a.discoveryRoutes(), a.userRoutes(), a.groupRoutes(), []route{
		{"POST", "/Bulk", func(*call) error { return errUnsupported }},
	})
}

// Mount adds the routes. Paths under /scim/ speak this dialect.
func (a *API) Mount(rt *wire.Router) {
	rt.Area("/scim/", a)
	for _, r := range a.routes() {
		rt.Handle(r.method, Prefix+r.path, a, a.handler(r))
	}
}

// Routes lists every route, as in "GET /scim/v2/Users", for checks against the
// documentation.
func (a *API) Routes() []string {
	var all []string
	for _, r := range a.routes() {
		all = append(all, r.method+" "+Prefix+r.path)
	}
	return all
}

// A call is one request of an authenticated principal.
type call struct {
	w http.ResponseWriter
	r *http.Request
	p *auth.Principal
	// base is the URL of Prefix.
	base string
}

func (c *call) ctx() context.Context { return c.r.Context() }

// by is the caller as the author of changes.
func (c *call) by() *provision.By {
	return &provision.By{Actor: wire.Actor(c.w, c.p), Account: c.p.Account}
}

// handler checks the token, its scope and the caller's limits before it serves a request.
func (a *API) handler(of route) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := wire.Principal(w, r, a.Authority)
		if err != nil {
			return err
		}
		if !p.Scopes.HasAdmin(auth.ScimWrite) {
			return &wire.ScopeError{Scopes: []string{auth.ScimWrite.String() + ":admin"}}
		}
		if of.method != http.MethodGet {
			standing, err := a.Quotas.Take(quota.Writes, p.Caller(wire.ClientOf(w).LimitKey()))
			if err != nil {
				return err
			}
			wire.AnnounceLimit(w.Header(), standing)
		}
		return of.serve(&call{w: w, r: r, p: p, base: a.BaseURL(w) + Prefix})
	}
}

// write responds with a body.
func (c *call) write(status int, body any) error {
	data, err := encode(body)
	if err != nil {
		return err
	}
	setHeaders(c.w, len(data))
	c.w.WriteHeader(status)
	_, err = c.w.Write(data)
	return err
}

func setHeaders(w http.ResponseWriter, length int) {
	h := w.Header()
	h["Content-Type"] = []string{scimType}
	h["Content-Length"] = []string{strconv.Itoa(length)}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
}

func (c *call) noContent() error {
	c.w.Header()["Cache-Control"] = []string{"no-store"}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// writeResource responds with a resource, as far as the request wants it. Its version is
// the entity tag.
func (c *call) writeResource(status int, o object, wanted *projection) error {
	meta := part(o, "meta")
	c.w.Header()["Etag"] = []string{text(meta, "version")}
	c.w.Header()["Location"] = []string{text(meta, "location")}
	if status == http.StatusOK && c.r.Method == http.MethodGet {
		c.w.Header().Del("Location")
	}
	return c.write(status, wanted.of(o))
}
