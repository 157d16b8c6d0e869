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

// Options are the settings of a store. The zero value of each field is its
// default.
type Options struct {
	Clock  func() time.Time // time.Now
	Logger *slog.Logger     // discards
	// Retention is how long entries stay readable: the age limit of the history
	// stream. An existing stream must have the same.
	Retention time.Duration
	// Replicas is of the streams that are created. Existing streams with fewer
	// are refused.
	Replicas int
	// Relaxed accepts servers that do not sync every write, or that do not say
	// whether they do, and existing streams with fewer replicas.
	Relaxed bool
	// Exclusive refuses a store that another node serves, and serves none itself
	// when another has taken over. Nodes without it share the store, which is safe
	// for data, not for sessions that are refreshed through several of them.
	Exclusive bool
	// MustExist refuses to create a store.
	MustExist bool
	// NewEpoch gives the store a new identity. That is needed once after the
	// servers were set back to data that they had before, from a snapshot or by
	// nats stream restore: nothing else distinguishes it from the store that it was, and
	// cursors from since would hide changes. Nodes that run fail then.
	NewEpoch bool
	// Credentials is a .creds file. User and password, or a token, may also
	// stand in the URL.
	Credentials string
	// System is the URL of the same servers for a user of their system account,
	// and SystemCredentials its .creds file. Only that account can ask servers
	// whether they sync every write.
	SystemURL         string
	SystemCredentials string
	// Wait is how long a write waits for servers that do not answer, or for a
	// connection, before it is given up. An election of a new leader takes four to
	// nine seconds.
	Timeout time.Duration
	// Prefix begins the names of streams and subjects, so that several stores
	// can share servers: letters, digits, "-" and "_".
	Prefix string

	checkEvery time.Duration // how often store and settings are checked again
	leaseTerm  time.Duration // how long a node that is gone keeps an exclusive store
	sweepEvery time.Duration // how often schedules are searched for those that did not fire
}

// Why a store is not opened. Each comes with a text that says what to do.
var (
	ErrMissing = errors.New("store not found")
	ErrNewer   = errors.New("the store has a newer format")
	// ErrSettings: a stream or a server is set up so that what is acknowledged
	// could be lost.
	ErrSettings = errors.New("NATS is misconfigured")
	// ErrUnasked: the servers cannot be asked whether they sync every write,
	// since the user of the system account is not given, refused, or another's.
	ErrSystemAccount = errors.New("cannot read the servers' settings")
	// ErrDenied: the servers refuse the user, or what proves it.
	ErrDenied = errors.New("NATS rejects the user")
	// ErrLost: a part of a store that was created before is missing.
	ErrLost = errors.New("a part of the store is lost")
	// ErrForeign: the streams' names are taken by something else.
	ErrForeign = errors.New("the streams were not created by Porchlight")
)

const maxPrefix = 64

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Retention <= 0 {
		o.Retention = DefaultRetention
	}
	if o.Replicas <= 0 {
		o.Replicas = DefaultReplicas
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	o.checkEvery = cmp.Or(o.checkEvery, checkInterval)
	o.leaseTerm = cmp.Or(o.leaseTerm, leaseTerm)
	o.sweepEvery = cmp.Or(o.sweepEvery, sweepInterval)
	return o
}

func (o Options) check() error {
	if len(o.Prefix) > maxPrefix || !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(o.Prefix) {
		return fmt.Errorf("%w: the prefix %q has to be 1 to %d letters, digits, \"-\" or \"_\"", ErrSettings, o.Prefix, maxPrefix)
	}
	return nil
}
