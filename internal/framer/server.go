package framer

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/netconn"
)

// A Server serves the connections of a listener. Set the fields, then call Serve once.
type Server struct {
	// HTTP1 answers what Fast does not. Its timeouts and its limit of heads are those of
	// the server; its ConnState is the framer's.
	HTTP1 *http.Server
	// HTTP2 serves the connections that negotiate it over TLS.
	HTTP2 *http.Server
	// TLS is nil for plain connections. The framer sets the protocols.
	TLS *tls.Config
	// Fast is nil if net/http answers everything.
	Fast Fast
	// Eligible reports whether Fast may answer on a connection; nil: on every one.
	Eligible func(net.Conn) bool
	// State is told when a message begins, when it is answered, and when the connection is
	// hijacked; nil: nobody is. The connection is what the listener accepted, or TLS on it.
	// State must neither wait nor close the connection.
	State func(net.Conn, http.ConnState)
	Log   *slog.Logger

	every     time.Duration // between two sweeps
	tick      atomic.Uint64 // sweeps since the start
	draining  atomic.Bool
	malformed atomic.Uint64
	messages  sync.Pool // of *message

	mu       sync.Mutex // guards what follows
	listener net.Listener
	toHTTP1  *handoff
	toHTTP2  *handoff
	conns    map[*Conn]struct{}
	stopping bool // Shutdown or Close was called
	closed   bool
	stop     chan struct{} // closed with it
	removed  chan struct{} // gets one element when a connection is removed
}

// Malformed counts the messages that were refused because of their framing.
func (s *Server) Malformed() uint64 { return s.malformed.Load() }

func (s *Server) countMalformed(c *Conn, err error) {
	s.malformed.Add(1)
	s.Log.Debug("malformed message", slog.String("remote", c.RemoteAddr().String()), slog.Any("err", err))
}

// Serve accepts connections until the listener fails. After Shutdown or Close it returns
// http.ErrServerClosed, when nothing runs any more.
func (s *Server) Serve(l net.Listener) error {
	if !s.open(l) {
		_ = l.Close() // nobody else has it
		return http.ErrServerClosed
	}
	var running sync.WaitGroup
	running.Go(func() { _ = s.HTTP1.Serve(s.toHTTP1) }) // until Shutdown or Close
	if s.TLS != nil {
		running.Go(func() { _ = s.HTTP2.Serve(s.toHTTP2) }) // likewise
	}
	running.Go(s.sweepOften)
	err := s.accept(l)
	if s.isStopping() {
		err = http.ErrServerClosed
	} else {
		_ = s.Close() // the error is what ended it
	}
	running.Wait()
	return err
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// open prepares for Serve, unless the server is closed already.
func (s *Server) open(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.listener, s.toHTTP1 = l, newHandoff(l.Addr())
	s.HTTP1.ConnState = stateChanged
	s.every = time.Second
	for _, limit := range [...]time.Duration{s.HTTP1.ReadHeaderTimeout, s.HTTP1.ReadTimeout, s.HTTP1.IdleTimeout} {
		if limit > 0 {
			s.every = min(s.every, limit/2)
		}
	}
	s.conns, s.stop, s.removed = make(map[*Conn]struct{}), make(chan struct{}), make(chan struct{}, 1)
	if s.TLS != nil {
		s.toHTTP2 = newHandoff(l.Addr())
		s.TLS = s.TLS.Clone()
		s.TLS.NextProtos = []string{"h2", "http/1.1"}
		s.HTTP2.TLSConfig = s.TLS.Clone() // net/http serves HTTP/2 only if its protocol is listed
	}
	return true
}

// maxAcceptDelay is how long to wait while the system has no descriptor.
const maxAcceptDelay = time.Second

func (s *Server) accept(l net.Listener) error {
	var delay time.Duration
	for {
		conn, err := l.Accept()
		var failed net.Error
		switch {
		case err == nil:
			delay = 0
			s.add(conn)
		case errors.As(err, &failed) && failed.Temporary(): //nolint:staticcheck // as net/http does
			delay = min(max(2*delay, maxAcceptDelay/256), maxAcceptDelay)
			s.Log.Warn("accepting a connection failed; will retry", slog.Any("err", err))
			time.Sleep(delay)
		default:
			return err
		}
	}
}

// add serves a connection.
func (s *Server) add(conn net.Conn) {
	c := newConn(s, conn)
	s.mu.Lock()
	open := !s.closed
	if open {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	switch {
	case !open:
		_ = conn.Close() // no one reads the error
	case s.TLS != nil:
		go c.handshake()
	default:
		c.raw = netconn.Raw(conn)
		go c.run()
	}
}

func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	select {
	case s.removed <- struct{}{}:
	default: // nobody waits, or it is told already
	}
}

// handOver gives a connection to net/http.
func (s *Server) handOver(v *virtual) {
	if !s.toHTTP1.put(v.asConn()) {
		v.c.end()
	}
}

func (s *Server) takeMessage() *message {
	if m, ok := s.messages.Get().(*message); ok {
		return m
	}
	return &message{buf: make([]byte, 0, bufferSize)}
}

func (s *Server) putMessage(m *message) {
	if cap(m.buf) > bufferSize || cap(m.out) > bufferSize {
		return
	}
	m.ok = len(m.buf)
	m.reset()
	s.messages.Put(m)
}

// headSlop is what net/http reads beyond MaxHeaderBytes before it refuses a head.
const headSlop = 4096

func (s *Server) maxHead() int {
	return cmp.Or(s.HTTP1.MaxHeaderBytes, http.DefaultMaxHeaderBytes) + headSlop
}

// sweepOften ends what takes too long. One timer for all connections is much cheaper than
// a deadline for each read.
func (s *Server) sweepOften() {
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.sweep(s.tick.Add(1))
		case <-s.stop:
			return
		}
	}
}

func (s *Server) sweep(now uint64) {
	at := sweep{now, s.draining.Load(), hasSmallStacks()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.sweep(at)
	}
}

// A sweep is what connections are to know during one.
type sweep struct {
	now         uint64 // its tick
	draining    bool
	smallStacks bool // goroutines begin with a small stack
}

// hasSmallStacks reports whether goroutines begin with the smallest stack. The runtime gives
// them the average size of stacks, as of the last garbage collection.
func hasSmallStacks() bool {
	const smallest = 2 << 10
	size := []metrics.Sample{{Name: "/gc/stack/starting-size:bytes"}}
	metrics.Read(size)
	return size[0].Value.Kind() == metrics.KindUint64 && size[0].Value.Uint64() <= smallest
}

// Shutdown accepts no more connections, and waits for those that there are until ctx ends.
// Answers end their connection. A connection that was just used may send one more request
// within a second, so that a client that is about to send it sees no failure; the others
// are closed at once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	opened := s.listener != nil
	s.mu.Unlock()
	if !opened {
		return nil
	}
	// The listener first: a client that is told to connect again must not come back here.
	_ = s.listener.Close() // it may be closed already
	s.draining.Store(true)
	s.HTTP1.SetKeepAlivesEnabled(false)
	ended := make(chan error, 1)
	go func() { ended <- s.HTTP2.Shutdown(ctx) }()
	err := errors.Join(s.wait(ctx), <-ended)
	if err == nil {
		err = s.HTTP1.Shutdown(ctx)
	}
	if err == nil {
		err = s.Close()
	}
	return err
}

// wait waits until there is no connection.
func (s *Server) wait(ctx context.Context) error {
	s.sweep(s.tick.Load())
	grace := time.NewTimer(partAfter)
	defer grace.Stop()
	for s.count() > 0 {
		select {
		case <-s.removed:
		case <-grace.C:
			s.sweep(s.tick.Load() + uint64(partAfter/s.every) + 1)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// count counts the connections.
func (s *Server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Close closes the listener and every connection.
func (s *Server) Close() error {
	s.draining.Store(true)
	s.mu.Lock()
	opened := s.listener != nil && !s.closed
	s.stopping, s.closed = true, true
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	if !opened {
		return nil
	}
	close(s.stop)
	_ = s.listener.Close() // it may be closed already
	for _, c := range conns {
		c.cut()
	}
	return errors.Join(s.HTTP1.Close(), s.HTTP2.Close())
}

// A handoff is the listener of a net/http server that gets connections from the framer.
type handoff struct {
	at    net.Addr
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

func newHandoff(at net.Addr) *handoff {
	return &handoff{at: at, conns: make(chan net.Conn), ended: make(chan struct{})}
}

// put reports whether net/http has taken the connection.
func (h *handoff) put(conn net.Conn) bool {
	select {
	case h.conns <- conn:
		return true
	case <-h.ended:
		return false
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.ended) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.at }
