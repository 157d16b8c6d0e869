package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/backupjob"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/doctor"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/webhook"
)

// factsPath is where a running server answers with its facts, on the control socket and on
// the admin listener.
const factsPath = "/facts"

// serveFacts answers with what "porchlight doctor" judges. Nothing in it is secret.
func (s *Server) serveFacts(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(s.facts(r.Context())) // the client has disconnected
}

// facts are those of the running server.
func (s *Server) facts(ctx context.Context) *doctor.Facts {
	f := configured(&s.config)
	f.Running, f.Version, f.Draining = true, Version(), s.draining.Load()
	f.Health = s.measure(ctx)
	f.Clock.At = time.Now()
	if s.steady != nil {
		ahead := s.steady.now().Round(0).Sub(time.Now().Round(0))
		f.Clock.Server = &ahead
	}
	f.Descriptors = &doctor.Descriptors{
		Limit: descriptorLimit(), Used: openDescriptors(), Asked: s.config.MaxConnections,
		Allowed: s.descriptors.connections, Open: f.Health.Connections,
	}
	f.Certificates = doctor.Certificates{TLS: s.config.TLS(), All: s.Certificates()}
	measuredSpace(f)
	readable{s.store}.addTo(ctx, f)
	s.failingWebhooks(f)
	if st, ok := s.store.(*natsstore.Store); ok {
		addNATS(f, st.Report(ctx), &s.config)
	}
	if s.backups != nil {
		stats := s.backups.Stats()
		f.Backups.Failures, f.Backups.Reason = stats.InRow, stats.Reason
		lastBackupAt(f, stats.Last, &s.config)
	}
	return f
}

// measuredSpace uses what the store has measured itself.
func measuredSpace(f *doctor.Facts) {
	if f.Health.Store == nil || f.Health.Store.FreeBytes == 0 {
		return
	}
	for i := range f.Disks {
		if f.Disks[i].What == doctor.DataDirectory {
			f.Disks[i].Free, f.Disks[i].Unknown = f.Health.Store.FreeBytes, ""
		}
	}
}

// failingWebhooks adds what only the deliverer knows.
func (s *Server) failingWebhooks(f *doctor.Facts) {
	all, _ := s.webhooks.subscriptions.Snapshot()
	for _, sub := range all {
		st, err := s.webhooks.deliverer.Status(sub)
		if err == nil && st.Down && !st.Paused && !st.Suspended && !st.Disabled {
			f.Webhooks.Failing = append(f.Webhooks.Failing, doctor.Subscription{ID: sub.ID, Account: string(sub.Account), Pending: st.Pending})
		}
	}
	f.Webhooks.Lag = s.webhooks.deliverer.Stats().Lag
}

// openDescriptors is how many files and connections the process has open; 0: unknown.
func openDescriptors() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names)
}

// configured are the facts that follow from the settings and from the machine.
func configured(cfg *config.Config) *doctor.Facts {
	f := &doctor.Facts{Place: cfg.StoreDescription()}
	f.Public = doctor.Public{URL: cfg.PublicURL}
	f.Settings = doctor.Settings{
		Warnings: cfg.Warnings(), Retention: cfg.LogRetention,
		HTTPS: strings.HasPrefix(cfg.PublicURL, "https://"), Proxies: cfg.TrustedProxies != "", HSTS: cfg.HSTSMaxAge > 0, AnyOrigin: slices.Contains(cfg.Origins(), "*"),
	}
	for _, p := range cfg.Check() {
		f.Settings.Problems = append(f.Settings.Problems, p.String())
	}
	f.Backups = doctor.Backups{Dir: cfg.BackupDir, Schedule: cfg.BackupSchedule, NATS: cfg.Store != ""}
	if cfg.DataDir != "" {
		addDirectory(f, doctor.DataDirectory, cfg.DataDir, cfg)
	}
	if cfg.BackupDir != "" {
		addDirectory(f, doctor.BackupDirectory, cfg.BackupDir, cfg)
	}
	return f
}

// addDirectory adds the disk of a directory, and whether others can read it.
func addDirectory(f *doctor.Facts, what, dir string, cfg *config.Config) {
	d := doctor.Disk{What: what, Dir: dir}
	low := uint64(cfg.LowDisk)
	if what != doctor.DataDirectory {
		low, d.Shared = 0, sameDisk(cfg.DataDir, dir)
	}
	var err error
	if d.Free, d.Total, d.Low, err = pebblestore.DiskUsage(dir, low); err != nil {
		d.Unknown = cause(err).Error()
	}
	if err := writeError(dir); err != nil {
		d.ReadOnly = err.Error()
	}
	f.Disks = append(f.Disks, d)
	const others = 0o007 // a backup itself is private in any directory
	if what != doctor.DataDirectory {
		return
	}
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&others != 0 && runtime.GOOS != "windows" {
		f.Settings.Open = append(f.Settings.Open, doctor.Permission{Dir: dir, Mode: fmt.Sprintf("%04o", info.Mode().Perm()), What: what})
	}
}

// lastBackupAt adds the newest backup in backup-dir, or without one the last that is known.
func lastBackupAt(f *doctor.Facts, known time.Time, cfg *config.Config) {
	b := &f.Backups
	b.Last = known
	if b.Dir == "" {
		return
	}
	all, err := backupjob.List(b.Dir)
	if err != nil {
		b.Unknown = err.Error()
		return
	}
	if b.Last = (time.Time{}); len(all) > 0 {
		b.Last = all[len(all)-1].Time
	}
	if times, err := cfg.BackupTimes(); err == nil && !b.Last.IsZero() {
		b.Due = times.Next(b.Last)
	}
}

// A reader reads a store, whether or not it is open for writing.
type reader interface {
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
	PositionAt(ctx context.Context, t time.Time) (store.Position, error)
	Log(ctx context.Context, after store.Position, limit int) ([]store.Entry, error)
}

// readable gathers the facts that are in a store.
type readable struct{ reader }

var errReadOnly = errors.New("the store is open for reading only")

// Write refuses everything.
func (readable) Write(context.Context, presence.AccountID, ...store.Doc) error { return errReadOnly }

// factsTimeout is how long a store may take for all of its facts.
const factsTimeout = 10 * time.Second

func (r readable) addTo(ctx context.Context, f *doctor.Facts) {
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	r.addQuarantine(ctx, &f.Quarantine)
	r.addWebhooks(ctx, &f.Webhooks)
	f.Clock.Newest = r.newestChange(ctx)
}

func (r readable) addQuarantine(ctx context.Context, to *doctor.Quarantine) {
	all, err := tail.Quarantines(ctx, r)
	if err != nil {
		to.Unknown = err.Error()
		return
	}
	for name := range all {
		q := all[name]
		found := doctor.Quarantined{Consumer: name, Count: q.Count}
		if n := len(q.Entries); n > 0 {
			found.Position, found.Time = uint64(q.Entries[n-1].Position), q.Entries[n-1].Time
		}
		if q.Count > 0 {
			to.Consumers = append(to.Consumers, found)
		}
	}
}

func (r readable) addWebhooks(ctx context.Context, to *doctor.Webhooks) {
	all, err := webhook.Stored(ctx, r.List)
	if err != nil {
		to.Unknown = err.Error()
		return
	}
	to.Total = len(all)
	for _, s := range all {
		if !s.Health.Disabled.IsZero() && !s.Paused {
			to.Disabled = append(to.Disabled, doctor.Subscription{ID: s.ID, Account: string(s.Account)})
		}
	}
}

// newestChange is the time of the newest entry of the log; zero: there is none, or it cannot
// be read.
func (r readable) newestChange(ctx context.Context) time.Time {
	at, err := r.PositionAt(ctx, time.Unix(1<<40, 0)) // later than any entry
	if err != nil || at == 0 {
		return time.Time{}
	}
	found, err := r.Log(ctx, at-1, 1)
	if err != nil || len(found) == 0 {
		return time.Time{}
	}
	return found[0].Time
}

// addNATS adds what the servers of a store report.
func addNATS(f *doctor.Facts, r natsstore.Report, cfg *config.Config) {
	n := &doctor.NATS{
		Servers: r.Servers, Version: r.Version, Replicas: cfg.StoreReplicas, Missing: r.Missing, Relaxed: cfg.Durability == "os",
		Used: r.Used, Limit: r.Limit, Unusable: text(r.Unusable), NoSync: text(r.SyncUnknown), NoLimits: text(r.LimitUnknown),
	}
	if errors.Is(r.SyncUnknown, natsstore.ErrSystemAccount) && cfg.StoreSystemCredentials == "" {
		n.NoSync = "only a user of the NATS system account can ask: set store-system-credentials"
	}
	for _, err := range r.Settings {
		n.Settings = append(n.Settings, err.Error())
	}
	for i := range r.Streams {
		n.Streams = append(n.Streams, doctor.Stream(r.Streams[i]))
	}
	for i := range r.Synced {
		n.Synced = append(n.Synced, doctor.NATSServer(r.Synced[i]))
	}
	if r.Within > 0 {
		f.Clock.NATS, f.Clock.Within = &r.Ahead, r.Within
	}
	f.NATS = n
}

// text is the text of an error, which may be nil.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Examine gathers the facts of the server with these settings, running or not. A running one
// gathers them itself; its admin listener may want one of the certificates. It changes
// nothing. Settings with problems are facts as well.
func Examine(ctx context.Context, cfg config.Config, certificates []tls.Certificate) (*doctor.Facts, error) {
	cfg = cfg.Filled()
	before := time.Now()
	f, err := askFacts(ctx, &cfg, certificates)
	if err == nil {
		after := time.Now()
		behind := f.Clock.At.Sub(before.Add(after.Sub(before) / 2))
		if f.Clock.Machine = &behind; behind.Abs() <= after.Sub(before)/2 {
			*f.Clock.Machine = 0
		}
		probe(ctx, &f.Public)
		return f, nil
	}
	if !errors.Is(err, errNotRunning) {
		return nil, err
	}
	if f, err = examineStopped(ctx, &cfg, err); err == nil {
		probe(ctx, &f.Public)
	}
	return f, err
}

// askFacts asks the running server: on the control socket in its data directory, or, with a
// store on NATS, on its admin listener.
func askFacts(ctx context.Context, cfg *config.Config, certificates []tls.Certificate) (*doctor.Facts, error) {
	f := new(doctor.Facts)
	if cfg.Store == "" {
		return f, askControl(ctx, cfg.DataDir, factsPath, nil, f)
	}
	if cfg.AdminOff() {
		return nil, fmt.Errorf("%w: admin-listen is off, so a server cannot be asked", errNotRunning)
	}
	response, err := AskAdmin(ctx, cfg, factsPath, certificates)
	switch {
	case errors.Is(err, ErrNoCertificate):
		return nil, fmt.Errorf("%w: %w", errNotRunning, err)
	case isAlert(err):
		return nil, fmt.Errorf("%w: the server at admin-listen %s refused the client certificate (%w): set --client-cert-file to a certificate from one of the CAs in admin-client-ca-file", errNotRunning, cfg.AdminListen, cause(err))
	case err != nil:
		return nil, fmt.Errorf("%w: no server answers at admin-listen %s (%w); one may run on another machine", errNotRunning, cfg.AdminListen, cause(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("what answers at admin-listen %s is not a server of this version (%s): correct admin-listen, or use the same version of porchlight as the server", cfg.AdminListen, response.Status)
	}
	return f, json.NewDecoder(response.Body).Decode(f)
}

// isAlert reports whether the peer ended a TLS connection because of something that it was sent.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // of crypto/tls
}

// examineStopped gathers the facts that are known without a server.
func examineStopped(ctx context.Context, cfg *config.Config, tried error) (*doctor.Facts, error) {
	f := configured(cfg)
	if _, detail, ok := strings.Cut(tried.Error(), errNotRunning.Error()+": "); ok && cfg.Store != "" {
		f.NotRunning = detail
	}
	all, err := ListCertificates(*cfg)
	f.Certificates = doctor.Certificates{TLS: cfg.TLS(), All: all, Unknown: text(err)}
	if cfg.Store != "" {
		examineNATS(ctx, f, cfg)
		return f, nil
	}
	return f, examineDirectory(ctx, f, cfg)
}

func examineDirectory(ctx context.Context, f *doctor.Facts, cfg *config.Config) (err error) {
	if err := checkRestored(cfg.DataDir); err != nil {
		f.Store.Error = err.Error()
		return nil
	}
	r, err := pebblestore.OpenReader(storeDir(cfg.DataDir), pebblestore.Options{})
	switch {
	case errors.Is(err, pebblestore.ErrMissing):
		return fmt.Errorf("%w: %s holds no store; correct --data-dir, or run \"porchlight init\"", pebblestore.ErrMissing, cfg.DataDir)
	case errors.Is(err, pebblestore.ErrLocked):
		f.Store.Locked = true
	case errors.Is(err, pebblestore.ErrOlder):
		f.Store.Unread = err.Error()
	case err != nil:
		f.Store.Error = err.Error()
	}
	if err != nil {
		unread(f)
		return nil
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	addStopped(ctx, f, readable{r}, cfg)
	return err
}

// unread says that nothing in the store is known.
func unread(f *doctor.Facts) {
	const why = "the store cannot be opened"
	f.Quarantine.Unknown, f.Webhooks.Unknown = why, why
	f.Backups.Unknown = ""
}

// addStopped adds what is in a store that no server on this machine serves.
func addStopped(ctx context.Context, f *doctor.Facts, r readable, cfg *config.Config) {
	r.addTo(ctx, f)
	log := audit.New(r, time.Now)
	last, err := lastBackupIn(ctx, log)
	switch {
	case err != nil:
		f.Backups.Unknown = err.Error()
	case last == nil:
		lastBackupAt(f, time.Time{}, cfg)
	default:
		lastBackupAt(f, last.Time.Time, cfg)
	}
	accounts, err := r.List(ctx, "", "account", "", 1)
	f.Store.NoAccount = err == nil && len(accounts) == 0
}

func examineNATS(ctx context.Context, f *doctor.Facts, cfg *config.Config) {
	opts := Options{}.withDefaults()
	no := natsOptions(cfg, &opts)
	var report natsstore.Report
	read := false
	at, err := reach(cfg, &no)
	if err == nil {
		report, err = natsstore.Examine(ctx, at, no, func(s *natsstore.Store) {
			read = true
			addStopped(ctx, f, readable{s}, cfg)
		})
	}
	if err != nil {
		report.Unusable = err
	}
	if !read {
		f.Store.Unread = "the store cannot be used: see the check nats"
		unread(f)
	}
	addNATS(f, report, cfg)
}
