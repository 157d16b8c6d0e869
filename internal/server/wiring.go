package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/fastpath"
	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/manual"
	"porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/scim"
	"porchlight.dev/porchlight/internal/signage"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/streamapi"
	"porchlight.dev/porchlight/internal/systemapi"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/watch"
	"porchlight.dev/porchlight/internal/wire"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// policyOf is the policy that the settings describe, on a store that several nodes share or
// not.
func policyOf(cfg *config.Config, shared bool) presence.Policy {
	p := presence.DefaultPolicy()
	p.Ahead = shared
	p.MinInterval = cfg.MinUpdateInterval
	p.SignedInRule = cfg.SignedInRule == "zoom"
	if cfg.LegacyTransitions {
		p.ClientVersions = zoomapi.ClientVersions()
	}
	p.IdleAfter = cfg.IdleAfter
	p.MeetingTimeout = cmp.Or(cfg.MeetingTimeout, p.MeetingTimeout)
	return p
}

// siteOf describes the server's names and origins. Other origins may not call the OAuth
// endpoints: a page that contains an app's secret has published it.
func siteOf(cfg *config.Config) *wire.Site {
	site := &wire.Site{
		Hosts: cfg.Hosts(), AnyAddress: cfg.Everywhere(), Own: cfg.Origin(), Origins: cfg.Origins(), Shared: []string{"/v1/", "/v2/"},
		Exposed: zoomapi.ExposedHeaders(),
	}
	if age := cfg.HSTSMaxAge; age > 0 {
		site.HSTS = fmt.Sprintf("max-age=%d", age/time.Second)
	}
	return site
}

// compose builds every part and connects it to what it depends on.
func (s *Server) compose() {
	clock := s.opts.Clock
	dir := directory.New(s.store, clock)
	authority := auth.New(s.store, dir, clock, zoomapi.Scopes()...)
	authority.Live = s.limits.live
	exclusive := !isShared(s.store)
	if exclusive {
		authority.OnlyWriter()
	}
	known := func(ctx context.Context, u store.User) error {
		_, err := dir.User(ctx, u.Account, u.ID)
		return err
	}
	s.publisher = publish.New(publish.Options{
		Store: s.store, Policy: policyOf(&s.config, isShared(s.store)), Known: known, Clock: clock, Log: s.log,
		Holder: s.members.Self(), Serving: s.members.Serving,
	})
	views := &view.Reader{Store: s.store, Known: known, ErrGone: directory.ErrNoUser}
	s.watches = &watch.Registry{Store: s.store, Known: known, Clock: clock, Log: s.log, Nodes: s.peers()}
	s.webhooks = s.newWebhooks(dir, authority)
	s.consumers = tail.New(tail.Options{Store: s.store, Nodes: s.peers(), Clock: clock, Log: s.log},
		s.watches.Consumer(), s.webhooks.deliverer.Consumer())
	s.erasures = erasure.New(s.store, s.consumers, clock, s.log)
	s.erasures.Preferred = s.isPreferred
	s.erasures.OnDone = func(e *erasure.Erasure) {
		s.audit.Later(e.User.Account, &audit.Event{Action: "erasure.complete", Target: "user/" + string(e.User.ID)})
	}
	s.hub = NewHub(s.store, dir, authority, s.limits.reads, clock, s.log, s.tracer())
	s.hub.OnChange(s.publisher.Observe)
	s.connectNodes(dir, authority)
	site := siteOf(&s.config)
	s.audit.Accounts = accountsOf(dir)
	signIns := signin.New(signin.Options{
		Store: s.store, Directory: dir, Authority: authority, Audit: s.audit, Clock: clock, Log: s.log, NoPasswords: !s.config.Passwords,
	})
	s.provisioner = &provision.Provisioner{
		Directory: dir, Authority: authority, Publisher: s.publisher, Records: s.store, Subscriptions: s.webhooks.subscriptions, SignIns: signIns, Audit: s.audit,
	}
	oauth := &oauthapi.API{Authority: authority, Audit: s.audit, BaseURL: s.baseURL, Clock: clock, Admit: s.limits.admitGrant}
	native := &httpapi.API{
		OAuth:       oauth,
		Provisioner: s.provisioner, Audit: s.audit, Events: s.audit, SignIns: signIns, BaseURL: s.baseURL,
		Publisher: s.publisher, Views: views, Watches: s.watches, Subscriptions: s.webhooks.subscriptions, Deliverer: s.webhooks.deliverer,
		Histories: history.Reader{Log: s.store}, Erasures: s.erasures, Directory: dir, Authority: authority, Clock: clock,
		Cursors: s.hub, Log: s.log, Site: site, Quotas: s.limits.guard, Reads: s.limits.reads,
	}
	native.Provider = s.newProvider(signIns)
	native.Signage = signage.New(signage.Options{Store: s.store, Directory: dir, Views: views, Audit: s.audit, Clock: clock})
	s.tenants = s.newTenants(dir, authority, s.audit, exclusive)
	streams := &streamapi.API{Native: native, Hub: s.hub}
	s.watches.Deliver = streams.SendWatch
	plan, _ := zoomapi.ParsePlan(s.config.RateLimitPlan) // Check has refused any other
	rates := zoomapi.NewLimits(plan, clock)
	s.shareRates(rates)
	native.Rates = func(plan string) []api.AccountRate { return accountRates(rates.Rates(plan)) }
	zoom := &zoomapi.API{
		Auth: authority, Directory: dir, Publisher: s.publisher, Views: views, Limits: rates, Clock: clock,
		Events: &zoomapi.Events{Audit: s.audit, Subscriptions: s.webhooks.subscriptions, Deliveries: s.webhooks.deliverer, Sockets: s.webhooks.sockets},
		Users:  &zoomapi.Users{Provisioner: s.provisioner, Authority: authority, Reads: s.limits.reads},
	}
	oauth.Headers = zoom.Announce

	observer := wire.NewObserver(s.access, s.log, s.metrics, clock)
	observer.Tracer, observer.Gate = s.tracer(), s.limits.gate
	observer.Proxies, observer.Site, observer.Audit = s.config.Networks(), site, s.audit
	native.Measure = s.newMeasure(observer)
	rt := wire.NewRouter(observer, native)
	native.Mount(rt)
	streams.Mount(rt)
	(&streamapi.Events{API: streams, Sockets: s.webhooks.sockets, Header: s.webhooks.sender.Header}).Mount(rt)
	(&systemapi.API{Native: native, Authority: authority, Tenants: s.tenants, Members: s.members}).Mount(rt)
	zoom.Mount(rt)
	pages := &ui.Pages{Dialect: native, Site: site, DemoToken: s.opts.DemoToken}
	oauth.Page, oauth.Consent = native, pages.Consent()
	oauth.Mount(rt)
	(&scim.API{Authority: authority, Directory: dir, Provisioner: s.provisioner, Quotas: s.limits.guard, Reads: s.limits.reads, BaseURL: s.baseURL}).Mount(rt)
	pages.Mount(rt)
	(&manual.Manual{Dialect: native, Site: site}).Mount(rt)
	s.public = s.newPublic(rt)
	s.metrics.MustRegister(newFramerCollector(s.public.Malformed))
	if s.config.FastPath {
		fast := fastpath.New(observer, authority)
		zoom.MountFast(fast)
		s.public.Fast = fast
		s.metrics.MustRegister(newFastPathCollector(fast.Stats))
	}
	s.internal = administrative(s.adminHandler(), s.log)
}

// baseURL is the server's URL as the client of a request sees it.
func (s *Server) baseURL(w http.ResponseWriter) string {
	if s.config.PublicURL != "" {
		return strings.TrimRight(s.config.PublicURL, "/")
	}
	return wire.ClientOf(w).URL()
}

// accountRates are the numbers of a plan as the native API has them.
func accountRates(rates []zoomapi.Rate) []api.AccountRate {
	shown := make([]api.AccountRate, len(rates))
	for i, r := range rates {
		shown[i] = api.AccountRate{Label: r.Label, Requests: r.Requests, Seconds: int(r.Per.Seconds()), Daily: r.Daily, DailyWith: r.DailyWith}
	}
	return shown
}
