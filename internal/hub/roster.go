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

// A roster has the active users of an account and their groups, while a stream of the
// account follows an audience. It is loaded once from the directory. After that, the hub
// reads the members among the users of each group of records again, before it delivers
// the records: whatever changes in the directory commits a record.
//
// A directory change is written before its record, except that a user is deactivated or
// deleted on record first. So a user is in the roster only if active in both.
type roster struct {
	account presence.AccountID
	ready   chan struct{} // closed when it is loaded
	err     error         // why it could not be; set before ready is closed

	mu     sync.Mutex // guards the fields below; taken after Hub.mu and before Stream.mu
	groups map[presence.UserID][]string
	fresh  map[presence.UserID]bool // users read from records while it is loaded
	names  map[string]string        // the keys of groups, each once in memory
	// changes are the newest; dropped is how many came before them. floor is the position
	// up to which changes may be missing.
	changes   []memberChange
	dropped   int
	floor     store.Position
	followers map[*Stream]struct{}
	idleSince time.Time // when followers was last seen with a stream
	closed    bool      // it is not kept up to date any more
}

// A memberChange is a change of a user's groups; nil for a user who is not active.
type memberChange struct {
	user          presence.UserID
	at            store.Position
	before, after []string
	deleted       bool
}

// Bounds of rosters.
const (
	maxMemberChanges = 4096
	memberPage       = 500
	memberTimeout    = 5 * time.Second // of reading one page of members, while nothing is delivered
	rosterTimeout    = 30 * time.Second
	// rosterKept is how long a roster that no stream uses is kept up to date, so that
	// polls and clients that reconnect can resume.
	rosterKept = 3 * time.Minute
)

var errRosterClosed = errors.New("the roster is not kept any more")

// rosterOf returns the account's roster; if there is none, it is loaded.
func (h *Hub) rosterOf(ctx context.Context, account presence.AccountID, viewer view.Viewer) (*roster, error) {
	h.rosterMu.Lock()
	r := h.rosters[account]
	if r == nil {
		r = &roster{
			account: account, ready: make(chan struct{}), floor: h.membersAt, idleSince: h.opts.Clock(),
			groups: make(map[presence.UserID][]string), fresh: make(map[presence.UserID]bool), names: make(map[string]string),
			followers: make(map[*Stream]struct{}),
		}
		h.rosters[account] = r
		go h.load(context.WithoutCancel(ctx), r, viewer) // for all who wait for it
	}
	h.rosterMu.Unlock()
	select {
	case <-r.ready:
		return r, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *Hub) load(ctx context.Context, r *roster, viewer view.Viewer) {
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
	r.fresh = nil
	r.mu.Unlock()
	return h.awaitAt(ctx, floor)
}

// awaitAt waits until the group that was being delivered when the roster was made is
// delivered: no cursor that is issued from then on is below the floor.
func (h *Hub) awaitAt(ctx context.Context, floor store.Position) error {
	for store.Position(h.at.Load()) < floor {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// addPage adds members, except those who were read from a record meanwhile.
func (h *Hub) addPage(ctx context.Context, r *roster, members []Member) error {
	users := make([]store.User, len(members))
	for i := range members {
		users[i] = userOf(r.account, members[i].User)
	}
	records, _, err := h.opts.Store.Read(ctx, users)
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
		if id := members[i].User; !r.fresh[id] {
			r.set(id, groupsOf(&members[i], states[id]))
		}
	}
	return nil
}

// set stores a user's groups; the caller holds r.mu.
func (r *roster) set(id presence.UserID, groups []string) {
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

// refreshMembers brings the rosters up to date with a group of records, before it is
// delivered. at is where the group ends.
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
				h.opts.Log.WarnContext(ctx, "members cannot be read; ending the streams that follow them, which will reconnect", slog.Any("err", err))
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
		c := memberChange{user: id, at: record.At, before: r.groups[id], after: groupsOf(byID[id], state), deleted: state == presence.UserDeleted}
		if r.fresh != nil {
			r.fresh[id] = true
		}
		if (c.before == nil) == (c.after == nil) && slices.Equal(c.before, c.after) {
			continue
		}
		r.set(id, c.after)
		r.log(c)
		for s := range r.followers {
			s.noteMemberChange(&c)
		}
	}
	return nil
}

// log appends a change; the caller holds r.mu.
func (r *roster) log(c memberChange) {
	if len(r.changes) == maxMemberChanges {
		const half = maxMemberChanges / 2
		r.floor = r.changes[half-1].at
		r.changes = slices.Delete(r.changes, 0, half)
		r.dropped += half
	}
	r.changes = append(r.changes, c)
}

// numbered is how many changes there have been; the caller holds r.mu.
func (r *roster) numbered() int { return r.dropped + len(r.changes) }

// changedAfter has the users of the changes after the first applied ones, and those of
// them who were deleted. The caller holds r.mu.
func (r *roster) changedAfter(applied int) (changed, deleted map[presence.UserID]bool) {
	changed, deleted = make(map[presence.UserID]bool), make(map[presence.UserID]bool)
	for i := max(applied-r.dropped, 0); i < len(r.changes); i++ {
		c := &r.changes[i]
		changed[c.user], deleted[c.user] = true, c.deleted
	}
	return changed, deleted
}

// noteMemberChange marks the stream as behind if the change is one of its audiences.
// Until catchUp is done, its events have no cursor. The caller holds the roster's mu.
func (s *Stream) noteMemberChange(c *memberChange) {
	s.mu.Lock()
	a := s.audiences
	affected := a != nil && !s.ended && inAny(a.list, c.before) != inAny(a.list, c.after)
	if affected && !a.behind {
		a.behind = true
		s.unanswered++
	}
	s.mu.Unlock()
	if affected {
		s.hub.behind.add(s)
	}
}

// dropRoster forgets a roster and ends the streams that depend on it.
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

// dropRosters forgets all rosters: nothing up to at was delivered to them. All streams
// end as well.
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

// dropIdleRosters forgets the rosters that no stream has used for a while.
func (h *Hub) dropIdleRosters() {
	now := h.opts.Clock()
	h.rosterMu.Lock()
	defer h.rosterMu.Unlock()
	for account, r := range h.rosters {
		r.mu.Lock()
		if len(r.followers) > 0 || r.fresh != nil {
			r.idleSince = now
		} else if now.Sub(r.idleSince) > rosterKept {
			r.closed = true
			delete(h.rosters, account)
		}
		r.mu.Unlock()
	}
}
