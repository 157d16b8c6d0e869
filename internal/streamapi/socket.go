package streamapi

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/wire"
)

// A socket is a connection that was taken over from net/http: the sink of a
// WebSocket, or of server-sent events over HTTP/1.1. No goroutine waits to write to
// it: what it does not take at once is left to the stream.
type socket struct {
	conn    net.Conn
	raw     syscall.RawConn         // nil: not without waiting
	events  bool                    // SSE, else WebSocket
	watches bool                    // that fired are sent
	buf     []byte                  // for reading, without raw
	reply   atomic.Pointer[closing] // without its time, for an End that has no reason to send
	closing atomic.Pointer[closing] // nil: not yet
}

var _ hub.Sink = (*socket)(nil)

func newSocket(conn net.Conn, events, watches bool) *socket {
	limitSendBuffer(conn)
	return &socket{conn: conn, raw: rawOf(conn), events: events, watches: watches}
}

// Append implements hub.Sink.
func (s *socket) Append(b []byte, d hub.Delivery) []byte {
	if s.events {
		return appendEvent(b, &d)
	}
	return appendWebSocket(b, &d)
}

// TryWrite implements hub.Sink.
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
	if c, ok := wire.ConnAs[interface{ SetWriteBuffer(bytes int) error }](conn); ok {
		_ = c.SetWriteBuffer(sendBuffer) // if the connection has gone, the first write fails
	}
}

// Write implements hub.Sink.
func (s *socket) Write(b []byte, pace *hub.Pace) error {
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
// End may happen at any time.
func (s *socket) within(deadline time.Time) error {
	err := s.conn.SetWriteDeadline(deadline)
	if p := s.closing.Load(); p != nil {
		err = s.conn.SetWriteDeadline(p.by)
	}
	return err
}

// AnswersPings implements hub.Sink.
func (s *socket) AnswersPings() bool { return !s.events }

// TakesBroadcasts implements hub.Sink.
func (s *socket) TakesBroadcasts() bool { return s.watches }

// A closing is what a client is sent at the end.
type closing struct {
	frame   []byte
	sending bool      // the client goes on sending
	by      time.Time // when it must be written, and all before it
}

// closeTimeout bounds that.
const closeTimeout = time.Second

// End implements hub.Sink.
func (s *socket) End(why hub.Close, retry time.Duration) {
	ending := endings[why]
	p := &closing{sending: why == hub.CloseTooFast, by: time.Now().Add(closeTimeout)}
	switch reply := s.reply.Load(); {
	case ending.reason == "" && reply != nil:
		p.frame, p.sending = reply.frame, reply.sending
	case ending.reason == "":
	case s.events:
		p.frame = appendCloseEvent(nil, ending.code, ending.reason, int(retry.Milliseconds()))
	default:
		p.frame = appendCloseFrame(nil, ending.code, ending.reason, int(retry.Milliseconds()))
	}
	s.closing.Store(p)
	_ = s.conn.SetWriteDeadline(p.by) // it is closed then
}

// Finish implements hub.Sink.
func (s *socket) Finish(whole bool, done func()) {
	if s.raw == nil {
		go s.close(whole, done)
		return
	}
	s.close(whole, done)
}

// close sends why, and closes.
func (s *socket) close(whole bool, done func()) {
	defer done()
	p := s.closing.Load()
	switch sent := p != nil && whole && len(p.frame) > 0 && s.writeLast(p.frame); {
	case !sent:
		s.hangUp()
	case p.sending:
		go s.linger()
	default:
		_ = s.conn.Close() // nobody is left to report to
	}
}

// writeLast writes what is last, within the deadline that End has set.
func (s *socket) writeLast(frame []byte) bool {
	write := s.conn.Write
	if s.raw != nil {
		write = s.TryWrite
	}
	n, err := write(frame)
	return n == len(frame) && err == nil
}

// hangUp closes without a word: over TLS not even that nothing more comes, which
// would have to wait for the reader.
func (s *socket) hangUp() {
	conn := s.conn
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	_ = conn.Close() // nobody is left to report to
}

// refuse ends a connection of which no stream came.
func (s *socket) refuse(why hub.Close, retry time.Duration) {
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
	defer func() { _ = s.conn.Close() }() // nobody is left to report to
	if err := closeWrite(s.conn); err != nil {
		return
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(lingerFor)); err == nil {
		_, _ = io.CopyN(io.Discard, s.conn, lingerBytes) // until the client goes
	}
}

// closeWrite says that nothing more comes.
func closeWrite(conn net.Conn) error {
	if c, ok := wire.ConnAs[interface{ CloseWrite() error }](conn); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// closeWith has End close with a frame: one that answers the client's, or one for a
// client that broke the protocol and goes on sending.
func (s *socket) closeWith(frame []byte, sending bool) {
	s.reply.CompareAndSwap(nil, &closing{frame: frame, sending: sending})
}

// A readBuffer is what one read takes. Connections have one only while they are read.
type readBuffer [4 << 10]byte

// smallBuffer is that of a connection which cannot be asked whether it has something.
const smallBuffer = 256

// takeBuffer is one of the buffers, or a new one.
func takeBuffer(buffers *sync.Pool) *readBuffer {
	if b, ok := buffers.Get().(*readBuffer); ok {
		return b
	}
	return new(readBuffer)
}

// read waits for what the client sends, and hands it to handle.
func (s *socket) read(buffers *sync.Pool, handle func([]byte) bool) bool {
	if s.raw == nil {
		if s.buf == nil {
			s.buf = make([]byte, smallBuffer)
		}
		n, err := s.conn.Read(s.buf)
		return (n == 0 || handle(s.buf[:n])) && err == nil
	}
	r, n, err := readLater(s.raw, buffers)
	if r == nil {
		return false
	}
	defer buffers.Put(r)
	return err == nil && handle(r[:n])
}
