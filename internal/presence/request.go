package presence

import (
	"slices"
	"strconv"
	"strings"
)

// request applies the rules for API requests in their documented order: a repeated
// request gets the same answer; then conditions, signed in, transition, rate limit. to
// is the requested status.
func (d *draft) request(r *Request, e Event, to Status, do func() error) error {
	switch d.UserState {
	case UserDeactivated:
		return ErrDeactivated
	case UserDeleted:
		return ErrDeleted
	}
	if err := d.repeated(r); err != nil {
		return err
	}
	if !d.meets(r, e) {
		return ErrPrecondition
	}
	if r.Update {
		if err := d.mayUpdate(to); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if r.Update {
		d.UpdatedAt = d.clock
	}
	d.remember(r)
	return nil
}

// meets reports whether the state meets the conditions of a request.
func (d *draft) meets(r *Request, e Event) bool {
	if len(r.IfMatch)+len(r.IfNoneMatch) == 0 {
		return true
	}
	target := present
	if !r.Update { // an API update is about the presence, which every user has
		target = d.target(e)
	}
	if len(r.IfMatch) > 0 && !d.matches(r.IfMatch) && (target == absent || !slices.Contains(r.IfMatch, AnyRevision)) {
		return false
	}
	return !d.matches(r.IfNoneMatch) && (target != present || !slices.Contains(r.IfNoneMatch, AnyRevision))
}

// matches reports whether the state has one of the revisions.
func (d *draft) matches(revisions []Revision) bool {
	return !d.renumbered && slices.Contains(revisions, d.Revision)
}

// A target says whether there is what an event is about.
type target uint8

const (
	present target = iota
	absent         // the event would make it
	missing        // and the event fails for that alone, whatever the conditions
)

func (d *draft) target(e Event) target {
	var found bool
	lacking := missing
	switch e := e.(type) {
	case SetClaim:
		_, found = d.findClaim(e.ID)
		lacking = absent
	case SetNote:
		found = d.Note.Text != ""
		lacking = absent
	case EndClaim:
		_, found = d.findClaim(e.ID)
	case Refresh:
		_, found = d.findSession(e.Session)
	case SignOut:
		_, found = d.findSession(e.Session)
	default: // it is about a list, or the whole record
		found = true
	}
	if found {
		return present
	}
	return lacking
}

// mayUpdate applies the rules of an API update.
func (d *draft) mayUpdate(to Status) error {
	if d.policy.SignedInRule && len(d.Sessions) == 0 {
		return ErrSignedOut
	}
	if !d.clientAllows(to) {
		return ErrTransition
	}
	return d.checkInterval()
}

// checkInterval enforces the minimum interval between two API updates. It uses the
// clock as given: a clock that was set back by more than the interval locks nobody out.
func (d *draft) checkInterval() error {
	passed, interval := d.clock.Sub(d.UpdatedAt), d.policy.MinInterval
	if d.UpdatedAt == 0 || passed >= interval || passed <= -interval {
		return nil
	}
	return &RateLimitedError{RetryAfter: min(interval-passed, interval)}
}

// clientAllows applies the client version rule, which considers the highest version
// that any live session states.
func (d *draft) clientAllows(to Status) bool {
	rule := &d.policy.ClientVersions
	if rule.Since == (Version{}) {
		return true
	}
	var highest Version
	stated := false
	for i := range d.Sessions {
		v, ok := parseVersion(d.Sessions[i].Version)
		if ok && (!stated || slices.Compare(v[:], highest[:]) > 0) {
			highest, stated = v, true
		}
	}
	if !stated || slices.Compare(highest[:], rule.Since[:]) >= 0 {
		return true
	}
	return slices.Contains(rule.Allowed, Transition{d.advanced, to})
}

// parseVersion reads the first three numbers of a client version such as
// "5.17.11 (34827)" or "5.2".
func parseVersion(text string) (v Version, ok bool) {
	if text == "" {
		return v, false
	}
	text, _, _ = strings.Cut(text, " ")
	for i := range v {
		part, rest, more := strings.Cut(text, ".")
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return v, false
		}
		v[i], text = int(n), rest
		if !more {
			break
		}
	}
	return v, true
}

// repeated finds the answer to the request's idempotency key. The same key with another
// body is an error of the client.
func (d *draft) repeated(r *Request) error {
	if r.Key == ([16]byte{}) {
		return nil
	}
	for _, a := range d.Answers {
		if a.Key != r.Key || d.now >= a.At.Add(AnswersKeptFor) {
			continue
		}
		if a.Body != r.Body {
			return ErrKeyReused
		}
		return &RepeatError{Answer: a}
	}
	return nil
}

// remember records the answer to a request with an idempotency key; finish adds the
// revision.
func (d *draft) remember(r *Request) {
	if r.Key == ([16]byte{}) {
		return
	}
	kept := make([]Answer, 0, len(d.Answers)+1)
	for _, a := range d.Answers {
		if a.Key != r.Key && d.now < a.At.Add(AnswersKeptFor) {
			kept = append(kept, a)
		}
	}
	answer := Answer{App: r.App, Key: r.Key, Body: r.Body, At: d.now, Result: r.Result}
	if i := surplus(kept, &answer, (*Answer).origin, MaxAnswersPerApp, MaxAnswers, oldest); i >= 0 {
		kept = slices.Delete(kept, i, i+1)
	}
	d.Answers = append(kept, answer)
	d.changed = true
}
