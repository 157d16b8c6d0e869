package hub

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// A roster caches the active users of an account and their groups while a stream of the
// account follows an audience. It is loaded once from the directory. Every change in the
// directory commits a record, so before the hub delivers a batch of records it reads their
// users from the directory again.
//
// A directory change is written before its record, except that deactivating or deleting a
// user changes the record first. So a user is in the roster only if active in both.
type roster struct {
	account presence.AccountID
	ready   chan struct{} // closed when it is loaded
	err     error         // why loading failed; set before ready is closed

	mu        sync.Mutex // guards the fields below; taken after Hub.mu and before Stream.mu
	groups    map[presence.UserID][]string
	refreshed map[presence.UserID]bool // users refreshed by records while the roster loads
	names     map[string]string        // interned keys of groups
	// changes are the latest changes; dropped is the number of earlier ones. Changes up to
	// the position floor may be missing.
	changes   []memberChange
	dropped   int
	floor     store.Position
	followers map[*Stream]struct{}
	idleSince time.Time // when followers was last found not empty
	closed    bool      // the roster is no longer kept up to date
}

// A memberChange is a change of a user's groups, which are nil for a user who is not
// active.
type memberChange struct {
	user          presence.UserID
	at            store.Position
	before, after []string
	deleted       bool
	unknown       bool // before and after are not known; never in a roster
}

// Bounds of rosters.
const (
	maxMemberChanges = 4096
	memberPage       = 500
	memberTimeout    = 5 * time.Second // for reading one page of members; delivery waits meanwhile
	rosterTimeout    = 30 * time.Second
	// rosterIdleTimeout is how long a roster without streams is kept up to date, so that
	// polls and clients that reconnect can resume.
	rosterIdleTimeout = 3 * time.Minute
)

var errRosterClosed = errors.New("roster closed")

// rosterOf returns the account's roster, and loads it if necessary.
func (h *Hub) rosterOf(ctx context.Context, account presence.AccountID, viewer view.Viewer) (*roster, error) {
	h.rosterMu.Lock()
	r := h.rosters[account]
	if r == nil {
		r = &roster{
			account: account, ready: make(chan struct{}), floor: h.membersAt, idleSince: h.opts.Clock(),
			groups: make(map[presence.UserID][]string), refreshed: make(map[presence.UserID]bool), names: make(map[string]string),
			followers: make(map[*Stream]struct{}),
		}
		h.rosters[account] = r
		go h.loadRoster(context.WithoutCancel(ctx), r, viewer) // other callers may wait for it too
	}
	h.rosterMu.Unlock()
	select {
	case <-r.ready:
		return r, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *Hub) loadRoster(ctx context.Context, r *roster, viewer view.Viewer) {
	ctx, cancel := context.WithTimeout(ctx, rosterTimeout)
	defer cancel()
	defer close(r.ready)
	if r.err = h.loadMembers(ctx, r, viewer); r.err != nil {
		h.dropRoster(r)
	}
}

// loadMembers reads all members, taking turns with other large reads.
func (h *Hub) loadMembers(ctx context.Context, r *roster, viewer view.Viewer) error {
	if turns := h.opts.Turns; turns != nil {
		done, err := turns.Wait(ctx, viewer, MaxFollowed)
		if err != nil {
			return err
		}
		defer done()
	}
	for after := presence.UserID(""); ; {
		members, err := h.opts.Directory.Members(ctx, r.account, after, memberPage)
		if err != nil {
			return err
		}
		if err := h.addPage(ctx, r, members); err != nil {
			return err
		}
		if len(members) < memberPage {
			break
		}
		after = members[len(members)-1].User
	}
	r.mu.Lock()
	floor := r.floor
	r.refreshed = nil
	r.mu.Unlock()
	// The records that were being delivered when the roster was created: no cursor that is
	// issued from now on is below the floor.
	return h.at.await(ctx, floor)
}

// addPage adds members, except those whom a record has refreshed meanwhile.
func (h *Hub) addPage(ctx context.Context, r *roster, members []Member) error {
	users := make([]store.User, len(members))
	for i := range members {
		users[i] = userOf(r.account, members[i].User)
	}
	records, _, err := h.opts.Store.Read(ctx, users, store.Freshness{})
	if err != nil {
		return err
	}
	states := make(map[presence.UserID]presence.UserState, len(records))
	for i := range records {
		states[records[i].User.ID] = records[i].State.UserState
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range members {
		if id := members[i].User; !r.refreshed[id] {
			r.setGroups(id, rosterGroups(&members[i], states[id]))
		}
	}
	return nil
}

// setGroups stores a user's groups; the caller holds r.mu.
func (r *roster) setGroups(id presence.UserID, groups []string) {
	if groups == nil {
		delete(r.groups, id)
		return
	}
	for i, name := range groups {
		if _, known := r.names[name]; !known {
			r.names[name] = name
		}
		groups[i] = r.names[name]
	}
	r.groups[id] = groups
}

// refreshMembers updates the rosters with a batch of records before its delivery. at is
// the position of the last record. The caller signals behind after it.
func (h *Hub) refreshMembers(ctx context.Context, group []store.Record, at store.Position) {
	h.rosterMu.Lock()
	h.membersAt = max(h.membersAt, at)
	var rosters []*roster
	for _, r := range h.rosters {
		rosters = append(rosters, r)
	}
	h.rosterMu.Unlock()
	for _, r := range rosters {
		own := make([]*store.Record, 0, len(group))
		for i := range group {
			if group[i].User.Account == r.account {
				own = append(own, &group[i])
			}
		}
		for page := range slices.Chunk(own, memberPage) {
			if err := h.refreshPage(ctx, r, page); err != nil {
				h.opts.Log.WarnContext(ctx, "group members unreadable; ending the streams that follow them, clients will reconnect", slog.Any("err", err))
				h.dropRoster(r)
				break
			}
		}
	}
}

func (h *Hub) refreshPage(ctx context.Context, r *roster, records []*store.Record) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	ids := make([]presence.UserID, len(records))
	for i := range records {
		ids[i] = records[i].User.ID
	}
	members, err := h.opts.Directory.MembersByID(ctx, r.account, ids)
	if err != nil {
		return err
	}
	byID := make(map[presence.UserID]*Member, len(members))
	for i := range members {
		byID[members[i].User] = &members[i]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range records {
		id, state := record.User.ID, record.State.UserState
		c := memberChange{user: id, at: record.At, before: r.groups[id], after: rosterGroups(byID[id], state), deleted: state == presence.UserDeleted}
		if r.refreshed != nil {
			r.refreshed[id] = true
		}
		if (c.before == nil) == (c.after == nil) && slices.Equal(c.before, c.after) {
			continue
		}
		r.setGroups(id, c.after)
		r.appendChange(c)
		for s := range r.followers {
			s.noteMemberChange(&c)
		}
	}
	return nil
}

// appendChange appends a change; the caller holds r.mu.
func (r *roster) appendChange(c memberChange) {
	if len(r.changes) == maxMemberChanges {
		const half = maxMemberChanges / 2
		r.floor = r.changes[half-1].at
		r.changes = slices.Delete(r.changes, 0, half)
		r.dropped += half
	}
	r.changes = append(r.changes, c)
}

// changeCount returns the number of changes so far; the caller holds r.mu.
func (r *roster) changeCount() int { return r.dropped + len(r.changes) }

// isDelivered reports whether the records of all changes were delivered.
func (r *roster) isDelivered(h *Hub) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isDeliveredLocked(h)
}

// isDeliveredLocked is isDelivered for a caller that holds r.mu.
func (r *roster) isDeliveredLocked(h *Hub) bool {
	n := len(r.changes)
	return n == 0 || uint64(r.changes[n-1].at) <= h.at.Load()
}

// changedAfter returns the users of all changes but the first applied ones, and which of
// them were deleted. The caller holds r.mu.
func (r *roster) changedAfter(applied int) (changed, deleted map[presence.UserID]bool) {
	changed, deleted = make(map[presence.UserID]bool), make(map[presence.UserID]bool)
	for i := max(applied-r.dropped, 0); i < len(r.changes); i++ {
		c := &r.changes[i]
		changed[c.user], deleted[c.user] = true, c.deleted
	}
	return changed, deleted
}

// noteMemberChange marks the stream as behind if the change affects its audiences. Its
// events have no cursor until catchUp has run, which deliver schedules. The caller holds the
// roster's mu.
func (s *Stream) noteMemberChange(c *memberChange) {
	s.mu.Lock()
	a := s.audiences
	affected := a != nil && !s.ended && c.affects(a.list)
	if affected && !a.behind {
		a.behind = true
		s.unanswered++
	}
	s.mu.Unlock()
	if affected {
		s.hub.behind.add(s)
	}
}

// dropRoster discards a roster and ends the streams that depend on it.
func (h *Hub) dropRoster(r *roster) {
	h.rosterMu.Lock()
	if h.rosters[r.account] == r {
		delete(h.rosters, r.account)
	}
	h.rosterMu.Unlock()
	r.mu.Lock()
	r.closed = true
	var streams []*Stream
	for s := range r.followers {
		streams = append(streams, s)
	}
	r.mu.Unlock()
	for _, s := range streams {
		s.End(CloseUnavailable, retryWithin(sweepEvery))
	}
}

// dropRosters discards all rosters and ends their streams, because records up to at were
// not delivered to them.
func (h *Hub) dropRosters(at store.Position) {
	h.rosterMu.Lock()
	h.membersAt = max(h.membersAt, at)
	rosters := h.rosters
	h.rosters = make(map[presence.AccountID]*roster)
	h.rosterMu.Unlock()
	for _, r := range rosters {
		h.dropRoster(r)
	}
}

// dropIdleRosters discards the rosters that no stream has used for rosterIdleTimeout.
func (h *Hub) dropIdleRosters() {
	now := h.opts.Clock()
	h.rosterMu.Lock()
	defer h.rosterMu.Unlock()
	for account, r := range h.rosters {
		r.mu.Lock()
		if len(r.followers) > 0 || r.refreshed != nil {
			r.idleSince = now
		} else if now.Sub(r.idleSince) > rosterIdleTimeout {
			r.closed = true
			delete(h.rosters, account)
		}
		r.mu.Unlock()
	}
}
