package webhook

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// A try is an attempt and the event that it was made with.
type try struct {
	event   *Event
	attempt Attempt
}

// launch begins what is due, as far as the endpoint's concurrency allows.
func (w *worker) launch(now time.Time) {
	w.validateIfDue(now)
	if !w.launchNotices(now) {
		return // what follows a gap waits until it was announced
	}
	for w.free() > 0 && w.retrying < max(1, w.sub.concurrency()/2) {
		r := w.dueRetry(now)
		if r == nil {
			break
		}
		w.launchRetry(r)
	}
	if w.breaker.down {
		if w.firsts == 0 && w.free() > 0 && !now.Before(w.breaker.probe) {
			w.launchFirst(w.main, true)
		}
		return
	}
	for w.free() > 0 && w.launchFirst(w.main, false) {
	}
	for w.replay != nil && w.free() > 0 && w.replaying() < max(1, w.sub.concurrency()/2) && w.launchFirst(w.replay, false) {
	}
}

// free is how many more requests the endpoint may be sent now.
func (w *worker) free() int { return w.sub.concurrency() - w.firsts - w.retrying }

// replaying is the number of tasks of the replay that were started and are not done.
func (w *worker) replaying() (n int) {
	for _, t := range w.replay.window {
		n += one(t.started && !t.done)
	}
	return n
}

// send makes one attempt. False: it was interrupted, so nothing is known of its result.
func (w *worker) send(r *Request) (try, bool) {
	a := w.d.attempt(w.sending, r)
	return try{r.Event, a}, w.sending.Err() == nil || a.accepted()
}

// attempt makes one attempt.
func (d *Deliverer) attempt(ctx context.Context, r *Request) Attempt {
	began := d.Clock()
	a := d.Sender.Send(ctx, r)
	if a.Started.IsZero() {
		a.Started, a.Duration = began, d.Clock().Sub(began)
	}
	return d.describe(r, a)
}

// describe completes an attempt by what the request says.
func (d *Deliverer) describe(r *Request, a Attempt) Attempt {
	a.Event, a.Type, a.User, a.At = r.ID, r.Event.Type, r.Event.User, r.Event.At
	a.Number, a.Stale, a.Replayed = r.Number, r.Stale, r.Replayed
	return a
}

func (w *worker) eventID(e *Event) string { return eventID(w.d.Store.Epoch(), uint64(e.At), e.Index) }

// launchFirst begins the first attempts of the next task of a lane. False: there is none.
func (w *worker) launchFirst(l *lane, probe bool) bool {
	if len(l.runnable) == 0 {
		return false
	}
	t := l.runnable[0]
	l.runnable = l.runnable[1:]
	t.started = true
	w.firsts++
	sub, form := w.sub, w.form
	go func() {
		tries, whole, err := w.attemptFirst(sub, form, t, probe)
		w.report(func() { w.finishFirst(t, tries, probe, whole, err) })
	}()
	return true
}

// attemptFirst attempts the events of an entry in order. If the first one is a probe and
// fails, no other follows. whole says whether no event is left.
func (w *worker) attemptFirst(s *Subscription, form Form, t *task, probe bool) (tries []try, whole bool, err error) {
	events, err := w.prepare(w.sending, s, form, t.entry.Entry)
	if err != nil {
		return nil, lossReason(err) != "", err
	}
	for i := range events {
		e := &events[i]
		if e.Index < t.index {
			continue
		}
		if remains, err := w.d.remains(w.sending, &t.entry); !remains || err != nil {
			return tries, !remains, err
		}
		made, known := w.send(&Request{Subscription: s, Event: e, ID: w.eventID(e), Number: 1, Replayed: t.lane.replay})
		if !known {
			return tries, false, nil
		}
		tries = append(tries, made)
		if probe && !made.attempt.accepted() {
			return tries, i == len(events)-1, nil
		}
		probe = false
	}
	return tries, true, nil
}

// finishFirst applies the results of first attempts.
func (w *worker) finishFirst(t *task, tries []try, probe, whole bool, err error) {
	w.firsts--
	wasDown := w.breaker.down
	for i := range tries {
		if !t.lane.replay {
			w.overtake(tries[i].event)
		}
		if w.finishTry(t, &tries[i], probe && i == 0) {
			t.index = tries[i].event.Index + 1
		} else {
			whole = false
		}
	}
	w.dirty = w.dirty || len(tries) > 0
	switch {
	case whole:
		w.announceLost(t.entry.At, err)
		t.done = true
		t.lane.release(t.entry.User.ID)
	case w.sending.Err() == nil:
		w.requeue(t, err)
	}
	if w.breaker.down && (probe || !wasDown) {
		w.rewind()
	}
}

// finishTry applies the result of one first attempt. False: the event is attempted again
// as if for the first time, when the endpoint is probed next.
func (w *worker) finishTry(t *task, made *try, probe bool) bool {
	a, now := &made.attempt, w.d.Clock()
	defer func() { w.log(a) }()
	if !w.judge(a, now) {
		return true
	}
	if probe && w.keepsProbe(a) {
		w.breaker.probeFailed(now, a.RetryAfter)
		a.Next = w.breaker.probe
		return false
	}
	if probe {
		w.breaker.probeFailed(now, a.RetryAfter)
	}
	next, ok := w.profile.next(a, now)
	if !ok {
		w.d.count.givenUp.Add(1)
		return true
	}
	a.Next = next
	w.retries = append(w.retries, &retry{
		at: a.At, index: made.event.Index, number: 1, next: next, kind: a.Type, user: a.User, replayed: t.lane.replay,
	})
	w.trim(MaxPending)
	return true
}

// keepsProbe reports whether the event of a failed probe is the next probe as well.
func (w *worker) keepsProbe(a *Attempt) bool {
	if w.probed != a.At {
		w.probed, w.probes = a.At, 0
	}
	if a.Status != 0 || a.Failure == FailureInternal {
		w.probes++
	}
	return w.probes < probesEach
}

// judge counts an attempt, and lets the breaker know of it. It reports whether the
// endpoint did not accept the event.
func (w *worker) judge(a *Attempt, now time.Time) (failed bool) {
	if a.accepted() {
		w.d.count.accepted.Add(1)
		w.recovered()
		return false
	}
	w.d.count.failed.Add(1)
	if !w.profile.retries(a) {
		w.recovered() // it answers
		return true
	}
	if a.Failure == FailureInternal {
		return true // nothing was sent, so it says nothing of the endpoint
	}
	if w.breaker.failure(now) {
		w.d.Log.WarnContext(w.ctx, "endpoint down; will probe it", slog.String("subscription", w.sub.ID), slog.String("reason", a.Reason))
	}
	return true
}

// recovered closes the breaker. Gaps, and events whose schedule ended meanwhile, are sent
// now.
func (w *worker) recovered() {
	if w.breaker.down {
		w.d.Log.InfoContext(w.ctx, "endpoint recovered", slog.String("subscription", w.sub.ID))
		now := w.d.Clock()
		for _, r := range w.retries {
			if r.number > len(w.profile.Delays) {
				r.next = now
			}
		}
		for _, n := range w.notices {
			n.next = now
		}
	}
	w.breaker.success()
}

// overtake handles the retries that are older than an event that was just attempted.
func (w *worker) overtake(by *Event) {
	if n := w.pending.overtake(by, w.sub.LatestOnly); n > 0 {
		w.d.count.overtaken.Add(uint64(n))
	}
}

// requeue makes a task the next of its lane, at once or after the store could not be
// read.
func (w *worker) requeue(t *task, err error) {
	t.started = false
	t.lane.runnable = append([]*task{t}, t.lane.runnable...)
	if err == nil {
		return
	}
	w.logFailure("cannot prepare an event; will retry", err)
	w.rewindAt(w.d.Clock().Add(unavailableBackoff))
}

// rewindAt rewinds, and reads the log again at a time.
func (w *worker) rewindAt(again time.Time) {
	w.rewind()
	w.main.retryAt = again
	if w.replay != nil {
		w.replay.retryAt = again
	}
}

// launchRetry begins the attempt of a pending retry.
func (w *worker) launchRetry(r *retry) {
	r.inFlight = true
	w.retrying++
	sub, form, asked := w.sub, w.form, *r
	go func() {
		made, fate, err := w.attemptRetry(sub, form, &asked)
		w.report(func() { w.finishRetry(r, made, fate, err) })
	}()
}

// A fate is what became of a retry.
type fate uint8

const (
	fateAttempted   fate = iota
	fateInterrupted      // nothing is known
	fateUnavailable      // the store could not be read
	fateUnwanted         // it was erased, or the subscription has changed
	fateLost             // the error says why; see lossReason
)

// attemptRetry reads the entry of a retry again and attempts its event.
func (w *worker) attemptRetry(s *Subscription, form Form, r *retry) (made try, f fate, err error) {
	entry, err := w.d.entry(w.sending, r.at, store.User{Account: s.Account, ID: r.user})
	switch {
	case lossReason(err) != "":
		return made, fateLost, err
	case err != nil:
		w.logFailure("cannot read the log; will retry", err)
		return made, fateUnavailable, nil
	case entry == nil:
		return made, fateUnwanted, nil
	}
	events, err := w.prepare(w.sending, s, form, entry)
	switch {
	case lossReason(err) != "":
		return made, fateLost, err
	case err != nil:
		w.logFailure("cannot prepare an event; will retry", err)
		return made, fateUnavailable, nil
	}
	for i := range events {
		e := &events[i]
		if e.Index != r.index {
			continue
		}
		made, known := w.send(&Request{
			Subscription: s, Event: e, ID: w.eventID(e), Number: r.number + 1, Stale: r.stale, Replayed: r.replayed,
		})
		if !known {
			return made, fateInterrupted, nil
		}
		return made, fateAttempted, nil
	}
	return made, fateUnwanted, nil
}

// finishRetry applies the result of a retry.
func (w *worker) finishRetry(r *retry, made try, f fate, err error) {
	w.retrying--
	r.inFlight = false
	now := w.d.Clock()
	w.dirty = true
	switch f {
	case fateInterrupted:
	case fateUnavailable:
		r.next = now.Add(unavailableBackoff)
	case fateLost:
		w.announceLost(r.at, err)
		w.removeRetry(r)
	case fateUnwanted:
		w.removeRetry(r)
	case fateAttempted:
		w.finishRetryTry(r, &made.attempt, now)
	}
}

func (w *worker) finishRetryTry(r *retry, a *Attempt, now time.Time) {
	defer func() { w.log(a) }()
	r.number = a.Number
	wasDown := w.breaker.down
	if !w.judge(a, now) {
		w.removeRetry(r)
		return
	}
	if w.breaker.down && !wasDown {
		w.rewind()
	}
	next, ok := w.profile.next(a, now)
	if !ok && w.breaker.down && a.Failure != FailureInternal {
		next, ok = now.Add(holdFor), true // until the endpoint recovers
	}
	if !ok {
		w.d.count.givenUp.Add(1)
		w.removeRetry(r)
		return
	}
	a.Next, r.next = next, next
	if r.stale && w.sub.LatestOnly && !r.replayed { // it was overtaken while it was sent
		a.Next = time.Time{}
		w.d.count.overtaken.Add(1)
		w.removeRetry(r)
	}
}

// announceLost announces the gap that an error makes. Most make none.
func (w *worker) announceLost(at store.Position, err error) {
	if reason := lossReason(err); reason != "" {
		w.announceGap(Gap{From: at - 1, To: at, Reason: reason, At: w.d.Clock()})
	}
}

// launchNotices begins to announce the gaps that are due. False: one was never announced.
func (w *worker) launchNotices(now time.Time) bool {
	announced := true
	for _, n := range w.notices {
		announced = announced && n.number > 0
		if n.inFlight || n.next.After(now) || w.free() <= 0 {
			continue
		}
		n.inFlight = true
		w.retrying++
		sub, form, gap, number := w.sub, w.form, n.Gap, n.number+1
		go func() {
			made, known := w.attemptNotice(sub, form, &gap, number)
			w.report(func() { w.finishNotice(n, &made.attempt, known) })
		}()
	}
	return announced
}

func (w *worker) attemptNotice(s *Subscription, form Form, g *Gap, number int) (try, bool) {
	e, id := w.gapEvent(s, form, g)
	return w.send(&Request{Subscription: s, Event: &e, ID: id, Number: number})
}

// gapEvent is the event that announces a gap, and its ID.
func (w *worker) gapEvent(s *Subscription, form Form, g *Gap) (Event, string) {
	e := form.Gap(s.Account, s.ID, g)
	e.At = g.To
	return e, gapID(w.d.Store.Epoch(), s.Account, s.ID, g)
}

// finishNotice applies the result of announcing a gap.
func (w *worker) finishNotice(n *notice, a *Attempt, known bool) {
	w.retrying--
	n.inFlight = false
	if !known {
		return
	}
	defer func() { w.log(a) }()
	now := w.d.Clock()
	n.number, w.dirty = a.Number, true
	wasDown := w.breaker.down
	if !w.judge(a, now) || !w.profile.retries(a) {
		w.removeNotice(n)
		return
	}
	if w.breaker.down && !wasDown {
		w.rewind()
	}
	n.next = w.profile.nextNotice(a, now)
	a.Next = n.next
}

// nextValidation is when the endpoint is validated again. Zero: never.
func (w *worker) nextValidation() time.Time {
	at := w.sub.nextValidation()
	if at.IsZero() || w.validating {
		return time.Time{}
	}
	if at.Before(w.validateAt) {
		return w.validateAt
	}
	return at
}

// validateIfDue begins to validate the endpoint.
func (w *worker) validateIfDue(now time.Time) {
	if at := w.nextValidation(); at.IsZero() || at.After(now) {
		return
	}
	w.validating, w.validateAt = true, now.Add(validateBackoff)
	sub := w.sub
	go func() {
		w.d.validate(w.sending, sub)
		w.report(func() { w.validating = false })
	}()
}

// validateBackoff is the time between two validations that stored no result.
const validateBackoff = 10 * time.Minute

// validate validates an endpoint and stores the result in the subscription, whose
// registry then publishes it. The sixth failure in a row disables it.
func (d *Deliverer) validate(ctx context.Context, s *Subscription) {
	began := d.Clock()
	err := d.Sender.Validate(ctx, s)
	failed, own := errors.AsType[*ValidationError](err)
	if ctx.Err() != nil || err != nil && !own {
		return // the endpoint is not to blame
	}
	now := d.Clock()
	h := Health{Validated: now}
	a := Attempt{Type: TypeValidation, Number: s.Health.Failures + 1, Started: began, Duration: now.Sub(began)}
	if err != nil {
		h = s.Health
		h.Failures, h.Reason = h.Failures+1, failed.Error()
		a.Status, a.Answer, a.Failure, a.Reason = failed.Status, failed.Answer, failed.Failure, failed.Reason
		if h.Failures >= maxFailures {
			h.Disabled = now
			d.Log.WarnContext(ctx, "subscription disabled: its endpoint did not pass validation", slog.String("subscription", s.ID), slog.String("reason", failed.Reason)) // its URL may have a secret
		}
	}
	d.logs.of(s).add(&a)
	if err := d.SetHealth(ctx, s, h); err != nil {
		d.Log.WarnContext(ctx, "cannot store the result of a validation; will retry", slog.String("subscription", s.ID), slog.Any("err", err))
	}
}

// TypeValidation is the type of attempts that validate an endpoint.
const TypeValidation = "validation"

// log records an attempt.
func (w *worker) log(a *Attempt) { w.attempts.add(a) }
