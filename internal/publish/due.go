package publish

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// dueWorkers is how many expiries are published at once: enough to fill commit groups,
// so that ten thousand expiries of one instant share a few dozen syncs.
const dueWorkers = 256

// Run publishes expiries at their instant until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	err := p.store.Due(ctx, func(users []store.User) error {
		p.expireDue(ctx, users)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil // ctx ended, whatever the store's error
}

// expireDue applies what is due to each user. A failure is logged, except for a full
// disk, which the store logs; the store hands out the user again.
func (p *Publisher) expireDue(ctx context.Context, users []store.User) {
	work := make(chan store.User)
	var group sync.WaitGroup
	for range min(dueWorkers, len(users)) {
		group.Go(func() {
			for u := range work {
				p.expire(ctx, u)
			}
		})
	}
	for _, u := range users {
		work <- u
	}
	close(work)
	group.Wait()
}

func (p *Publisher) expire(ctx context.Context, u store.User) {
	err := p.tick(ctx, u)
	if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) && !errors.Is(err, store.ErrFull) {
		p.log.ErrorContext(ctx, "publishing an expiry failed; will retry", slog.String("user", string(u.ID)), slog.Any("err", err))
	}
}

// tick applies what is due, and the instants at which held sessions became idle.
func (p *Publisher) tick(ctx context.Context, u store.User, idle ...presence.HeldIdle) error {
	by := store.By{Cause: store.CauseTime}
	now := p.now()
	seen := p.soft.of(u)
	_, err := p.update(ctx, update{user: u, seen: seen, unlisted: true, decide: func(was presence.Recorded) (store.Change, error) {
		next, err := presence.Apply(was, presence.Tick{Soft: seen, Idle: idle}, p.policy, now)
		return p.changeOf(&was, &next, by), err
	}})
	return err
}
