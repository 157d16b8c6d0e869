package server

import (
	"net/url"
	"os"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/egress"
	"porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/seal"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// webhooks are the parts that send events to other systems.
type webhooks struct {
	client        *egress.Client
	subscriptions *webhook.Registry
	sender        *webhook.HTTPSender
	deliverer     *webhook.Deliverer
	sockets       *eventsocket.Sockets
}

// newWebhooks builds them.
func (s *Server) newWebhooks(dir *directory.Directory, authority *auth.Authority) webhooks {
	clock := s.opts.Clock
	catalog := webhook.Catalog{Forms: s.eventForms(), Profiles: []webhook.Profile{webhook.Durable(), zoomapi.EventProfile()}}
	client := egress.NewClient(egress.Options{Allow: s.config.WebhookNetworks(), Setting: "webhook-allow", Connections: s.descriptors.outgoing})
	subscriptions := &webhook.Registry{
		Catalog: catalog, Store: s.store, Sealer: &seal.Sealer{Store: s.store}, Directory: dir, Client: client, Clock: clock, Log: s.log, Nodes: s.peers(),
	}
	sender := &webhook.HTTPSender{
		Catalog: catalog, Client: client, Secrets: subscriptions.SecretsOf,
		Now: clock, UserAgent: "Porchlight/" + Version(), Log: s.log, Tracer: s.tracer(),
	}
	subscriptions.Validate = sender.Validate
	subscriptions.HasApp, subscriptions.Consented = authority.HasApp, authority.Consented
	authority.OnGrantEnd(subscriptions.EndConsent)
	var messenger store.Messenger
	if isShared(s.store) {
		messenger, _ = s.store.(store.Messenger)
	}
	deliverer := webhook.NewDeliverer(webhook.DelivererOptions{
		Catalog: catalog, Store: s.store, Subscriptions: subscriptions.Snapshot, SetHealth: subscriptions.SetHealth, SetReplay: subscriptions.SetReplay,
		People: webhook.NewPeople(dir, s.store, clock), Sender: sender, Clock: clock, Log: s.log, Messenger: messenger,
	})
	sockets := &eventsocket.Sockets{Access: authority, Quotas: s.limits.guard, Clock: clock, Log: s.log}
	return webhooks{client, subscriptions, sender, deliverer, sockets}
}

// eventForms lists the forms of events, the default first.
func (s *Server) eventForms() []webhook.Form {
	cloud := webhook.CloudEvents{Data: httpapi.EventForm{}, Epoch: s.store.Epoch, Origin: s.hostName()}
	binary := cloud
	binary.Binary = true
	return []webhook.Form{cloud.Data, zoomapi.EventForm{}, &cloud, &binary}
}

// hostName is the server's name for other systems: of public-url, or of the machine.
func (s *Server) hostName() string {
	if u, err := url.Parse(s.config.PublicURL); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// close closes idle connections to endpoints.
func (w *webhooks) close() {
	if w.client != nil {
		w.client.Close()
	}
}
