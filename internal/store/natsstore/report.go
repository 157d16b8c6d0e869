package natsstore

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Report describes the servers of a store and its streams.
type Report struct {
	Servers string // without credentials
	Version string // of the server of the connection
	// Unusable is why there is no complete store: nil, or as an error of Open.
	Unusable error
	// Settings are those of the streams that could lose acknowledged writes.
	Settings []error
	Streams  []StreamReport
	// Synced are the servers with JetStream, and Missing is how many more there should be.
	// SyncUnknown is why they could not be asked.
	Synced      []ServerReport
	Missing     int
	SyncUnknown error
	// Used and Limit are the bytes of the account; a limit below 1 is none.
	Used         uint64
	Limit        int64
	LimitUnknown error
	// Ahead is how far this machine's clock is ahead of that of the state stream's leader,
	// known to Within; zero and zero: unknown.
	Ahead, Within time.Duration
}

// A StreamReport describes a stream.
type StreamReport struct {
	Name     string
	Replicas int
	Cluster  bool   // whether the servers are one, so that there must be a leader
	Leader   string // "": none
	Offline  []string
	Behind   []string
}

// A ServerReport is what a server says of itself to the system account.
type ServerReport struct {
	Name, Version string
	SyncAlways    bool
	Used, Limit   uint64 // bytes; a limit of 0 is unknown
}

// Examine reports on a store without opening it: it creates and changes nothing, and
// settings with which Open refuses a store are in the report. If the store is complete, it
// calls read, with which its documents and its log can be read until read returns.
func Examine(ctx context.Context, url string, o Options, read func(*Store)) (Report, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return Report{}, err
	}
	s := newStore(url, o)
	if err := s.connect(url); err != nil {
		return Report{}, err
	}
	defer func() {
		close(s.closing) // so that the end of the connection is not logged
		s.conn.Close()
	}()
	ctx, cancel := context.WithTimeout(ctx, o.openTimeout)
	defer cancel()
	r, inv := s.report(ctx)
	if r.Unusable == nil && inv.id != nil {
		s.adopt(*inv.id)
		s.advanceSeq(inv.state.State.LastSeq)
		s.gate.opened()
		read(s)
	}
	return r, nil
}

// Report describes the servers of an open store.
func (s *Store) Report(ctx context.Context) Report {
	r, _ := s.report(ctx)
	return r
}

func (s *Store) report(ctx context.Context) (Report, inventory) {
	r := Report{Servers: s.servers, Version: s.conn.ConnectedServerVersion()}
	asked := s.opts.Clock()
	inv, err := s.inspect(ctx)
	if err == nil {
		r.clock(inv, asked, s.opts.Clock())
		err = s.reportStreams(&r, inv)
	}
	r.Unusable = s.jetStreamError(err)
	s.reportAccount(ctx, &r)
	s.reportServers(ctx, &r)
	return r, inv
}

// clock compares the time of the answer with those of this machine before and after.
func (r *Report) clock(inv inventory, before, after time.Time) {
	if inv.state == nil || inv.state.TimeStamp.IsZero() {
		return
	}
	r.Within = after.Sub(before) / 2
	r.Ahead = before.Add(r.Within).Sub(inv.state.TimeStamp)
}

// reportStreams reports on the streams, and returns why they are not a complete store.
func (s *Store) reportStreams(r *Report, inv inventory) error {
	for _, stream := range []*jetstream.StreamInfo{inv.state, inv.history} {
		if stream != nil {
			r.Streams = append(r.Streams, reportStream(stream))
		}
	}
	stage, err := s.stageOf(inv)
	switch {
	case errors.Is(err, ErrSettings):
		if inv.history != nil {
			r.addSettings(s.checkState(inv.state.Config), s.checkHistory(inv.history.Config))
		}
		return nil
	case err == nil && stage != complete:
		return ErrMissing
	}
	return err
}

func (r *Report) addSettings(found ...error) {
	for _, err := range found {
		if err != nil {
			r.Settings = append(r.Settings, err)
		}
	}
}

func reportStream(found *jetstream.StreamInfo) StreamReport {
	r := StreamReport{Name: found.Config.Name, Replicas: found.Config.Replicas}
	if found.Cluster == nil || found.Cluster.Name == "" {
		return r
	}
	r.Cluster, r.Leader = true, found.Cluster.Leader
	for _, peer := range found.Cluster.Replicas {
		switch {
		case peer.Offline:
			r.Offline = append(r.Offline, peer.Name)
		case !peer.Current:
			r.Behind = append(r.Behind, peer.Name)
		}
	}
	return r
}

func (s *Store) reportAccount(ctx context.Context, r *Report) {
	account, err := s.js.AccountInfo(ctx)
	if err != nil {
		r.LimitUnknown = err
		return
	}
	r.Used, r.Limit = account.Store, account.Limits.MaxStore
}

// reportServers asks the servers as checkSynced does.
func (s *Store) reportServers(ctx context.Context, r *Report) {
	if s.opts.SystemURL == "" && s.opts.SystemCredentials == "" {
		r.SyncUnknown = ErrSystemAccount
		return
	}
	servers, err := s.requestReports(ctx)
	if err != nil {
		r.SyncUnknown = err
		return
	}
	for _, x := range servers.byName() {
		r.Synced = append(r.Synced, ServerReport{
			Name: x.Server.Name, Version: x.Server.Version, SyncAlways: x.Data.Config.SyncAlways, Used: x.Data.Storage, Limit: uint64(max(0, x.Data.Config.MaxStorage)),
		})
	}
	missing, err := servers.missing(peerReport.isOffline)
	r.Missing, r.SyncUnknown = len(missing), err
}
