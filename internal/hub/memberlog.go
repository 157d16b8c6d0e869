package hub

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A MemberChange is a change of the groups of an active user.
type MemberChange struct {
	User          presence.UserID
	Before, After []string // keys of groups
	Unknown       bool     // Before and After are not known
}

// A memberLog is what the log has of changes of members, of all accounts, in a range of
// positions. A roster knows only what its own hub has delivered since it was loaded; with
// the log, a Follow resumes from a cursor of any node.
type memberLog struct {
	hub  *Hub
	turn chan struct{} // has an element while the fields below are in use; capacity 1
	// begun counts reads of the log: a caller that waited while one began needs no other.
	begun atomic.Uint64

	read    bool // the log was read, from a position above after up to upTo
	after   store.Position
	upTo    store.Position
	changes []loggedChange // in the order of positions
	// least is the lowest position from which the log can be read: after a lower one it has
	// too many entries, or a damaged one. A read that finds that out takes long, so no later
	// Follow repeats it.
	least store.Position
}

type loggedChange struct {
	memberChange

	account presence.AccountID
}

// maxMemberEntries bounds how many entries of the log a read passes, and how many changes
// are kept.
const maxMemberEntries = 100_000

// errMembersUnknown: the log no longer has all entries above a position, or has too many.
var errMembersUnknown = errors.New("the log does not say who joined or left since the cursor")

func newMemberLog(h *Hub) *memberLog { return &memberLog{hub: h, turn: make(chan struct{}, 1)} }

// since returns the changes of an account above a position, up to the present end of the
// log.
func (m *memberLog) since(ctx context.Context, account presence.AccountID, at store.Position) ([]memberChange, error) {
	begun := m.begun.Load()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-m.turn }()
	if at < m.least {
		return nil, errMembersUnknown
	}
	if m.begun.Load() == begun || !m.read || at < m.after {
		if err := m.extend(ctx, at); err != nil {
			return nil, err
		}
	}
	var since []memberChange
	for i := range m.changes {
		if c := &m.changes[i]; c.account == account && c.at > at {
			since = append(since, c.memberChange)
		}
	}
	return since, nil
}

// extend reads the log, so that the range begins at a position or below, and ends at the
// present end.
func (m *memberLog) extend(ctx context.Context, at store.Position) error {
	oldest, err := m.hub.opts.Store.PositionAt(ctx, time.Time{})
	if err != nil {
		return err
	}
	if at < oldest {
		return errMembersUnknown
	}
	m.begun.Add(1)
	if !m.read || m.upTo < oldest || m.upTo+maxMemberEntries < at {
		m.after, m.upTo, m.changes = at, at, nil
	}
	m.dropOld()
	newer, upTo, err := m.scan(ctx, m.upTo, 0)
	if m.upTo < at && errors.Is(err, errMembersUnknown) { // perhaps only because of what is before at
		m.after, m.upTo, m.changes = at, at, nil
		newer, upTo, err = m.scan(ctx, at, 0)
	}
	if m.read = err == nil; err != nil {
		return err
	}
	m.upTo, m.changes = upTo, append(m.changes, newer...)
	if at >= m.after {
		return nil
	}
	older, _, err := m.scan(ctx, at, m.after)
	if err == nil {
		m.after, m.changes = at, append(older, m.changes...)
	}
	return err
}

// dropOld keeps the newest changes, if there are many.
func (m *memberLog) dropOld() {
	if len(m.changes) > maxMemberEntries {
		dropped := len(m.changes) / 2
		m.after = m.changes[dropped-1].at
		m.changes = slices.Clone(m.changes[dropped:])
	}
}

// scan reads the log above a position, up to another one (zero: the end).
func (m *memberLog) scan(ctx context.Context, after, end store.Position) (changes []loggedChange, upTo store.Position, err error) {
	from := after
	for range maxMemberEntries / store.MaxFeedGroup {
		entries, err := m.hub.opts.Store.Log(ctx, after, store.MaxFeedGroup)
		if err != nil {
			return nil, 0, err
		}
		for i := range entries {
			e := &entries[i]
			switch {
			case end != 0 && e.At > end:
				return changes, end, nil
			case e.Damaged != nil:
				m.least = max(m.least, e.At)
				return nil, 0, errMembersUnknown
			}
			after = e.At
			changes = m.appendChange(changes, e)
		}
		if len(entries) < store.MaxFeedGroup {
			return changes, after, nil
		}
	}
	m.least = max(m.least, from+1)
	return nil, 0, errMembersUnknown
}

// appendChange appends the change of members in an entry, if it is one.
func (m *memberLog) appendChange(to []loggedChange, e *store.Entry) []loggedChange {
	switch e.By.Cause {
	case store.CauseGroups, store.CauseCreated, store.CauseActivated, store.CauseDeactivated, store.CauseDeleted, store.CauseUserState:
	default:
		return to
	}
	c := loggedChange{account: e.User.Account}
	c.user, c.at, c.unknown = e.User.ID, e.At, e.Profile == nil
	if e.By.Cause != store.CauseCreated && e.UserBefore.State == presence.UserActive {
		c.before = m.keysOf(cmp.Or(e.ProfileBefore, e.Profile))
	}
	if e.UserAfter.State == presence.UserActive {
		c.after = m.keysOf(e.Profile)
	}
	return append(to, c)
}

func (m *memberLog) keysOf(p *presence.Profile) []string {
	keys := []string{}
	if p == nil {
		return keys
	}
	for _, name := range p.Groups {
		keys = append(keys, m.hub.opts.Directory.GroupKey(name))
	}
	return keys
}

// A sinceCursor is what is known, apart from the roster, of changes of members since the
// cursor of a Follow.
type sinceCursor struct {
	changes []memberChange
	noted   int // number of changes of the roster before that
}

// membersSince reads what has happened since the cursor of a Follow. nil: it is not known,
// or the roster knows it.
func (l *followJob) membersSince(ctx context.Context, r *roster) (*sinceCursor, error) {
	r.mu.Lock()
	known, noted := !l.from.resumes || r.covers(l), r.changeCount()
	r.mu.Unlock()
	if known {
		return nil, nil
	}
	h := l.stream.hub
	// A change that is not in the log yet when it is listed here either is in the log when
	// that is read, or the roster notes it later.
	unlogged, err := h.opts.Directory.UnloggedMembers(ctx, r.account, time.Unix(l.from.Second-margin, 0))
	if err != nil {
		return nil, err
	}
	changes, err := h.memberLog.since(ctx, r.account, l.from.At)
	if errors.Is(err, errMembersUnknown) {
		return nil, nil
	}
	for _, c := range unlogged {
		changes = append(changes, memberChange{user: c.User, before: c.Before, after: c.After, unknown: c.Unknown})
	}
	return &sinceCursor{changes, noted}, err
}

// covers reports whether the roster has all changes since the cursor of a Follow. That is so
// only for cursors that were issued while there was this roster: another one may have read the
// directory before a member's change, and this one after it, both for the same position. So
// may an earlier one of this hub, if nothing was committed between them. The caller holds r.mu.
func (r *roster) covers(l *followJob) bool {
	return l.from.Hub == l.stream.hub.id && l.from.At > r.floor
}

// affects reports whether the change is one of members of audiences.
func (c *memberChange) affects(list []Audience) bool {
	return c.unknown || inAnyAudience(list, c.before) != inAnyAudience(list, c.after)
}
