package doctor

import (
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/certificate"
)

// Facts are what is known of a server. A nil pointer, or a text in Unknown, means that a
// fact could not be gathered. A server sends its facts in JSON to the command of the same
// version.
type Facts struct {
	Place   string // the data directory or the store
	Running bool
	Version string // of the running server
	// NotRunning says why no running server could be reached.
	NotRunning string
	Draining   bool
	Health     *api.ServerHealth // of the running server

	Store        StoreFacts
	Disks        []Disk
	Clock        Clock
	Descriptors  *Descriptors // nil: the server does not run
	Certificates Certificates
	Public       Public
	Webhooks     Webhooks
	Quarantine   Quarantine
	NATS         *NATS // nil: the store is in the data directory
	Backups      Backups
	Settings     Settings
}

// StoreFacts are of a store that no server runs on.
type StoreFacts struct {
	Locked bool   // another process has it open and does not answer
	Unread string // why it cannot be checked, although it may be intact
	Error  string // why it cannot be opened
	// NoAccount says that nobody has set the server up.
	NoAccount bool
}

// whyUnread is why nothing in the store is known; "": it could be read.
func (s *StoreFacts) whyUnread() string {
	switch {
	case s.Locked:
		return "the process that uses the store does not answer, so there is nothing to compare the clock with"
	case s.Error != "" || s.Unread != "":
		return "the store cannot be opened, so there is nothing to compare the clock with"
	default:
		return ""
	}
}

// A Disk is the file system of a directory.
type Disk struct {
	What    string // such as "data directory"
	Dir     string
	Free    uint64
	Total   uint64 // 0: unknown
	Low     uint64 // free bytes below which updates are refused; 0: not checked
	Shared  bool   // with the data directory
	Unknown string // why it cannot be measured
	// ReadOnly is why the process cannot write there; "": it can.
	ReadOnly string
}

// Clock has what clocks show. Each difference is positive if the first one is ahead.
type Clock struct {
	// At is the clock of the server's machine when it answered; zero: it does not run.
	At time.Time
	// Machine is that clock against that of the command.
	Machine *time.Duration
	// Server is the server's steady clock against its machine's.
	Server *time.Duration
	// NATS is the machine's clock against that of the stream's leader, known to Within.
	NATS   *time.Duration
	Within time.Duration
	// Newest is the time of the newest change in the log; zero: unknown.
	Newest time.Time
}

// Descriptors are the files and connections that the server's process may have open.
type Descriptors struct {
	Limit   uint64 // of the process; 0: unknown
	Used    int    // now; 0: unknown
	Asked   int    // max-connections; 0: as many as the limit allows
	Allowed int    // connections that the plan has
	Open    int    // connections
}

// Certificates are those that the server uses.
type Certificates struct {
	TLS     bool // the server terminates TLS itself
	All     []certificate.Info
	Unknown string // why they cannot be read
}

// Public is what is found at public-url.
type Public struct {
	URL       string // "": it is not set
	Addresses []string
	NoAddress string // why the name does not resolve
	NoAnswer  string // why there was no answer
	Untrusted string // why the certificate in the answer is not trusted by this machine
	Key       string // public key of the certificate in the answer, as certificate.Info has it
	Issuer    string // what the answer says its own URL is; "": no Porchlight answered
}

// Webhooks describes the subscriptions, and lists those that need attention.
type Webhooks struct {
	Total    int
	Failing  []Subscription // their endpoint is down, and is probed
	Disabled []Subscription
	Lag      time.Duration // the age of the oldest event that was not attempted
	Unknown  string
}

// A Subscription is named without its URL, which may have a secret in it.
type Subscription struct {
	ID      string
	Account string
	Pending int
}

// Quarantine has the consumers that skipped entries.
type Quarantine struct {
	Consumers []Quarantined
	Unknown   string
}

// Quarantined are the entries of one consumer.
type Quarantined struct {
	Consumer string
	Count    uint64
	Position uint64    // of the newest that is listed
	Time     time.Time // when that was skipped
}

// NATS has the settings and the state of the servers of a store.
type NATS struct {
	Servers  string   // without credentials
	Version  string   // of the server of the connection
	Unusable string   // why it cannot be connected, or is not a store
	Settings []string // each says what is set wrongly, and how to correct it
	Replicas int      // store-replicas
	Streams  []Stream
	Synced   []NATSServer
	Missing  int    // servers with JetStream that did not report
	NoSync   string // why the servers could not be asked whether they sync every write
	Relaxed  bool   // durability is os
	Used     uint64 // bytes of the account
	Limit    int64  // of the account, in bytes; below 1: none
	Reports  bool   // whether the account was read
	NoLimits string // why not
}

// A NATSServer is a server with JetStream, as it reported to the system account.
type NATSServer struct {
	Name       string
	Version    string
	SyncAlways bool
	Used       uint64
	Limit      uint64 // of its disk for JetStream; 0: unknown
}

// A Stream is one of a store.
type Stream struct {
	Name     string
	Replicas int
	Cluster  bool     // whether the servers are one, so that there must be a leader
	Leader   string   // "": none
	Offline  []string // replicas
	Behind   []string // replicas that are not current
}

// Backups are what is known of the backups.
type Backups struct {
	Dir      string // backup-dir; "": no scheduled ones
	Schedule string
	Last     time.Time // zero: none is known
	Due      time.Time // when the next one after Last was due by the schedule
	Failures int       // since the last success
	Reason   string    // of the last failure
	Unknown  string    // why the directory or the audit log cannot be read
	NATS     bool      // NATS's own tools make them
}

// Settings has what follows from the settings alone.
type Settings struct {
	Problems  []string // as "porchlight config check" prints them
	Warnings  []string
	Retention time.Duration // log-retention
	HTTPS     bool          // public-url begins with https
	Proxies   bool          // trusted-proxies is set
	HSTS      bool
	AnyOrigin bool         // cors-origins is *
	Open      []Permission // directories that others can read
}

// A Permission is of a directory.
type Permission struct {
	Dir  string
	Mode string
	What string // such as "data directory"
}
