package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	readGroup   = 200    // events that are read at once
	maxExamined = 10_000 // events of a page that a filter may pass over
	// searchGroup is how many neighbours a search by time reads, in case one is missing.
	searchGroup = 4
)

// A Query selects events. Zero fields do not filter.
type Query struct {
	Action string
	Target string          // as events name it, such as "app/8fXk"
	User   presence.UserID // who acted, or was acted upon
	Denied bool            // refused ones alone
	// From is the first instant, To the first after it.
	From, To time.Time
	// After and Before are sequences beside the page: the page has the events next to After,
	// or to Before. Without either it begins at an end of the log.
	After, Before uint64
	Oldest        bool // first; the page is then in this order
	Limit         int
}

// A Page is some events in the order that was asked for.
type Page struct {
	Records []Record
	// Older and Newer are for Before and After of the neighbouring pages; 0: there is none.
	Older, Newer uint64
}

// bounds are the first and the last sequence that a query can have.
type bounds struct{ first, last uint64 }

// Page reads a page. It may have fewer events than Limit although there are more, if the
// filter passed over many.
func (l *Log) Page(ctx context.Context, account presence.AccountID, q *Query) (p Page, err error) {
	h, err := l.readHead(ctx, account)
	if err != nil {
		return p, err
	}
	all := bounds{h.Dropped + 1, h.Sequence}
	if !q.From.IsZero() {
		if all.first, err = l.firstAt(ctx, account, &h.headValue, timeText(roundUp(q.From))); err != nil {
			return p, err
		}
	}
	if !q.To.IsZero() {
		next, err := l.firstAt(ctx, account, &h.headValue, timeText(roundUp(q.To)))
		if err != nil {
			return p, err
		}
		all.last = next - 1
	}
	if q.After != 0 || q.Oldest && q.Before == 0 {
		return l.ascend(ctx, account, q, all)
	}
	return l.descend(ctx, account, q, all)
}

// roundUp rounds an instant up to the precision of the log.
func roundUp(t time.Time) time.Time {
	if down := t.Truncate(time.Millisecond); down.Before(t) {
		return down.Add(time.Millisecond)
	}
	return t
}

// ascend reads the events after a sequence.
func (l *Log) ascend(ctx context.Context, account presence.AccountID, q *Query, all bounds) (p Page, err error) {
	next := max(all.first, q.After+1)
	begin := next
	for next <= all.last && next-begin < maxExamined && len(p.Records) < q.Limit {
		to := min(all.last, next+readGroup-1)
		records, err := l.read(ctx, account, next, to)
		if err != nil {
			return p, err
		}
		next = to + 1
		for i := range records {
			if q.matches(&records[i]) {
				p.Records = append(p.Records, records[i])
			}
			if len(p.Records) == q.Limit {
				next = records[i].Sequence + 1
				break
			}
		}
	}
	p.Older, p.Newer = before(begin, all), after(next-1, all)
	return q.ordered(p, true), nil
}

// descend reads the events before a sequence.
func (l *Log) descend(ctx context.Context, account presence.AccountID, q *Query, all bounds) (p Page, err error) {
	end := all.last + 1 // the page has events before it
	if q.Before != 0 {
		end = min(end, q.Before)
	}
	next := end
	for next > all.first && end-next < maxExamined && len(p.Records) < q.Limit {
		from := max(all.first, next-min(next, readGroup))
		records, err := l.read(ctx, account, from, next-1)
		if err != nil {
			return p, err
		}
		next = from
		for i := len(records) - 1; i >= 0; i-- {
			if q.matches(&records[i]) {
				p.Records = append(p.Records, records[i])
			}
			if len(p.Records) == q.Limit {
				next = records[i].Sequence
				break
			}
		}
	}
	p.Older, p.Newer = before(next, all), after(end-1, all)
	return q.ordered(p, false), nil
}

// before is the mark for the page before a sequence.
func before(sequence uint64, all bounds) uint64 {
	if sequence <= all.first || all.first > all.last {
		return 0
	}
	return min(sequence, all.last+1)
}

// after is the mark for the page after a sequence.
func after(sequence uint64, all bounds) uint64 {
	if sequence >= all.last || all.first > all.last {
		return 0
	}
	return max(sequence, all.first-1)
}

func (q *Query) ordered(p Page, ascending bool) Page {
	if ascending != q.Oldest {
		slices.Reverse(p.Records)
	}
	return p
}

func (q *Query) matches(r *Record) bool {
	return (q.Action == "" || q.Action == r.Action) && (!q.Denied || r.Denied) && (q.Target == "" || q.Target == r.Target) &&
		(q.User == "" || r.User == string(q.User) || r.Target == "user/"+string(q.User))
}

// read reads the events of a range, in order. Those that are missing are left out.
func (l *Log) read(ctx context.Context, account presence.AccountID, from, to uint64) ([]Record, error) {
	lines, err := l.lines(ctx, account, from, to)
	if err != nil {
		return nil, err
	}
	records := make([]Record, len(lines))
	for i, line := range lines {
		if records[i], _, err = parseRecord(line); err != nil {
			return nil, fmt.Errorf("an event of the audit log from %d to %d %w", from, to, err)
		}
	}
	return records, nil
}

func (l *Log) lines(ctx context.Context, account presence.AccountID, from, to uint64) ([][]byte, error) {
	keys := make([]store.Key, 0, to-from+1)
	for sequence := from; sequence <= to; sequence++ {
		keys = append(keys, recordKey(sequence))
	}
	docs, err := l.docs.Load(ctx, account, keys...)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	lines := make([][]byte, len(docs))
	for i := range docs {
		lines[i] = docs[i].Value
	}
	return lines, nil
}

// firstAt is the sequence of the first event at or after a time; past the newest: there is
// none. Times never go back, so a binary search finds it.
func (l *Log) firstAt(ctx context.Context, account presence.AccountID, h *headValue, at string) (uint64, error) {
	low, high := h.Dropped+1, h.Sequence+1
	for low < high {
		middle := low + (high-low)/2
		records, err := l.read(ctx, account, middle, min(middle+searchGroup, high)-1)
		switch {
		case err != nil:
			return 0, err
		case len(records) > 0 && records[0].Time >= at:
			high = middle
		case len(records) > 0:
			low = records[0].Sequence + 1
		default:
			low = min(middle+searchGroup, high) // they are missing
		}
	}
	return low, nil
}

// Checkpoints reads the checkpoints whose keys are above after, in order, and the key after
// which more follow; "": none do.
func (l *Log) Checkpoints(ctx context.Context, account presence.AccountID, after string, limit int) ([]*Checkpoint, string, error) {
	docs, err := l.docs.List(ctx, account, checkpointCollection, after, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("read the audit checkpoints: %w", err)
	}
	next := ""
	if len(docs) > limit {
		docs = docs[:limit]
		next = docs[limit-1].Key.Key
	}
	all := make([]*Checkpoint, len(docs))
	for i := range docs {
		if all[i], err = parseCheckpoint(docs[i].Value); err != nil {
			return nil, "", fmt.Errorf("a checkpoint of the audit log %w", err)
		}
	}
	return all, next, nil
}

var errDropped = errors.New("events were dropped by audit-retention during the export; export again")

// An Export is the whole log, up to the event about the export itself.
type Export struct {
	log     *Log
	account presence.AccountID
	first   uint64
	last    uint64
	closing *Checkpoint
}

// Begin records an event about an export and returns the export.
func (l *Log) Begin(ctx context.Context, account presence.AccountID, by Actor) (*Export, error) {
	e := &Event{Action: "audit.export", By: by}
	en := &entry{event: *e, done: func(error) {}}
	a, err := l.append(ctx, account, []*entry{en}, ReasonExport)
	if err != nil {
		return nil, err
	}
	return &Export{l, account, a.head.Dropped + 1, a.head.Sequence, a.checkpoint}, nil
}

// Events is how many events an export has.
func (x *Export) Events() uint64 { return x.last - x.first + 1 }

// Write writes a line for each event and each checkpoint. The last line is the checkpoint
// of the export.
func (x *Export) Write(ctx context.Context, w io.Writer) error {
	marks := &checkpointReader{export: x}
	if err := marks.write(ctx, w, x.first-1); err != nil {
		return err
	}
	for next := x.first; next <= x.last; {
		lines, err := x.log.lines(ctx, x.account, next, min(x.last, next+readGroup-1))
		if err != nil {
			return err
		}
		for _, line := range lines {
			r, _, _ := parseRecord(line) // one that is damaged is exported: verification names it
			if err := marks.write(ctx, w, max(r.Sequence, 1)-1); err != nil {
				return err
			}
			if err := writeLine(w, line); err != nil {
				return err
			}
		}
		if len(lines) < int(min(x.last+1-next, readGroup)) { //nolint:gosec // at most readGroup
			if err := x.checkDropped(ctx, next); err != nil {
				return err
			}
		}
		next += readGroup
	}
	if err := marks.write(ctx, w, ^uint64(0)); err != nil {
		return err
	}
	return writeLine(w, x.closing.line)
}

// checkDropped is an error if missing events are missing because of the retention.
func (x *Export) checkDropped(ctx context.Context, from uint64) error {
	h, err := x.log.readHead(ctx, x.account)
	if err == nil && h.Dropped >= from {
		err = errDropped
	}
	return err
}

func writeLine(w io.Writer, line []byte) error {
	_, err := w.Write(append(slices.Clip(line), '\n'))
	return err
}

// A checkpointReader writes the checkpoints of an export between its events.
type checkpointReader struct {
	export *Export
	ready  []*Checkpoint
	after  string
	done   bool
}

// write writes the checkpoints up to a sequence.
func (m *checkpointReader) write(ctx context.Context, w io.Writer, upTo uint64) error {
	for {
		if len(m.ready) == 0 && !m.done {
			var err error
			if m.ready, m.after, err = m.export.log.Checkpoints(ctx, m.export.account, m.after, readGroup); err != nil {
				return err
			}
			m.done = m.after == ""
		}
		if len(m.ready) == 0 || m.ready[0].Sequence > upTo {
			return nil
		}
		c := m.ready[0]
		m.ready = m.ready[1:]
		if m.export.omits(c) {
			continue
		}
		if err := writeLine(w, c.line); err != nil {
			return err
		}
	}
}

// omits reports whether a checkpoint is not among the lines before the last: it is about
// dropped events, was made after the export began, or is the last line.
func (x *Export) omits(c *Checkpoint) bool {
	begins := c.Reason == ReasonRetention && c.Sequence == x.first-1
	return c.Sequence < x.first && !begins || c.Previous >= x.last || string(c.line) == string(x.closing.line)
}
