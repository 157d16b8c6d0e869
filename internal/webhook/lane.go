package webhook

import (
	"maps"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A task is an entry whose events are attempted for the first time.
type task struct {
	lane  *lane
	entry readEntry
	index int // of the first event that was not attempted yet
	// started: its events are being attempted, or were.
	started, done bool
	// sent is how many events an attachment had taken when it had those of the task;
	// zero: it has not.
	sent uint64
}

// A lane is a series of entries that are attempted in order for each user: what
// follows the position of a subscription, or a replay.
type lane struct {
	replay bool
	to     store.Position // the end of a replay

	readTo   store.Position // everything up to it is in backlog or window, or is done
	backlog  []readEntry
	admitted store.Position // of the entry that left backlog last
	window   []*task        // by position, without those before the first that is not done
	runnable []*task        // those of the window that may be started
	// busy are the users with a task that is runnable or being attempted, and their tasks
	// that wait for it.
	busy map[presence.UserID][]*task
	// again are the entries above readTo that were started before the lane was rewound, or
	// were done before a restart. They are not started when they are read again.
	again map[store.Position]bool
	// partly are the first events that were not attempted yet of entries which were
	// attempted in part before the lane was rewound.
	partly map[store.Position]int

	reading bool      // a page is being read
	retryAt time.Time // after a failed read
	backoff time.Duration
	end     bool // a replay has read everything
}

// newLane is a lane of the entries after a position, or a replay if there is a limit.
func newLane(after, to store.Position) *lane {
	return &lane{
		replay: to > 0, readTo: after, admitted: after, to: to,
		again: make(map[store.Position]bool), partly: make(map[store.Position]int), busy: make(map[presence.UserID][]*task),
	}
}

// prune removes what is done from the beginning of the window.
func (l *lane) prune() {
	for len(l.window) > 0 && l.window[0].done {
		l.window = l.window[1:]
	}
}

// position is the low-water mark: all events up to it were attempted.
func (l *lane) position() store.Position {
	l.prune()
	at := l.readTo
	if len(l.backlog) > 0 {
		at = min(at, l.backlog[0].At-1)
	}
	if len(l.window) > 0 {
		at = min(at, l.window[0].entry.At-1)
	}
	return at
}

// oldest is the time of the first entry that was not attempted.
func (l *lane) oldest() time.Time {
	switch {
	case len(l.window) > 0:
		return l.window[0].entry.Time
	case len(l.backlog) > 0:
		return l.backlog[0].Time
	default:
		return time.Time{}
	}
}

// insert adds an entry to the window. It returns nil if its events were attempted
// already, or are being attempted.
func (l *lane) insert(e readEntry) *task {
	i := len(l.window)
	for i > 0 && l.window[i-1].entry.At >= e.At {
		i--
	}
	again := l.again[e.At]
	delete(l.again, e.At)
	if i < len(l.window) && l.window[i].entry.At == e.At {
		return nil
	}
	t := &task{lane: l, entry: e, index: l.partly[e.At], started: again, done: again}
	delete(l.partly, e.At)
	l.window = slices.Insert(l.window, i, t)
	if again {
		return nil
	}
	return t
}

// doneAbove lists the entries above the low-water mark that were attempted.
func (l *lane) doneAbove(at store.Position) (done []store.Position) {
	waiting := make(map[store.Position]bool)
	for _, t := range l.window {
		if t.done {
			done = append(done, t.entry.At)
		} else {
			waiting[t.entry.At] = true
		}
	}
	for e := range l.again {
		switch {
		case e <= at:
			delete(l.again, e)
		case !waiting[e]:
			done = append(done, e)
		}
	}
	slices.Sort(done)
	return slices.Compact(done)
}

// rewind drops what was not started, so that it is read again, and returns the position
// after which to read.
func (l *lane) rewind() store.Position {
	at := l.position()
	l.drop()
	maps.DeleteFunc(l.partly, func(e store.Position, _ int) bool { return e <= at }) // erased
	l.window = slices.DeleteFunc(l.window, func(t *task) bool {
		if t.started {
			l.again[t.entry.At] = true
		} else {
			delete(l.again, t.entry.At) // it was started at an earlier rewind, and then not attempted
			if t.index > 0 {
				l.partly[t.entry.At] = t.index
			}
		}
		return !t.started
	})
	l.readTo, l.admitted, l.backlog, l.end = at, at, nil, false
	return at
}

// add appends a page to the backlog.
func (l *lane) add(p *page) {
	l.readTo, l.backoff, l.retryAt = max(l.readTo, p.upTo), 0, time.Time{}
	l.backlog = append(l.backlog, p.entries...)
}

const (
	firstReadBackoff = 100 * time.Millisecond
	maxReadBackoff   = 5 * time.Second
)

// failed schedules the next read after an error, and reports whether it was the first.
func (l *lane) failed(now time.Time) (first bool) {
	first = l.backoff == 0
	l.backoff = min(max(2*l.backoff, firstReadBackoff), maxReadBackoff)
	l.retryAt = now.Add(l.backoff)
	return first
}

// finished reports whether a replay has ended.
func (l *lane) finished() bool {
	l.prune()
	return l.end && len(l.window) == 0 && len(l.backlog) == 0
}

// admit makes a task runnable, or lets it wait for those of its user.
func (l *lane) admit(t *task) {
	u := t.entry.User.ID
	if waiting, busy := l.busy[u]; busy {
		l.busy[u] = append(waiting, t)
		return
	}
	l.busy[u] = nil
	l.runnable = append(l.runnable, t)
}

// release makes the next task of a user runnable.
func (l *lane) release(u presence.UserID) {
	waiting := l.busy[u]
	if len(waiting) == 0 {
		delete(l.busy, u)
		return
	}
	l.busy[u] = waiting[1:]
	l.runnable = append(l.runnable, waiting[0])
}

// drop removes the tasks that were not started.
func (l *lane) drop() {
	for u := range l.busy {
		l.busy[u] = nil
	}
	for _, t := range l.runnable {
		delete(l.busy, t.entry.User.ID)
	}
	l.runnable = nil
}
