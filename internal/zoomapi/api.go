package zoomapi

import (
	"context"
	"net/http"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
)

// A Resolver finds users and their contacts; *directory.Directory is one.
type Resolver interface {
	Resolve(ctx context.Context, account presence.AccountID, ref string) (presence.UserID, error)
	Find(ctx context.Context, account presence.AccountID, ref string) (directory.User, error)
	UsersByID(ctx context.Context, account presence.AccountID, ids []presence.UserID) (map[presence.UserID]directory.User, error)
	Users(ctx context.Context, account presence.AccountID, after presence.UserID, limit int) ([]directory.User, error)
	Contacts(ctx context.Context, account presence.AccountID, owner presence.UserID) (directory.Contacts, error)
	Account(ctx context.Context, id presence.AccountID) (directory.Account, error)
	Group(ctx context.Context, account presence.AccountID, id string) (directory.Group, error)
	Groups(ctx context.Context, account presence.AccountID, after string, limit int) ([]directory.Group, error)
}

// A Publisher takes updates; *publish.Publisher is one.
type Publisher interface {
	Publish(ctx context.Context, u store.User, actor store.Actor, e presence.Event) (publish.Result, error)
	NewBegun(done func(publish.Result, error)) *publish.Begun
}

// A Reader answers plain reads; *view.Reader is one.
type Reader interface {
	Read(ctx context.Context, account presence.AccountID, id presence.UserID, viewer view.Viewer) (view.View, store.Cursor, error)
	Query(ctx context.Context, account presence.AccountID, ids []presence.UserID, viewer view.Viewer) ([]view.View, store.Cursor, error)
}

// API is Zoom's dialect.
type API struct {
	Auth      wire.Authenticator
	Directory Resolver
	Publisher Publisher
	Views     Reader
	Limits    *Limits // of requests by account; nil: none
	Clock     func() time.Time
	Events    *Events // nil: none of its routes
	Users     *Users  // nil: none of its routes
}

// presenceStatus is the one path of the presence API.
const presenceStatus = "/v2/users/{userId}/presence_status"

// Mount adds the routes, and makes unknown paths of Zoom's answer in its way.
func (a *API) Mount(rt *wire.Router) {
	rt.Area("/v2/", a)
	rt.Area("/oauth/", a)
	rt.Handle(http.MethodPut, presenceStatus, a, a.putStatus)
	rt.Handle(http.MethodGet, presenceStatus, a, a.getStatus)
	rt.Handle(http.MethodGet, companyContacts, a, a.searchContacts)
	rt.Handle(http.MethodGet, chatContacts, a, a.listContacts)
	rt.Handle(http.MethodGet, chatContact, a, a.getContact)
	if a.Events != nil {
		a.mountEvents(rt)
	}
	if a.Users != nil {
		a.mountUsers(rt)
	}
}

// A header takes the fields of a response's header: that of net/http, or of the fast path.
type header interface{ Set(name, value string) }

// trackingHeader has the request's id, in the shape of Zoom's.
const (
	trackingHeader = "X-Zm-Trackingid"
	trackingPrefix = "WEB_"
)

// ExposedHeaders are those of Zoom's that a page of another origin may read.
func ExposedHeaders() []string {
	return []string{"X-RateLimit-Category", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Type", trackingHeader}
}

// Announce implements wire.Announcer.
func (a *API) Announce(h http.Header, requestID string) { announce(h, requestID) }

func announce(h header, requestID string) { h.Set(trackingHeader, trackingPrefix+requestID) }

// A grant is what a request needs: a scope, by the names that Zoom documents for it.
type grant struct {
	scope auth.Scope
	admin bool // for every user of the account
	label label
	names []string
}

func (g *grant) allows(p *auth.Principal) bool {
	return p.Scopes.HasAdmin(g.scope) || p.Scopes.Has(g.scope) && !g.admin
}

var (
	mayUpdate = grant{scope: auth.ClaimWrite, label: medium, names: []string{"user:update:presence_status", "user:update:presence_status:admin"}}
	mayRead   = grant{scope: auth.PresenceRead, label: medium, names: []string{"user:read:presence_status", "user:read:presence_status:admin"}}
)

// admit is what every request passes first: token, scope, the account's limit.
func (a *API) admit(w http.ResponseWriter, r *http.Request, g *grant) (*auth.Principal, error) {
	p, err := wire.Principal(w, r, a.Auth)
	if err != nil {
		return nil, err
	}
	if !g.allows(p) {
		return nil, &wire.ScopeError{Scopes: g.names}
	}
	if err := a.Limits.takeRequest(w.Header(), p, g.label); err != nil {
		return nil, err
	}
	return p, nil
}

// user is whom the path names. That an id exists shows later, at its record.
func (a *API) user(r *http.Request, p *auth.Principal) (presence.UserID, error) {
	return a.userOf(r.Context(), p, wire.UserRef(r, "userId"))
}

func (a *API) userOf(ctx context.Context, p *auth.Principal, ref string) (presence.UserID, error) {
	if ref != "me" {
		return a.Directory.Resolve(ctx, p.Account, ref)
	}
	if p.User == "" {
		return "", directory.ErrNoUser // an account without an owner
	}
	return p.User, nil
}
