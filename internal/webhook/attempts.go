package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	attemptLogs = "webhook-attempts"
	// AttemptRetention is how long attempts are listed.
	AttemptRetention = 7 * 24 * time.Hour
	// MaxAttempts is how many attempts of a subscription are listed. Older ones are
	// dropped.
	MaxAttempts = maxDocAttempts * maxAttemptDocs

	maxDocAttempts = 100
	maxAttemptDocs = 100
	// maxAttemptBytes bounds a document, which is complete when it is reached.
	maxAttemptBytes = store.MaxDocBytes - 4<<10
	// maxLoggedAnswer is how much of an answer is kept in the log.
	maxLoggedAnswer = 256
	maxLoggedReason = 256
	// flushEvery is how often attempts are written.
	flushEvery = time.Second
	// maxUnwritten is how many attempts wait in memory for a store that is unavailable.
	maxUnwritten = MaxAttempts
)

// An attemptLog is the attempts of one subscription. They are stored in documents of up
// to maxDocAttempts, of which the newest one is replaced until it is complete.
type attemptLog struct {
	set     *attemptLogSet
	account presence.AccountID
	id      string

	mu        sync.Mutex
	unwritten []attemptValue

	writing sync.Mutex // held while documents are written; guards the fields below
	loaded  bool
	number  uint64 // of the newest document; 0: there is none
	version string // of that
	newest  attemptsValue
	size    int // of newest, as JSON
}

type attemptsValue struct {
	document.Format

	Attempts []attemptValue `json:"attempts"` // oldest first
}

// An attemptValue is an Attempt in a document.
type attemptValue struct {
	Event      string          `json:"event,omitempty"`
	Type       string          `json:"type"`
	User       presence.UserID `json:"user,omitempty"`
	At         store.Position  `json:"at,omitempty"`
	Number     int             `json:"number"`
	Started    time.Time       `json:"started"`
	Duration   time.Duration   `json:"duration"`
	Status     int             `json:"status,omitempty"`
	Answer     string          `json:"answer,omitempty"`
	Failure    Failure         `json:"failure,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	RetryAfter time.Duration   `json:"retry_after,omitempty"`
	Stale      bool            `json:"stale,omitempty"`
	Replayed   bool            `json:"replayed,omitempty"`
	Next       time.Time       `json:"next,omitzero"`
}

func valueOf(a *Attempt) attemptValue {
	answer := bytes.ToValidUTF8(a.Answer[:min(len(a.Answer), maxLoggedAnswer)], nil)
	reason := strings.ToValidUTF8(a.Reason[:min(len(a.Reason), maxLoggedReason)], "")
	return attemptValue{
		a.Event, a.Type, a.User, a.At, a.Number, a.Started, a.Duration, a.Status, string(answer), a.Failure, reason,
		a.RetryAfter, a.Stale, a.Replayed, a.Next,
	}
}

func (v *attemptValue) attempt() Attempt {
	a := Attempt{
		Event: v.Event, Type: v.Type, User: v.User, At: v.At, Number: v.Number, Started: v.Started, Duration: v.Duration,
		Status: v.Status, Failure: v.Failure, Reason: v.Reason, RetryAfter: v.RetryAfter, Stale: v.Stale, Replayed: v.Replayed, Next: v.Next,
	}
	if v.Answer != "" {
		a.Answer = []byte(v.Answer)
	}
	return a
}

// key is that of a document. Newer ones come first in the order of keys.
func (l *attemptLog) key(number uint64) store.Key {
	return store.Key{Collection: attemptLogs, Key: fmt.Sprintf("%s/%016x", l.id, math.MaxUint64-number)}
}

func (l *attemptLog) numberOf(k store.Key) (uint64, bool) {
	text, ok := strings.CutPrefix(k.Key, l.id+"/")
	n, err := strconv.ParseUint(text, 16, 64)
	return math.MaxUint64 - n, ok && err == nil
}

// add records an attempt in memory.
func (l *attemptLog) add(a *Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if surplus := len(l.unwritten) + 1 - maxUnwritten; surplus > 0 {
		l.unwritten = slices.Delete(l.unwritten, 0, surplus)
	}
	l.unwritten = append(l.unwritten, valueOf(a))
	l.set.signal()
}

func (l *attemptLog) takeUnwritten() []attemptValue {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.unwritten
	l.unwritten = nil
	return taken
}

// putBack returns attempts that could not be written.
func (l *attemptLog) putBack(taken []attemptValue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unwritten = append(taken, l.unwritten...)
	l.set.signal()
}

// attemptLogSet has the logs of all subscriptions.
type attemptLogSet struct {
	added chan struct{} // there is something to write

	mu   sync.Mutex
	logs map[store.Key]*attemptLog
}

func (set *attemptLogSet) signal() { wakeUp(set.added) }

// of returns the log of a subscription.
func (set *attemptLogSet) of(s *Subscription) *attemptLog {
	set.mu.Lock()
	defer set.mu.Unlock()
	key := stateKey(s)
	l := set.logs[key]
	if l == nil {
		l = &attemptLog{set: set, account: s.Account, id: s.ID}
		set.logs[key] = l
	}
	return l
}

// remove drops the log of a subscription that was deleted. Its documents expire.
func (set *attemptLogSet) remove(s *Subscription) {
	set.mu.Lock()
	defer set.mu.Unlock()
	delete(set.logs, stateKey(s))
}

func (set *attemptLogSet) all() []*attemptLog {
	set.mu.Lock()
	defer set.mu.Unlock()
	return slices.Collect(maps.Values(set.logs))
}

// flushAttempts writes the attempts of all subscriptions until ctx ends.
func (d *Deliverer) flushAttempts(ctx context.Context) {
	for {
		select {
		case <-d.logs.added:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(flushEvery):
			d.flushAll(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (d *Deliverer) flushAll(ctx context.Context) {
	for _, l := range d.logs.all() {
		if err := d.flush(ctx, l); err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "cannot store attempts; will retry", slog.String("subscription", l.id), slog.Any("err", err))
			return
		}
	}
}

// flush writes what is in memory. Another node may write attempts of the same subscription.
func (d *Deliverer) flush(ctx context.Context, l *attemptLog) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	left := l.takeUnwritten()
	for len(left) > 0 {
		n := 0
		err := document.Again(func() (err error) {
			n, err = d.writeAttempts(ctx, l, left)
			l.loaded = l.loaded && err == nil
			return err
		})
		if err != nil {
			l.putBack(left)
			return err
		}
		left = left[n:]
	}
	return nil
}

// writeAttempts writes as many attempts as belong into one document, and returns their
// number. The document is the newest one, or another if that is complete.
func (d *Deliverer) writeAttempts(ctx context.Context, l *attemptLog, all []attemptValue) (n int, err error) {
	if err := d.loadAttempts(ctx, l); err != nil {
		return 0, err
	}
	var dropped []store.Doc
	if l.number == 0 || len(l.newest.Attempts) >= maxDocAttempts || l.size >= maxAttemptBytes {
		l.number, l.version, l.newest, l.size = l.number+1, "", attemptsValue{Format: document.Current()}, 0
		if dropped, err = d.surplusAttempts(ctx, l); err != nil {
			return 0, err
		}
	}
	for n < len(all) && len(l.newest.Attempts) < maxDocAttempts {
		text, err := json.Marshal(all[n])
		if err != nil {
			return 0, err
		}
		if l.size += len(text) + 1; l.size > maxAttemptBytes && len(l.newest.Attempts) > 0 {
			break
		}
		l.newest.Attempts = append(l.newest.Attempts, all[n])
		n++
	}
	doc := document.New(l.key(l.number), l.version, l.newest)
	doc.Until = d.Clock().Add(AttemptRetention)
	if err := d.Store.Write(ctx, l.account, append(dropped, doc)...); err != nil {
		return 0, err
	}
	docs, err := d.Store.Load(ctx, l.account, doc.Key)
	if err == nil && len(docs) == 1 {
		l.version = docs[0].Version
	} else {
		l.loaded = false // it is read before the next write
	}
	return n, nil
}

// loadAttempts reads the newest document, unless it is known.
func (d *Deliverer) loadAttempts(ctx context.Context, l *attemptLog) error {
	if l.loaded {
		return nil
	}
	docs, err := d.Store.List(ctx, l.account, attemptLogs, l.id+"/", 1)
	if err != nil {
		return err
	}
	l.number, l.version, l.newest, l.size = 0, "", attemptsValue{Format: document.Current()}, 0
	if len(docs) > 0 {
		if n, ok := l.numberOf(docs[0].Key); ok {
			l.number, l.version, l.size = n, docs[0].Version, len(docs[0].Value)
			if err := document.Decode(&docs[0], &l.newest); err != nil {
				l.size = maxAttemptBytes // it stays as it is
			}
		}
	}
	l.loaded = true
	return nil
}

// surplusAttempts deletes the document that is one too many beside the newest.
func (d *Deliverer) surplusAttempts(ctx context.Context, l *attemptLog) ([]store.Doc, error) {
	if l.number <= maxAttemptDocs {
		return nil, nil
	}
	docs, err := d.Store.Load(ctx, l.account, l.key(l.number-maxAttemptDocs))
	if err != nil || len(docs) == 0 {
		return nil, err
	}
	return []store.Doc{document.Deletion(&docs[0])}, nil
}

// ErrCursor: the cursor is not one that Deliveries returned.
var ErrCursor = errors.New("invalid cursor of deliveries")

// Deliveries lists the attempts of a subscription, newest first: at most limit of those
// before a cursor (empty: from the newest). more is the cursor of what follows; empty:
// nothing.
func (d *Deliverer) Deliveries(ctx context.Context, s *Subscription, before string, limit int) (attempts []Attempt, more string, err error) {
	l := d.logs.of(s)
	if err := d.flush(ctx, l); err != nil {
		d.Log.WarnContext(ctx, "newest attempts are not listed", slog.String("subscription", s.ID), slog.Any("err", err))
	}
	number, index, err := parseCursor(before)
	if err != nil {
		return nil, "", err
	}
	oldest := d.Clock().Add(-AttemptRetention)
	after := l.id + "/"
	if before != "" {
		after = l.key(number + 1).Key // so that the document itself is the first
	}
	for {
		docs, err := d.Store.List(ctx, l.account, attemptLogs, after, 1)
		if err != nil || len(docs) == 0 {
			return attempts, "", err
		}
		n, ok := l.numberOf(docs[0].Key)
		if !ok {
			return attempts, "", nil // of another subscription
		}
		var v attemptsValue
		if err := document.Decode(&docs[0], &v); err != nil {
			d.Log.ErrorContext(ctx, "attempts unreadable", slog.String("subscription", s.ID), slog.Any("err", err))
		}
		from := len(v.Attempts)
		if before != "" && n == number {
			from = min(from, index)
		}
		for i := from - 1; i >= 0; i-- {
			if v.Attempts[i].Started.Before(oldest) {
				return attempts, "", nil
			}
			if len(attempts) == limit {
				return attempts, fmt.Sprintf("%d-%d", n, i+1), nil
			}
			attempts = append(attempts, v.Attempts[i].attempt())
		}
		after = docs[0].Key.Key
	}
}

// parseCursor reads the number of a document, and how many of its attempts follow.
func parseCursor(text string) (number uint64, index int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(text, "-")
	number, err1 := strconv.ParseUint(a, 10, 64)
	index, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || index < 0 || number == math.MaxUint64 {
		return 0, 0, ErrCursor
	}
	return number, index, nil
}
