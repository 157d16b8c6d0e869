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

// What a stream wants of a server, and what it makes of the answers. All of it is
// called with the lock held.

// theContacts is the name of the user's contacts among those that are followed;
// no user is called so.
const theContacts = ""

// followBytes bounds the names in one frame, of which a server takes 64 KiB.
const followBytes = 32 << 10

// A follow is one name that is to be followed.
type follow struct {
	name     string
	order    uint64
	cursor   string // where to go on: of when it was last live; "": from the beginning
	answered bool   // a snapshot has come, of this connection or an earlier one
	sent     bool   // on this connection
	live     bool   // the snapshot of this connection is whole, so that its cursor counts
	dropped  bool   // not wanted any more
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
	s.forget(f)
	f.id = s.view.names[name]
	s.view.name(name, "")
	if f.sent && s.view.holds[f.id] == 0 { // a server knows users, and not how often each was named
		s.unfollowed = append(s.unfollowed, f)
	}
	if name == theContacts {
		for id := range maps.Clone(s.view.users) {
			s.view.uncontact(id)
		}
		return
	}
	contacts := s.wanted[theContacts]
	if _, kept := s.view.users[f.id]; contacts != nil && contacts.sent && f.id != "" && !kept {
		// Is it a contact, too? Only the server knows.
		s.again(contacts)
	}
}

// forget takes a name out of what is wanted.
func (s *Stream) forget(f *follow) {
	f.dropped = true
	delete(s.wanted, f.name)
	if !f.answered {
		s.view.missing--
	}
}

// again asks for all of a name, on this connection.
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

// disconnected keeps what the next connection needs.
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

// dueSignIn begins a session or goes on with one. Coming back is no activity, so
// that nothing is said of it then but what was stated meanwhile, or that the
// person is idle: the session may be a new one.
func (s *Stream) dueSignIn() *request {
	as := s.opts.SignIn
	if as == nil || s.signedIn || s.replaced {
		return nil
	}
	s.signedIn = true
	r := &request{stated: s.stated, frame: api.ClientFrame{
		Type: api.FrameSignIn, ClientType: as.ClientType, ClientVersion: as.ClientVersion, Session: cmp.Or(s.session, s.chosen),
	}}
	if s.active != nil && (!*s.active || s.toldActive != s.stated) {
		r.frame.Active = s.active
	}
	return r
}

func (s *Stream) dueActivity() *request {
	if s.opts.SignIn == nil || s.session == "" || s.toldActive == s.stated || s.stating() {
		return nil
	}
	return &request{stated: s.stated, frame: api.ClientFrame{Type: api.FrameActivity, Active: s.active}}
}

// stating reports whether a statement of activity is on its way.
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
	r.frame.Users, r.frame.Contacts = named(r.follows)
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
	r.frame.Users, r.frame.Contacts = named(r.follows)
	for _, f := range r.follows {
		f.sent = true
	}
	return r
}

// batch takes those that fit into one frame: of one cursor, and the contacts
// alone.
func batch(follows []*follow) (taken, left []*follow) {
	first, size := follows[0], 0
	if first.name == theContacts {
		return follows[:1:1], follows[1:]
	}
	for _, f := range follows {
		size += len(f.name) + len(`"",`)
		if f.name == theContacts || f.cursor != first.cursor || size > followBytes || len(taken) == api.MaxFollowFrame {
			left = append(left, f)
		} else {
			taken = append(taken, f)
		}
	}
	return taken, left
}

func named(follows []*follow) (users []string, contacts bool) {
	for _, f := range follows {
		if f.name == theContacts {
			return nil, true
		}
		users = append(users, f.name)
	}
	return users, false
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

// take makes of a frame what it means. An error ends the connection.
func (s *Stream) take(f *api.ServerFrame) error {
	if f.Cursor != "" && f.Type != api.FrameHello && !f.More { // that of hello covers nobody yet
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
		s.gone(f.User, f.Reason == api.GoneContactRemoved)
	case api.FrameReset:
		s.reset(f.ID)
	case api.FrameWatch:
		if s.opts.OnWatch != nil && f.Watch != nil {
			s.tell = append(s.tell, func() { s.opts.OnWatch(*f.Watch) })
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
		s.view.expire(maps.Keys(s.view.users)) // its revisions count from elsewhere
	}
	s.epoch, s.open = f.Epoch, true
	if f.PingSeconds > 0 {
		s.pinged = time.Duration(f.PingSeconds) * time.Second
	}
	notify(s.wake)
	s.tell = append(s.tell, func() { s.state(State{Connected: true}) })
}

// presence takes a change in. One of somebody whose name is not known yet is kept
// until the snapshot says whose it is.
func (s *Stream) presence(p api.Presence) {
	_, known := s.view.users[p.User]
	switch {
	case known || s.wanted[p.User] != nil:
		s.view.put(p)
	case s.wanted[theContacts] != nil && !s.leaving(p.User):
		s.view.put(p).contact = true
	case s.following():
		s.view.early[p.User] = p
		return
	default:
		return // it was on its way when it was unfollowed
	}
	if s.wanted[p.User] != nil {
		s.view.name(p.User, p.User)
	}
}

// leaving reports whether a user is being unfollowed: changes may still be on
// their way, and do not make a contact.
func (s *Stream) leaving(id string) bool {
	left := func(f *follow) bool { return f.id == id }
	for _, r := range s.waiting {
		if r.frame.Type == api.FrameUnfollow && slices.ContainsFunc(r.follows, left) {
			return true
		}
	}
	return slices.ContainsFunc(s.unfollowed, left)
}

// following reports whether a snapshot is still to come.
func (s *Stream) following() bool {
	for _, r := range s.waiting {
		if r.frame.Type == api.FrameFollow {
			return true
		}
	}
	return false
}

func (s *Stream) gone(id string, contact bool) {
	if contact {
		s.view.uncontact(id)
		return
	}
	for _, name := range s.view.drop(id) {
		if f := s.wanted[name]; f != nil {
			f.cursor, f.live = "", false // whoever has this name next is somebody else
		}
	}
}

// reset makes what is known of some users worthless: of those of a request, or of
// all whose cursor is on its way. It stays to be read until the snapshot is whole.
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
			if f.name != theContacts {
				s.view.expire(one(s.view.names[f.name]))
			}
		}
		if r.frame.Contacts {
			s.view.expire(maps.Keys(s.view.users))
		}
	}
}

func one(id string) func(func(string) bool) {
	return func(yield func(string) bool) { yield(id) }
}

// part collects a snapshot, and takes it in when it is whole, in one step: a
// reader never sees half of it.
func (s *Stream) part(f *api.ServerFrame) {
	r := s.waiting[f.ID]
	if r == nil || r.frame.Type != api.FrameFollow {
		for _, p := range f.Presences { // that nobody asked for
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
	if r.frame.Contacts {
		s.takeContacts(r, f.Partial)
	} else {
		s.takeUsers(r, f.Partial)
	}
	if !s.following() {
		clear(s.view.early)
	}
}

func (s *Stream) takeContacts(r *request, partial bool) {
	if r.follows[0].dropped {
		return
	}
	present := make(map[string]bool, len(r.snapshot))
	for _, p := range r.snapshot {
		present[p.User] = true
		s.view.put(p).contact = true
	}
	absent := r.gone
	if !partial {
		absent = append(absent, s.view.contactsAbsent(r.since, present)...)
	}
	for _, id := range absent {
		s.view.uncontact(id)
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

// unknown gives up names that nobody has.
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
		s.tell = append(s.tell, func() { s.opts.OnRefused(lost, err) })
	}
}

// done is the answer to what is not a follow.
func (s *Stream) done(f *api.ServerFrame) {
	r := s.waiting[f.ID]
	if r == nil {
		return
	}
	delete(s.waiting, f.ID)
	switch r.frame.Type {
	case api.FrameSignIn:
		s.session, s.toldActive = cmp.Or(f.Session, s.session), r.stated
	case api.FrameActivity:
		s.toldActive = r.stated
	case api.FrameClaim, api.FrameEndClaim:
		s.answered(r)
		r.answer <- nil
	}
	notify(s.wake) // more may have been stated meanwhile
}

// answered takes a call off the list.
func (s *Stream) answered(r *request) {
	s.calls = slices.DeleteFunc(s.calls, func(other *request) bool { return other == r })
}

// giveUpSession notes that another session took the place of the stream's.
func (s *Stream) giveUpSession() {
	if s.replaced {
		return
	}
	s.session, s.replaced = "", true
	if s.opts.OnReplaced != nil {
		s.tell = append(s.tell, s.opts.OnReplaced)
	}
}

// refused is an error in answer to a frame, or that the session was replaced. A
// stream that cannot sign in ends, and what may work later is tried on another
// connection.
func (s *Stream) refused(f *api.ServerFrame) error {
	if f.Code == api.SessionReplaced.Slug {
		s.giveUpSession()
		delete(s.waiting, f.ID) // a sign-in, or what was stated of activity
		return nil
	}
	r := s.waiting[f.ID]
	if r == nil {
		return nil
	}
	delete(s.waiting, f.ID)
	err := refusal(r.frame.Type, f)
	_, again := comesBack(err)
	switch r.frame.Type {
	case api.FrameClaim, api.FrameEndClaim:
		s.answered(r)
		r.answer <- err
	case api.FrameSignIn:
		return err
	case api.FrameActivity:
		s.toldActive = r.stated
	case api.FrameFollow:
		if again {
			return err
		}
		s.unfollowable(r, err)
	}
	return nil
}

// unfollowable gives up what cannot be followed.
func (s *Stream) unfollowable(r *request, err error) {
	for _, f := range r.follows {
		if !f.dropped {
			f.sent = false // nothing to unfollow
			s.unwant(f.name)
		}
	}
	if s.opts.OnRefused != nil {
		s.tell = append(s.tell, func() { s.opts.OnRefused(r.frame.Users, err) })
	}
}

// refusal is the error that the same refusal is in answer to a request.
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
