package hub

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// A Message is an event that is never coalesced.
type Message struct {
	Event Event
	// Mark is the low-water mark at this event; nil: none.
	Mark *Cursor
	// Answers marks the last message of the answer to a Follow: see Expect.
	Answers bool
	// OnDelivered, if it is set, is called when the event has been written and the
	// client has acknowledged that, if it can. It may never be called.
	OnDelivered func()

	encodings *encodings // nil: no other stream delivers it
}

// messageCost is the size of a message besides its event.
const messageCost = 128

func (m *Message) cost() int { return m.Event.Size() + messageCost }

// A Sink is the connection of a stream.
type Sink interface {
	// Append appends an event in the connection's form.
	Append(b []byte, d Delivery) []byte
	// TryWrite writes what the connection accepts without waiting, and returns how much.
	TryWrite(b []byte) (int, error)
	// Write writes all, and waits for a reader that keeps to the pace.
	Write(b []byte, pace *Pace) error
	// AnswersPings reports whether the client acknowledges a Ping.
	AnswersPings() bool
	// TakesBroadcasts reports whether what Hub.Broadcast sends reaches the client.
	TakesBroadcasts() bool
	// End is called once, perhaps during a write: that write must end soon, and
	// nothing of the kind follows.
	End(why Close, retry time.Duration)
	// Finish is called after End and the last write. It sends the reason, if all that was
	// written is whole, and closes the connection. It does not wait, and calls done
	// when that is over.
	Finish(whole bool, done func())
}

// Close is why a stream ends.
type Close uint8

// The reasons. CloseGone: the client has gone, so no reason is sent.
const (
	CloseGone Close = iota
	CloseDraining
	CloseSlow
	CloseUnavailable
	CloseSilent
	CloseUnauthorized
	CloseTooFast
	CloseTooMany   // the audience or the contacts have grown past MaxFollowed
	CloseSuspended // the account is suspended
	CloseIsolated  // this node cannot reach the store; another one may
)

// Revoked reports whether the viewer has lost access: nothing that is queued is sent any
// more.
func (c Close) Revoked() bool { return c == CloseUnauthorized || c == CloseSuspended }

// A Stream is the queue of one connection: the newest unwritten change of each user it
// follows, in the order of their commits. So the number of users bounds it, and the
// newest change of each is never lost.
type Stream struct {
	hub        *Hub
	account    presence.AccountID
	owner      presence.UserID // whom its viewer acts for
	viewer     view.Viewer
	sink       Sink
	next, prev *Stream // of the same owner, guarded by Hub.mu
	// When something was received, sent, and a ping sent: nanoseconds.
	lastReceived, lastSent, lastPing atomic.Int64

	following sync.Mutex // held while the set of followed users changes

	mu           sync.Mutex // guards the fields below
	edges        []*edge    // by user
	queue        []item
	queued       int          // of the queue, those that are not superseded
	messageBytes int          // of messages in it
	largestBytes int          // of those that were queued together, since there were none
	contacts     *ContactList // nil: not followed
	sentContacts *ContactList // of contacts, what has been written: the cursor's
	audiences    *audiences   // nil: none is followed
	// unanswered counts the Follows whose answer is not written yet, and covers
	// whether one was answered: see cursorText.
	unanswered int
	covers     bool
	// sentGone: a follow after that must not take for granted that the client knows a
	// user who was followed for another reason before.
	sentGone       bool
	unacknowledged []func()      // OnDelivered of what was written
	capacity       chan struct{} // closed when answers may be queued; nil while none waits for it
	writing        bool          // a goroutine writes
	ended          bool
}

// An item of a queue is an edge whose pending change is to be written, or a message.
type item struct {
	edge     *edge // nil: message, or superseded
	message  *Message
	contacts *ContactList // all of which is sent with the message
}

// An edge is one stream's following one user.
type edge struct {
	stream *Stream
	target *target
	seen   presence.Revision // the newest that was queued
	// pending is the change to be written or, while loading, to be compared with the
	// record that is read.
	pending   *changeView
	index     int32 // in target.edges, guarded by Hub.mu
	slot      int32 // in Stream.queue
	loading   bool
	coalesced bool
	deleted   bool // the user was deleted, and the event was queued
	reasons   followReasons
}

// isOver reports whether the client named the user and has been sent that the user was
// deleted. The hub's index has no such edge. Contacts and members have theirs removed when the
// directory says so.
func (e *edge) isOver() bool {
	return e.deleted && e.slot == noSlot && !e.loading && e.reasons == byName
}

// followReasons is the set of reasons why a stream follows a user. The stream unfollows a
// user when it is empty.
type followReasons uint8

const (
	byName    followReasons = 1 << iota // the client named the user
	byContact                           // the user is a contact of the owner
	byMember                            // the user is in one of the audiences
)

const noSlot = -1

// A change is a commit to be delivered. Each view of it is encoded once for each
// dialect: most viewers have the same view.
type change struct {
	record store.Record
	cursor Cursor
	text   string // of the cursor, for streams without contacts

	views []*changeView // used by the goroutine that delivers, alone

	gone          Gone // of a user who was deleted
	goneEncodings encodings
}

// A changeView is what some viewers see of a change.
type changeView struct {
	*change

	seen Presence
	encodings
}

// viewFor is what a viewer sees of the change.
func (c *change) viewFor(viewer view.Viewer) *changeView {
	p := view.Of(&c.record, viewer)
	for _, v := range c.views {
		if v.seen.Presence == p {
			return v
		}
	}
	v := &changeView{change: c, seen: Presence{User: c.record.User.ID, Presence: p}}
	c.views = append(c.views, v)
	return v
}

func (c *change) deleted() bool { return c.record.State.UserState == presence.UserDeleted }

// isNews reports whether the viewer sees anything of the change that was not queued for e.
func (v *changeView) isNews(e *edge) bool {
	return v.seen.Presence.Revision > e.seen || v.deleted()
}

// enqueue queues a change for e, if the stream's viewer sees any of it, and reports
// whether the stream has to be flushed.
func (s *Stream) enqueue(e *edge, c *change) bool {
	v := c.viewFor(s.viewer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || e.loading {
		if e.loading && (e.pending == nil || e.pending.record.At < c.record.At) {
			e.pending = v
		}
		return false
	}
	if !v.isNews(e) {
		return false
	}
	e.deleted = c.deleted()
	return s.enqueueView(e, v)
}

// enqueueView puts e's newest change at the end of the queue; the caller holds s.mu.
func (s *Stream) enqueueView(e *edge, v *changeView) bool {
	e.seen = max(e.seen, v.seen.Presence.Revision)
	if e.slot != noSlot {
		s.queue[e.slot] = item{}
		s.queued--
		e.coalesced = true
		s.hub.stats.coalesced.Add(1)
		s.compact()
	}
	e.pending, e.slot = v, int32(len(s.queue))
	s.queue = append(s.queue, item{edge: e})
	s.queued++
	return !s.writing && s.queued == 1
}

// compact removes superseded changes from the queue.
func (s *Stream) compact() {
	if len(s.queue) < 64 || len(s.queue) < 2*s.queued {
		return
	}
	kept := s.queue[:0]
	for _, it := range s.queue {
		if it.edge == nil && it.message == nil {
			continue
		}
		if it.edge != nil {
			it.edge.slot = int32(len(kept))
		}
		kept = append(kept, it)
	}
	clear(s.queue[len(kept):])
	s.queue = kept
}

// Backpressure: a client with more than maxUnread bytes of unread messages gets no
// further answer before it has read some, and one with maxMessages bytes besides the largest
// answer is disconnected. An answer of 10,000 users has 2 MB, or 13 MB with the longest notes.
const (
	maxUnread   = 256 << 10
	maxMessages = 4 << 20
)

// AwaitCapacity waits until the queue has capacity for another answer, and reports
// whether the stream is still open. The reader of requests waits here: a client that
// asks without reading fills its own connection, not this queue.
func (s *Stream) AwaitCapacity() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended && s.messageBytes > maxUnread {
		if s.capacity == nil {
			s.capacity = make(chan struct{})
		}
		capacity := s.capacity
		s.mu.Unlock()
		<-capacity
		s.mu.Lock()
	}
	return !s.ended
}

// signalCapacity wakes AwaitCapacity; the caller holds s.mu.
func (s *Stream) signalCapacity() {
	if s.capacity != nil && (s.ended || s.messageBytes <= maxUnread) {
		close(s.capacity)
		s.capacity = nil
	}
}

// Send appends messages to the queue and flushes it.
func (s *Stream) Send(messages ...Message) {
	s.mu.Lock()
	full := s.enqueueMessages(messages)
	s.mu.Unlock()
	if full {
		s.End(CloseSlow, 0)
		return
	}
	s.flush()
}

// enqueueMessages reports whether there are too many; the caller holds s.mu.
func (s *Stream) enqueueMessages(messages []Message) (full bool) {
	if s.ended {
		return false
	}
	before := s.messageBytes
	for i := range messages {
		s.queue = append(s.queue, item{message: &messages[i]})
		s.queued++
		s.messageBytes += messages[i].cost()
	}
	s.largestBytes = max(s.largestBytes, s.messageBytes-before)
	return s.messageBytes > maxMessages+s.largestBytes
}

// maxBatch bounds how many bytes are encoded from a queue at once. The rest stays
// queued, where newer changes of the same users supersede it.
const maxBatch = 64 << 10

// appendQueued appends what is queued, in the connection's form, and removes it
// from the queue: all of it, or at least maxBatch bytes. The caller holds s.mu.
func (s *Stream) appendQueued(b []byte) []byte {
	done := 0
	for ; done < len(s.queue) && len(b) < maxBatch; done++ {
		switch it := &s.queue[done]; {
		case it.edge != nil:
			s.queued--
			b = s.appendChange(b, it.edge)
		case it.message != nil:
			s.queued--
			b = s.appendMessage(b, it.message, it.contacts)
		}
	}
	s.queue = slices.Delete(s.queue, 0, done)
	for i := range s.queue {
		if e := s.queue[i].edge; e != nil {
			e.slot = int32(i)
		}
	}
	if len(s.queue) == 0 && cap(s.queue) > keptQueue {
		s.queue = nil
	}
	s.signalCapacity()
	return b
}

// keptQueue is how long an empty queue may be: thousands of streams have one.
const keptQueue = 8

func (s *Stream) appendMessage(b []byte, m *Message, contacts *ContactList) []byte {
	if s.messageBytes -= m.cost(); s.messageBytes == 0 {
		s.largestBytes = 0
	}
	if contacts != nil {
		s.sentContacts = contacts
	}
	if m.OnDelivered != nil {
		s.unacknowledged = append(s.unacknowledged, m.OnDelivered)
	}
	if m.Answers {
		s.unanswered--
	}
	return s.sink.Append(b, Delivery{Event: m.Event, Cursor: s.cursorText(m.Mark), encodings: m.encodings})
}

func (s *Stream) appendChange(b []byte, e *edge) []byte {
	v := e.pending
	d := Delivery{Event: &v.seen, Coalesced: e.coalesced, encodings: &v.encodings}
	if v.deleted() { // then the other event is the last of the commit
		b = s.sink.Append(b, d)
		d = Delivery{Event: &v.gone, encodings: &v.goneEncodings}
	}
	d.Cursor = s.changeText(v.change)
	e.pending, e.slot, e.coalesced = nil, noSlot, false
	s.hub.stats.delivered.Add(1)
	return s.sink.Append(b, d)
}

// changeText is the cursor of a change on this stream; the caller holds s.mu.
func (s *Stream) changeText(c *change) string {
	if s.sentContacts == nil && s.unanswered == 0 {
		return c.text // the stream follows the user, so its cursor is valid
	}
	return s.cursorText(&c.cursor)
}

// Expect announces that the client asked to follow. Until a message that Answers is
// written, events have no cursor: the client may keep it and believe that it covers
// those too.
func (s *Stream) Expect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unanswered++
}

// maxReusedBuffer bounds the buffers that are reused.
const maxReusedBuffer = 64 << 10

// flush writes what is queued unless another goroutine is writing. It does not wait for
// the reader: what the socket does not accept is left to a goroutine of its own.
func (s *Stream) flush() {
	s.mu.Lock()
	if s.writing || s.ended || s.queued == 0 {
		s.mu.Unlock()
		return
	}
	s.writing = true
	buffer, _ := s.hub.buffers.Get().(*[]byte) // the pool has nothing else
	for {
		b := s.appendQueued((*buffer)[:0])
		s.mu.Unlock()
		n, err := s.sink.TryWrite(b)
		if err != nil {
			s.fail(CloseGone)
			return
		}
		if n < len(b) {
			go s.writeSlowly(b[n:])
			return
		}
		s.noteWritten()
		*buffer = b
		s.mu.Lock()
		if s.queued == 0 {
			s.stopWriting()
			break
		}
	}
	if cap(*buffer) <= maxReusedBuffer {
		s.hub.buffers.Put(buffer)
	}
}

// writeSlowly writes to a slow consumer until it keeps up or is disconnected.
func (s *Stream) writeSlowly(b []byte) {
	pace := NewPace()
	for {
		if err := s.sink.Write(b, pace); err != nil {
			s.hub.stats.slow.Add(1)
			s.fail(CloseSlow)
			return
		}
		s.noteWritten()
		s.mu.Lock()
		if s.queued == 0 {
			s.stopWriting()
			return
		}
		b = s.appendQueued(b[:0])
		s.mu.Unlock()
	}
}

// stopWriting ends the writer's turn; the caller holds s.mu, which is unlocked. If the
// stream was ended meanwhile, the close reason is sent now: before, it would have been
// written into the middle of a frame.
func (s *Stream) stopWriting() {
	s.writing = false
	ended := s.ended
	s.mu.Unlock()
	if ended {
		s.sink.Finish(true, s.hub.noteClosed)
	}
}

// fail ends the stream after a failed write.
func (s *Stream) fail(why Close) {
	s.End(why, 0)
	s.sink.Finish(false, s.hub.noteClosed)
}

// noteWritten notes that everything encoded so far was written.
func (s *Stream) noteWritten() {
	s.lastSent.Store(s.hub.opts.Clock().UnixNano())
	if !s.sink.AnswersPings() {
		s.Acknowledge()
	}
}

// Acknowledge notes that the client answered a ping: what was written before has
// been delivered.
func (s *Stream) Acknowledge() {
	s.mu.Lock()
	delivered := s.unacknowledged
	s.unacknowledged = nil
	s.mu.Unlock()
	if len(delivered) == 0 {
		return
	}
	go func() { // callbacks must not delay the writer or the reader
		for _, f := range delivered {
			f()
		}
	}()
}

// NoteReceived notes that the client sent something.
func (s *Stream) NoteReceived() { s.lastReceived.Store(s.hub.opts.Clock().UnixNano()) }

// discardQueue empties the queue; the caller holds s.mu. The edges remain, and must not
// point into it.
func (s *Stream) discardQueue() {
	for i := range s.queue {
		if e := s.queue[i].edge; e != nil {
			e.pending, e.slot, e.coalesced = nil, noSlot, false
		}
	}
	s.queue, s.queued, s.messageBytes, s.largestBytes = nil, 0, 0, 0
}

// TakesBroadcasts reports whether what Hub.Broadcast sends reaches the client.
func (s *Stream) TakesBroadcasts() bool { return s.sink.TakesBroadcasts() }

// Ended reports whether the stream has ended.
func (s *Stream) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// End ends the stream and its connection; more than once does no harm.
func (s *Stream) End(why Close, retry time.Duration) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	s.signalCapacity()
	s.hub.closing.Add(1)
	s.sink.End(why, retry)
	writing := s.writing
	if !writing || why.Revoked() {
		s.discardQueue() // otherwise it is still written, within closeTimeout
	}
	s.mu.Unlock()
	s.hub.removeStream(s)
	if !writing {
		s.sink.Finish(true, s.hub.noteClosed)
	}
}
