package hub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// An Audience is a set of active users that the directory defines. A stream that follows
// it follows its current members. The zero Audience is the group with the key "".
type Audience struct {
	Everyone bool   // of the account
	Group    string // the key of a group, unless Everyone
}

// A Member is what audiences need of a user in the directory.
type Member struct {
	User   presence.UserID
	Active bool
	Groups []string // their keys
}

// has reports whether a user with these groups is in the audience. groups is nil for a
// user who is not active.
func (a Audience) has(groups []string) bool {
	return groups != nil && (a.Everyone || slices.Contains(groups, a.Group))
}

func inAnyAudience(audiences []Audience, groups []string) bool {
	return slices.ContainsFunc(audiences, func(a Audience) bool { return a.has(groups) })
}

// audiences are the audiences that a stream follows.
type audiences struct {
	roster  *roster
	list    []Audience
	applied int  // number of roster changes that the stream's edges reflect
	behind  bool // the roster has later changes, which catchUp will apply
}

// addMembers adds the members of audiences to a Follow and subscribes the stream to the
// audiences. It returns the audiences that the stream did not follow before.
func (l *followJob) addMembers(ctx context.Context, requested []Audience) ([]Audience, error) {
	s := l.stream
	for {
		r, err := s.hub.rosterOf(ctx, s.account, s.viewer)
		if err != nil {
			return nil, err
		}
		since, err := l.membersSince(ctx, r)
		if err != nil {
			return nil, err
		}
		added, err := r.follow(l, requested, since)
		if !errors.Is(err, errRosterClosed) {
			return added, err
		}
	}
}

// follow adds the members to the wanted users and registers the stream. Both happen under
// r.mu, so each later change marks the stream as behind.
func (r *roster) follow(l *followJob, requested []Audience, since *sinceCursor) (added []Audience, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errRosterClosed
	}
	s := l.stream
	if l.from.resumes && !r.covers(l) && (since == nil || since.noted < r.dropped) {
		l.unusable(ResetMembers)
	}
	changed := r.changedSince(l, requested, since)
	members := 0
	for id, groups := range r.groups {
		if !inAnyAudience(requested, groups) {
			continue
		}
		if members++; members > MaxFollowed {
			return nil, errTooManyFollowed()
		}
		l.wanted = append(l.wanted, wanted{id: id, resumes: l.from.resumes && !changed[id], reasons: byMember})
		delete(changed, id)
	}
	for id := range changed {
		l.answer.Gone = append(l.answer.Gone, id)
	}
	return r.register(s, requested), nil
}

// changedSince returns the users who joined or left one of the audiences after the cursor
// of a Follow, or nobody if it has none. The caller holds r.mu.
func (r *roster) changedSince(l *followJob, requested []Audience, since *sinceCursor) map[presence.UserID]bool {
	changed := make(map[presence.UserID]bool)
	if !l.from.resumes {
		return changed
	}
	noted := r.changeCount()
	if since != nil {
		noted = since.noted
		for i := range since.changes {
			if c := &since.changes[i]; c.affects(requested) {
				changed[c.user] = true
			}
		}
	}
	for i := range r.changes {
		if c := &r.changes[i]; (c.at > l.from.At || r.dropped+i >= noted) && c.affects(requested) {
			changed[c.user] = true
		}
	}
	return changed
}

// register adds audiences to those that a stream follows and returns the added ones. The
// caller holds r.mu.
func (r *roster) register(s *Stream, requested []Audience) (added []Audience) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil // ending the stream removed it from the roster
	}
	if s.audiences == nil {
		s.audiences = &audiences{roster: r, applied: r.changeCount()}
	}
	for _, a := range requested {
		if !slices.Contains(s.audiences.list, a) {
			s.audiences.list, added = append(s.audiences.list, a), append(added, a)
		}
	}
	r.followers[s], r.idleSince = struct{}{}, s.hub.opts.Clock()
	return added
}

// UnfollowAudiences stops following the members of audiences, except those who are
// followed for another reason.
func (s *Stream) UnfollowAudiences(dropped []Audience) {
	if len(dropped) == 0 {
		return
	}
	s.following.Lock()
	defer s.unlockFollowing()
	s.dropAudiences(dropped)
}

// dropAudiences implements UnfollowAudiences for a caller that holds s.following.
func (s *Stream) dropAudiences(dropped []Audience) {
	a := s.followedAudiences()
	if a == nil || len(dropped) == 0 {
		return
	}
	s.removeEdgesFor(s.withoutAudiences(a.roster, dropped), byMember)
}

func (s *Stream) followedAudiences() *audiences {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.audiences
}

// withoutAudiences removes audiences from the followed ones and returns the users who are
// in none of the others. It leaves those whose groups have changed to catchUp, which
// announces who left.
func (s *Stream) withoutAudiences(r *roster, dropped []Audience) (left []presence.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.audiences
	if a == nil {
		return nil
	}
	a.list = slices.DeleteFunc(a.list, func(x Audience) bool { return slices.Contains(dropped, x) })
	var pending map[presence.UserID]bool
	if a.behind && len(a.list) > 0 {
		pending, _ = r.changedAfter(a.applied)
		if a.applied < r.dropped {
			s.addAllMembers(r, pending)
		}
	}
	for _, e := range s.edges {
		if id := e.target.user.ID; e.reasons&byMember != 0 && !pending[id] && !inAnyAudience(a.list, r.groups[id]) {
			left = append(left, id)
		}
	}
	if len(a.list) > 0 {
		return left
	}
	if a.behind {
		s.unanswered--
	}
	s.audiences = nil
	delete(r.followers, s)
	return left
}

// unlockFollowing unlocks s.following, and schedules catchUp if members have changed while
// it was locked: at once, or if the change is being delivered, after that.
func (s *Stream) unlockFollowing() {
	s.following.Unlock()
	if a := s.followedAudiences(); a != nil {
		s.mu.Lock()
		behind := a.behind
		s.mu.Unlock()
		if !behind {
			return
		}
		s.hub.behind.add(s)
		if a.roster.isDelivered(s.hub) {
			s.hub.behind.signal()
		}
	}
}

// catchUp follows the users who joined the stream's audiences, and stops following those
// who left, after the records of these changes were delivered: a deletion is sent once. If
// s.following is locked, its holder schedules catchUp again when it unlocks.
func (s *Stream) catchUp(ctx context.Context) {
	if !s.following.TryLock() {
		return
	}
	defer s.unlockFollowing()
	joined, left, ok := s.takeMemberChanges()
	if !ok {
		return
	}
	l := &followJob{stream: s, answer: Snapshot{Partial: true}}
	s.endAfter(l.replace(ctx, joined, left, byMember))
}

// takeMemberChanges compares the edges with the roster. It reports false if there is
// nothing to do.
func (s *Stream) takeMemberChanges() (joined []presence.UserID, left []Gone, ok bool) {
	a := s.followedAudiences()
	if a == nil {
		return nil, nil, false
	}
	r := a.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.audiences != a || !a.behind || !r.isDeliveredLocked(s.hub) {
		return nil, nil, false
	}
	changed, deleted := r.changedAfter(a.applied)
	if a.applied < r.dropped { // some changes since then were discarded
		s.addAllMembers(r, changed)
	}
	for id := range changed {
		i, found := s.findEdge(id)
		was, is := found && s.edges[i].reasons&byMember != 0, inAnyAudience(a.list, r.groups[id])
		switch {
		case is && !was:
			joined = append(joined, id)
		case was && !is && deleted[id]:
			left = append(left, Gone{User: id, Reason: GoneDeleted})
		case was && !is:
			left = append(left, Gone{User: id, Reason: GoneMemberRemoved})
		}
	}
	a.applied, a.behind = r.changeCount(), false
	if len(joined)+len(left) == 0 {
		s.unanswered--
		return nil, nil, false
	}
	return joined, left, true
}

// addAllMembers adds all members and all users who are followed as members. The caller
// holds r.mu and s.mu.
func (s *Stream) addAllMembers(r *roster, to map[presence.UserID]bool) {
	for id := range r.groups {
		to[id] = true
	}
	for _, e := range s.edges {
		if e.reasons&byMember != 0 {
			to[e.target.user.ID] = true
		}
	}
}

// A streamSet is the set of streams whose audiences have changed.
type streamSet struct {
	wake chan struct{} // has an element if the set may not be empty; capacity 1

	mu sync.Mutex
	m  map[*Stream]struct{}
}

// add adds a stream without waking keepMembers: signal must be called later.
func (x *streamSet) add(s *Stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.m[s] = struct{}{}
}

// signal wakes keepMembers if the set is not empty.
func (x *streamSet) signal() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.m) == 0 {
		return
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *streamSet) takeAll() map[*Stream]struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	taken := x.m
	x.m = make(map[*Stream]struct{})
	return taken
}

// keepMembers keeps the streams up to date with the members of their audiences until ctx
// ends.
func (h *Hub) keepMembers(ctx context.Context) {
	ticker := time.NewTicker(contactsEvery)
	defer ticker.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	atOnce := make(slots, followedAtOnce)
	for {
		select {
		case <-h.behind.wake:
			for s := range h.behind.takeAll() {
				atOnce.start(ctx, &group, s.catchUp)
			}
		case <-ticker.C:
			h.dropIdleRosters()
		case <-ctx.Done():
			return
		}
	}
}

func errTooManyFollowed() error {
	return &presence.LimitError{What: "users followed on one stream", Limit: MaxFollowed}
}

// rosterGroups returns the groups to store in a roster: nil unless the user is active both
// in the directory and in the record.
func rosterGroups(m *Member, state presence.UserState) []string {
	if m == nil || !m.Active || state != presence.UserActive {
		return nil
	}
	return append([]string{}, m.Groups...)
}
