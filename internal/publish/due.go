package publish

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// dueWorkers is how many ends are published at once: enough to fill commit
// groups, so that ten thousand ends of one instant share a few dozen syncs.
const dueWorkers = 256

// Run publishes ends at their instant until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	err := p.store.Due(ctx, func(users []store.User) error {
		p.endDue(ctx, users)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil // it was told to end, whatever the store says of that
}

// endDue ticks each user. A failure is logged, but for a full disk, of which the
// store has: the store offers the user again.
func (p *Publisher) endDue(ctx context.Context, users []store.User) {
	work := make(chan store.User)
	var group sync.WaitGroup
	for range min(dueWorkers, len(users)) {
		group.Go(func() {
			for u := range work {
				p.tick(ctx, u)
			}
		})
	}
	for _, u := range users {
		work <- u
	}
	close(work)
	group.Wait()
}

func (p *Publisher) tick(ctx context.Context, u store.User) {
	by := store.By{Cause: store.CauseTime}
	now := p.now()
	seen := p.soft.of(u)
	_, err := p.update(ctx, update{user: u, seen: seen, unlisted: true, decide: func(was presence.Recorded) (store.Change, error) {
		next, err := presence.Apply(was, presence.Tick{Soft: seen}, p.policy, now)
		return store.Change{Change: next, By: by}, err
	}})
	if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) && !errors.Is(err, store.ErrFull) {
		p.log.ErrorContext(ctx, "an end could not be published", slog.String("user", string(u.ID)), slog.Any("err", err))
	}
}
