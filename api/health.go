package api

// Health is how a server works. It is measured by the node that answers.
type Health struct {
	Time Time `json:"time"`
	// Server is nil if the server has several accounts: its figures are those of all of
	// them, and for the operator alone.
	Server *ServerHealth `json:"server"`
}

// ServerHealth is what a node of a server measures of itself. Counters begin with its start.
type ServerHealth struct {
	Version string `json:"version"`
	Started Time   `json:"started"`
	// State is one of the constants below, and Reason says why it is not HealthReady.
	State  string `json:"state"`
	Reason string `json:"reason"`

	Connections      int    `json:"connections"`       // open
	ConnectionsLimit int    `json:"connections_limit"` // 0: none
	Streams          int    `json:"streams"`           // open
	Changes          uint64 `json:"changes"`           // in the log of all nodes, the newest position
	Requests         uint64 `json:"requests"`          // answered
	// Latency is how many requests were answered within each time, in increasing order.
	Latency []LatencyBucket `json:"latency"`

	// Store is nil if the server does not store the data itself.
	Store      *StoreHealth     `json:"store"`
	Consumers  []ConsumerHealth `json:"consumers"`
	Deliveries DeliveryHealth   `json:"deliveries"`
	// Backup is the last one that this server made while it ran; nil: none is known.
	Backup *BackupHealth `json:"backup"`
	// Backups is how backups go; nil: the server does not store the data itself.
	Backups *BackupsHealth `json:"backups"`
}

// The states of a server.
const (
	HealthReady    = "ready"
	HealthReadOnly = "read-only" // the disk is nearly full
	HealthFailing  = "failing"
)

// LatencyBucket counts the requests that were answered within a time, faster ones included.
type LatencyBucket struct {
	Seconds  float64 `json:"seconds"`
	Requests uint64  `json:"requests"`
}

// StoreHealth is the disk of a server.
type StoreHealth struct {
	DiskBytes uint64 `json:"disk_bytes"` // that the store takes
	FreeBytes uint64 `json:"free_bytes"` // on its disk; 0: unknown
	LowBytes  uint64 `json:"low_bytes"`  // free bytes below which changes are refused
}

// ConsumerHealth is how far a consumer of the log is.
type ConsumerHealth struct {
	Name string `json:"name"`
	// Running says whether this node runs the consumer. The other figures are known only there.
	Running     bool    `json:"running"`
	LagEntries  uint64  `json:"lag_entries"`
	LagSeconds  float64 `json:"lag_seconds"`
	Quarantined uint64  `json:"quarantined"` // entries that were passed over
	Retries     uint64  `json:"retries"`
}

// DeliveryHealth is how far the delivery of events to subscriptions is.
type DeliveryHealth struct {
	Accepted   uint64  `json:"accepted"` // attempts
	Failed     uint64  `json:"failed"`
	GivenUp    uint64  `json:"given_up"` // events
	Pending    int     `json:"pending"`  // events that wait for a retry
	Down       int     `json:"down"`     // subscriptions whose endpoint fails
	Disabled   int     `json:"disabled"`
	LagSeconds float64 `json:"lag_seconds"`
}

// BackupsHealth is how backups go.
type BackupsHealth struct {
	// Next is when the next scheduled one is due; nil: none is scheduled.
	Next *Time `json:"next"`
	// Running is the progress of the one that runs; nil: none does.
	Running *BackupProgress `json:"running"`
	// Failures is how many failed since the last success, and Reason why the last one did.
	Failures int    `json:"failures"`
	Reason   string `json:"reason"`
}

// BackupProgress is how far a backup is.
type BackupProgress struct {
	DoneBytes  int64 `json:"done_bytes"`
	TotalBytes int64 `json:"total_bytes"` // an estimate; 0: unknown
}

// BackupHealth is a backup.
type BackupHealth struct {
	Time  Time  `json:"time"`
	Bytes int64 `json:"bytes"`
}
