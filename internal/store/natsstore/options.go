package natsstore

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// Defaults of Options.
const (
	DefaultPrefix    = "porchlight"
	DefaultReplicas  = 3
	DefaultRetention = 30 * 24 * time.Hour
	DefaultTimeout   = 2 * time.Second

	checkInterval = 30 * time.Second
	sweepInterval = time.Minute
)

// Options configure a store. The zero value of a field selects its default.
type Options struct {
	Clock  func() time.Time // time.Now
	Logger *slog.Logger     // discards
	// Retention is how long log entries stay readable: the age limit of the history
	// stream. An existing stream must have the same limit.
	Retention time.Duration
	// Replicas is the number of replicas of streams that are created. Existing streams
	// with fewer are refused.
	Replicas int
	// Relaxed accepts servers that do not sync every write, or that cannot be asked, and
	// existing streams with fewer replicas.
	Relaxed bool
	// Exclusive refuses a store that nodes serve, and stops using it when a node has
	// acquired the lease.
	Exclusive bool
	// Serving says that this is one of the nodes that serve the store together. It refuses
	// a store that somebody uses exclusively. A store opened with neither is used beside
	// the nodes, as by a command.
	Serving bool
	// MustExist refuses to create a store.
	MustExist bool
	// NewEpoch assigns a new epoch to the store. This is needed once after its streams
	// were rolled back to older data, from a snapshot or by nats stream restore: the
	// store cannot detect that by itself, and cursors from after the snapshot would skip
	// changes. Running nodes then fail.
	NewEpoch bool
	// Credentials is a .creds file. The URL may have a user and password, or a token,
	// instead.
	Credentials string
	// SystemURL is the URL of the same servers for a user of their system account, and
	// SystemCredentials its .creds file. Only that account can ask servers whether they
	// sync every write.
	SystemURL         string
	SystemCredentials string
	// Timeout limits how long a write waits for servers that do not respond, and an
	// operation for the connection, which counts as lost after three times as long without
	// an answer. The election of a new leader takes four to nine
	// seconds.
	Timeout time.Duration
	// Prefix is the prefix of the names of streams and subjects, so that several stores
	// can share servers. It consists of letters, digits, "-" and "_".
	Prefix string

	openTimeout time.Duration // of Open, once it is connected
	checkEvery  time.Duration // interval of checks of the store and its settings
	leaseTerm   time.Duration // a crashed node holds an exclusive store for this long
	sweepEvery  time.Duration // interval of searches for schedules that did not fire
}

// The reasons why a store is not opened. Each is wrapped with what to do about it.
var (
	ErrMissing = errors.New("store not found")
	ErrNewer   = errors.New("store has a newer format")
	// ErrSettings: the configuration of a stream or a server could lose acknowledged
	// writes.
	ErrSettings = errors.New("NATS is misconfigured")
	// ErrSystemAccount: the servers cannot be asked whether they sync every write, since
	// the user of the system account is missing, rejected, or of another account.
	ErrSystemAccount = errors.New("cannot read the settings of the NATS servers")
	// ErrDenied: the servers reject the user or its credentials.
	ErrDenied = errors.New("NATS rejects the user")
	// ErrLost: a part of an existing store is missing.
	ErrLost = errors.New("part of the store is lost")
	// ErrMigrating: the store is an incomplete copy of another one.
	ErrMigrating = errors.New("a migration to it is running or was interrupted")
	// ErrOccupied: a migration never changes an existing store.
	ErrOccupied = errors.New("the store exists already")
	// ErrForeign: streams with these names exist, but are not those of a store.
	ErrForeign = errors.New("the streams were not created by Porchlight")
)

const maxPrefix = 64

// Shared reports whether other nodes may serve the store at the same time.
func (s *Store) Shared() bool { return !s.opts.Exclusive }

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Retention = cmp.Or(max(o.Retention, 0), DefaultRetention)
	o.Replicas = cmp.Or(max(o.Replicas, 0), DefaultReplicas)
	o.Timeout = cmp.Or(max(o.Timeout, 0), DefaultTimeout)
	o.Prefix = cmp.Or(o.Prefix, DefaultPrefix)
	o.openTimeout = cmp.Or(o.openTimeout, openTimeout)
	o.checkEvery = cmp.Or(o.checkEvery, checkInterval)
	o.leaseTerm = cmp.Or(o.leaseTerm, leaseTerm)
	o.sweepEvery = cmp.Or(o.sweepEvery, sweepInterval)
	return o
}

func (o Options) check() error {
	if len(o.Prefix) > maxPrefix || !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(o.Prefix) {
		return fmt.Errorf("%w: prefix %q must be 1 to %d letters, digits, \"-\" or \"_\"", ErrSettings, o.Prefix, maxPrefix)
	}
	return nil
}
