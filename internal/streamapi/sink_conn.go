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
	"porchlight.dev/porchlight/internal/netconn"
)

// A socket is a connection that was taken over from net/http: the sink of a
// WebSocket, or of server-sent events over HTTP/1.1. No goroutine waits to write to
// it: what it does not accept at once stays queued in the stream.
type socket struct {
	conn    net.Conn
	raw     syscall.RawConn         // nil: non-blocking writes are not possible
	events  bool                    // SSE, otherwise WebSocket
	watches bool                    // that fired are sent
	buf     []byte                  // for reading, without raw
	reply   atomic.Pointer[closing] // without its time, for an End that has no reason to send
	closing atomic.Pointer[closing] // nil: not yet
}

var _ hub.Sink = (*socket)(nil)

func newSocket(conn net.Conn, events, watches bool) *socket {
	limitSendBuffer(conn)
	return &socket{conn: conn, raw: netconn.Raw(conn), events: events, watches: watches}
}

func (s *socket) Append(b []byte, d hub.Delivery) []byte {
	if s.events {
		return appendEvent(b, &d)
	}
	return appendWebSocket(b, &d)
}

func (s *socket) TryWrite(b []byte) (int, error) {
	if s.raw == nil {
		return 0, nil
	}
	return netconn.WriteNow(s.raw, b)
}

// sendBuffer bounds the system's send buffer of a stream, which by default holds
// megabytes for a reader that does not read.
const sendBuffer = 128 << 10

// limitSendBuffer is for a connection that becomes a stream.
func limitSendBuffer(conn net.Conn) {
	if c, ok := netconn.As[interface{ SetWriteBuffer(bytes int) error }](conn); ok {
		_ = c.SetWriteBuffer(sendBuffer) // if the connection is closed, the first write fails
	}
}

func (s *socket) Write(b []byte, pace *hub.Pace) error {
	for len(b) > 0 {
		n, by := pace.Next(len(b))
		if err := s.within(by); err != nil {
			return err
		}
		if _, err := s.conn.Write(b[:n]); err != nil {
			return err
		}
		pace.NoteAccepted(n)
		b = b[n:]
	}
	return s.within(time.Time{}) // a deadline would end what TryWrite writes later
}

// within sets the deadline of writes, which is earlier once the stream has ended: End
// may be called at any time.
func (s *socket) within(deadline time.Time) error {
	err := s.conn.SetWriteDeadline(deadline)
	if p := s.closing.Load(); p != nil {
		err = s.conn.SetWriteDeadline(p.by)
	}
	return err
}

func (s *socket) AnswersPings() bool    { return !s.events }
func (s *socket) TakesBroadcasts() bool { return s.watches }

// A closing is the close frame of a client.
type closing struct {
	frame   []byte
	sending bool      // the client may still be sending
	by      time.Time // deadline for it and for all that precedes it
}

// closeTimeout bounds that.
const closeTimeout = time.Second

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

func (s *socket) Finish(whole bool, done func()) {
	if s.raw == nil {
		go s.close(whole, done)
		return
	}
	s.close(whole, done)
}

// close sends the reason and closes the connection.
func (s *socket) close(whole bool, done func()) {
	defer done()
	p := s.closing.Load()
	switch sent := p != nil && whole && len(p.frame) > 0 && s.writeLast(p.frame); {
	case !sent:
		s.closeConn()
	case p.sending:
		go s.linger()
	default:
		_ = s.conn.Close() // no one reads the error
	}
}

// writeLast writes the last frame within the deadline that End has set.
func (s *socket) writeLast(frame []byte) bool {
	write := s.conn.Write
	if s.raw != nil {
		write = s.TryWrite
	}
	n, err := write(frame)
	return n == len(frame) && err == nil
}

// closeConn closes the connection without a reason, and over TLS without close_notify, which would have to
// wait for the reader.
func (s *socket) closeConn() {
	conn := s.conn
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	_ = conn.Close() // no one reads the error
}

// refuse ends a connection for which no stream was opened.
func (s *socket) refuse(why hub.Close, retry time.Duration) {
	s.End(why, retry)
	s.Finish(true, func() {})
}

const (
	lingerFor   = time.Second
	lingerBytes = 4 << 20
)

// linger closes once the client has had time to read the reason. Closing with unread
// input would reset the connection and lose the close frame.
func (s *socket) linger() {
	defer func() { _ = s.conn.Close() }() // no one reads the error
	if err := netconn.CloseWrite(s.conn); err != nil {
		return
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(lingerFor)); err == nil {
		_, _ = io.CopyN(io.Discard, s.conn, lingerBytes) // until the client closes
	}
}

// closeWith sets the close frame that End sends: the answer to the client's, or one for
// a client that violated the protocol and may still be sending.
func (s *socket) closeWith(frame []byte, sending bool) {
	s.reply.CompareAndSwap(nil, &closing{frame: frame, sending: sending})
}

// A readBuffer is the buffer of one read. A connection has one only while it is read.
type readBuffer [4 << 10]byte

// smallBuffer is for connections that cannot be polled for readability.
const smallBuffer = 256

// takeBuffer takes a buffer from the pool, or allocates one.
func takeBuffer(buffers *sync.Pool) *readBuffer {
	if b, ok := buffers.Get().(*readBuffer); ok {
		return b
	}
	return new(readBuffer)
}

// read waits for bytes of the client and passes them to handle.
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

// readLater waits until the socket is readable, and only then takes a buffer.
func readLater(raw syscall.RawConn, buffers *sync.Pool) (r *readBuffer, n int, err error) {
	failed := raw.Read(func(fd uintptr) bool {
		r = takeBuffer(buffers)
		if n, err = netconn.ReadNow(fd, r[:]); n == 0 && err == nil {
			buffers.Put(r)
			r = nil
		}
		return r != nil
	})
	return r, n, errors.Join(failed, err)
}
