package webhook

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

const (
	// saveEvery is how often the state of a subscription is saved while it changes.
	saveEvery = 500 * time.Millisecond
	// saveIdleEvery is how often the position is saved if nothing was delivered.
	saveIdleEvery = time.Minute
	// stopTimeout is how long attempts that were begun may take at a stop. It is well
	// below the time between the isolation of a node and a takeover.
	stopTimeout = 2 * time.Second
	// minWindow is the least number of tasks of a lane.
	minWindow = 64
	// unavailableBackoff is the delay after the store could not be read for an attempt.
	unavailableBackoff = time.Second
)

// A worker delivers the events of one subscription. Its loop decides; attempts, reads of
// the log and saves are made by other goroutines, which report to it.
type worker struct {
	d       *Deliverer
	key     store.Key
	ctx     context.Context //nolint:containedctx // of the worker, until it is told to stop
	cancel  context.CancelFunc
	sending context.Context //nolint:containedctx // of attempts, which end a little later

	attempts *attemptLog
	flow     *flow
	wake     chan struct{} // there is something in the fields below mu
	reports  chan func()   // results, which the loop applies

	unreadable unreadable

	mu        sync.Mutex
	next      *Subscription // after a change
	removed   bool          // the subscription was deleted
	published Status

	// The fields below are of the loop.

	timer   *time.Timer
	sub     *Subscription
	form    Form
	profile Profile
	live    bool // the flow keeps up
	main    *lane
	replay  *lane  // nil: none
	replays uint64 // the number of the replay that was begun last
	// Of the state in the store: whether a replay has not ended, and that number.
	replaySaved  bool
	replaysSaved uint64
	breaker      breaker
	probed       store.Position // the event of the last probe
	probes       int            // with that event, that were answered

	pending
	firsts, retrying int // attempts that are being made

	version    string         // of the state's document
	saved      store.Position // the position in it
	dirty      bool           // something else changed since it was saved
	saving     bool
	saveAt     time.Time // not before
	validating bool
	validateAt time.Time // not before
}

func (d *Deliverer) newWorker(s *Subscription) (*worker, error) {
	w := &worker{
		d: d, key: stateKey(s), attempts: d.logs.of(s), wake: make(chan struct{}, 1), reports: make(chan func()),
	}
	return w, w.use(s)
}

// use adopts a version of the subscription.
func (w *worker) use(s *Subscription) error {
	form, profile, err := w.d.of(s)
	if err != nil {
		return err
	}
	w.form, w.profile = form, profile
	if w.sub == nil || w.sub.URL != s.URL {
		w.breaker.success()
	}
	w.sub = s
	if w.flow != nil {
		w.flow.filter(s)
	}
	return nil
}

func (w *worker) notify() { wakeUp(w.wake) }

// change gives the loop another version of the subscription.
func (w *worker) change(s *Subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = s
	w.notify()
}

// remove ends the loop, because the subscription was deleted.
func (w *worker) remove() {
	w.mu.Lock()
	w.removed = true
	w.mu.Unlock()
	w.cancel()
}

func (w *worker) isRemoved() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed
}

// report gives the loop a result. It is applied even if the loop is told to stop.
func (w *worker) report(apply func()) { w.reports <- apply }

// run delivers until ctx ends.
func (w *worker) run() {
	defer w.cancel()
	if !w.load() {
		return
	}
	w.timer = time.NewTimer(time.Hour)
	defer w.timer.Stop()
	var stopSending context.CancelFunc
	w.sending, stopSending = context.WithCancel(context.WithoutCancel(w.ctx))
	defer stopSending()
	for w.ctx.Err() == nil {
		if w.sub.URL == "" {
			w.serveClients()
		} else {
			w.serveEndpoint()
		}
	}
	w.stop(stopSending)
}

// load reads the delivery state, until it succeeds or ctx ends.
func (w *worker) load() bool {
	for backoff := firstReadBackoff; ; backoff = min(2*backoff, maxReadBackoff) {
		err := w.tryLoad()
		if err == nil {
			return true
		}
		w.logFailure("cannot read the delivery state; will retry", err)
		select {
		case <-time.After(backoff):
		case <-w.ctx.Done():
			return false
		}
	}
}

func (w *worker) tryLoad() error {
	v, version, err := w.d.loadState(w.ctx, w.sub)
	if err != nil {
		return err
	}
	gap, err := w.d.enterEpoch(w.ctx, &v)
	if err != nil {
		return err
	}
	w.version, w.saved, w.dirty = version, v.Position, version == "" || gap != nil
	w.pending.decode(&v)
	if gap != nil {
		w.announceGap(*gap)
	}
	if v.Replay != nil {
		w.replay = newLane(v.Replay.At, v.Replay.To)
	}
	w.replays, w.replaysSaved, w.replaySaved = v.Replays, v.Replays, v.Replay != nil
	w.beginReplay()
	w.main = newLane(v.Position, 0)
	for _, at := range v.Done {
		w.main.again[at] = true
	}
	w.flow = newFlow(w.sub, v.Position)
	return nil
}

// serveEndpoint delivers to the endpoint until ctx ends or there is none any more.
func (w *worker) serveEndpoint() {
	for w.ctx.Err() == nil {
		w.adopt()
		if w.sub.URL == "" {
			return
		}
		now := w.d.Clock()
		if !w.sub.stopped() {
			w.fill(now)
			w.launch(now)
		}
		w.saveIfDue(now)
		w.publish(false)
		w.await(w.untilWake(now))
	}
}

// await waits for something to happen, but not longer than limit.
func (w *worker) await(limit time.Duration) {
	w.timer.Reset(limit)
	select {
	case apply := <-w.reports:
		apply()
	case <-w.flow.ready:
	case <-w.wake:
	case <-w.timer.C:
	case <-w.ctx.Done():
	}
}

// adopt applies what other goroutines asked for.
func (w *worker) adopt() {
	w.mu.Lock()
	next := w.next
	w.next = nil
	w.mu.Unlock()
	if next == nil {
		return
	}
	wasStopped := w.sub.stopped()
	if err := w.use(next); err != nil {
		w.logFailure("subscription not changed", err)
	}
	w.beginReplay()
	if w.sub.stopped() && !wasStopped {
		w.rewind()
	}
}

// rewind drops what is in memory and was not attempted, and reads it from the log later.
// What waits long is not kept in memory, because its user may be erased meanwhile.
func (w *worker) rewind() {
	at := w.main.rewind()
	w.d.dispatch.leave(w.flow, at)
	w.live = false
	if w.replay != nil {
		w.replay.rewind()
	}
}

// fill takes entries from the flow, or reads the log, and admits them.
func (w *worker) fill(now time.Time) {
	if w.breaker.down && (now.Before(w.breaker.probe) || w.firsts > 0) {
		return
	}
	if w.live {
		w.takeLive()
	}
	if !w.live {
		w.read(w.main, w.flow, now)
	}
	w.admit(w.main)
	if r := w.replay; r != nil {
		w.read(r, w.flow, now)
		w.admit(r)
		if r.finished() {
			w.replay, w.dirty = nil, true
		}
	}
}

func (w *worker) windowSize() int { return max(minWindow, 4*w.sub.concurrency()) }

// takeLive moves entries from memory to the backlog.
func (w *worker) takeLive() {
	l := w.main
	l.prune()
	free := w.windowSize() - len(l.window) - len(l.backlog)
	if free <= 0 {
		return
	}
	handled := store.Position(w.d.dispatch.handled.Load())
	entries, scanned, behind := w.flow.takeEntries(free, handled)
	l.backlog = append(l.backlog, entries...)
	if n := len(entries); n > 0 {
		l.readTo = max(l.readTo, entries[n-1].At)
	}
	l.readTo = max(l.readTo, scanned)
	w.live = !behind
}

// read begins to read the next page of a lane if it needs one.
func (w *worker) read(l *lane, f *flow, now time.Time) {
	if l.reading || l.end || len(l.backlog) >= readPage/2 || now.Before(l.retryAt) {
		return
	}
	l.reading = true
	after, limit := l.readTo, l.to
	go func() {
		p := w.d.readPage(w.ctx, f, after, limit)
		w.report(func() { w.addPage(l, after, &p) })
	}()
}

// addPage adds what was read after a position to the backlog of a lane.
func (w *worker) addPage(l *lane, after store.Position, p *page) {
	l.reading = false
	switch {
	case w.ctx.Err() != nil || after != l.readTo: // it was rewound meanwhile
	case p.err != nil:
		if l.failed(w.d.Clock()) {
			w.logFailure("cannot read the log; will retry", p.err)
		}
	default:
		if p.gap != nil {
			w.announceGap(*p.gap)
		}
		l.add(p)
		if p.end && l.replay {
			l.end = true
		} else if p.end {
			w.live = w.d.dispatch.join(w.flow, l.readTo)
		}
	}
}

// admit moves entries from the backlog to the window, as far as there is space.
func (w *worker) admit(l *lane) {
	l.prune()
	for n := w.windowSize() - len(l.window); n > 0 && len(l.backlog) > 0; n-- {
		e, before := l.backlog[0], l.admitted
		l.backlog, l.admitted = l.backlog[1:], e.At
		if e.Damaged != nil {
			w.announceGap(Gap{From: e.At - 1, To: e.At, Reason: reasonDamaged, At: w.d.Clock()})
			continue
		}
		if e.Gap && !l.replay {
			w.announceGap(Gap{From: before, To: e.At - 1, Reason: reasonDropped, At: w.d.Clock()})
		}
		if t := l.insert(e); t != nil && w.sub.URL != "" {
			l.admit(t)
		}
	}
	if len(l.backlog) == 0 {
		l.backlog = nil
	}
}

const (
	reasonDamaged = "an entry of the log is damaged"
	reasonDropped = "the log dropped older changes of a user"
)

func (w *worker) announceGap(g Gap) {
	w.d.count.gaps.Add(1)
	w.pending.announce(g)
	w.dirty = true
	w.d.Log.WarnContext(w.ctx, "events not delivered", slog.String("subscription", w.sub.ID),
		slog.Uint64("after", uint64(g.From)), slog.Uint64("to", uint64(g.To)), slog.String("reason", g.Reason))
}

// untilWake is how long the loop may wait if nothing else happens.
func (w *worker) untilWake(now time.Time) time.Duration {
	var next time.Time
	for _, t := range [...]time.Time{
		w.pending.nextDue(now), w.breaker.probe, w.nextSave(), w.nextValidation(), w.main.retryAt, w.replayRetry(),
	} {
		if t.After(now) { // what is due already waits for a report
			next = earlier(next, t)
		}
	}
	if next.IsZero() {
		return time.Hour
	}
	return next.Sub(now)
}

func (w *worker) replayRetry() time.Time {
	if w.replay == nil {
		return time.Time{}
	}
	return w.replay.retryAt
}

// publish makes the status visible to other goroutines.
func (w *worker) publish(attached bool) {
	s := Status{
		Position: w.main.position(), Pending: len(w.retries), Behind: !w.live, Down: w.breaker.down,
		NextProbe: w.breaker.probe, Paused: w.sub.Paused, Suspended: w.sub.Suspended, Disabled: !w.sub.Health.Disabled.IsZero(), Oldest: w.main.oldest(), Replaying: w.replay != nil || w.replaySaved,
		Attached: attached, replays: w.replaysSaved,
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published = s
}

func (w *worker) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.published
}

// nextSave is when the state is to be saved. Zero: it need not be.
func (w *worker) nextSave() time.Time {
	switch {
	case w.saving:
		return time.Time{}
	case w.dirty:
		return w.saveAt
	case w.main.position() != w.saved:
		return w.saveAt.Add(saveIdleEvery - saveEvery)
	default:
		return time.Time{}
	}
}

// saveIfDue begins to save the state.
func (w *worker) saveIfDue(now time.Time) {
	at := w.nextSave()
	if at.IsZero() && !w.dirty && w.main.position() == w.saved || w.saving || at.After(now) {
		return
	}
	v := w.state()
	s, version := w.sub, w.version
	w.saving, w.dirty = true, false
	go func() {
		version, err := w.save(w.sending, s, version, v) // a stop waits for it, and saves what is newer
		w.report(func() { w.noteSaved(version, &v, err) })
	}()
}

// save replaces the state in the store. After a lost answer its version is another one than
// expected. If it is ahead, or there is none, another node has delivered since, or the
// subscription was deleted.
func (w *worker) save(ctx context.Context, s *Subscription, version string, v stateValue) (string, error) {
	next, err := w.d.saveState(ctx, s, version, v)
	if !errors.Is(err, store.ErrConflict) {
		return next, err
	}
	stored, newest, loaded := w.d.loadState(ctx, s)
	if loaded != nil || newest == "" || stored.Position > v.Position {
		return version, cmp.Or(loaded, err)
	}
	return w.d.saveState(ctx, s, newest, v)
}

func (w *worker) noteSaved(version string, v *stateValue, err error) {
	w.saving, w.version = false, version
	w.saveAt = w.d.Clock().Add(saveEvery)
	if err != nil {
		w.dirty = true
		w.logFailure("cannot save the delivery state; will retry", err)
		return
	}
	w.saved, w.replaysSaved, w.replaySaved = v.Position, v.Replays, v.Replay != nil
}

// state is the value to save.
func (w *worker) state() stateValue {
	v := stateValue{Epoch: w.d.Store.Epoch(), Position: w.main.position(), Replays: w.replays}
	v.Done = w.main.doneAbove(v.Position)
	w.trim(MaxPending)
	for limit := len(w.retries); ; limit = len(w.retries) - 1 {
		w.trim(limit)
		v.Types, v.Retries, v.Gaps = nil, nil, nil
		if w.pending.encode(&v); v.size() <= maxStateBytes || limit <= 0 {
			break
		}
	}
	if w.replay != nil {
		v.Replay = &replayValue{At: w.replay.position(), To: w.replay.to}
	}
	return v
}

// trim gives up the oldest of too many retries.
func (w *worker) trim(limit int) {
	if n := w.pending.trim(limit, w.d.Clock()); n > 0 {
		w.d.count.givenUp.Add(uint64(n))
		w.d.count.gaps.Add(1)
		w.dirty = true
	}
}

// stop waits for what was begun, and saves the state.
func (w *worker) stop(stopSending context.CancelFunc) {
	w.d.dispatch.leave(w.flow, 0)
	timer := time.AfterFunc(stopTimeout, stopSending)
	defer timer.Stop()
	for w.firsts > 0 || w.retrying > 0 || w.saving || w.validating || w.main.reading || w.replay != nil && w.replay.reading {
		(<-w.reports)()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), stopTimeout)
	defer cancel()
	if w.isRemoved() {
		if err := w.d.removeState(ctx, w.sub); err != nil {
			w.warn("cannot delete the delivery state", err)
		}
		w.d.logs.remove(w.sub)
		return
	}
	if !w.dirty && w.main.position() == w.saved {
		return
	}
	if _, err := w.save(ctx, w.sub, w.version, w.state()); err != nil {
		w.warn("cannot save the delivery state; events will be delivered again", err)
	}
}

// logFailure logs what is not due to the end of the worker.
func (w *worker) logFailure(message string, err error) {
	if w.ctx.Err() == nil {
		w.warn(message, err)
	}
}

func (w *worker) warn(message string, err error) {
	w.d.Log.WarnContext(w.ctx, message, slog.String("subscription", w.sub.ID), slog.Any("err", err)) //nolint:sloglint // the callers have constants
}
