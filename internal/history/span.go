package history

import (
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Span is a time in which one status was shown, or in which the log does not know which.
type Span struct {
	From, To time.Time // From ≤ t < To, in whole milliseconds
	Status   presence.Status
	Known    bool
}

// precision is that of times in responses. Durations of spans add up in it.
const precision = time.Millisecond

// lateness is how long after an expiry its commit is looked for: a server that is stopped
// commits an expiry when it starts again.
const lateness = 24 * time.Hour

// began is when the result of an entry began to be shown. An expiry may be committed late.
func began(e *store.Entry) time.Time {
	since := e.After.Since.Time()
	if e.Before.Status != e.After.Status && !since.IsZero() && since.Before(e.Time) {
		return since.Truncate(precision)
	}
	return e.Time.Truncate(precision)
}

// A spanner makes spans of entries, from the newest to the oldest.
type spanner struct {
	from, end time.Time // of what the spans do not cover yet
	spans     []Span    // newest first

	newer store.Entry // the last one that was added and could be read
	lost  bool        // entries between newer and the next one are missing
}

func (s *spanner) add(e *store.Entry) {
	if e.Damaged != nil {
		s.breakOff()
		return
	}
	s.extend(began(e), e.After.Status, !e.Erased && !s.lost)
	s.newer, s.lost = *e, false
	if e.Gap {
		s.breakOff()
	}
}

// breakOff records that the entries before newer are missing. What newer itself says of
// the time before it remains.
func (s *spanner) breakOff() {
	if before := &s.newer.Before; !s.lost && before.Since != 0 {
		s.extend(before.Since.Time().Truncate(precision), before.Status, true)
	}
	s.lost = true
}

func (s *spanner) finish() {
	s.breakOff()
	s.extend(s.from, presence.Offline, false)
}

// extend covers the time from an instant on.
func (s *spanner) extend(from time.Time, status presence.Status, known bool) {
	if from.Before(s.from) {
		from = s.from
	}
	if !from.Before(s.end) {
		return
	}
	if !known {
		status = presence.Offline // so that unknown spans are equal
	}
	if n := len(s.spans); n > 0 && s.spans[n-1].Status == status && s.spans[n-1].Known == known {
		s.spans[n-1].From = from
	} else {
		s.spans = append(s.spans, Span{From: from, To: s.end, Status: status, Known: known})
	}
	s.end = from
}
