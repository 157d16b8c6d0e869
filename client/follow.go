package client

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
)

// The requests that a stream sends, and how it processes the answers. All of it is
// called with the lock held.

// Names under which lists are followed. No user has such a name. A group's is groupPrefix
// followed by its name.
const (
	theContacts = ""
	theEveryone = "\x00everyone"
	groupPrefix = "\x00group "
)

// isList reports whether a followed name stands for a list whose users the server chooses.
func isList(name string) bool { return name == theContacts || name[0] == 0 }

// followBytes bounds the names in one frame. A server accepts frames of 64 KiB.
const followBytes = 32 << 10

// A follow is one name to follow.
type follow struct {
	name     string
	order    uint64
	cursor   string // where to resume, from when it was last live; "": from the beginning
	answered bool   // a snapshot was received, on this connection or an earlier one
	sent     bool   // on this connection
	live     bool   // this connection's snapshot is complete, so that its cursor is valid
	dropped  bool   // no longer wanted
	id       string // of the user, when dropped
}

// A request is a frame that waits for an answer.
type request struct {
	frame  api.ClientFrame
	sent   bool       // on this connection
	answer chan error // of a call
	stated uint64     // which statement of activity this has

	follows  []*follow
	since    uint64 // when it was sent, by View.clock
	snapshot []api.Presence
	gone     []string
	unknown  []string
}

func (s *Stream) want(name string) {
	if s.wanted[name] != nil {
		return
	}
	s.order++
	f := &follow{name: name, order: s.order}
	s.wanted[name] = f
	s.unsent = append(s.unsent, f)
	s.view.missing++
}

func (s *Stream) unwant(name string) {
	f := s.wanted[name]
	if f == nil {
		return
	}
	s.stopWanting(f)
	f.id = s.view.names[name]
	s.view.name(name, "")
	if f.sent && s.view.holds[f.id] == 0 { // a server counts users, not their names
		s.unfollowed = append(s.unfollowed, f)
	}
	if isList(name) {
		for id := range maps.Clone(s.view.users) {
			s.view.removeFrom(id, name)
		}
		s.lookAgain(name)
		return
	}
	if _, found := s.view.users[f.id]; f.id != "" && !found {
		s.lookAgain(name)
	}
}

// lists are the lists that are followed.
func (s *Stream) lists() (names []string) {
	for name := range s.wanted {
		if isList(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// lookAgain requests the other lists that this connection follows again. A user who may
// have left the view can be in one of them, which only the server knows.
func (s *Stream) lookAgain(except string) {
	for _, name := range s.lists() {
		if f := s.wanted[name]; f.sent && name != except {
			s.again(f)
		}
	}
}

// stopWanting removes a name from the wanted ones.
func (s *Stream) stopWanting(f *follow) {
	f.dropped = true
	delete(s.wanted, f.name)
	if !f.answered {
		s.view.missing--
	}
}

// again requests a full snapshot of a name, on this connection.
func (s *Stream) again(f *follow) {
	f.cursor, f.live, f.sent = "", false, false
	s.unanswered(f)
	s.unsent = append(s.unsent, f)
}

func (s *Stream) unanswered(f *follow) {
	if f.answered && !f.dropped {
		f.answered = false
		s.view.missing++
	}
}

// disconnected resets the state of the connection, and saves what the next one needs.
func (s *Stream) disconnected() {
	for _, f := range s.wanted {
		if f.live && s.cursor != "" {
			f.cursor = s.cursor
		}
		f.sent, f.live = false, false
	}
	s.unsent = slices.SortedFunc(maps.Values(s.wanted), func(a, b *follow) int { return cmp.Compare(a.order, b.order) })
	for _, r := range s.calls {
		r.sent = false
	}
	s.unfollowed, s.open, s.cursor, s.signedIn = nil, false, "", false
	clear(s.waiting)
	clear(s.view.early)
}

// next is the next frame to send.
func (s *Stream) next() (api.ClientFrame, bool) {
	if !s.open {
		return api.ClientFrame{}, false
	}
	for _, due := range []func() *request{s.dueSignIn, s.dueActivity, s.dueUnfollow, s.dueFollow, s.dueCall} {
		if r := due(); r != nil {
			s.asked++
			r.frame.ID = strconv.FormatUint(s.asked, 10)
			s.waiting[r.frame.ID] = r
			return r.frame, true
		}
	}
	return api.ClientFrame{}, false
}

// dueSignIn begins or continues a session. A reconnection is no activity. The sign-in
// therefore has only a new statement of activity, or that the user is idle, because the
// session may be a new one.
func (s *Stream) dueSignIn() *request {
	as := s.opts.SignIn
	if as == nil || s.signedIn || s.replaced {
		return nil
	}
	s.signedIn = true
	r := &request{stated: s.stated, frame: api.ClientFrame{
		Type: api.FrameSignIn, ClientType: as.ClientType, ClientVersion: as.ClientVersion, Session: cmp.Or(s.session, s.chosen),
	}}
	if s.active != nil && (!*s.active || s.confirmedActive != s.stated) {
		r.frame.Active = s.active
	}
	return r
}

func (s *Stream) dueActivity() *request {
	if s.opts.SignIn == nil || s.session == "" || s.confirmedActive == s.stated || s.stating() {
		return nil
	}
	return &request{stated: s.stated, frame: api.ClientFrame{Type: api.FrameActivity, Active: s.active}}
}

// stating reports whether a statement of activity awaits its answer.
func (s *Stream) stating() bool {
	for _, r := range s.waiting {
		if r.frame.Type == api.FrameActivity || r.frame.Type == api.FrameSignIn {
			return true
		}
	}
	return false
}

func (s *Stream) dueUnfollow() *request {
	if len(s.unfollowed) == 0 {
		return nil
	}
	r := &request{frame: api.ClientFrame{Type: api.FrameUnfollow}}
	r.follows, s.unfollowed = batch(s.unfollowed)
	setFollowed(&r.frame, r.follows)
	return r
}

func (s *Stream) dueFollow() *request {
	s.unsent = slices.DeleteFunc(s.unsent, func(f *follow) bool { return f.dropped || f.sent })
	if len(s.unsent) == 0 {
		return nil
	}
	r := &request{since: s.view.clock}
	r.follows, s.unsent = batch(s.unsent)
	r.frame = api.ClientFrame{Type: api.FrameFollow, Cursor: r.follows[0].cursor}
	setFollowed(&r.frame, r.follows)
	for _, f := range r.follows {
		f.sent = true
	}
	return r
}

// batch splits off the follows that fit into one frame: those of one cursor, or one list.
func batch(follows []*follow) (taken, left []*follow) {
	first, size := follows[0], 0
	if isList(first.name) {
		return follows[:1:1], follows[1:]
	}
	for _, f := range follows {
		size += len(f.name) + len(`"",`)
		if isList(f.name) || f.cursor != first.cursor || size > followBytes || len(taken) == api.MaxFollowFrame {
			left = append(left, f)
		} else {
			taken = append(taken, f)
		}
	}
	return taken, left
}

// setFollowed fills in whom a frame follows or unfollows.
func setFollowed(frame *api.ClientFrame, follows []*follow) {
	for _, f := range follows {
		switch group, isGroup := strings.CutPrefix(f.name, groupPrefix); {
		case f.name == theContacts:
			frame.Contacts = true
		case f.name == theEveryone:
			frame.Everyone = true
		case isGroup:
			frame.Group = group
		default:
			frame.Users = append(frame.Users, f.name)
		}
	}
}

func (s *Stream) dueCall() *request {
	for _, r := range s.calls {
		if !r.sent {
			r.sent = true
			return r
		}
	}
	return nil
}

// handle applies a frame. An error ends the connection.
func (s *Stream) handle(f *api.ServerFrame) error {
	if f.Cursor != "" && f.Type != api.FrameHello && !f.More { // the cursor of hello covers no user yet
		s.cursor = f.Cursor
	}
	switch f.Type {
	case api.FrameHello:
		s.hello(f)
	case api.FrameSnapshot:
		s.part(f)
	case api.FramePresence:
		s.presence(api.Presence{User: f.User, Status: f.Status, Note: f.Note, Since: f.Since, Until: f.Until, Revision: f.Revision})
	case api.FrameGone:
		s.gone(f.User, f.Reason == api.GoneContactRemoved || f.Reason == api.GoneMemberRemoved)
	case api.FrameReset:
		s.reset(f.ID)
	case api.FrameWatch:
		if s.opts.OnWatch != nil && f.Watch != nil {
			s.callbacks = append(s.callbacks, func() { s.opts.OnWatch(*f.Watch) })
		}
	case api.FrameDone:
		s.done(f)
	case api.FrameError:
		return s.refused(f)
	}
	return nil
}

func (s *Stream) hello(f *api.ServerFrame) {
	if s.epoch != "" && s.epoch != f.Epoch {
		s.view.expire(maps.Keys(s.view.users)) // revisions of another epoch are not comparable
	}
	s.epoch, s.open = f.Epoch, true
	if f.PingSeconds > 0 {
		s.pinged = time.Duration(f.PingSeconds) * time.Second
	}
	notify(s.wake)
	s.callbacks = append(s.callbacks, func() { s.state(State{Connected: true}) })
}

// presence applies a change. A change of a user whose name is not known yet is stored
// until the snapshot has the name.
func (s *Stream) presence(p api.Presence) {
	_, known := s.view.users[p.User]
	lists := s.lists()
	switch {
	case known || s.wanted[p.User] != nil:
		s.view.put(p)
	case len(lists) > 0 && !s.leaving(p.User):
		s.view.put(p).add(lists...)
	case s.following():
		s.view.early[p.User] = p
		return
	default:
		return // the server sent it before the unfollow
	}
	if s.wanted[p.User] != nil {
		s.view.name(p.User, p.User)
	}
}

// leaving reports whether a user is being unfollowed. Changes that the server has already
// sent do not put the user into a list.
func (s *Stream) leaving(id string) bool {
	left := func(f *follow) bool { return f.id == id || isList(f.name) }
	for _, r := range s.waiting {
		if r.frame.Type == api.FrameUnfollow && slices.ContainsFunc(r.follows, left) {
			return true
		}
	}
	return slices.ContainsFunc(s.unfollowed, left)
}

// following reports whether a snapshot is outstanding.
func (s *Stream) following() bool {
	for _, r := range s.waiting {
		if r.frame.Type == api.FrameFollow {
			return true
		}
	}
	return false
}

// gone removes a user: from all lists, or altogether. The server sends the former only if
// the user is in no other list.
func (s *Stream) gone(id string, removed bool) {
	if removed {
		if u, ok := s.view.users[id]; ok {
			u.lists, u.someList = nil, false
			s.view.release(id)
		}
		return
	}
	for _, name := range s.view.drop(id) {
		if f := s.wanted[name]; f != nil {
			f.cursor, f.live = "", false // the next user with this name is another one
		}
	}
}

// reset marks presences as stale: those of a request, or of all requests with a cursor.
// Readers still get them until the snapshot is complete.
func (s *Stream) reset(id string) {
	if !s.following() {
		s.view.expire(maps.Keys(s.view.users))
	}
	for _, r := range s.waiting {
		if r.frame.Type != api.FrameFollow || (id != "" && r.frame.ID != id) || (id == "" && r.frame.Cursor == "") {
			continue
		}
		for _, f := range r.follows {
			s.unanswered(f)
			if isList(f.name) {
				s.view.expire(maps.Keys(s.view.users))
			} else {
				s.view.expire(one(s.view.names[f.name]))
			}
		}
	}
}

func one(id string) func(func(string) bool) {
	return func(yield func(string) bool) { yield(id) }
}

// part collects the parts of a snapshot, and applies them in one step when it is
// complete, so that a reader never sees half of it.
func (s *Stream) part(f *api.ServerFrame) {
	r := s.waiting[f.ID]
	if r == nil || r.frame.Type != api.FrameFollow {
		for _, p := range f.Presences { // not requested
			s.presence(p)
		}
		return
	}
	r.snapshot = append(r.snapshot, f.Presences...)
	r.gone = append(r.gone, f.Gone...)
	r.unknown = append(r.unknown, f.Unknown...)
	if f.More {
		return
	}
	delete(s.waiting, f.ID)
	for _, follow := range r.follows {
		follow.live = true
		if !follow.answered && !follow.dropped {
			follow.answered = true
			s.view.missing--
		}
	}
	if isList(r.follows[0].name) {
		s.takeList(r, f.Partial)
	} else {
		s.takeUsers(r, f.Partial)
	}
	if !s.following() {
		clear(s.view.early)
	}
}

func (s *Stream) takeList(r *request, partial bool) {
	list := r.follows[0].name
	if r.follows[0].dropped {
		return
	}
	present := make(map[string]bool, len(r.snapshot))
	for _, p := range r.snapshot {
		present[p.User] = true
		s.view.put(p).add(list)
	}
	absent := r.gone
	if !partial {
		absent = append(absent, s.view.absentFrom(list, r.since, present)...)
	}
	unsure := false
	for _, id := range absent {
		unsure = s.view.removeFrom(id, list) || unsure
	}
	if unsure {
		s.lookAgain(list)
	}
}

func (s *Stream) takeUsers(r *request, partial bool) {
	asked := make(map[string]bool, len(r.follows))
	for _, f := range r.follows {
		asked[f.name] = !f.dropped
	}
	found := make(map[string]bool, len(r.follows))
	for _, p := range r.snapshot {
		name := cmp.Or(p.AskedAs, p.User)
		found[name] = true
		if !asked[name] {
			continue // unfollowed meanwhile
		}
		s.view.put(p)
		if newer, ok := s.view.early[p.User]; ok {
			s.view.put(newer)
		}
		s.view.name(name, p.User)
	}
	for _, name := range r.gone {
		s.gone(cmp.Or(s.view.names[name], name), false)
	}
	s.unknown(r.unknown)
	if partial {
		return
	}
	for name, wanted := range asked {
		if wanted && !found[name] {
			s.view.name(name, "")
		}
	}
}

// unknown drops names that no user has.
func (s *Stream) unknown(names []string) {
	var lost []string
	for _, name := range names {
		if f := s.wanted[name]; f != nil {
			f.sent = false // nothing to unfollow
			s.unwant(name)
			lost = append(lost, name)
		}
	}
	if len(lost) > 0 && s.opts.OnRefused != nil {
		err := refusal(api.FrameFollow, &api.ServerFrame{Code: api.NoUser.Slug, Detail: "No such user: " + strings.Join(lost, ", ") + "."})
		s.callbacks = append(s.callbacks, func() { s.opts.OnRefused(lost, err) })
	}
}

// done handles the answer to a request other than a follow.
func (s *Stream) done(f *api.ServerFrame) {
	r := s.waiting[f.ID]
	if r == nil {
		return
	}
	delete(s.waiting, f.ID)
	switch r.frame.Type {
	case api.FrameSignIn:
		s.session, s.confirmedActive = cmp.Or(f.Session, s.session), r.stated
	case api.FrameActivity:
		s.confirmedActive = r.stated
	case api.FrameClaim, api.FrameEndClaim:
		s.answered(r)
		r.answer <- nil
	}
	notify(s.wake) // more may have been stated meanwhile
}

// answered removes a call from the list.
func (s *Stream) answered(r *request) {
	s.calls = slices.DeleteFunc(s.calls, func(other *request) bool { return other == r })
}

// giveUpSession records that another session replaced the stream's.
func (s *Stream) giveUpSession() {
	if s.replaced {
		return
	}
	s.session, s.replaced = "", true
	if s.opts.OnReplaced != nil {
		s.callbacks = append(s.callbacks, s.opts.OnReplaced)
	}
}

// refused handles an error frame: the session was replaced, or a request failed. A
// stream that cannot sign in ends. A follow that may succeed later is repeated on
// another connection.
func (s *Stream) refused(f *api.ServerFrame) error {
	if f.Code == api.SessionReplaced.Slug {
		s.giveUpSession()
		delete(s.waiting, f.ID) // a sign-in, or a statement of activity
		return nil
	}
	r := s.waiting[f.ID]
	if r == nil {
		return nil
	}
	delete(s.waiting, f.ID)
	err := refusal(r.frame.Type, f)
	_, again := shouldReconnect(err)
	switch r.frame.Type {
	case api.FrameClaim, api.FrameEndClaim:
		s.answered(r)
		r.answer <- err
	case api.FrameSignIn:
		return err
	case api.FrameActivity:
		s.confirmedActive = r.stated
	case api.FrameFollow:
		if again {
			return err
		}
		s.unfollowable(r, err)
	}
	return nil
}

// unfollowable drops names that cannot be followed.
func (s *Stream) unfollowable(r *request, err error) {
	for _, f := range r.follows {
		if !f.dropped {
			f.sent = false // nothing to unfollow
			s.unwant(f.name)
		}
	}
	if s.opts.OnRefused != nil {
		s.callbacks = append(s.callbacks, func() { s.opts.OnRefused(r.frame.Users, err) })
	}
}

// refusal turns an error frame into the error that an HTTP response would give.
func refusal(what string, f *api.ServerFrame) *Error {
	e := &Error{Method: "stream", Path: what, Status: http.StatusBadRequest, Message: f.Detail}
	for _, kind := range api.Kinds() {
		if kind.Slug == f.Code {
			e.Status = kind.Status
			e.Problem = &api.Problem{Type: kind.Type(), Title: kind.Title, Status: kind.Status, Detail: f.Detail, WhatToDo: kind.WhatToDo}
		}
	}
	if e.Problem == nil {
		e.Problem = &api.Problem{Type: api.ProblemBase + f.Code, Title: f.Code, Status: e.Status, Detail: f.Detail}
	}
	return e
}
