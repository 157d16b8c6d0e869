package framer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"porchlight.dev/porchlight/internal/netconn"
)

// A virtual is the connection that net/http sees. It has the bytes of one message; when
// that is answered, the next Read reads messages and returns when one is for net/http.
type virtual struct {
	c *Conn

	// Guarded by c.mu.

	stage   stage
	limited bool // net/http has set a deadline for reads
	aborted bool // and it is in the past
}

// A stage is who has a virtual connection.
type stage uint8

const (
	serving  stage = iota // net/http: it serves a message
	answered              // net/http: it has answered
	waiting               // the framer: net/http waits in Read for the next message
	parted                // net/http, until it closes: the connection is idle
	hijacked              // the handler's
	gone                  // nobody
)

// A secureVirtual tells net/http about TLS.
type secureVirtual struct{ *virtual }

// ConnectionState is what net/http sets Request.TLS to.
func (v secureVirtual) ConnectionState() tls.ConnectionState { return *v.c.secure }

func (v *virtual) asConn() net.Conn {
	if v.c.secure != nil {
		return secureVirtual{v}
	}
	return v
}

func (v *virtual) self() *virtual { return v }

// virtualOf is nil for a connection that is not virtual.
func virtualOf(conn net.Conn) *virtual {
	if v, ok := conn.(interface{ self() *virtual }); ok {
		return v.self()
	}
	return nil
}

// Pause is that of the connection.
func (v *virtual) Pause(d time.Duration) { v.c.Pause(d) }

func (v *virtual) Read(p []byte) (int, error) {
	switch v.enter() {
	case serving:
		return v.readMessage(p)
	case hijacked:
		return v.c.readRest(p)
	case waiting:
		if err := v.c.next(); err != nil {
			v.leave(err)
			return 0, io.EOF
		}
		v.to(serving)
		return v.readMessage(p)
	default:
		return 0, io.EOF
	}
}

// enter is called at the start of a Read.
func (v *virtual) enter() stage {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	if v.stage == answered {
		v.stage = waiting
	}
	return v.stage
}

func (v *virtual) current() stage {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	return v.stage
}

func (v *virtual) to(s stage) {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	v.stage = s
}

// leave ends net/http's part in the connection.
func (v *virtual) leave(err error) {
	if errors.Is(err, errParting) {
		v.to(parted)
		return
	}
	v.to(gone)
	v.c.finish(err)
}

// readMessage reads the message that net/http serves.
func (v *virtual) readMessage(p []byte) (n int, err error) {
	c := v.c
	for !c.ahead {
		m := c.m
		switch {
		case m.off < m.ok:
			n = copy(p, m.buf[m.off:m.ok])
			m.off += n
			c.given()
			return n, nil
		case m.broken:
			return 0, io.EOF
		case !m.head.chunked:
			n, err = c.conn.Read(p[:min(int64(len(p)), m.left)])
			m.left -= int64(n)
			c.given()
			return n, err
		}
		if err := c.fillChunked(); err != nil {
			return 0, err
		}
	}
	return 0, v.readAhead()
}

func (c *Conn) fillChunked() error {
	m := c.m
	m.buf = m.buf[:copy(m.buf, m.buf[m.ok:])]
	m.off, m.ok = 0, 0
	if err := c.fillMore(); err != nil {
		return err
	}
	m.advance()
	return nil
}

// given notes whether net/http has all of the message.
func (c *Conn) given() {
	switch m := c.m; {
	case m.off < m.ok || !m.whole():
	case m.broken:
		c.server.countMalformed(c, malformed("malformed chunked body"))
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ahead = true
		c.consume()
	}
}

// readAhead waits while net/http serves a message. It returns an error if the peer has
// disconnected, and when net/http aborts the read.
func (v *virtual) readAhead() error {
	c := v.c
	if c.raw != nil || c.m == nil {
		if err := c.fill(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for !v.aborted && !c.closed {
		c.changed.Wait()
	}
	return os.ErrDeadlineExceeded
}

func (v *virtual) Write(p []byte) (int, error) { return v.c.conn.Write(p) }

// Close closes a hijacked connection. Otherwise it does nothing: net/http also closes
// connections that it believes idle, and a message may just have come on one. When net/http
// is done with a connection, closed is called.
func (v *virtual) Close() error {
	if v.current() == hijacked {
		v.to(gone)
		return v.c.conn.Close()
	}
	return nil
}

// CloseWrite ends the answer, as net/http does before it waits for a peer that may still be
// sending: the peer sees at once that no more comes.
func (v *virtual) CloseWrite() error {
	switch v.current() {
	case serving, hijacked:
		return netconn.CloseWrite(v.c.conn)
	default: // it is not net/http's
		return net.ErrClosed
	}
}

// closed ends the connection, unless net/http has answered: then it goes on without it.
func (v *virtual) closed() {
	c := v.c
	c.mu.Lock()
	was := v.stage
	v.stage = gone
	back, early := was == answered || was == parted, was == serving && !c.ahead && !c.closed
	if back {
		c.virtual, c.due = nil, nil
		c.grown = true // it may begin with as large a stack as net/http needs
		c.unwake()
	}
	c.mu.Unlock()
	switch {
	case back:
		go c.run()
	case early: // the peer may still be sending
		go func() { c.linger(); c.end() }()
	case was == serving:
		c.end()
	}
}

// stateChanged is net/http's ConnState hook.
func stateChanged(conn net.Conn, state http.ConnState) {
	v := virtualOf(conn)
	if v == nil {
		return
	}
	switch state {
	case http.StateIdle:
		v.answered()
	case http.StateHijacked:
		v.to(hijacked)
		v.c.server.remove(v.c)
		v.c.setState(state)
	case http.StateClosed:
		v.closed()
	default: // new and active are older news here
	}
}

// answered takes the connection back.
func (v *virtual) answered() {
	c := v.c
	c.mu.Lock()
	defer c.mu.Unlock()
	v.stage = answered
	if v.limited {
		v.limited = false
		_ = c.conn.SetReadDeadline(time.Time{}) // a read reports what is wrong
	}
	c.ending = !c.ahead // the rest of the message cannot be told from the next one
	c.enter(phaseIdle)
	c.setState(http.StateIdle)
}

// Release gives up a hijacked connection: it returns the connection below, and the bytes
// that were read from it.
func (v *virtual) Release() (conn net.Conn, early []byte) {
	c := v.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.m; m != nil {
		early = bytes.Clone(m.buf[m.off:])
		c.dropBuffer()
	}
	return c.conn, early
}

// readRest reads from a hijacked connection.
func (c *Conn) readRest(p []byte) (int, error) {
	m := c.m
	if m == nil {
		return c.conn.Read(p)
	}
	n := copy(p, m.buf[m.off:])
	if m.off += n; m.off == len(m.buf) {
		c.dropBuffer()
	}
	return n, nil
}

func (v *virtual) NetConn() net.Conn    { return v.c.conn }
func (v *virtual) LocalAddr() net.Addr  { return v.c.conn.LocalAddr() }
func (v *virtual) RemoteAddr() net.Addr { return v.c.conn.RemoteAddr() }

func (v *virtual) SetDeadline(t time.Time) error {
	return errors.Join(v.SetReadDeadline(t), v.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of the connection while it is net/http's.
func (v *virtual) SetReadDeadline(t time.Time) error {
	c := v.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.stage != serving && v.stage != hijacked {
		return nil
	}
	v.limited = !t.IsZero()
	if v.aborted = v.limited && !t.After(time.Now()); v.aborted {
		c.changed.Broadcast()
	}
	return c.conn.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of the connection while it is net/http's.
func (v *virtual) SetWriteDeadline(t time.Time) error {
	c := v.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.stage != serving && v.stage != hijacked {
		return nil
	}
	return c.conn.SetWriteDeadline(t)
}
