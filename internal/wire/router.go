package wire

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// A Handler answers a request, or writes nothing and returns an error.
type Handler func(w http.ResponseWriter, r *http.Request) error

// A Dialect writes errors in the form of its API.
type Dialect interface {
	Fail(w http.ResponseWriter, r *http.Request, err error)
}

// An Announcer is a dialect with headers that all its responses have.
type Announcer interface {
	Announce(h http.Header, requestID string)
}

// Router finds the handler of a request. Add every route before serving.
type Router struct {
	observer *Observer
	mux      *http.ServeMux
	routes   map[string]*route
	areas    []area
}

// A route is one path pattern and its handlers by method.
type route struct {
	observer *Observer
	dialect  Dialect
	methods  map[string]endpoint
	refused  *Meter // other methods
	allow    string
}

type endpoint struct {
	serve Handler
	meter *Meter
}

// An area is a part of the path space that answers in one dialect, even where it has no
// route.
type area struct {
	prefix  string
	dialect Dialect
	unknown *Meter
}

// NewRouter returns a router that answers unknown paths outside every area in the
// fallback dialect.
func NewRouter(o *Observer, fallback Dialect) *Router {
	rt := &Router{observer: o, mux: http.NewServeMux(), routes: make(map[string]*route)}
	rt.Area("/", fallback)
	rt.mux.HandleFunc("/", rt.unknown)
	return rt
}

// Area makes paths that begin with prefix, and have no route, answer in d.
func (rt *Router) Area(prefix string, d Dialect) {
	rt.areas = append(rt.areas, area{prefix, d, rt.observer.Meter("unknown", prefix)})
	slices.SortFunc(rt.areas, func(a, b area) int { return len(b.prefix) - len(a.prefix) })
}

// Handle routes a method and a pattern of http.ServeMux, without host or method.
// GET serves HEAD too.
func (rt *Router) Handle(method, pattern string, d Dialect, h Handler) {
	r, ok := rt.routes[pattern]
	if !ok {
		r = &route{observer: rt.observer, dialect: d, methods: make(map[string]endpoint), refused: rt.observer.Meter("other", pattern)}
		rt.routes[pattern] = r
		rt.mux.Handle(pattern, r)
	}
	r.methods[method] = endpoint{serve: h, meter: rt.observer.Meter(method, pattern)}
	if method == http.MethodGet {
		r.methods[http.MethodHead] = r.methods[method]
	}
	allowed := make([]string, 0, len(r.methods))
	for m := range r.methods {
		allowed = append(allowed, m)
	}
	slices.Sort(allowed)
	r.allow = strings.Join(allowed, ", ")
}

// Routes lists every method and pattern, for checks against the documentation.
func (rt *Router) Routes() []string {
	var all []string
	for pattern, r := range rt.routes {
		for method := range r.methods {
			all = append(all, method+" "+pattern)
		}
	}
	slices.Sort(all)
	return all
}

// ServeHTTP answers r. The mux would redirect a path that is not clean; here it
// is unknown.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.RequestURI == "*" || !clean(r.URL.EscapedPath()) {
		rt.unknown(w, r)
		return
	}
	rt.mux.ServeHTTP(w, r)
}

func (rt *Router) unknown(w http.ResponseWriter, r *http.Request) {
	at := rt.area(r.URL.Path)
	rt.observer.run(w, r, at.unknown, at.dialect, func(http.ResponseWriter, *http.Request) error { return ErrNoRoute })
}

// ServeHTTP answers a request whose path is the route's.
func (r *route) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	e, ok := r.methods[req.Method]
	switch {
	case ok:
	case r.observer.Site.isPreflight(req):
		e = endpoint{meter: r.refused, serve: r.observer.Site.preflight(r.allow)}
	default:
		e = endpoint{meter: r.refused, serve: func(http.ResponseWriter, *http.Request) error {
			return &MethodError{Allow: r.allow}
		}}
	}
	r.observer.run(w, req, e.meter, r.dialect, e.serve)
}

func (rt *Router) area(p string) *area {
	for i := range rt.areas {
		if strings.HasPrefix(p, rt.areas[i].prefix) {
			return &rt.areas[i]
		}
	}
	return &rt.areas[len(rt.areas)-1]
}

func clean(p string) bool {
	if strings.HasSuffix(p, "/") && p != "/" {
		return path.Clean(p)+"/" == p
	}
	return path.Clean(p) == p
}
