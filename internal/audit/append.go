package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	maxGroup       = store.MaxWrite - 2 // events of a write, beside the head and a checkpoint
	appendAttempts = 30                 // which other nodes may win
	appendTimeout  = 20 * time.Second
	maxRetryDelay  = 100 * time.Millisecond
)

// An entry is an event that waits to be appended.
type entry struct {
	event         Event
	before, after json.RawMessage
	docs          []store.Doc // written together with the event
	done          func(error)
}

func newEntry(e *Event, done func(error)) (*entry, error) {
	en := &entry{event: *e, done: done}
	var err error
	if en.before, err = fieldsOf(e.Before); err != nil {
		return nil, err
	}
	en.after, err = fieldsOf(e.After)
	return en, err
}

// enqueue passes an event to the account's appender, and starts one if there is none.
func (l *Log) enqueue(account presence.AccountID, e *Event, done func(error)) error {
	en, err := newEntry(e, done)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	queue, running := l.waiting[account]
	l.waiting[account] = append(queue, en)
	if !running {
		go l.runAppender(account)
	}
	return nil
}

// runAppender appends what waits, in groups, until nothing does.
func (l *Log) runAppender(account presence.AccountID) {
	for group := l.takeGroup(account); len(group) > 0; group = l.takeGroup(account) {
		ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
		_, err := l.append(ctx, account, group, "")
		cancel()
		for _, en := range group {
			en.done(err)
		}
	}
}

// takeGroup takes the events of the next write. If there are none, the appender has ended.
func (l *Log) takeGroup(account presence.AccountID) []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.waiting[account]
	if len(queue) == 0 {
		delete(l.waiting, account)
		return nil
	}
	n := min(len(queue), maxGroup)
	l.waiting[account] = queue[n:]
	return queue[:n:n]
}

// A head is the end of a log as it was read.
type head struct {
	headValue

	version string
}

func (l *Log) readHead(ctx context.Context, account presence.AccountID) (h head, err error) {
	docs, err := l.docs.Load(ctx, account, headKey())
	if err == nil && len(docs) > 0 {
		h.version = docs[0].Version
		err = document.Decode(&docs[0], &h.headValue)
	}
	if err != nil {
		return h, fmt.Errorf("read the end of the audit log: %w", err)
	}
	return h, nil
}

// An attempt is what one write appends.
type attempt struct {
	docs       []store.Doc
	head       headValue
	checkpoint *Checkpoint
}

// append appends a group and, with a reason, a checkpoint after it. Another node may append
// at the same time: the write succeeds only on the end that was read.
func (l *Log) append(ctx context.Context, account presence.AccountID, group []*entry, reason Reason) (*attempt, error) {
	var unknown []*attempt // writes that may have succeeded
	for n := range appendAttempts {
		if n > 0 {
			if err := pause(ctx, n); err != nil {
				return nil, err
			}
		}
		if made, err := l.stored(ctx, account, unknown); made != nil || err != nil {
			return made, err
		}
		h, err := l.readHead(ctx, account)
		if err == nil {
			err = l.checkVersions(ctx, account, group)
		}
		if err != nil {
			return nil, err
		}
		a := l.attempt(account, &h, group, reason)
		switch err := l.docs.Write(ctx, account, a.docs...); {
		case err == nil:
			l.logCheckpoint(ctx, a.checkpoint)
			return a, nil
		case errors.Is(err, store.ErrUnknown):
			unknown = append(unknown, a)
		case !errors.Is(err, store.ErrConflict):
			return nil, fmt.Errorf("write the audit log: %w", err)
		}
	}
	return nil, fmt.Errorf("write the audit log: %w", store.ErrConflict)
}

// checkVersions returns ErrConflict if a document that is to be written together with an event
// was changed. The write alone could not tell that from a conflict with another node's append.
func (l *Log) checkVersions(ctx context.Context, account presence.AccountID, group []*entry) error {
	for _, en := range group {
		for i := range en.docs {
			found, err := l.docs.Load(ctx, account, en.docs[i].Key)
			if err != nil {
				return fmt.Errorf("check a document that is written with an audit event: %w", err)
			}
			version := ""
			if len(found) > 0 {
				version = found[0].Version
			}
			if version != en.docs[i].Version {
				return store.ErrConflict
			}
		}
	}
	return nil
}

// pause waits a random time, the longer the more often a write lost.
func pause(ctx context.Context, attempts int) error {
	most := min(maxRetryDelay, time.Millisecond<<attempts)
	timer := time.NewTimer(rand.N(most) + 1)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write the audit log: %w", ctx.Err())
	}
}

// stored finds the write that succeeded among those whose result was unknown.
func (l *Log) stored(ctx context.Context, account presence.AccountID, unknown []*attempt) (*attempt, error) {
	for _, a := range unknown {
		first := &a.docs[0]
		docs, err := l.docs.Load(ctx, account, first.Key)
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		if len(docs) > 0 && string(docs[0].Value) == string(first.Value) {
			return a, nil
		}
	}
	return nil, nil
}

// attempt makes the documents that append a group to the end h.
func (l *Log) attempt(account presence.AccountID, h *head, group []*entry, reason Reason) *attempt {
	a := &attempt{head: h.headValue, docs: make([]store.Doc, 0, len(group)+2)}
	a.head.Format = document.Current()
	now := timeText(l.clock())
	if len(group) > 0 {
		a.head.Time = max(a.head.Time, now) // times never go back
	}
	for _, en := range group {
		r := en.record(&a.head)
		line := r.line()
		a.docs = append(a.docs, store.Doc{Key: recordKey(r.Sequence), Value: line})
		a.docs = append(a.docs, en.docs...)
		a.head.Sequence, a.head.Hash = r.Sequence, r.Hash
	}
	if reason == "" && a.head.Sequence-a.head.Checkpoint >= checkpointEvents {
		reason = ReasonInterval
	}
	if reason != "" {
		a.checkpoint = l.newCheckpoint(account, &a.head, reason, now)
		a.docs = append(a.docs, a.checkpoint.doc())
		a.head.Checkpoint, a.head.CheckpointTime, a.head.CheckpointKey = a.head.Sequence, now, a.checkpoint.Key
	}
	a.docs = append(a.docs, document.New(headKey(), h.version, a.head))
	return a
}

// record is the event after the end of the log.
func (en *entry) record(h *headValue) *Record {
	e := &en.event
	r := &Record{
		Format: document.Current(), Sequence: h.Sequence + 1, Time: h.Time,
		Action: e.Action, Target: e.Target, App: string(e.By.App), Token: e.By.Token, Request: e.By.Request,
		Denied: e.Denied, Reason: e.Reason, Before: en.before, After: en.after, Count: e.Count, Previous: h.Hash,
	}
	if !e.By.AccountLevel {
		r.User = string(e.By.User)
	}
	if e.By.Address.IsValid() {
		r.Address = e.By.Address.String()
	}
	return r
}
