package server

import (
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/tenant"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// newTenants makes the registry of accounts.
func (s *Server) newTenants(dir *directory.Directory, authority *auth.Authority, recorder audit.JointRecorder, exclusive bool) *tenant.Registry {
	grace := 2 * auth.MaxStale
	if exclusive {
		grace = time.Second // for requests that are running
	}
	if s.control != nil {
		s.control.authority, s.control.audit = authority, recorder
	}
	return tenant.New(tenant.Parts{
		Store: s.store, Directory: dir, Authority: authority, Provisioner: s.provisioner, Subscriptions: s.webhooks.subscriptions,
		Eraser: s.consumers, Audit: recorder, Plans: zoomapi.PlanNames(), Grace: grace, Clock: s.opts.Clock, Log: s.log, Preferred: s.isPreferred,
	})
}
