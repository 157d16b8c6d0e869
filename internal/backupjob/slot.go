// Package backupjob makes the backups of a running server: one at a time, on request or by
// a schedule, into a directory that keeps the newest ones.
//
// It is separate from the server, which has the store, the settings and the figures, so
// that the schedule can be tested with a clock and a store of its own.
//
// It guarantees that two backups never run at the same time; that a file in the directory
// has the name of a backup only when it is complete, was read again and found right, and is
// on the disk; that the backup that was made last is never deleted; and that schedules that
// were missed are made up for by one backup. It must not know what a backup contains.
package backupjob

import (
	"errors"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/store/backup"
)

// ErrBusy: a backup is running.
var ErrBusy = errors.New("another backup is being made: wait until it has ended")

// busyFor is how long a backup waits for another to end: one that its reader gave up ends at its
// next write, and the reader may ask again before that.
const busyFor = time.Second

// Stats describes the backups of a slot.
type Stats struct {
	// Last is when the newest successful backup began; zero: none is known. Took and
	// Bytes are its duration and size, zero if it was made before the server started.
	Last  time.Time
	Took  time.Duration
	Bytes int64

	Failures uint64 // since the start
	InRow    int    // since the last success
	Reason   string // of the last failure; "": the last backup succeeded

	Running     bool
	Done, Total int64     // bytes, while it runs; Total is an estimate
	Next        time.Time // zero: there is no schedule
}

// A Slot admits one backup at a time, and measures it.
type Slot struct {
	clock func() time.Time
	busy  chan struct{} // has an element while a backup is made

	mu    sync.Mutex
	stats Stats
}

// NewSlot returns a slot that is free.
func NewSlot(clock func() time.Time) *Slot {
	return &Slot{clock: clock, busy: make(chan struct{}, 1)}
}

// Stats returns what is known of the backups.
func (s *Slot) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Known tells the slot of an earlier backup, of an unknown size if bytes is 0.
func (s *Slot) Known(at time.Time, bytes int64) {
	s.change(func(to *Stats) {
		if at.After(to.Last) {
			to.Last, to.Took, to.Bytes = at, 0, bytes
		}
	})
}

// Run calls do, which makes a backup and reports its progress, or returns ErrBusy if another
// does not end soon. An error counts as a failure unless abandoned reports that the backup was
// called off.
func (s *Slot) Run(do func(progress func(done, total int64)) (backup.Info, error), abandoned func() bool) (backup.Info, error) {
	select {
	case s.busy <- struct{}{}:
	case <-time.After(busyFor):
		return backup.Info{}, ErrBusy
	}
	defer func() { <-s.busy }()
	begun := s.clock()
	s.change(func(to *Stats) { to.Running, to.Done, to.Total = true, 0, 0 })
	info, err := do(func(done, total int64) { s.change(func(to *Stats) { to.Done, to.Total = done, total }) })
	took := s.clock().Sub(begun)
	s.change(func(to *Stats) {
		to.Running, to.Done, to.Total = false, 0, 0
		switch {
		case err == nil:
			to.Last, to.Took, to.Bytes, to.InRow, to.Reason = begun, took, info.Bytes, 0, ""
		case !abandoned():
			to.Failures++
			to.InRow++
			to.Reason = err.Error()
		}
	})
	return info, err
}

func (s *Slot) change(fn func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&s.stats)
}
