package pebblestore

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Durability says when an update is acknowledged.
type Durability uint8

const (
	// Fsync: when it is on stable storage.
	Fsync Durability = iota
	// OS: when the operating system has it. It survives the end of the process;
	// a crash of the machine may lose what was acknowledged in the last second,
	// from the end of the log, never from its middle.
	OS
)

// String is the setting's word.
func (d Durability) String() string {
	if d == OS {
		return "os"
	}
	return "fsync"
}

// Defaults of Options.
const (
	DefaultRetention     = 30 * 24 * time.Hour
	DefaultMinFreeBytes  = 256 << 20
	DefaultCacheRecords  = 64 << 10
	DefaultCacheBytes    = 512 << 20
	DefaultBlockBytes    = 32 << 20
	DefaultMemTableBytes = 32 << 20
)

// Options are the settings of a store. The zero value of each field is its
// default.
type Options struct {
	Clock      func() time.Time // time.Now
	FS         vfs.FS           // the machine's
	Durability Durability
	// Retention is how long log entries stay readable, read or not.
	Retention time.Duration
	// MinFreeBytes is the free disk space below which nothing is written;
	// negative: no limit.
	MinFreeBytes int64
	// FreeBytes measures the free disk space; the default asks FS.
	FreeBytes func() (uint64, error)
	// MustExist refuses to create a store.
	MustExist bool
	// NewEpoch gives the store a new identity, as a restore must.
	NewEpoch bool
	Logger   *slog.Logger // discards

	// OpenFiles is how many tables are kept open, about; at least 64.
	OpenFiles int // 1000

	// Limits of what is held in memory; memory is allocated as needed.
	CacheRecords  int   // decoded records, about 1 KiB each
	CacheBytes    int64 // packed records, about 250 bytes each
	BlockBytes    int64 // blocks of the database
	MemTableBytes int64 // writes gathered before a flush

	// migrations are for tests of migrating; the default is the product's.
	migrations []migration
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.FS = cmp.Or(o.FS, vfs.Default)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.MinFreeBytes = cmp.Or(o.MinFreeBytes, DefaultMinFreeBytes)
	o.Retention = positiveOr(o.Retention, DefaultRetention)
	o.CacheRecords = positiveOr(o.CacheRecords, DefaultCacheRecords)
	o.CacheBytes = positiveOr(o.CacheBytes, DefaultCacheBytes)
	o.BlockBytes = positiveOr(o.BlockBytes, DefaultBlockBytes)
	o.MemTableBytes = positiveOr(o.MemTableBytes, DefaultMemTableBytes)
	return o
}

func positiveOr[T cmp.Ordered](value, otherwise T) T {
	var zero T
	if value > zero {
		return value
	}
	return otherwise
}
