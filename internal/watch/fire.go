package watch

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tail"
)

const (
	listPage = 1000
	// fireWorkers is how many watches fire concurrently: enough for the watches of one
	// user to share a few syncs.
	fireWorkers = 64
)

// Consumer is the consumer of the log that fires watches. It needs no entries from
// before its start, because it evaluates every watch then.
func (r *Registry) Consumer() tail.Consumer {
	return tail.Consumer{Name: "watch", Handler: consumer{r}, Begin: tail.Newest, Damaged: true}
}

type consumer struct{ r *Registry }

// Start lists and evaluates all watches: their targets may have changed while no node
// handled entries.
func (c consumer) Start(ctx context.Context) error {
	term := c.r.index.begin()
	context.AfterFunc(ctx, func() { c.r.index.end(term) })
	// Watches that fired are announced again: the node that fired them may have
	// crashed before it announced them.
	return c.r.reload(ctx, c.r.announce)
}

// Handle evaluates the watches of the users that changed. An entry only triggers the
// evaluation; the record and its rules decide. A damaged entry does not name its user,
// so every watch is evaluated.
func (c consumer) Handle(ctx context.Context, entries []store.Entry) error {
	for i := range entries {
		if damage := entries[i].Damaged; damage != nil {
			if err := c.r.transient(ctx, c.r.evaluate(ctx, c.r.index.targets())); err != nil {
				return err
			}
			return &tail.PermanentError{At: entries[i].At, Err: damage}
		}
	}
	users := c.r.index.watched(entries)
	if len(users) == 0 {
		return nil
	}
	return c.r.transient(ctx, c.r.evaluate(ctx, users))
}

// transient returns an error of evaluate if an immediate retry may help. Other errors
// concern single targets or watches, which Run retries: they delay no other watch.
func (r *Registry) transient(ctx context.Context, err error) error {
	if err != nil && !tail.Transient(err) {
		r.Log.ErrorContext(ctx, "watch not evaluated; will retry", slog.Any("err", err))
		return nil
	}
	return err
}

// reload lists all watches and evaluates those that have not fired.
func (r *Registry) reload(ctx context.Context, fired func(context.Context, *Watch)) error {
	for after := ""; ; {
		docs, err := r.Store.List(ctx, watchAccount, watchCollection, after, listPage)
		if err != nil {
			return err
		}
		for i := range docs {
			after = docs[i].Key.Key
			w, err := watchOf(&docs[i])
			switch {
			case err != nil:
				r.Log.ErrorContext(ctx, "watch unreadable", slog.Any("err", err))
			case w.Fired.IsZero():
				r.index.add(&w)
			default:
				fired(ctx, &w)
			}
		}
		if len(docs) < listPage {
			return r.transient(ctx, r.evaluate(ctx, r.index.targets()))
		}
	}
}

// evaluate fires the watches of these targets that are due. It ends with the first
// transient error. After others it continues, has Run retry the target, and returns the
// errors.
func (r *Registry) evaluate(ctx context.Context, targets []store.User) error {
	var failed error
	for batch := range slices.Chunk(targets, store.MaxFeedGroup) {
		err := r.evaluateBatch(ctx, batch)
		if tail.Transient(err) {
			return err
		}
		failed = errors.Join(failed, err)
	}
	return errors.Join(r.flushChanges(ctx), failed)
}

// evaluateBatch reads targets together, and in halves if one of them is unreadable.
func (r *Registry) evaluateBatch(ctx context.Context, batch []store.User) error {
	records, _, err := r.Store.Read(ctx, batch, store.Freshness{})
	switch {
	case err == nil:
	case tail.Transient(err):
		return err
	case len(batch) > 1:
		half := len(batch) / 2
		if err = r.evaluateBatch(ctx, batch[:half]); tail.Transient(err) {
			return err
		}
		return errors.Join(r.evaluateBatch(ctx, batch[half:]), err)
	default:
		r.retryLater(batch...)
		return err
	}
	found := make(map[store.User]*store.Record, len(records))
	for i := range records {
		found[records[i].User] = &records[i]
	}
	var waiting []Watch
	for _, u := range batch {
		waiting = append(waiting, r.index.of(u)...)
	}
	return r.fireAllDue(ctx, waiting, found)
}

// fireAllDue calls fireIfDue for many watches, several at once. It returns a transient error if
// there is one; otherwise all errors, and Run retries their targets.
func (r *Registry) fireAllDue(ctx context.Context, waiting []Watch, records map[store.User]*store.Record) error {
	due, failed := r.due(waiting, records)
	work := make(chan Watch)
	errs := make(chan error, len(due))
	var group sync.WaitGroup
	for range min(fireWorkers, len(due)) {
		group.Go(func() {
			for w := range work {
				_, err := r.fireIfDue(ctx, w, records[w.target()])
				if err != nil && !tail.Transient(err) {
					r.retryLater(w.target())
				}
				errs <- err
			}
		})
	}
	for i := range due {
		work <- due[i]
	}
	close(work)
	group.Wait()
	close(errs)
	for err := range errs {
		if tail.Transient(err) {
			return err
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// due lists the watches whose targets have the status. A panic over one target is an error
// and holds up no other, as it would on each node in turn.
func (r *Registry) due(waiting []Watch, records map[store.User]*store.Record) (due []Watch, failed error) {
	for _, w := range waiting {
		err := tail.Guard(func() error {
			if _, reached := w.visibleTarget(records[w.target()]); reached {
				due = append(due, w)
			}
			return nil
		})
		if err != nil {
			r.retryLater(w.target())
			failed = errors.Join(failed, err)
		}
	}
	return due, failed
}

// visibleTarget is what the owner of w may see of the target, and whether that is the
// status w waits for. record is nil if nothing is recorded; a deleted user never has it.
func (w *Watch) visibleTarget(record *store.Record) (presence.Presence, bool) {
	var seen presence.Presence
	if record != nil {
		if record.State.UserState == presence.UserDeleted {
			return seen, false
		}
		watcher := presence.Watcher{User: w.Owner, Truth: w.Owner == w.Target}
		seen = presence.View(record.Shown, record.State.Rules, watcher)
	}
	return seen, seen.Status == w.Until
}

// fireIfDue fires w if its target has the status, and returns it as it is then. It runs
// on the goroutine of one watch or of a request, so it turns a panic into an error.
func (r *Registry) fireIfDue(ctx context.Context, w Watch, record *store.Record) (fired Watch, err error) {
	err = tail.Guard(func() (err error) {
		fired, err = r.tryFire(ctx, w, record)
		return err
	})
	return fired, err
}

func (r *Registry) tryFire(ctx context.Context, w Watch, record *store.Record) (Watch, error) {
	seen, reached := w.visibleTarget(record)
	if !reached {
		return w, nil
	}
	fired, first, err := r.fire(ctx, w.key(), seen)
	switch {
	case errors.Is(err, ErrNotFound): // it was deleted or has expired
		r.index.remove(&w)
		return w, nil
	case errors.Is(err, store.ErrUnknown):
		// It may have fired here, which a retry could not know.
		r.retryOwner(store.User{Account: w.Account, ID: w.Owner})
		r.queueFired(&w)
		return w, err
	case err != nil:
		return w, err
	}
	r.index.remove(&w)
	if first {
		r.announce(ctx, &fired)
	}
	return fired, nil
}

// fire records that a watch fired, unless its document already says so. It returns the
// watch, and whether this call recorded it.
func (r *Registry) fire(ctx context.Context, key string, seen presence.Presence) (w Watch, first bool, err error) {
	err = document.Again(func() error {
		docs, err := r.Store.Load(ctx, watchAccount, watchKey(key))
		if err != nil {
			return err
		}
		if len(docs) == 0 {
			return ErrNotFound
		}
		if w, err = watchOf(&docs[0]); err != nil || !w.Fired.IsZero() {
			return err
		}
		w.Fired, w.Status, w.Note = r.now(), seen.Status, seen.Note
		err = r.Store.Write(ctx, watchAccount, watchDoc(&w, docs[0].Version, w.Fired.Add(firedRetention)))
		first = err == nil
		return err
	})
	return w, first, err
}

// announce delivers a watch that fired to the owner's streams on this node, and has
// the other nodes deliver it to theirs.
func (r *Registry) announce(ctx context.Context, w *Watch) {
	r.deliver(ctx, w)
	r.queueFired(w)
}

func (r *Registry) queueFired(w *Watch) {
	if r.Nodes != nil {
		r.queueChange(change{Key: w.key(), Fired: true})
	}
}

// deliver sends a watch that fired to the owner's streams on this node. Without one it
// stays pending until one opens.
func (r *Registry) deliver(ctx context.Context, w *Watch) {
	if r.Deliver == nil || r.isDelivered(w.key()) || !r.Deliver(w.Account, w.Owner, *w) {
		return
	}
	if err := r.Acknowledge(ctx, *w); err != nil {
		r.Log.WarnContext(ctx, "could not remove a delivered watch; will retry", slog.Any("err", err))
	}
}

// runEvery is how often a node reads the changes of other nodes and retries what
// failed.
const (
	runEvery = time.Second
	// coalesceFor is how long changes are collected after the message about the first.
	coalesceFor = 100 * time.Millisecond
)

// Run delivers watches that fired on other nodes to streams on this one, evaluates
// those that were made on other nodes, and retries what failed, until ctx ends. An idle
// node reads nothing, or one document if other nodes have the store open.
func (r *Registry) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		err := r.catchUp(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "cannot follow changes of watches; will retry", slog.Any("err", err))
		}
		failing = err != nil
		select {
		case <-time.After(runEvery):
		case <-r.Wake:
			wait(ctx, coalesceFor)
		case <-ctx.Done():
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (r *Registry) catchUp(ctx context.Context) error {
	r.index.dropExpired(r.Clock())
	err := errors.Join(r.retryRemovals(ctx), r.retryPending(ctx))
	if targets := r.takeTargets(); len(targets) > 0 {
		if failed := r.evaluate(ctx, targets); failed != nil {
			if tail.Transient(failed) {
				r.retryLater(targets...)
			}
			err = errors.Join(err, failed)
		}
	}
	if r.Nodes == nil {
		return err
	}
	return errors.Join(err, r.flushChanges(ctx), r.readChanges(ctx))
}
