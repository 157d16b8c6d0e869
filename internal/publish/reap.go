package publish

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Sessions of lost holders end at a limited rate, so that clients that come back go first:
// at most reapGroup in reapEvery, which is 20,000 in 2 s.
const (
	reapGroup = 250
	reapEvery = 25 * time.Millisecond
)

// EndHolders ends the sessions that connections of other runs of nodes still hold, after
// those runs are known to have ended. It returns when none is left, or ctx ends. It reads all
// records, once for all holders. Several nodes may do so at once: each session ends once,
// because each update checks its holder again. Users for whom first reports true come first.
// The others follow if their sessions are still held then.
func (p *Publisher) EndHolders(ctx context.Context, holders []string, first func(store.User) bool) error {
	return p.endHolders(ctx, first, func(h string) bool { return slices.Contains(holders, h) })
}

// EndEarlier ends, after Grace, the sessions of all other runs of nodes. It is for the only
// node on a store, when it starts: clients that come back within Grace keep theirs.
func (p *Publisher) EndEarlier(ctx context.Context) {
	select {
	case <-time.After(Grace):
		_ = p.endHolders(ctx, nil, func(string) bool { return true }) // fails only because ctx ended
	case <-ctx.Done():
	}
}

// FindHolders waits for Grace and then calls found with each other run that holds sessions. It
// is for a store that several nodes serve. The caller decides which of these runs have ended.
func (p *Publisher) FindHolders(ctx context.Context, found func(holder string)) {
	wait := Grace
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		holders, err := p.otherHolders(ctx)
		if err == nil {
			for holder := range holders {
				found(holder)
			}
			return
		}
		if wait = releaseRetry; ctx.Err() == nil {
			p.log.WarnContext(ctx, "sessions of other nodes cannot be listed; will retry", slog.Any("err", err))
		}
	}
}

// otherHolders returns all holders in the records except this run.
func (p *Publisher) otherHolders(ctx context.Context) (map[string]bool, error) {
	holders := make(map[string]bool)
	err := p.store.Scan(ctx, func(group []store.Record) error {
		for i := range group {
			for _, holder := range p.lostHolders(group[i].State, func(string) bool { return true }) {
				holders[holder] = true
			}
		}
		return nil
	})
	return holders, err
}

func (p *Publisher) endHolders(ctx context.Context, first func(store.User) bool, lost func(string) bool) error {
	for ctx.Err() == nil {
		own, others, err := p.scanHolders(ctx, first, lost)
		if err == nil {
			own = p.reap(ctx, own, lost)
			others = p.reap(ctx, others, lost)
			if len(own)+len(others) == 0 {
				break
			}
		} else if ctx.Err() == nil {
			p.log.WarnContext(ctx, "sessions of a lost node cannot be listed; will retry", slog.Any("err", err))
		}
		select {
		case <-time.After(releaseRetry):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// scanHolders lists the users with sessions of lost holders.
func (p *Publisher) scanHolders(ctx context.Context, first func(store.User) bool, lost func(string) bool) (own, others []store.User, err error) {
	err = p.store.Scan(ctx, func(group []store.Record) error {
		for i := range group {
			u := group[i].User
			switch {
			case len(p.lostHolders(group[i].State, lost)) == 0:
			case first == nil || first(u):
				own = append(own, u)
			default:
				others = append(others, u)
			}
		}
		return nil
	})
	return own, others, err
}

// lostHolders are the lost ones among a state's holders, which this run is not.
func (p *Publisher) lostHolders(s *presence.State, lost func(string) bool) []string {
	var holders []string
	for i := range s.Sessions {
		x := &s.Sessions[i]
		if x.Held() && x.Holder != p.Holder() && lost(x.Holder) {
			holders = append(holders, x.Holder)
		}
	}
	return holders
}

// reap ends the lost sessions of users, and returns the users for whom that failed.
func (p *Publisher) reap(ctx context.Context, users []store.User, lost func(string) bool) (failed []store.User) {
	var mu sync.Mutex
	for len(users) > 0 && ctx.Err() == nil {
		group := users[:min(reapGroup, len(users))]
		users = users[len(group):]
		begun := p.clock()
		left, err := p.stillHeld(ctx, group, lost)
		if err != nil {
			p.log.WarnContext(ctx, "records of a lost node's users cannot be read; will retry", slog.Any("err", err))
			failed = append(failed, group...)
		}
		each(left, boundWorkers, func(r store.Record) {
			if err := p.endLost(ctx, r, lost); err != nil {
				p.log.WarnContext(ctx, "a session of a lost node could not be ended; will retry", slog.String("user", string(r.User.ID)), slog.Any("err", err))
				mu.Lock()
				failed = append(failed, r.User)
				mu.Unlock()
			}
		})
		if len(left) == 0 {
			continue // other nodes have ended them
		}
		select {
		case <-time.After(reapEvery - p.clock().Sub(begun)):
		case <-ctx.Done():
		}
	}
	return failed
}

// stillHeld are the records of users whose sessions nobody has ended meanwhile.
func (p *Publisher) stillHeld(ctx context.Context, users []store.User, lost func(string) bool) (left []store.Record, err error) {
	records, _, err := p.store.Read(ctx, users, store.Freshness{ForUpdate: true})
	for _, r := range records {
		if len(p.lostHolders(r.State, lost)) > 0 {
			left = append(left, r)
		}
	}
	return left, err
}

// endLost ends a user's sessions of lost holders in one commit. The record decides again
// which these are.
func (p *Publisher) endLost(ctx context.Context, r store.Record, lost func(string) bool) error {
	now, seen := p.now(), p.soft.of(r.User)
	_, err := p.update(ctx, update{user: r.User, seen: seen, unlisted: true, decide: func(was presence.Recorded) (store.Change, error) {
		events := []presence.Event{presence.Tick{Soft: seen}}
		for _, holder := range p.lostHolders(&was.State, lost) {
			events = append(events, presence.HolderLost{Holder: holder})
		}
		next, _, err := presence.ApplyEach(was, events, p.policy, now)
		return p.changeOf(&was, &next, store.By{Cause: store.CauseTime}), err
	}})
	return err
}
