package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A herd is a set of clients that reconnect after a restart, each with its cursor.
type herd struct {
	seeded  *seeded
	address string
	stopped chan struct{} // closed at the end of the measurement

	busy, refused, again atomic.Int64 // 503 responses, failed connections, other closes
	mu                   sync.Mutex
	resumed              []time.Time // guarded by mu
}

// follow keeps one client's stream open until the end, as docs/streaming.md asks.
func (h *herd) follow(i int, w *watcher) {
	users := h.seeded.twenty(i)
	cursor := w.cursor
	for {
		idle(i, w)
		_ = w.conn.Close()
		wait, retry := w.retry, 100*time.Millisecond
		for {
			select {
			case <-time.After(wait):
			case <-h.stopped:
				return
			}
			var err error
			w, err = h.resume(h.seeded.streamRequest(i, users, cursor, false))
			if err == nil {
				cursor = w.cursor
				break
			}
			var busy *errBusy
			switch {
			case errors.As(err, &busy):
				h.busy.Add(1)
				wait = busy.after + time.Duration(rand.Int64N(int64(time.Second)))
			case w != nil:
				h.again.Add(1)
				wait = w.retry
			default:
				h.refused.Add(1)
				retry = min(2*retry, 30*time.Second)
				wait = time.Duration(rand.Int64N(int64(retry)))
			}
		}
	}
}

// resume opens a stream; one that ended before its snapshot arrived is returned
// with the error.
func (h *herd) resume(request string) (*watcher, error) {
	w, err := open(h.address, request, 512)
	if err != nil {
		return nil, err
	}
	if err := w.snapshot(); err != nil {
		_ = w.conn.Close()
		return w, err
	}
	h.mu.Lock()
	h.resumed = append(h.resumed, time.Now())
	h.mu.Unlock()
	go func() {
		<-h.stopped
		_ = w.conn.Close()
	}()
	return w, nil
}

func (h *herd) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.resumed)
}

// herd measures how long it takes until all clients have reconnected.
func (r *run) herd(b *binary, s *seeded) error {
	p, err := b.serve(s.dir)
	if err != nil {
		return err
	}
	h := &herd{seeded: s, address: p.address, stopped: make(chan struct{})}
	begun := time.Now()
	stop, err := watchAll(p.address, idleWatchers, 512, func(i int) string { return s.streamRequest(i, s.twenty(i), "", false) }, (*watcher).snapshot, h.follow)
	if err != nil {
		return errors.Join(err, p.stop(syscall.SIGTERM))
	}
	defer stop()
	defer close(h.stopped)
	fmt.Printf("\nopened %d streams in %v, 32 at a time\n", idleWatchers, time.Since(begun).Round(10*time.Millisecond))
	left := time.Now()
	if err := p.stop(syscall.SIGTERM); err != nil {
		return err
	}
	ended := time.Now()
	p, err = b.serveAt(s.dir, p.address, p.admin)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	ready := time.Now()
	for h.count() < idleWatchers && time.Since(left) < 3*time.Minute {
		time.Sleep(100 * time.Millisecond)
	}
	h.mu.Lock()
	slices.SortFunc(h.resumed, time.Time.Compare)
	all := slices.Clone(h.resumed)
	h.mu.Unlock()
	fmt.Printf("server stopped after %v and was ready again after %v; %d streams resumed; 503 responses: %d, failed connections: %d, other closes: %d\n",
		ended.Sub(left).Round(time.Millisecond), ready.Sub(ended).Round(time.Millisecond), len(all), h.busy.Load(), h.refused.Load(), h.again.Load())
	if len(all) < idleWatchers*99/100 {
		return fmt.Errorf("only %d of %d streams reconnected", len(all), idleWatchers)
	}
	used, err := p.cpu()
	back := all[idleWatchers*99/100-1]
	report("15,000 streams reconnect after a restart: 99 %, from SIGTERM", "-", "s", []float64{back.Sub(left).Seconds()})
	report("15,000 streams reconnect after a restart: 99 %, from ready", "-", "s", []float64{back.Sub(ready).Seconds()})
	report("15,000 streams reconnect after a restart: server CPU each, including the start", "-", "µs", []float64{float64(used.Microseconds()) / idleWatchers})
	return err
}
