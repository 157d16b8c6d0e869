package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"porchlight.dev/porchlight/internal/store"
)

// A part is something that runs as long as the server does.
type part struct {
	name string // in logs
	// start runs the part until ctx ends or the part is stopped. An error before
	// that ends the server.
	start func(ctx context.Context) error
	// stop lets the part finish what it has begun, until ctx ends; nil: it has
	// nothing to finish.
	stop func(ctx context.Context)

	ended atomic.Bool
}

// parts lists what the server runs. Parts are stopped in this order.
func (s *Server) parts() []*part {
	all := []*part{
		{name: "nodes", start: s.members.Run, stop: s.leaveNodes},
		{name: "streams", start: s.hub.Run, stop: s.hub.Drain},
		{name: "event sockets", start: func(ctx context.Context) error { <-ctx.Done(); return nil }, stop: s.webhooks.sockets.Drain},
		{name: "API listener", start: func(context.Context) error { return s.serve() }, stop: s.finishRequests}, //nolint:contextcheck // it ends by Shutdown or Close
		{name: "expiry", start: s.publisher.Run},
		{name: "sessions of connections", start: func(ctx context.Context) error { s.publisher.KeepBound(ctx); return nil }},
		{name: "sessions of earlier runs", start: s.endEarlier},
		{name: "sessions of dead nodes", start: s.endHeld},
		{name: "consumers", start: s.consumers.Run},
		{name: "change log of users", start: s.logProfiles},
		{name: "watches", start: s.watches.Run},
		{name: "subscriptions", start: s.webhooks.subscriptions.Run},
		{name: "webhooks", start: s.webhooks.deliverer.Run},
		{name: "audit log", start: s.audit.Run},
		{name: "deletions of accounts", start: func(ctx context.Context) error { s.tenants.Run(ctx); return nil }},
		{name: "erasures", start: func(ctx context.Context) error { s.erasures.Run(ctx); return nil }},
	}
	if s.messages != nil {
		all = append(all, &part{name: "messages of nodes", start: s.messages.run}, &part{name: "account limits over nodes", start: s.accountUsage.Run})
	}
	if s.limits.gate != nil {
		all = append(all, &part{name: "overload", start: s.watchQueues})
	}
	if s.telemetry != nil {
		all = append(all, &part{name: "telemetry", start: s.telemetry.Run})
	}
	if s.admin != nil {
		all = append(all, &part{name: "admin listener", start: func(context.Context) error { return serveOn(s.internal, s.admin) }})
	}
	if s.control != nil {
		all = append(all, &part{name: "control socket", start: func(context.Context) error { s.control.serve(); return nil }})
	}
	if s.schedule != nil {
		all = append(all, &part{name: "scheduled backups", start: func(ctx context.Context) error { s.schedule.Run(ctx); return nil }})
	}
	if s.opts.Watchdog > 0 {
		all = append(all, &part{name: "watchdog", start: s.feedWatchdog})
	}
	if s.steady != nil {
		all = append(all, &part{name: "clock", start: func(ctx context.Context) error { s.steady.follow(ctx, s.log); return nil }})
	}
	if s.plain != nil {
		all = append(all, &part{name: "HTTP listener", start: func(context.Context) error { return s.plain.serve() }, stop: s.plain.shutdown})
	}
	for _, source := range s.certificates() {
		all = append(all, &part{name: "certificates", start: func(ctx context.Context) error { source.Run(ctx); return nil }})
	}
	return all
}

// endEarlier ends the sessions that connections to earlier runs of this node held, and whose
// clients have not come back. On a store with several nodes, it asks members about each holder
// in the records: a node may have died, and its tombstone expired, while no node ran.
func (s *Server) endEarlier(ctx context.Context) error {
	if isShared(s.store) {
		s.publisher.FindHolders(ctx, func(holder string) { s.members.Dead(holder) })
	} else {
		s.publisher.EndEarlier(ctx)
	}
	<-ctx.Done()
	return nil
}

// watchQueues measures how long requests wait, and limits how many may wait.
func (s *Server) watchQueues(ctx context.Context) error {
	s.limits.gate.Run(ctx)
	return nil
}

// every calls do at intervals until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// requestTime is longer than any request that changes a user takes.
const requestTime = 30 * time.Second

// logProfiles logs the directory changes that an earlier run made but did not log before
// it ended. After a failure, the next start or the next change logs them.
func (s *Server) logProfiles(ctx context.Context) error {
	wait := func() {
		if isShared(s.store) {
			ctx, cancel := context.WithTimeout(ctx, requestTime)
			defer cancel()
			<-ctx.Done()
		}
	}
	if err := s.provisioner.LogProfiles(ctx, wait); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "user changes from an earlier run could not be written to the commit log", slog.Any("err", err))
	}
	return nil
}

// running has the parts that were started.
type running struct {
	parts  []*part
	group  *errgroup.Group
	failed context.Context //nolint:containedctx // errgroup's: it ends when a part fails, and its cause is why
}

func start(ctx context.Context, parts []*part) *running {
	r := &running{parts: parts}
	r.group, r.failed = errgroup.WithContext(ctx)
	for _, p := range parts {
		r.group.Go(func() error {
			defer p.ended.Store(true)
			if err := p.start(ctx); err != nil {
				return fmt.Errorf("%s stopped: %w", p.name, err)
			}
			return nil
		})
	}
	return r
}

// failure is why a part ended too early, or nil.
func (r *running) failure() error { return context.Cause(r.failed) }

// stop lets each part finish, one after the other.
func (r *running) stop(ctx context.Context) {
	for _, p := range r.parts {
		if p.stop != nil {
			p.stop(ctx)
		}
	}
}

// wait waits for the parts to end, and names those that run on after limit.
func (r *running) wait(limit time.Duration) []string {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.group.Wait() // Run has seen the error
	}()
	select {
	case <-done:
		return nil
	case <-time.After(limit):
	}
	var names []string
	for _, p := range r.parts {
		if !p.ended.Load() {
			names = append(names, p.name)
		}
	}
	return names
}

// ErrInterrupted as the cause of Run's context skips the drain delay, which is for load
// balancers and not for a person at a terminal.
var ErrInterrupted = errors.New("interrupted")

const (
	// failureTimeout lets requests in flight get an answer after the store failed.
	failureTimeout = time.Second
	// endTimeout is far more than the parts need to end. It lets the process end even
	// if a part hangs on a disk that hangs.
	endTimeout = 10 * time.Second
)

// Run serves until ctx ends, then drains and closes. It returns nil after a drain,
// and otherwise the failure that ended it. A server runs once.
func (s *Server) Run(ctx context.Context) error {
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	running := start(work, s.parts())
	s.announce()

	err := s.untilEnd(ctx, running)
	timeout := failureTimeout
	if err == nil {
		timeout = s.config.DrainTimeout
	}
	s.finish(ctx, running, timeout)
	s.cutOff(ctx)
	end()
	if names := running.wait(endTimeout); len(names) > 0 {
		s.log.ErrorContext(ctx, "shutdown timed out waiting for background tasks", slog.Any("tasks", names))
	}
	s.close()
	s.log.InfoContext(ctx, "stopped")
	return err
}

// untilEnd waits until ctx ends, and then for load balancers to notice. If something
// fails before, it returns that error.
func (s *Server) untilEnd(ctx context.Context, running *running) error {
	select {
	case <-ctx.Done():
		return s.drain(ctx)
	case <-running.failed.Done():
		if err := running.failure(); !errors.Is(err, store.ErrFailed) {
			return err
		}
	case <-s.store.Failed():
	}
	return s.storeFailure(ctx)
}

// drain makes the server unready, and lets load balancers notice.
func (s *Server) drain(ctx context.Context) error {
	s.draining.Store(true)
	s.supervisor.notify("STOPPING=1\nSTATUS=Finishing requests")
	delay := s.config.DrainDelay
	if errors.Is(context.Cause(ctx), ErrInterrupted) {
		delay = 0
	}
	s.log.InfoContext(ctx, "stopping", slog.String("delay", delay.String()), slog.String("timeout", s.config.DrainTimeout.String()))
	if delay == 0 {
		return nil
	}
	select {
	case <-time.After(delay):
		return nil
	case <-s.store.Failed():
		return s.storeFailure(ctx)
	}
}

// finish accepts no more requests, and lets every part finish its work.
func (s *Server) finish(ctx context.Context, running *running, timeout time.Duration) {
	s.draining.Store(true)
	s.control.cancel()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	running.stop(ctx)
}

// finishRequests waits for the requests in flight.
func (s *Server) finishRequests(ctx context.Context) {
	if err := s.public.Shutdown(ctx); err != nil {
		s.log.WarnContext(ctx, "requests still in flight at drain-timeout were aborted", slog.Any("err", err))
	}
}

// cutOff closes the listeners and their remaining connections.
func (s *Server) cutOff(ctx context.Context) {
	_ = s.public.Close() // its listener may be closed already
	s.plain.close()
	if s.internal != nil {
		_ = s.internal.Close() // likewise
	}
	s.control.stop(ctx)
}

func (s *Server) storeFailure(ctx context.Context) error {
	err := s.store.Check(context.WithoutCancel(ctx))
	if err == nil {
		err = store.ErrFailed
	}
	return fmt.Errorf("%w; the server is shutting down because it can no longer store updates durably: check %s, then restart it", err, s.storeLocation())
}

// storeLocation names the disk or the servers that have the store's data.
func (s *Server) storeLocation() string {
	if s.config.Store != "" {
		return "the servers of " + s.config.StoreDescription()
	}
	return "the disk under " + s.config.DataDir
}
