package presence

import (
	"slices"
	"strings"
)

func (d *draft) setClaim(e *SetClaim) error {
	if err := checkClaim(e); err != nil {
		return err
	}
	if e.Source == Manual && e.Status == Available {
		d.chooseAvailable()
		d.origin.Claim, d.origin.Source = e.ID, e.Source
		return nil
	}
	claim := Claim{ID: e.ID, Source: e.Source, Status: e.Status, Note: e.Note, App: e.App, Via: e.Via, Since: d.now}
	i, found := d.findClaim(e.ID)
	switch {
	case !e.Since.IsZero():
		claim.Since = e.Since
	case found && d.Claims[i].Status == e.Status:
		claim.Since = d.Claims[i].Since
	}
	until, err := d.end(e, claim.Since)
	if err != nil {
		return err
	}
	claim.Until = until
	if err := d.admitClaim(&claim); err != nil {
		return err
	}
	if found {
		d.claims()[i] = claim
	} else {
		d.Claims = slices.Insert(d.claims(), i, claim)
	}
	d.changed = true
	d.origin.Claim, d.origin.Source = e.ID, e.Source
	return nil
}

// admitClaim enforces the limits on claims. The person's own manual claim is always
// admitted.
func (d *draft) admitClaim(claim *Claim) error {
	if claim.ID == ManualClaim {
		return nil
	}
	own, all := 0, 0
	for i := range d.Claims {
		c := &d.Claims[i]
		if c.ID == ManualClaim || c.ID == claim.ID {
			continue
		}
		all++
		if c.origin() == claim.origin() {
			own++
		}
	}
	switch {
	case own >= MaxClaimsPerApp:
		return &LimitError{What: "claims made by one app", Limit: MaxClaimsPerApp}
	case all >= MaxClaims:
		return &LimitError{What: "claims", Limit: MaxClaims}
	}
	return nil
}

// chooseAvailable applies manual available: it removes the manual claim and silences the
// existing claims of rules 4 and 5.
func (d *draft) chooseAvailable() {
	if i, found := d.findClaim(ManualClaim); found {
		d.removeClaim(i)
	}
	d.AvailableAt = d.now
	d.changed = true
}

// end is when a claim that begins at since expires: as requested, by the rule for its
// status, or never (zero).
func (d *draft) end(e *SetClaim, since Instant) (Instant, error) {
	start := max(since, d.now)
	var until Instant
	switch {
	case e.Lasts > 0:
		until = d.now.Add(e.Lasts)
	case !e.Until.IsZero():
		until = e.Until
	case e.Status == DoNotDisturb:
		until = start.Add(DefaultDoNotDisturb)
	case e.Status.meeting() && d.policy.MeetingTimeout > 0:
		until = start.Add(d.policy.MeetingTimeout)
	case e.Source == Manual && e.Status != Away && e.Status != OutOfOffice:
		until = start.Add(ManualLasts)
	default:
		return 0, nil
	}
	return until, e.checkEnd(start, until, d.now)
}

// endMeetings gives an end to meetings and calls that were recorded without one, by a
// version without a timeout, so that an app that died leaves nobody in a meeting for
// ever. That alone is no change; it becomes part of the next one.
func (d *draft) endMeetings() {
	for i := range d.Claims {
		c := &d.Claims[i]
		if c.Until.IsZero() && c.Status.meeting() && d.policy.MeetingTimeout > 0 {
			d.claims()[i].Until = max(c.Since, d.now).Add(d.policy.MeetingTimeout)
		}
	}
}

// checkEnd refuses an end that is too early or too late for a claim that begins at
// start. The error names the field that gave the end.
func (e *SetClaim) checkEnd(start, until, now Instant) error {
	field := "until"
	if e.Lasts > 0 {
		field = "duration_seconds"
	}
	lasts := until.Sub(start)
	switch {
	case until <= now:
		return &FieldError{Field: field, Reason: "must be in the future"}
	case lasts <= 0:
		return &FieldError{Field: field, Reason: "must end after since"}
	case e.Status == DoNotDisturb && lasts < MinDoNotDisturb:
		return &FieldError{Field: field, Reason: "must make do_not_disturb last at least 1 minute"}
	case e.Status == DoNotDisturb && lasts > MaxDoNotDisturb:
		return &FieldError{Field: field, Reason: "must make do_not_disturb last at most 1440 minutes"}
	case until.Sub(now) > MaxClaimLasts:
		return &FieldError{Field: field, Reason: "must be at most 366 days ahead"}
	}
	return nil
}

func (d *draft) endClaim(id ClaimID) error {
	i, found := d.findClaim(id)
	if !found {
		return ErrUnknownClaim
	}
	d.origin.Claim, d.origin.Source = id, d.Claims[i].Source
	d.removeClaim(i)
	return nil
}

func (d *draft) setNote(e *SetNote) error {
	if err := checkSetNote(e); err != nil {
		return err
	}
	note := Note{Text: e.Text}
	if !e.Until.IsZero() && e.Text != "" {
		note.Until = e.Until
		if note.Until <= d.now {
			return &FieldError{Field: "until", Reason: "must be in the future"}
		}
		if note.Until.Sub(d.now) > MaxClaimLasts {
			return &FieldError{Field: "until", Reason: "must be at most 366 days ahead"}
		}
	}
	if note != d.Note {
		d.Note, d.changed = note, true
	}
	return nil
}

// setUserState ends the sessions of a user who is no longer active. Of a deleted user
// only the revision of the last commit remains.
func (d *draft) setUserState(standing UserState) {
	if d.UserState == standing && d.Exists() {
		return
	}
	if d.UserState == UserDeleted {
		return
	}
	d.UserState, d.changed = standing, true
	if standing != UserActive {
		d.Sessions, d.Replaced, d.ownSessions = nil, nil, true
	}
	if standing == UserDeleted {
		d.Claims, d.ownClaims = nil, true
		d.Note, d.Answers = Note{}, nil
		d.Rules, d.asked = nil, nil
		d.AvailableAt, d.UpdatedAt, d.DampedSince = 0, 0, 0
	}
}

func (d *draft) findClaim(id ClaimID) (int, bool) {
	return slices.BinarySearchFunc(d.Claims, id, func(c Claim, id ClaimID) int {
		return strings.Compare(string(c.ID), string(id))
	})
}

func (d *draft) removeClaim(i int) {
	d.Claims = slices.Delete(d.claims(), i, i+1)
	d.changed = true
}

// claims is the draft's own copy.
func (d *draft) claims() []Claim {
	if !d.ownClaims {
		d.Claims = append(make([]Claim, 0, len(d.Claims)+1), d.Claims...)
		d.ownClaims = true
	}
	return d.Claims
}
