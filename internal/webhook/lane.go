package webhook

import (
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A task is an entry whose events are attempted for the first time.
type task struct {
	lane  *lane
	entry *store.Entry
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
	backlog  []*store.Entry
	window   []*task // by position, without those before the first that is not done
	runnable []*task // those of the window whose user is not busy
	// again are tasks of the window that were started when the lane was rewound. They are
	// not started again when they are read again.
	again map[store.Position]bool

	reading bool      // a page is being read
	retryAt time.Time // after a failed read
	backoff time.Duration
	end     bool // a replay has read everything
}

// position is the low-water mark: all events up to it were attempted.
func (l *lane) position() store.Position {
	for len(l.window) > 0 && l.window[0].done {
		l.window = l.window[1:]
	}
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

// insert adds an entry to the window, unless its events are being attempted since
// before the lane was rewound.
func (l *lane) insert(e *store.Entry) *task {
	if l.again[e.At] {
		delete(l.again, e.At)
		return nil
	}
	t := &task{lane: l, entry: e}
	i := len(l.window)
	for i > 0 && l.window[i-1].entry.At > e.At {
		i--
	}
	l.window = slices.Insert(l.window, i, t)
	return t
}

// rewind drops what was not started, so that it is read again, and returns the position
// after which to read. The caller drops it from the queue.
func (l *lane) rewind() store.Position {
	at := l.position()
	if l.again == nil {
		l.again = make(map[store.Position]bool)
	}
	l.window = slices.DeleteFunc(l.window, func(t *task) bool {
		if t.started {
			l.again[t.entry.At] = true
		}
		return !t.started
	})
	l.readTo, l.backlog, l.end = at, nil, false
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
	l.position()
	return l.end && len(l.window) == 0 && len(l.backlog) == 0
}

// A queue orders the tasks of each user. A user in it is busy.
type queue map[presence.UserID][]*task

// admit makes a task runnable, or lets it wait for those of its user.
func (q queue) admit(t *task) {
	u := t.entry.User.ID
	if waiting, busy := q[u]; busy {
		q[u] = append(waiting, t)
		return
	}
	q[u] = nil
	t.lane.runnable = append(t.lane.runnable, t)
}

// release makes the next task of a user runnable.
func (q queue) release(u presence.UserID) {
	waiting := q[u]
	if len(waiting) == 0 {
		delete(q, u)
		return
	}
	q[u] = waiting[1:]
	waiting[0].lane.runnable = append(waiting[0].lane.runnable, waiting[0])
}

// drop removes the tasks of a lane that were not started.
func (q queue) drop(l *lane) {
	for u, waiting := range q {
		q[u] = slices.DeleteFunc(waiting, func(t *task) bool { return t.lane == l })
	}
	dropped := l.runnable
	l.runnable = nil
	for _, t := range dropped {
		q.release(t.entry.User.ID) // to another lane
	}
}
