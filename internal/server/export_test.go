package server

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// Router is the fully wired handler of the API, for tests of all its routes.
func (s *Server) Router() *wire.Router {
	rt, _ := s.public.HTTP1.Handler.(*wire.Router)
	return rt
}

// Provisioner makes the users of such tests, and has the directory and the authority.
func (s *Server) Provisioner() *provision.Provisioner { return s.provisioner }

// TrustEndpoints accepts every endpoint of a subscription without a request to it.
func (s *Server) TrustEndpoints() *webhook.Registry {
	s.webhooks.subscriptions.Validate = func(context.Context, *webhook.Subscription) error { return nil }
	return s.webhooks.subscriptions
}

// RecordErasure records a request to erase a user, as if the user had been deleted.
func (s *Server) RecordErasure(ctx context.Context, u store.User) error {
	_, err := s.erasures.Request(ctx, u)
	return err
}

// BackUp makes a scheduled backup now.
func (s *Server) BackUp(ctx context.Context) error { return s.schedule.Once(ctx) }

// BackUpToLargeDisk has the disk of scheduled backups so large that all of low-disk must stay
// free on it.
func (s *Server) BackUpToLargeDisk() {
	s.schedule.Available = func() (uint64, error) {
		return availableFor(s.config.DataDir, s.config.BackupDir, uint64(s.config.LowDisk), largeDisk)
	}
}

// ToLargeDisk is the backup to such a disk.
func (b Backup) ToLargeDisk() Backup {
	b.usage = largeDisk
	return b
}

func largeDisk(_ string, low uint64) (free, total, refused uint64, err error) {
	return 1 << 40, 1 << 63, low, nil
}

// Metrics is the registry of what /metrics exports.
func (s *Server) Metrics() *prometheus.Registry { return s.metrics }

// ConnectNode connects a node of a test to others, until ctx ends.
func ConnectNode(ctx context.Context, messenger store.Messenger, dir *directory.Directory, authority *auth.Authority, h *hub.Hub) (run func() error) {
	m := newNodeMessages(messenger, dir, authority, h, nil, slog.New(slog.DiscardHandler))
	return func() error { return m.run(ctx) }
}
