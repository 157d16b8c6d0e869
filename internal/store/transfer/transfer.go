// Package transfer describes the content of a store independently of the engine, so that one
// engine can import what another one stored.
//
// It is separate from the engines because both import it, and from package store because
// only a store that no server uses can be read or filled this way. It guarantees that two
// summaries are equal only if their stores have the same content, except for what expired
// meanwhile, and that the memory does not depend on the number of records. It must not know how an
// engine stores anything.
package transfer

import (
	"context"
	"errors"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// ErrChanged: a server used a source while it was read.
var ErrChanged = errors.New("the source was changed while it was read")

// A Source is the content of a store that no server uses. Reading it changes nothing. What is
// passed to a function is valid only during the call.
type Source interface {
	Info() Info
	// Records calls each with every record, in any order.
	Records(ctx context.Context, each func(*Record) error) error
	// Record gives the record of a user; nil: there is none.
	Record(ctx context.Context, u store.User) (*Record, error)
	// Entries calls each with the log, in ascending order of positions.
	Entries(ctx context.Context, each func(*Entry) error) error
	// Documents calls each with every document that has not expired, in any order.
	Documents(ctx context.Context, each func(*Doc) error) error
	// Check returns ErrChanged if a server used the store since the source was opened.
	Check(ctx context.Context) error
}

// Info describes the store as a whole.
type Info struct {
	// Epoch is the store's identity. Empty: positions may have been lost and assigned
	// twice, so a copy gets a new one.
	Epoch string
	// Last is the last position that was assigned, to an entry or to anything else.
	Last store.Position
	// First is the position of the first log entry. Without entries it is above Last.
	First store.Position
	// Bytes estimates the size of everything.
	Bytes int64
	// Retention is the age at which the engine drops log entries even while no server uses
	// the store. Zero: it does not.
	Retention time.Duration
}

// A Record is a user's record.
type Record struct {
	User store.User
	presence.Recorded
	At    store.Position // of its newest log entry, which may have been dropped
	Bytes int            // its size in the source, about
}

// An Entry is a log entry.
type Entry struct {
	store.Entry // without Gap, which follows from Previous

	Previous store.Position // of the same user's previous entry, which may have been dropped; zero: none
	Bytes    int            // its size in the source, about
	// Dropped: it stands for an entry that an engine dropped. Only At and User are set.
	Dropped bool
}

// A Doc is a document. Its version is Written, in the form of Version.
type Doc struct {
	Account presence.AccountID
	store.Doc
	Written store.Position // the position of the write that stored it
	Bytes   int            // its size in the source, about
}

// A Verify function is called with the copy before a server can use it.
type Verify func(ctx context.Context, stored Source) error

// Metered wraps a source. It calls progress with the bytes read so far, each item counted
// once, and with an estimate of the total.
func Metered(from Source, progress func(done, total int64)) Source {
	return &metered{Source: from, progress: progress}
}

type metered struct {
	Source
	progress func(done, total int64)
	done     int64
	records  bool // they were counted
}

func (m *metered) add(n int) {
	m.done += int64(n)
	m.progress(m.done, max(m.done, m.Info().Bytes))
}

func (m *metered) Records(ctx context.Context, each func(*Record) error) error {
	counted := m.records
	m.records = true
	return m.Source.Records(ctx, func(r *Record) error {
		if !counted {
			m.add(r.Bytes)
		}
		return each(r)
	})
}

func (m *metered) Entries(ctx context.Context, each func(*Entry) error) error {
	return m.Source.Entries(ctx, func(e *Entry) error {
		m.add(e.Bytes)
		return each(e)
	})
}

func (m *metered) Documents(ctx context.Context, each func(*Doc) error) error {
	return m.Source.Documents(ctx, func(d *Doc) error {
		m.add(d.Bytes)
		return each(d)
	})
}
