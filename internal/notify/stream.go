package notify

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// A Frame is one thing that a stream is told.
type Frame struct {
	Kind string
	// Body is a JSON object without its closing brace. It is shared: nobody writes
	// into it.
	Body []byte
	// Mark is the low-water mark at this frame; nil: none. Cursor is what a sink
	// writes of it, "" for nothing: not every mark may reach the client.
	Mark      *Cursor
	Cursor    string
	Coalesced bool // versions between were left out
	// Answers marks the last frame of the answer to a Follow: see Expect.
	Answers bool
	// Told, if it is set, is called when the frame has been written and the other
	// side has given a sign of life for that, if it gives any. It may never be.
	Told func()
}

// Ping is the kind of the frame that is a sign of life and nothing else.
const Ping = "ping"

// A Sink is the connection of a stream.
type Sink interface {
	// Append appends a frame in the connection's form.
	Append(b []byte, f *Frame) []byte
	// TryWrite writes what can be written without waiting, and says how much.
	TryWrite(b []byte) (int, error)
	// Write writes all, and waits for a reader that keeps to the pace.
	Write(b []byte, pace *Pace) error
	// Answers says whether the other side gives a sign of life for a ping.
	Answers() bool
	// Hears reports whether what Hub.Tell sends reaches the client.
	Hears() bool
	// End is told once, while somebody may be writing still: what is written now
	// must end soon, and nothing of the kind follows.
	End(why Close, retry time.Duration)
	// Finish comes after End and the last write. It says why, if all that was
	// written is whole, and closes the connection. It does not wait, and calls done
	// when it is over.
	Finish(whole bool, done func())
}

// Close is why a stream ends.
type Close uint8

// The reasons. CloseGone: the other side has gone, so nobody is told.
const (
	CloseGone Close = iota
	CloseDraining
	CloseSlow
	CloseUnavailable
	CloseSilent
	CloseUnauthorized
	CloseTooFast
)

// A Stream is one connection's queue: what is not written yet, the newest of each
// user it follows, in the order of their commits. So it is bounded by what it
// follows, and the last word about each is never lost.
type Stream struct {
	hub         *Hub
	account     presence.AccountID
	owner       presence.UserID // whom its viewer acts for
	viewer      view.Viewer
	sink        Sink
	next, prev  *Stream      // of the same owner, guarded by Hub.mu
	heard, sent atomic.Int64 // when: nanoseconds
	pinged      atomic.Int64 // likewise: when it was asked for a sign of life

	following sync.Mutex // held by who changes whom it follows

	mu       sync.Mutex // guards the fields below
	edges    []*edge    // by user
	queue    []item
	queued   int          // of the queue, those that are not superseded
	rawBytes int          // of frames in it that are not about a change
	contacts *ContactList // nil: not followed
	told     *ContactList // of contacts, what has been written: the cursor's
	// unanswered counts the Follows whose answer is not written yet, and covers
	// says that one was answered: see cursorText.
	unanswered int
	covers     bool
	awaiting   []func()      // Told of what was written
	room       chan struct{} // closed when there is room for answers; nil: nobody waits
	busy       bool          // somebody writes
	ended      bool
}

// An item of a queue is an edge whose pending change is to be written, or a frame.
type item struct {
	edge     *edge // nil: frame, or nothing any more
	frame    *Frame
	contacts *ContactList // of which the frame is the last to tell
}

// An edge is one stream's following one user.
type edge struct {
	stream *Stream
	target *target
	seen   presence.Revision // the newest that was put into the queue
	// pending is the change that waits to be written or, while loading, to be
	// compared with what is read.
	pending   *change
	place     int32 // in target.edges, guarded by Hub.mu
	slot      int32 // in Stream.queue
	loading   bool
	coalesced bool
	byName    bool // the client named the user
	byContact bool // it is a contact of the owner
}

const noSlot = -1

// A change is a commit as it goes out. The bodies that watchers see are encoded
// once each: most see the same.
type change struct {
	record store.Record
	cursor Cursor
	text   string // of the cursor, for streams without contacts

	mu   sync.Mutex
	seen []sightBody
	gone []byte
}

type sightBody struct {
	presence presence.Presence
	body     []byte
}

// body is the frame's body for those who see p.
func (c *change) body(p *presence.Presence, f Format) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.seen {
		if c.seen[i].presence == *p {
			return c.seen[i].body
		}
	}
	body := f.AppendPresence(nil, c.record.User.ID, p)
	c.seen = append(c.seen, sightBody{*p, body})
	return body
}

func (c *change) goneBody(f Format) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone == nil {
		c.gone = f.AppendGone(nil, c.record.User.ID, GoneDeleted)
	}
	return c.gone
}

func (c *change) deleted() bool { return c.record.State.Standing == presence.Deleted }

// Why somebody is not followed any more.
const (
	GoneDeleted        = "deleted"
	GoneContactRemoved = "contact_removed"
)

// tell queues a change for e, if its stream's viewer sees any of it, and reports
// whether the stream has to be flushed.
func (s *Stream) tell(e *edge, c *change) bool {
	p := view.Of(&c.record, s.viewer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || e.loading {
		if e.loading && (e.pending == nil || e.pending.record.At < c.record.At) {
			e.pending = c
		}
		return false
	}
	if p.Revision <= e.seen && !c.deleted() {
		return false
	}
	return s.push(e, c, p.Revision)
}

// push puts e's newest change at the end of the queue; s.mu is held.
func (s *Stream) push(e *edge, c *change, seen presence.Revision) bool {
	e.seen = max(e.seen, seen)
	if e.slot != noSlot {
		s.queue[e.slot] = item{}
		s.queued--
		e.coalesced = true
		s.hub.stats.coalesced.Add(1)
		s.compact()
	}
	e.pending, e.slot = c, int32(len(s.queue))
	s.queue = append(s.queue, item{edge: e})
	s.queued++
	return !s.busy && s.queued == 1
}

// compact closes the holes that superseded changes left.
func (s *Stream) compact() {
	if len(s.queue) < 64 || len(s.queue) < 2*s.queued {
		return
	}
	kept := s.queue[:0]
	for _, it := range s.queue {
		if it.edge == nil && it.frame == nil {
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

// Answers and other frames that are about no change are counted with what each costs
// beside its text. Who has maxWaiting of them to read is not answered more before
// some were read, and who has maxRaw is given up. The largest answer has 2 MB.
const (
	maxWaiting = 256 << 10
	maxRaw     = 4 << 20
	rawCost    = 128
)

// AwaitRoom waits until so little is queued that another answer may be, and reports
// whether the stream goes on. Whoever asks waits: so a client that asks and does not
// read fills its own connection, not this queue.
func (s *Stream) AwaitRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended && s.rawBytes > maxWaiting {
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		<-room
		s.mu.Lock()
	}
	return !s.ended
}

// awaken has AwaitRoom look again; s.mu is held.
func (s *Stream) awaken() {
	if s.room != nil && (s.ended || s.rawBytes <= maxWaiting) {
		close(s.room)
		s.room = nil
	}
}

// Send queues frames that are about no change, behind what is there, and sends.
func (s *Stream) Send(frames ...Frame) {
	s.mu.Lock()
	full := s.queueFrames(frames)
	s.mu.Unlock()
	if full {
		s.End(CloseSlow, 0)
		return
	}
	s.flush()
}

// queueFrames reports whether there are too many; s.mu is held.
func (s *Stream) queueFrames(frames []Frame) bool {
	if s.ended {
		return false
	}
	for i := range frames {
		s.queue = append(s.queue, item{frame: &frames[i]})
		s.queued++
		s.rawBytes += len(frames[i].Body) + rawCost
	}
	return s.rawBytes > maxRaw
}

// maxTaken bounds what is taken from a queue at once. The rest stays in it, where
// newer changes of the same users take its place.
const maxTaken = 64 << 10

// take appends what waits, in the connection's form, and removes it from the queue:
// all of it, or at least maxTaken bytes. s.mu is held.
func (s *Stream) take(b []byte) []byte {
	taken := 0
	for ; taken < len(s.queue) && len(b) < maxTaken; taken++ {
		switch it := &s.queue[taken]; {
		case it.edge != nil:
			s.queued--
			b = s.takeEdge(b, it.edge)
		case it.frame != nil:
			s.queued--
			s.rawBytes -= len(it.frame.Body) + rawCost
			f := *it.frame
			if it.contacts != nil {
				s.told = it.contacts
			}
			if f.Told != nil {
				s.awaiting = append(s.awaiting, f.Told)
			}
			if f.Answers {
				s.unanswered--
			}
			f.Cursor = s.cursorText(f.Mark)
			b = s.sink.Append(b, &f)
		}
	}
	s.queue = slices.Delete(s.queue, 0, taken)
	for i := range s.queue {
		if e := s.queue[i].edge; e != nil {
			e.slot = int32(i)
		}
	}
	if len(s.queue) == 0 && cap(s.queue) > keptQueue {
		s.queue = nil
	}
	s.awaken()
	return b
}

// keptQueue is how long an empty queue may be: thousands of streams have one.
const keptQueue = 8

func (s *Stream) takeEdge(b []byte, e *edge) []byte {
	c, format := e.pending, s.hub.opts.Format
	p := view.Of(&c.record, s.viewer)
	f := Frame{Kind: "presence", Body: c.body(&p, format), Coalesced: e.coalesced}
	if c.deleted() { // then the other frame is the last of the commit
		b = s.sink.Append(b, &f)
		f = Frame{Kind: "gone", Body: c.goneBody(format)}
	}
	f.Cursor = s.changeText(c)
	b = s.sink.Append(b, &f)
	e.pending, e.slot, e.coalesced = nil, noSlot, false
	s.hub.stats.delivered.Add(1)
	return b
}

// changeText is the cursor of a change on this stream; s.mu is held.
func (s *Stream) changeText(c *change) string {
	if s.told == nil && s.unanswered == 0 {
		return c.text // it is followed, so the stream covers somebody
	}
	return s.cursorText(&c.cursor)
}

// Expect announces that the client asked to follow. Until a frame that Answers is
// written, frames have no cursor: the client may keep it and believe that it covers
// those too.
func (s *Stream) Expect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unanswered++
}

// maxKeptBuffer is of the buffers that are used again.
const maxKeptBuffer = 64 << 10

// flush writes what waits, unless somebody does already. It does not wait for the
// reader: what the socket does not take is left to a goroutine of its own.
func (s *Stream) flush() {
	s.mu.Lock()
	if s.busy || s.ended || s.queued == 0 {
		s.mu.Unlock()
		return
	}
	s.busy = true
	buffer, _ := s.hub.buffers.Get().(*[]byte) // the pool has nothing else
	for {
		b := s.take((*buffer)[:0])
		s.mu.Unlock()
		n, err := s.sink.TryWrite(b)
		if err != nil {
			s.broken(CloseGone)
			return
		}
		if n < len(b) {
			go s.drip(b[n:])
			return
		}
		s.wrote()
		*buffer = b
		s.mu.Lock()
		if s.queued == 0 {
			s.rest()
			break
		}
	}
	if cap(*buffer) <= maxKeptBuffer {
		s.hub.buffers.Put(buffer)
	}
}

// drip writes to a reader that does not keep up, until it does or is given up.
func (s *Stream) drip(b []byte) {
	pace := NewPace()
	for {
		if err := s.sink.Write(b, pace); err != nil {
			s.hub.stats.slow.Add(1)
			s.broken(CloseSlow)
			return
		}
		s.wrote()
		s.mu.Lock()
		if s.queued == 0 {
			s.rest()
			return
		}
		b = s.take(b[:0])
		s.mu.Unlock()
	}
}

// rest ends the turn of who writes; s.mu is held, and given up. The last words of a
// stream that was ended meanwhile are left to it: before, they would have come into
// the middle of a frame.
func (s *Stream) rest() {
	s.busy = false
	ended := s.ended
	s.mu.Unlock()
	if ended {
		s.sink.Finish(true, s.hub.closed)
	}
}

// broken is for who writes and could not.
func (s *Stream) broken(why Close) {
	s.End(why, 0)
	s.sink.Finish(false, s.hub.closed)
}

// wrote notes that all that was taken is written.
func (s *Stream) wrote() {
	s.sent.Store(s.hub.opts.Clock().UnixNano())
	if !s.sink.Answers() {
		s.Answered()
	}
}

// Answered notes that the other side answered a ping: what was written before has
// come.
func (s *Stream) Answered() {
	s.mu.Lock()
	told := s.awaiting
	s.awaiting = nil
	s.mu.Unlock()
	if len(told) == 0 {
		return
	}
	go func() { // whoever writes or reads goes on
		for _, f := range told {
			f()
		}
	}()
}

// Heard notes a sign of life of the other side.
func (s *Stream) Heard() { s.heard.Store(s.hub.opts.Clock().UnixNano()) }

// discard empties the queue; s.mu is held. The edges are there still, and must not
// point into it.
func (s *Stream) discard() {
	for i := range s.queue {
		if e := s.queue[i].edge; e != nil {
			e.pending, e.slot, e.coalesced = nil, noSlot, false
		}
	}
	s.queue, s.queued, s.rawBytes = nil, 0, 0
}

// Hears reports whether Tell reaches it.
func (s *Stream) Hears() bool { return s.sink.Hears() }

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
	s.awaken()
	s.hub.leaving.Add(1)
	s.sink.End(why, retry)
	writing := s.busy
	if !writing || why == CloseUnauthorized {
		s.discard() // else it is written, if that does not take long
	}
	s.mu.Unlock()
	s.hub.forget(s)
	if !writing {
		s.sink.Finish(true, s.hub.closed)
	}
}
