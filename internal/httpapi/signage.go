package httpapi

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/signage"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) signageRoutes() []route {
	return []route{
		{"POST", "/v1/signage-links", needsAdmin(auth.DirectoryWrite), withBody(a.createSignageLink)},
		{"GET", "/v1/signage-links", needsAdmin(auth.DirectoryRead), a.listSignageLinks},
		{"DELETE", "/v1/signage-links/{link}", needsAdmin(auth.DirectoryWrite), a.revokeSignageLink},
	}
}

// mountSignage adds the route of displays, which have no token.
func (a *API) mountSignage(rt *wire.Router) {
	visits := &signageVisits{clock: a.Clock}
	rt.Handle(http.MethodGet, "/v1/signage/{secret}", a, a.Site.OwnHost(func(w http.ResponseWriter, r *http.Request) error {
		if err := visits.admit(wire.ClientOf(w).LimitKey()); err != nil {
			return err
		}
		return a.showSignage(&call{w: w, r: r})
	}))
}

func (a *API) createSignageLink(c *call, body *api.CreateSignageLink) error {
	if err := a.checkMakesCredentials(c); err != nil {
		return err
	}
	if err := c.checkCreate(); err != nil {
		return err
	}
	link, address, err := a.Signage.Create(c.r.Context(), c.p.Account, wire.Actor(c.w, c.p), body.Name, body.Group)
	if err != nil {
		return err
	}
	made := asSignageLink(&link)
	made.URL = a.baseURL(c.w) + "/signage/" + address
	header(c.w, "Location", "/v1/signage-links/"+link.ID)
	return c.writeBody(http.StatusCreated, &made)
}

func (a *API) listSignageLinks(c *call) error {
	if _, err := c.query(); err != nil {
		return err
	}
	links, err := a.Signage.List(c.r.Context(), c.p.Account)
	if err != nil {
		return err
	}
	list := api.SignageLinks{SignageLinks: []api.SignageLink{}}
	for i := range links {
		list.SignageLinks = append(list.SignageLinks, asSignageLink(&links[i]))
	}
	return c.writeDigested(&list)
}

func asSignageLink(link *signage.Link) api.SignageLink {
	return api.SignageLink{ID: link.ID, Name: link.Name, Group: link.Group, Created: api.At(link.Created)}
}

func (a *API) revokeSignageLink(c *call) error {
	if err := c.checkConditions("", true); err != nil { // a link has no representation of its own
		return err
	}
	return c.finish(a.Signage.Revoke(c.r.Context(), c.p.Account, wire.Actor(c.w, c.p), c.r.PathValue("link")))
}

func (a *API) showSignage(c *call) error {
	found, err := a.Signage.Show(c.r.Context(), c.r.PathValue("secret"))
	if err != nil {
		return err
	}
	shown := api.Signage{Title: found.Title, People: make([]api.SignagePerson, len(found.People))}
	for i, p := range found.People {
		shown.People[i] = api.SignagePerson{Name: p.Name, Status: api.Status(p.Status.String())}
	}
	return c.writeDigested(&shown)
}

// maxVisits is how often the displays of an address may ask in a minute: ten that ask every
// five seconds. Nobody has to be known to ask.
const maxVisits = 120

// signageVisits counts them.
type signageVisits struct {
	clock func() time.Time

	mu        sync.Mutex
	addresses quota.Table[netip.Prefix] // guarded by mu
}

func (v *signageVisits) admit(from netip.Prefix) error {
	now := v.clock()
	v.mu.Lock()
	defer v.mu.Unlock()
	b := v.addresses.Get(from)
	if _, wait := b.Take(1, maxVisits, time.Minute, now); wait > 0 {
		limit := quota.Limit{Name: "signage-per-address", Unit: "requests of displays a minute", Most: maxVisits, Subject: "address", Per: time.Minute}
		return limit.Reached(wait)
	}
	v.addresses.Set(from, b, now)
	return nil
}
