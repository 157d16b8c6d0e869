package httpapi

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/notify"
)

// A socket is a connection that was taken over from net/http: the sink of a
// WebSocket, or of server-sent events over HTTP/1.1. No goroutine waits to write to
// it: what it does not take at once is left to the stream.
type socket struct {
	conn    net.Conn
	raw     syscall.RawConn         // nil: not without waiting
	events  bool                    // SSE, else WebSocket
	hears   bool                    // of watches
	room    []byte                  // for reading, without raw
	goodbye atomic.Pointer[parting] // without its time, for an End that has no reason to tell
	parting atomic.Pointer[parting] // nil: not yet
}

var _ notify.Sink = (*socket)(nil)

func newSocket(conn net.Conn, events, hears bool) *socket {
	limitSendBuffer(conn)
	return &socket{conn: conn, raw: rawOf(conn), events: events, hears: hears}
}

// Append implements notify.Sink.
func (s *socket) Append(b []byte, f *notify.Frame) []byte {
	if s.events {
		return appendEvent(b, f)
	}
	return appendWebSocket(b, f)
}

// TryWrite implements notify.Sink.
func (s *socket) TryWrite(b []byte) (int, error) {
	if s.raw == nil {
		return 0, nil
	}
	return writeNow(s.raw, b)
}

// sendBuffer is how much the system keeps of what is sent to a stream and has not
// come. By itself it keeps megabytes for a reader that takes nothing.
const sendBuffer = 128 << 10

// limitSendBuffer is for a connection that becomes a stream.
func limitSendBuffer(conn net.Conn) {
	if c, ok := inside[interface{ SetWriteBuffer(bytes int) error }](conn); ok {
		_ = c.SetWriteBuffer(sendBuffer) // of a connection that has gone, the first write tells
	}
}

// inside finds what can do T: conn, or the connection that it is made of.
func inside[T any](conn net.Conn) (able T, ok bool) {
	for {
		if able, ok = conn.(T); ok {
			return able, true
		}
		outer, wraps := conn.(interface{ NetConn() net.Conn })
		if !wraps {
			return able, false
		}
		conn = outer.NetConn()
	}
}

// Write implements notify.Sink.
func (s *socket) Write(b []byte, pace *notify.Pace) error {
	for len(b) > 0 {
		n, by := pace.Next(len(b))
		if err := s.within(by); err != nil {
			return err
		}
		if _, err := s.conn.Write(b[:n]); err != nil {
			return err
		}
		pace.Took(n)
		b = b[n:]
	}
	return s.within(time.Time{}) // a deadline would end what TryWrite writes later
}

// within sets when writes must be done, which is sooner once the stream has ended:
// End may say so at any time.
func (s *socket) within(deadline time.Time) error {
	err := s.conn.SetWriteDeadline(deadline)
	if p := s.parting.Load(); p != nil {
		err = s.conn.SetWriteDeadline(p.by)
	}
	return err
}

// Answers implements notify.Sink.
func (s *socket) Answers() bool { return !s.events }

// Hears implements notify.Sink.
func (s *socket) Hears() bool { return s.hears }

// A parting is what a client is told at the end.
type parting struct {
	frame   []byte
	unheard bool      // the client goes on sending
	by      time.Time // when it must be written, and all before it
}

// partingTime bounds that.
const partingTime = time.Second

// End implements notify.Sink.
func (s *socket) End(why notify.Close, retry time.Duration) {
	say := endings[why]
	p := &parting{unheard: why == notify.CloseTooFast, by: time.Now().Add(partingTime)}
	switch goodbye := s.goodbye.Load(); {
	case say.reason == "" && goodbye != nil:
		p.frame, p.unheard = goodbye.frame, goodbye.unheard
	case say.reason == "":
	case s.events:
		p.frame = appendCloseEvent(nil, say.code, say.reason, int(retry.Milliseconds()))
	default:
		p.frame = appendCloseFrame(nil, say.code, say.reason, int(retry.Milliseconds()))
	}
	s.parting.Store(p)
	_ = s.conn.SetWriteDeadline(p.by) // it is closed then
}

// Finish implements notify.Sink.
func (s *socket) Finish(whole bool, done func()) {
	if s.raw == nil {
		go s.part(whole, done)
		return
	}
	s.part(whole, done)
}

// part says why, and closes.
func (s *socket) part(whole bool, done func()) {
	defer done()
	p := s.parting.Load()
	switch said := p != nil && whole && len(p.frame) > 0 && s.say(p.frame); {
	case !said:
		s.hangUp()
	case p.unheard:
		go s.linger()
	default:
		_ = s.conn.Close() // nobody is there to tell
	}
}

// say writes what is last, within the deadline that End has set.
func (s *socket) say(frame []byte) bool {
	write := s.conn.Write
	if s.raw != nil {
		write = s.TryWrite
	}
	n, err := write(frame)
	return n == len(frame) && err == nil
}

// hangUp closes without a word: over TLS not even that nothing more comes, which
// would have to wait for room.
func (s *socket) hangUp() {
	conn := s.conn
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	_ = conn.Close() // nobody is there to tell
}

// refuse ends a connection of which no stream came.
func (s *socket) refuse(why notify.Close, retry time.Duration) {
	s.End(why, retry)
	s.Finish(true, func() {})
}

const (
	lingerFor   = time.Second
	lingerBytes = 4 << 20
)

// linger closes once the client has had time to read why. What it sent and nobody
// has read would reset the connection, and the close frame would be lost.
func (s *socket) linger() {
	defer func() { _ = s.conn.Close() }() // nobody is there to tell
	if err := closeWrite(s.conn); err != nil {
		return
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(lingerFor)); err == nil {
		_, _ = io.CopyN(io.Discard, s.conn, lingerBytes) // until the client goes
	}
}

// closeWrite says that nothing more comes.
func closeWrite(conn net.Conn) error {
	if c, ok := inside[interface{ CloseWrite() error }](conn); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// sayGoodbye has End close with a frame: one that answers the client's, or tells it
// what it broke, and then it goes on sending.
func (s *socket) sayGoodbye(frame []byte, unheard bool) {
	s.goodbye.CompareAndSwap(nil, &parting{frame: frame, unheard: unheard})
}

// A room is what one read takes. Connections have one only while they are read.
type room [4 << 10]byte

// smallRoom is that of a connection which cannot be asked whether it has something.
const smallRoom = 256

// read waits for what the client sends, and gives it to take.
func (s *socket) read(rooms *sync.Pool, take func([]byte) bool) bool {
	if s.raw == nil {
		if s.room == nil {
			s.room = make([]byte, smallRoom)
		}
		n, err := s.conn.Read(s.room)
		return (n == 0 || take(s.room[:n])) && err == nil
	}
	r, n, err := readLater(s.raw, rooms)
	if r == nil {
		return false
	}
	defer rooms.Put(r)
	return err == nil && take(r[:n])
}
