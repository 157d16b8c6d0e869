package audit

import (
	"context"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	repeatInterval = 5 * time.Second // between looks at repeated events
	sweepInterval  = 5 * time.Minute // between looks at all logs
	sweepPage      = 100             // accounts
	// retentionStep is how far past its retention the oldest event is before the log is cut,
	// so that there is not a checkpoint for each event.
	retentionStep = time.Hour
	// maxDroppedAtOnce bounds how many events of an account a sweep removes.
	maxDroppedAtOnce = 10_000
	flushTimeout     = 5 * time.Second
)

// Run records repeated and dropped events, makes checkpoints of all logs, and removes what
// is past the retention, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	repeat, sweep := time.NewTicker(repeatInterval), time.NewTicker(sweepInterval)
	defer repeat.Stop()
	defer sweep.Stop()
	l.sweep(ctx)
	for {
		select {
		case <-repeat.C:
			l.recordRepeated(false) //nolint:contextcheck // as Later
			l.recordDropped(ctx)
		case <-sweep.C:
			l.sweep(ctx)
		case <-ctx.Done():
			l.stop(ctx)
			return nil
		}
	}
}

// stop records what was counted.
func (l *Log) stop(ctx context.Context) {
	l.recordRepeated(true) //nolint:contextcheck // as Later
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	l.recordDropped(ctx)
	l.Flush(ctx)
}

// sweep tends the logs of all accounts. What fails is tried again at the next sweep.
func (l *Log) sweep(ctx context.Context) {
	l.tendOne(ctx, System)
	if l.Accounts == nil {
		return
	}
	for after := presence.AccountID(""); ; {
		ids, err := l.Accounts(ctx, after, sweepPage)
		if err != nil {
			if ctx.Err() == nil {
				l.Log.WarnContext(ctx, "accounts could not be listed for audit checkpoints; will retry", slog.Any("err", err))
			}
			return
		}
		for _, id := range ids {
			l.tendOne(ctx, id)
			after = id
		}
		if len(ids) < sweepPage || ctx.Err() != nil {
			return
		}
	}
}

func (l *Log) tendOne(ctx context.Context, account presence.AccountID) {
	if err := l.tend(ctx, account); err != nil && ctx.Err() == nil {
		l.Log.WarnContext(ctx, "audit checkpoint failed; will retry", slog.String("account", string(account)), slog.Any("err", err))
	}
}

// tend makes the checkpoint that is due, and removes events past the retention.
func (l *Log) tend(ctx context.Context, account presence.AccountID) error {
	h, err := l.readHead(ctx, account)
	if err != nil || h.Sequence == 0 {
		return err
	}
	if reason := l.dueCheckpoint(&h.headValue); reason != "" {
		if _, err := l.append(ctx, account, nil, reason); err != nil {
			return err
		}
		if h, err = l.readHead(ctx, account); err != nil {
			return err
		}
	}
	if l.Retention <= 0 {
		return nil
	}
	return l.retain(ctx, account, &h)
}

// dueCheckpoint is the reason of the checkpoint that a log needs; "": none.
func (l *Log) dueCheckpoint(h *headValue) Reason {
	switch {
	case l.Key != nil && h.Checkpoint > 0 && h.CheckpointKey != l.Key.ID():
		return ReasonKey
	case h.Sequence > h.Checkpoint && h.CheckpointTime <= timeText(l.clock().Add(-checkpointInterval)):
		return ReasonInterval
	default:
		return ""
	}
}

// retain drops the events past the retention: first for readers, with a checkpoint from which
// the rest can be verified, then from the store.
func (l *Log) retain(ctx context.Context, account presence.AccountID, h *head) error {
	cutoff := l.clock().Add(-l.Retention)
	keep, err := l.firstAt(ctx, account, &h.headValue, timeText(cutoff.Add(-retentionStep)))
	if err != nil {
		return err
	}
	if keep > h.Dropped+1 {
		if keep, err = l.firstAt(ctx, account, &h.headValue, timeText(cutoff)); err != nil {
			return err
		}
		if err := l.cut(ctx, account, h, keep-1); err != nil {
			return err
		}
	}
	return l.remove(ctx, account, h.Dropped)
}

// cut declares the events up to one as dropped.
func (l *Log) cut(ctx context.Context, account presence.AccountID, h *head, last uint64) error {
	records, err := l.read(ctx, account, last, last)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		l.Log.ErrorContext(ctx, "audit log is damaged: an event is missing; run porchlight audit verify", slog.String("account", string(account)), slog.Uint64("sequence", last))
		return nil
	}
	at := headValue{Sequence: last, Hash: records[0].Hash}
	c := l.newCheckpoint(account, &at, ReasonRetention, timeText(l.clock()))
	next := h.headValue
	next.Format, next.Dropped = document.Current(), last
	err = l.docs.Write(ctx, account, c.doc(), document.New(headKey(), h.version, next))
	if err == nil {
		h.headValue = next
		l.logCheckpoint(ctx, c)
	}
	return err
}

// remove removes the documents of dropped events, and of checkpoints before the last of them.
func (l *Log) remove(ctx context.Context, account presence.AccountID, dropped uint64) error {
	if dropped == 0 {
		return nil
	}
	if err := l.removeBelow(ctx, account, checkpointCollection, sequenceKey(dropped)); err != nil {
		return err
	}
	return l.removeBelow(ctx, account, recordCollection, sequenceKey(dropped+1))
}

func (l *Log) removeBelow(ctx context.Context, account presence.AccountID, collection, key string) error {
	for range maxDroppedAtOnce / store.MaxWrite {
		docs, err := l.docs.List(ctx, account, collection, "", store.MaxWrite)
		if err != nil {
			return err
		}
		n := 0
		for n < len(docs) && docs[n].Key.Key < key {
			docs[n] = document.Deletion(&docs[n])
			n++
		}
		if n == 0 {
			return nil
		}
		if err := l.docs.Write(ctx, account, docs[:n]...); err != nil {
			return err
		}
	}
	return nil
}
