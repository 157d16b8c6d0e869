package fastpath

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/framer"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// A Dialect writes errors, and headers that all its responses have.
type Dialect interface {
	// Announce sets the headers of every response.
	Announce(x *Exchange)
	// Fail answers with an error.
	Fail(x *Exchange, err error)
}

// A Handler answers a request that has a valid token: it calls Reply, Fail or Decline
// exactly once, before it returns or after x.Later.
type Handler func(x *Exchange)

// Server answers the hot routes. It implements framer.Fast.
type Server struct {
	observer  *wire.Observer
	auth      wire.Authenticator
	routes    []route
	exchanges sync.Pool
	date      date

	answered, declined atomic.Uint64
}

// Stats are the counters of a server.
type Stats struct{ Answered, Declined uint64 }

// Stats counts the requests on hot routes.
func (s *Server) Stats() Stats { return Stats{s.answered.Load(), s.declined.Load()} }

var _ framer.Fast = (*Server)(nil)

// A route is one method of a path with one variable segment.
type route struct {
	method         string
	prefix, suffix string // of the path, around the variable segment
	body           bool
	dialect        Dialect
	serve          Handler
	meter          *wire.Meter
}

// New returns a server without routes, whose requests o observes.
func New(o *wire.Observer, a wire.Authenticator) *Server {
	s := &Server{observer: o, auth: a}
	s.exchanges.New = func() any { return &Exchange{server: s} }
	return s
}

// Handle adds a route. The pattern is that of the same route of wire.Router, with one
// variable segment. A PUT has a body of JSON, and a GET has none. Add every route before
// serving.
func (s *Server) Handle(method, pattern string, d Dialect, h Handler) {
	prefix, rest, _ := strings.Cut(pattern, "{")
	_, suffix, _ := strings.Cut(rest, "}")
	s.routes = append(s.routes, route{
		method: method, prefix: prefix, suffix: suffix, body: method == "PUT",
		dialect: d, serve: h, meter: s.observer.Meter(method, pattern),
	})
}

// match finds the route of a request, and the variable segment of its path.
func (s *Server) match(r *framer.Request) (*route, []byte) {
	for i := range s.routes {
		if rt := &s.routes[i]; string(r.Method) == rt.method {
			if segment, ok := rt.segment(r.Target); ok {
				return rt, segment
			}
		}
	}
	return nil, nil
}

// segment is the variable segment of a path of the route, which no client needs to encode.
func (rt *route) segment(target []byte) ([]byte, bool) {
	fixed := len(rt.prefix) + len(rt.suffix)
	if len(target) <= fixed || string(target[:len(rt.prefix)]) != rt.prefix || string(target[len(target)-len(rt.suffix):]) != rt.suffix {
		return nil, false
	}
	segment := target[len(rt.prefix) : len(target)-len(rt.suffix)]
	for _, c := range segment {
		if !isPlain(c) {
			return nil, false
		}
	}
	return segment, true
}

// isPlain reports whether c is a letter, a digit, "-" or "_".
func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// Wants implements framer.Fast.
func (s *Server) Wants(r *framer.Request) bool {
	rt, _ := s.match(r)
	return rt != nil && r.Minor == 1
}

// Serve implements framer.Fast, for connections that were admitted. It may wait for the
// store while it looks for the principal of a token that is not cached.
func (s *Server) Serve(c *framer.Conn, r *framer.Request) {
	x, _ := s.exchanges.Get().(*Exchange)
	x.begin(c, r)
	defer x.recoverServe(x.peer)
	if x.route, x.segment = s.match(r); x.route == nil || !x.readHead() {
		x.Decline()
		return
	}
	s.observer.Begin(&x.facts, x.arrival())
	x.announce()
	switch err := x.admit(); {
	case err == nil:
		x.route.serve(x)
	case errors.Is(err, auth.ErrInvalidToken), isOverload(err):
		x.Fail(err)
	default:
		x.Decline()
	}
}

// admit refuses the request if the server is overloaded, and finds who it acts for.
func (x *Exchange) admit() error {
	if err := x.server.observer.Admit(&x.facts, x.conn); err != nil {
		return err
	}
	return x.authenticate()
}

func (x *Exchange) authenticate() error {
	stage := x.Span().Child("authenticate")
	p, err := x.server.auth.Authenticate(context.Background(), x.peer.token)
	stage.End()
	if err != nil {
		return err
	}
	x.facts.SetPrincipal(p)
	x.Principal = p
	return nil
}

func isOverload(err error) bool {
	_, ok := errors.AsType[*quota.Error](err)
	return ok
}
