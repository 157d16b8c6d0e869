package framer

import "net/http"

// A Field is one header field. Its slices point into the connection's buffer.
type Field struct {
	Name, Value []byte // Value has no spaces and tabs around it
}

// A Request is a message that was read whole. It is valid until it is answered or
// declined.
type Request struct {
	Method, Target []byte
	Minor          int // HTTP/1.x
	Fields         []Field
	Body           []byte // set for Serve
}

// A Fast answers requests without net/http.
type Fast interface {
	// Wants reports by the head alone whether Serve may answer the request. The framer
	// asks only about messages whose body is short: at most MaxFastBody bytes, not
	// chunked, and neither expected nor an upgrade.
	Wants(r *Request) bool
	// Serve answers the request: it calls c.Reply, c.Decline or c.Abort exactly once, before
	// it returns or later from any goroutine.
	Serve(c *Conn, r *Request)
}

// MaxFastBody is the longest body of a request that a Fast is asked about.
const MaxFastBody = 4 << 10

// serveFast lets Fast answer the message, if it wants to. It reports false if the message
// is net/http's. The answer may come later.
func (c *Conn) serveFast() (served bool, err error) {
	fast, m := c.server.Fast, c.m
	if !c.fast || !m.simple() {
		return false, nil
	}
	defer c.recovered(&err)
	if !fast.Wants(&m.Request) {
		return false, nil
	}
	for c.enter(phaseBody); !m.whole(); m.advance() {
		if err := c.fillMore(); err != nil {
			return false, err
		}
	}
	m.Body = m.buf[m.head.line:m.ok]
	c.mu.Lock()
	c.busy()
	c.answer, c.calling, c.last, c.grown = pending, true, m.head.ends(&m.Request), true
	c.mu.Unlock()
	fast.Serve(c, &m.Request)
	return true, c.called()
}

// called ends the call of Serve. Without non-blocking writes, it waits for the answer and
// writes it.
func (c *Conn) called() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calling = false
	if c.raw != nil {
		return nil
	}
	for c.answer == pending && !c.closed {
		c.changed.Wait()
	}
	if c.answer != replied {
		return nil
	}
	c.mu.Unlock()
	err := c.write(c.m.out)
	c.mu.Lock()
	c.settle()
	return err
}

// Reply writes a whole response. It never blocks on the peer; b may be reused when it
// returns.
func (c *Conn) Reply(b []byte) {
	m := c.m
	if c.raw == nil {
		m.out = append(m.out[:0], b...)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answer = replied
		c.changed.Broadcast()
		return
	}
	n, err := m.writer.WriteNow(c.raw, b)
	if err == nil && n < len(b) {
		go c.replyRest(append([]byte(nil), b[n:]...))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.last || err != nil
	c.settle()
}

// replyRest writes what the peer's window had no space for.
func (c *Conn) replyRest(b []byte) {
	err := c.write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.last || err != nil
	c.settle()
}

// settle ends a message that was answered. c.mu is locked.
func (c *Conn) settle() {
	c.consume()
	c.answer = none
	c.enter(phaseIdle)
	c.setState(http.StateIdle)
	if c.last {
		c.ending = true
		c.wake()
	}
	c.changed.Broadcast()
}

// Decline leaves the request to net/http. Nothing may have been changed by it.
func (c *Conn) Decline() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = declined
	c.wake()
	c.changed.Broadcast()
}

// Abort closes the connection in place of an answer.
func (c *Conn) Abort() { c.cut() }

// Closing reports whether the response must carry "Connection: close": the connection is
// closed after it.
func (c *Conn) Closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.last || c.server.draining.Load()
	return c.last
}
