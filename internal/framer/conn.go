package framer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/netconn"
)

// A Conn is one connection. At most one request of it is under way. One goroutine reads
// it at a time: its own, or that of net/http while it serves a message.
type Conn struct {
	State any // a Fast's own, nil at first

	server *Server
	conn   net.Conn             // what the listener accepted, or TLS on it
	raw    syscall.RawConn      // nil: it only blocks
	secure *tls.ConnectionState // nil: plain
	fast   bool                 // a Fast may answer
	read   func(fd uintptr) bool
	first  [1]byte       // what is read while there is no buffer, without raw
	clock  atomic.Uint64 // phase, and tick when it began

	mu      sync.Mutex // guards what follows, and m while an answer is pending
	changed sync.Cond
	m       *message // nil: there are no unread bytes
	err     error    // why read has read nothing
	virtual *virtual // nil: net/http has no part in the connection
	answer  answer
	calling bool      // Serve was called and has not returned
	ahead   bool      // net/http has all of its message: bytes of the next are left alone
	eof     bool      // the peer sends nothing more
	last    bool      // the connection ends after the message under way
	ending  bool      // the message under way was the last
	paused  time.Time // no message is read before
	due     error     // why to stop waiting for a message that has not begun
	woken   bool      // a deadline in the past ends the read under way
	grown   bool      // the stack of the connection's own goroutine, probably
	closed  bool
}

// An answer is how far a Fast has answered the message.
type answer uint8

const (
	none answer = iota
	pending
	replied // and not written
	declined
)

// A phase is what a connection is waiting for.
type phase uint64

const (
	phaseNew phase = iota
	phaseIdle
	phaseHead
	phaseBody
	phaseBusy // nothing of the peer
)

const phaseBits = 3

func (c *Conn) enter(p phase) { c.clock.Store(c.server.tick.Load()<<phaseBits | uint64(p)) }

// since returns the phase and its age in ticks.
func (c *Conn) since(now uint64) (p phase, age uint64) {
	at := c.clock.Load()
	return phase(at & (1<<phaseBits - 1)), now - min(now, at>>phaseBits)
}

func newConn(s *Server, conn net.Conn) *Conn {
	c := &Conn{server: s, conn: conn, fast: s.Fast != nil && (s.Eligible == nil || s.Eligible(conn))}
	c.changed.L = &c.mu
	c.read = c.readNow
	c.enter(phaseNew)
	return c
}

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.conn }

// TLS is the state of the TLS connection, or nil if the connection is plain.
func (c *Conn) TLS() *tls.ConnectionState { return c.secure }

// errEnd ends a connection.
var errEnd = errors.New("connection ends")

// errParting ends only the goroutine that reads it, and net/http's part of it.
var errParting = errors.New("connection is idle")

// run reads messages until one is for net/http, whose goroutine goes on reading.
func (c *Conn) run() {
	switch err := c.next(); {
	case errors.Is(err, errParting):
		go c.run() // with a small stack
		return
	case err != nil:
		c.finish(err)
		return
	}
	v := &virtual{c: c}
	c.mu.Lock()
	c.virtual = v
	c.mu.Unlock()
	c.server.handOver(v)
}

// next reads messages until one is for net/http. Fast answers the others. An error ends
// the connection, but errParting.
func (c *Conn) next() error {
	c.ahead = false
	for {
		declined, err := c.begin()
		if declined || err != nil {
			return err
		}
		if err := c.readHead(); err != nil {
			return err
		}
		served, err := c.serveFast()
		if err != nil {
			return err
		}
		if !served {
			c.mu.Lock()
			c.busy()
			c.mu.Unlock()
			return nil
		}
	}
}

// busy says that nothing is expected from the peer: what the last sweep found overdue has
// come meanwhile, and no deadline of it may end a read of net/http. c.mu is locked.
func (c *Conn) busy() {
	c.enter(phaseBusy)
	c.due = nil
	c.unwake()
}

// begin waits until the message under way is answered and bytes of the next are there, or
// until it is declined.
func (c *Conn) begin() (declined bool, err error) {
	c.waitOut()
	for {
		ready, declined, err := c.check()
		if ready || err != nil {
			return declined, err
		}
		err = c.fill()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			c.eof = true
		case !c.wasWoken():
			return false, err
		}
	}
}

// Pause leaves what comes after the message under way unread for a while.
func (c *Conn) Pause(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = time.Now().Add(d)
}

// waitOut waits until the connection is not paused, is closed, or the server drains.
func (c *Conn) waitOut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for left := c.pause(); left > 0; left = c.pause() {
		over := time.AfterFunc(left, c.signal)
		c.changed.Wait()
		over.Stop()
	}
}

func (c *Conn) signal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.Broadcast()
}

// pause is how long to leave the next message unread; c.mu is locked.
func (c *Conn) pause() time.Duration {
	if c.paused.IsZero() || c.closed || c.server.draining.Load() {
		return 0
	}
	left := time.Until(c.paused)
	if left <= 0 {
		c.paused = time.Time{}
	}
	return left
}

// check is what begin waits for.
func (c *Conn) check() (ready, isDeclined bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.answer == pending && !c.closed && (c.eof || len(c.m.buf) > c.m.ok || len(c.m.room()) == 0) {
		c.changed.Wait()
	}
	switch {
	case c.closed, c.ending:
		return false, false, errEnd
	case c.answer == declined:
		c.answer = none
		c.unwake()
		return true, true, nil
	case c.answer == pending:
		return false, false, nil
	case c.m != nil:
		c.due = nil
		c.unwake()
		c.enter(phaseHead)
		c.setState(http.StateActive)
		return true, false, nil
	case c.due != nil:
		err, c.due, c.grown = c.due, nil, false
		c.unwake()
		return false, false, err
	case c.eof:
		return false, false, errEnd
	}
	return false, false, nil
}

// wake ends the read under way. c.mu is locked.
func (c *Conn) wake() {
	if !c.calling {
		c.woken = true
		_ = c.conn.SetReadDeadline(past) // if it is closed, the read ends as well
	}
}

var past = time.Unix(1, 0)

func (c *Conn) unwake() {
	if c.woken {
		c.woken = false
		_ = c.conn.SetReadDeadline(time.Time{}) // a read reports what is wrong
	}
}

func (c *Conn) wasWoken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.woken
}

// readHead reads until the head is whole.
func (c *Conn) readHead() error {
	for {
		if err := c.m.parse(c.server.maxHead()); err != nil || c.m.parsed {
			return err
		}
		if err := c.fillMore(); err != nil {
			return err
		}
	}
}

// fillMore reads more bytes of a message that has begun.
func (c *Conn) fillMore() error {
	c.m.grow()
	return c.fill()
}

// fill reads more bytes.
func (c *Conn) fill() error {
	if c.raw != nil {
		if err := c.raw.Read(c.read); err != nil {
			return err
		}
		return c.err
	}
	if c.m == nil { // do not keep a buffer while waiting
		n, err := c.conn.Read(c.first[:])
		if n > 0 {
			c.m = c.server.takeMessage()
			c.m.buf = append(c.m.buf, c.first[0])
			err = nil
		}
		return err
	}
	n, err := c.conn.Read(c.m.room())
	c.m.buf = c.m.buf[:len(c.m.buf)+n]
	if n > 0 {
		err = nil
	}
	return err
}

// readNow is the callback of raw's Read. It takes a buffer only if there are bytes.
func (c *Conn) readNow(fd uintptr) (done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.m
	if m == nil {
		m = c.server.takeMessage()
	}
	room := m.room()
	if len(room) == 0 {
		return false // of the next message enough is here
	}
	var n int
	n, c.err = netconn.ReadNow(fd, room)
	m.buf = m.buf[:len(m.buf)+n]
	switch {
	case c.m != nil: // Reply may be reading it
	case n > 0:
		c.m = m
	default:
		c.server.messages.Put(m)
	}
	return n > 0 && !c.ahead || c.err != nil
}

// consume drops the message under way. c.mu is locked.
func (c *Conn) consume() {
	if m := c.m; len(m.buf) > m.ok {
		m.reset()
		return
	}
	c.dropBuffer()
}

func (c *Conn) dropBuffer() {
	if c.m != nil {
		c.server.putMessage(c.m)
		c.m = nil
	}
}

// write writes on the connection's own goroutine.
func (c *Conn) write(b []byte) error {
	if err := c.conn.SetWriteDeadline(after(c.server.HTTP1.WriteTimeout)); err != nil {
		return err
	}
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	return c.conn.SetWriteDeadline(time.Time{})
}

// after is the deadline of a timeout; zero: there is none.
func after(timeout time.Duration) time.Time {
	if timeout == 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

func (c *Conn) setState(s http.ConnState) {
	if c.server.State != nil {
		c.server.State(c.conn, s)
	}
}

// finish ends the connection. A refusal is answered first.
func (c *Conn) finish(err error) {
	var r *refusal
	if errors.As(err, &r) {
		c.server.countMalformed(c, err)
		c.enter(phaseBusy)
		if c.write(r.response()) == nil {
			c.linger()
		}
	} else if c.wasLast() {
		c.linger()
	}
	c.end()
}

func (c *Conn) wasLast() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending && !c.closed
}

// What lingers for longer does not read.
const (
	lingerFor   = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// linger lets the peer read the answer: closing with unread bytes would reset the
// connection, and the answer could be lost.
func (c *Conn) linger() {
	if netconn.CloseWrite(c.conn) != nil || c.conn.SetReadDeadline(time.Now().Add(lingerFor)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.conn, lingerBytes) // until the peer closes
}

// end closes the connection.
func (c *Conn) end() {
	_ = c.conn.Close() // no one reads the error
	c.server.remove(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true // the buffer may still be in use
	c.changed.Broadcast()
}

// cut closes the connection, whatever happens on it, and without waiting for TLS to say
// so.
func (c *Conn) cut() {
	c.mu.Lock()
	conn := c.conn
	c.closed = true
	c.changed.Broadcast()
	c.mu.Unlock()
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close() // without c.mu: it waits for readNow
}

// recovered turns a panic of Fast into an error.
func (c *Conn) recovered(err *error) {
	if v := recover(); v != nil {
		c.server.Log.Error("panic", slog.Any("value", v), slog.String("stack", string(debug.Stack())))
		*err = fmt.Errorf("panic: %v", v)
	}
}

// sweep ends what takes too long.
func (c *Conn) sweep(at sweep) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if why := c.overdue(at); why != nil {
		c.due = why
		c.wake()
	}
	if at.draining {
		c.changed.Broadcast() // it may be paused
	}
}

// partAfter is how long a connection is idle before it has no goroutine of net/http, and
// how long a drain leaves one that was just used.
const partAfter = time.Second

// shrinkAfter is how long a connection is idle before another goroutine reads it whose
// stack has not grown: the runtime halves stacks, but not the last time. It is long enough
// that a client which is not idle costs nothing.
const shrinkAfter = 10 * time.Second

// overdue is why not to wait any longer, or nil. c.mu is locked.
func (c *Conn) overdue(at sweep) error {
	p, ticks := c.since(at.now)
	age := time.Duration(ticks) * c.server.every // by less than one tick too long
	limits := c.server.HTTP1
	limit := limits.ReadHeaderTimeout
	switch {
	case p == phaseBusy:
		return nil
	case (p == phaseIdle || p == phaseNew) && at.draining:
		limit = partAfter
	case p == phaseIdle:
		limit = limits.IdleTimeout
	case p == phaseBody:
		limit = limits.ReadTimeout
	}
	switch {
	case age > limit && limit > 0:
		return errEnd
	case p != phaseIdle:
	case age > partAfter && c.virtual != nil, age > shrinkAfter && c.grown && at.smallStacks:
		return errParting
	}
	return nil
}
