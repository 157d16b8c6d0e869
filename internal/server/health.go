package server

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/wire"
)

// newMeasure returns the function that collects the figures of GET /v1/health. observer has
// seen all requests.
func (s *Server) newMeasure(observer *wire.Observer) func(context.Context) (*api.ServerHealth, error) {
	started := api.At(s.opts.Clock())
	return func(ctx context.Context) (h *api.ServerHealth, err error) {
		h = s.measure(ctx)
		h.Started = started
		h.Requests, h.Latency = latencyOf(observer)
		h.Backups = s.backupsHealth()
		h.Backup, err = s.lastBackup(ctx)
		return h, err
	}
}

// measure collects what the parts of the server know.
func (s *Server) measure(ctx context.Context) *api.ServerHealth {
	h := &api.ServerHealth{
		Version: Version(), Connections: s.limits.connections.stats().open, ConnectionsLimit: s.limits.connections.total.Most,
		Streams: s.hub.Stats().Streams, Consumers: []api.ConsumerHealth{},
	}
	h.State, h.Reason = s.state(ctx)
	if h.State != api.HealthFailing {
		h.Changes = s.newest(ctx)
	}
	if st, ok := s.store.(statistician[pebblestore.Stats]); ok {
		stats := st.Stats()
		h.Store = &api.StoreHealth{DiskBytes: stats.DiskBytes, FreeBytes: stats.FreeBytes, LowBytes: stats.LowBytes}
	}
	for _, c := range s.consumerStats(ctx) {
		h.Consumers = append(h.Consumers, api.ConsumerHealth{
			Name: c.Name, Running: c.Running, LagEntries: c.LagEntries, LagSeconds: c.Lag.Seconds(), Quarantined: c.Quarantined, Retries: c.Retries,
		})
	}
	d := s.webhooks.deliverer.Stats()
	h.Deliveries = api.DeliveryHealth{
		Accepted: d.Accepted, Failed: d.Failed, GivenUp: d.GivenUp, Pending: d.Pending, Down: d.Down, Disabled: d.Disabled, LagSeconds: d.Lag.Seconds(),
	}
	return h
}

// state is that of the server, and the reason if it is not ready.
func (s *Server) state(ctx context.Context) (state, reason string) {
	if reason := s.isolation(); reason != "" {
		return api.HealthFailing, reason
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	switch err := s.store.Check(ctx); {
	case err == nil:
		return api.HealthReady, ""
	case errors.Is(err, store.ErrFull):
		return api.HealthReadOnly, err.Error()
	default:
		return api.HealthFailing, err.Error()
	}
}

// newest is the newest position of the log; 0: it is unknown.
func (s *Server) newest(ctx context.Context) uint64 {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	at, err := s.store.PositionAt(ctx, s.opts.Clock().Add(time.Hour))
	if err != nil {
		return 0
	}
	return uint64(at)
}

func latencyOf(observer *wire.Observer) (requests uint64, buckets []api.LatencyBucket) {
	requests, within := observer.Latency()
	buckets = []api.LatencyBucket{}
	for _, b := range within {
		buckets = append(buckets, api.LatencyBucket{Seconds: b.Seconds, Requests: b.Requests})
	}
	return requests, buckets
}

// backupsHealth describes the backups of this node; nil: it makes none.
func (s *Server) backupsHealth() *api.BackupsHealth {
	if s.backups == nil {
		return nil
	}
	stats := s.backups.Stats()
	h := &api.BackupsHealth{Failures: stats.InRow, Reason: stats.Reason}
	if !stats.Next.IsZero() {
		next := api.At(stats.Next)
		h.Next = &next
	}
	if stats.Running {
		h.Running = &api.BackupProgress{DoneBytes: stats.Done, TotalBytes: stats.Total}
	}
	return h
}

// lastBackup is the newest one in the server's audit log; nil: there is none among the
// newest events of the log.
func (s *Server) lastBackup(ctx context.Context) (*api.BackupHealth, error) {
	return lastBackupIn(ctx, s.audit)
}

func lastBackupIn(ctx context.Context, log *audit.Log) (*api.BackupHealth, error) {
	page, err := log.Page(ctx, audit.System, &audit.Query{Action: backupAction, Limit: 1})
	if err != nil || len(page.Records) == 0 {
		return nil, err
	}
	var made struct {
		Time  api.Time `json:"time"`
		After struct {
			Bytes int64 `json:"bytes"`
		} `json:"after"`
	}
	err = json.Unmarshal(page.Records[0].Line, &made)
	return &api.BackupHealth{Time: made.Time, Bytes: made.After.Bytes}, err
}
