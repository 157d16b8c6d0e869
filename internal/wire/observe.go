package wire

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/quota"
)

// Observer watches every request: it gives it an id, writes the access-log line, counts, and turns a panic into an error of the dialect.
type Observer struct {
	// Proxies are trusted to say who the client is, and to give requests their
	// ids. Set it before serving.
	Proxies Proxies
	// Site is what every answer tells browsers; nil: nothing. Set it before serving.
	Site *Site

	access   *AccessLog // nil: no access log
	log      *slog.Logger
	clock    func() time.Time
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	facts    sync.Pool
	ids      sync.Pool
}

// NewObserver registers its metrics with reg.
func NewObserver(access *AccessLog, log *slog.Logger, reg prometheus.Registerer, clock func() time.Time) *Observer {
	o := &Observer{access: access, log: log, clock: clock}
	o.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_http_requests_total", Help: "Requests answered, by method, route and status class.",
	}, []string{"method", "route", "class"})
	o.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "porchlight_http_request_seconds", Help: "Time to answer a request, by method and route.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"method", "route"})
	reg.MustRegister(o.requests, o.seconds)
	o.facts.New = func() any { return new(Facts) }
	o.ids.New = func() any {
		var seed [32]byte
		_, _ = rand.Read(seed[:]) // never fails
		return mrand.NewChaCha8(seed)
	}
	return o
}

// A meter is a route's metrics, looked up once.
type meter struct {
	method, route string
	classes       [6]prometheus.Counter // by status/100
	seconds       prometheus.Observer
}

func (o *Observer) meter(method, route string) *meter {
	m := &meter{method: method, route: route, seconds: o.seconds.WithLabelValues(method, route)}
	for class := range m.classes {
		m.classes[class] = o.requests.WithLabelValues(method, route, strconv.Itoa(class)+"xx")
	}
	return m
}

// Facts are what is known of a request when it has been answered. They are the
// response writer that handlers get.
type Facts struct {
	http.ResponseWriter
	requestID string
	client    Client
	status    int
	bytes     int64
	principal *auth.Principal
	err       error // what the handler returned

	connection Connection // nil: not known
}

// WriteHeader notes the status.
func (f *Facts) WriteHeader(status int) {
	if f.status == 0 || f.status < 200 {
		f.status = status
	}
	f.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (f *Facts) Write(b []byte) (int, error) {
	if f.status == 0 {
		f.status = http.StatusOK
	}
	n, err := f.ResponseWriter.Write(b)
	f.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (f *Facts) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// Hijack takes the connection over from net/http, without its deadlines. Status is
// what the access log shows; the caller writes the answer.
func Hijack(w http.ResponseWriter, status int) (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take over the connection: %w", err)
	}
	if f, ok := w.(*Facts); ok {
		f.status = status
	}
	return conn, rw, conn.SetDeadline(time.Time{})
}

// Note tells the access log whom a request acts for.
func Note(w http.ResponseWriter, p *auth.Principal) {
	if f, ok := w.(*Facts); ok {
		f.principal = p
		Authenticated(w)
	}
}

// RequestID is the id of the request that w answers: in its answer, its problem
// document and the logs.
func RequestID(w http.ResponseWriter) string {
	if f, ok := w.(*Facts); ok {
		return f.requestID
	}
	return ""
}

// run answers one request.
func (o *Observer) run(w http.ResponseWriter, r *http.Request, m *meter, d Dialect, h Handler) {
	start := o.clock()
	f, _ := o.facts.Get().(*Facts)
	*f = Facts{ResponseWriter: w, client: o.Proxies.Client(r), connection: connectionOf(r)}
	f.requestID = o.requestID(r)
	w.Header()[requestIDHeader] = []string{f.requestID}
	if a, ok := d.(Announcer); ok {
		a.Announce(w.Header(), f.requestID)
	}
	o.Site.announce(w.Header(), r, &f.client)

	broken := false                            // the answer had begun: it must not look whole
	if err := o.guarded(f, r, h); err != nil { //nolint:contextcheck // the handler has the one of r
		f.err = err
		if broken = f.status != 0; !broken {
			d.Fail(f, r, err)
		}
	}
	elapsed := o.clock().Sub(start)
	status := f.status
	switch {
	case broken:
		status = http.StatusInternalServerError
	case status == 0:
		status = http.StatusOK // net/http writes it when the handler returns
	}
	if f.err != nil && errors.Is(r.Context().Err(), context.Canceled) {
		status = 499 // the client has gone
	}
	m.classes[min(status/100, 5)].Inc()
	m.seconds.Observe(elapsed.Seconds())
	if status >= 500 && status != http.StatusInsufficientStorage && !overLimit(f.err) { // the store has said that, once
		o.log.ErrorContext(r.Context(), "request failed", slog.String("request_id", f.requestID),
			slog.String("method", m.method), slog.String("route", m.route), slog.Int("status", status), slog.Any("err", f.err))
	}
	o.access.write(f, r, m, start, elapsed, status)
	f.ResponseWriter, f.principal, f.err, f.connection = nil, nil, nil, nil
	o.facts.Put(f)
	if broken {
		panic(http.ErrAbortHandler)
	}
}

// overLimit reports whether a request was refused for a limit, which is counted and
// no failure: whoever makes many of them must not fill the log.
func overLimit(err error) bool {
	_, ok := errors.AsType[*quota.Error](err)
	return ok
}

// A PanicError is a defect of ours.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return "a handler panicked" }

func (o *Observer) guarded(f *Facts, r *http.Request, h Handler) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { //nolint:errorlint // v is what was panicked with, as net/http compares it
			panic(v)
		}
		failure := &PanicError{Value: v, Stack: debug.Stack()}
		o.log.ErrorContext(r.Context(), "panic", slog.Any("value", v), slog.String("stack", string(failure.Stack)))
		err = failure
	}()
	if err := f.admitted(); err != nil {
		return err
	}
	return h(f, r)
}

const hexDigits = "0123456789abcdef"

const (
	requestIDHeader = "X-Request-Id"
	maxRequestID    = 64 // bytes of one that a proxy gives
)

// requestID is the id that a trusted proxy gave to a request, so that its log and
// this server's agree, or a new one. What anybody else sends is ignored: ids in the
// log must not be a stranger's choice.
func (o *Observer) requestID(r *http.Request) string {
	given := r.Header[requestIDHeader]
	if len(given) == 1 && isRequestID(given[0]) && o.Proxies.Trusts(peerAddr(r)) {
		return given[0]
	}
	source, _ := o.ids.Get().(*mrand.ChaCha8)
	var random [8]byte
	binary.BigEndian.PutUint64(random[:], source.Uint64())
	o.ids.Put(source)
	return hex.EncodeToString(random[:])
}

// isRequestID reports whether text is short, and of letters, digits, "-", "_", "."
// and ":".
func isRequestID(text string) bool {
	return text != "" && len(text) <= maxRequestID && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.:", c)
	})
}
