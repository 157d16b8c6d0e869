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
)

const (
	// refreshInterval is how soon a node sees what others did with watches: made,
	// deleted, or fired without an owner's stream on their side.
	refreshInterval = 2 * time.Second
	refreshPage     = 1000
	// fireWorkers is how many watches fire at once: enough that those of many who
	// wait for one user share a few syncs.
	fireWorkers = 64
	watchFeed   = "watches"
)

// Run fires watches until ctx ends: those whose target changes, and, at the start
// and when they are seen first, those whose target changed while nobody looked.
func (r *Registry) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var refreshing sync.WaitGroup
	defer refreshing.Wait()
	defer stop()
	refreshing.Go(func() { r.keepUp(ctx) })
	for {
		err := r.Store.Feed(ctx, watchFeed, func(entries []store.Entry) error {
			r.evaluate(ctx, r.index.watched(entries))
			return nil // what could not be read or written is owed, and done with the next refresh
		})
		switch {
		case ctx.Err() != nil:
			return nil // it was told to end, whatever the store says of that
		case !errors.Is(err, store.ErrInUse) && !errors.Is(err, store.ErrUnavailable):
			return err
		}
		// Another node runs it, and this one takes over if that one goes.
		pause(ctx, refreshInterval)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// keepUp refreshes the index, and evaluates what is owed. It logs a failure when
// it begins, not each time.
func (r *Registry) keepUp(ctx context.Context) {
	for failing := false; ctx.Err() == nil; pause(ctx, refreshInterval) {
		err := r.refresh(ctx)
		r.evaluate(ctx, r.index.takeOwed())
		if err != nil && !failing {
			r.complain(ctx, "list them", err)
		}
		failing = err != nil
	}
}

// refresh makes the index what the store has, and tells what came elsewhere.
func (r *Registry) refresh(ctx context.Context) error {
	round := r.index.begin()
	for after := ""; ; {
		docs, err := r.Store.List(ctx, watchAccount, watchCollection, after, refreshPage)
		if err != nil {
			return err
		}
		for i := range docs {
			w, err := r.index.merge(&docs[i], round)
			if err != nil {
				r.complain(ctx, "read one, which is damaged", err)
				continue
			}
			if !w.Fired.IsZero() {
				r.tellLate(ctx, w)
			}
		}
		if len(docs) < refreshPage {
			break
		}
		after = docs[len(docs)-1].Key.Key
	}
	r.index.end(round)
	r.tellings.age()
	return nil
}

// evaluate looks at the watches of these targets, and fires those that came.
func (r *Registry) evaluate(ctx context.Context, targets []store.User) {
	for batch := range slices.Chunk(targets, store.MaxFeedGroup) {
		records, _, err := r.Store.Read(ctx, batch)
		if err != nil {
			r.index.owe(batch...)
			r.complain(ctx, "read who is watched", err)
			continue
		}
		found := make(map[store.User]*store.Record, len(records))
		for i := range records {
			found[records[i].User] = &records[i]
		}
		var waiting []Watch
		for _, u := range batch {
			waiting = append(waiting, r.index.of(u)...)
		}
		r.judgeAll(ctx, waiting, found)
	}
}

// judgeAll is judge for many, some at once.
func (r *Registry) judgeAll(ctx context.Context, waiting []Watch, records map[store.User]*store.Record) {
	work := make(chan Watch)
	var group sync.WaitGroup
	var said sync.Once // if one fails, all are likely to
	for range min(fireWorkers, len(waiting)) {
		group.Go(func() {
			for w := range work {
				if _, err := r.judge(ctx, w, records[w.target()]); err != nil {
					r.index.owe(w.target())
					said.Do(func() { r.complain(ctx, "fire one", err) })
				}
			}
		})
	}
	for i := range waiting {
		if _, came := waiting[i].sees(records[waiting[i].target()]); came {
			work <- waiting[i]
		}
	}
	close(work)
	group.Wait()
}

// sees is what the owner of w may see of the target, of whom nothing may be
// recorded, and whether that is what w waits for. Of a deleted user nothing is.
func (w *Watch) sees(record *store.Record) (presence.Presence, bool) {
	var seen presence.Presence
	if record != nil {
		if record.State.Standing == presence.Deleted {
			return seen, false
		}
		watcher := presence.Watcher{User: w.Owner, Truth: w.Owner == w.Target}
		seen = presence.View(record.Shown, record.State.Rules, watcher)
	}
	return seen, seen.Status == w.Until
}

// judge fires w if it came, and gives it as it is then.
func (r *Registry) judge(ctx context.Context, w Watch, record *store.Record) (Watch, error) {
	seen, came := w.sees(record)
	if !came {
		return w, nil
	}
	key := w.key()
	r.tellings.enter(key) // from before it can be read that it fired
	defer r.tellings.leave(key)
	fired, first, err := r.fire(ctx, key, seen)
	switch {
	case errors.Is(err, ErrNotFound): // it was deleted or has expired
		r.index.drop(key)
		return w, nil
	case err != nil:
		return w, err
	}
	r.index.drop(key)
	if first {
		r.tell(ctx, fired)
	}
	return fired, nil
}

// fire records that a watch came, under the version that has not. It gives the
// watch that fired, and whether it did so here.
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
		err = r.Store.Write(ctx, watchAccount, watchDoc(&w, docs[0].Version, w.Fired.Add(firedKept)))
		first = err == nil
		return err
	})
	return w, first, err
}

// tell sends a watch that came to the owner's streams. It ends when they have it;
// otherwise it waits for one that opens.
func (r *Registry) tell(ctx context.Context, w Watch) {
	if r.Tell == nil || !r.Tell(w.Account, w.Owner, w) {
		return
	}
	if err := r.Told(ctx, w); err != nil {
		r.complain(ctx, "remove one that was told", err)
	}
}

// tellLate is tell for what a refresh finds fired: on another node, or before a
// stream was open. What was told and could not be removed is removed.
func (r *Registry) tellLate(ctx context.Context, w Watch) {
	key := w.key()
	switch r.tellings.of(key) {
	case beingTold:
	case told:
		_ = r.Told(ctx, w) // it was said that it failed, and is tried again
	default:
		r.tellings.enter(key)
		defer r.tellings.leave(key)
		r.tell(ctx, w)
	}
}

// complain logs what is made good later, but for what is said elsewhere.
func (r *Registry) complain(ctx context.Context, what string, err error) {
	for _, known := range []error{store.ErrClosed, store.ErrFailed, store.ErrFull, store.ErrUnavailable} {
		if errors.Is(err, known) {
			return
		}
	}
	if ctx.Err() == nil {
		r.Log.WarnContext(ctx, "something about watches has to be done again", slog.String("what", what), slog.Any("err", err))
	}
}
