package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/overload"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/telemetry"
)

// Observer wraps every request: it assigns an id, writes the access log, counts, and
// turns a panic into an error of the dialect.
type Observer struct {
	// Proxies are trusted for the client's address and the request's id. Set it before
	// serving.
	Proxies Proxies
	// Site sets the response headers for browsers; nil: none. Set it before serving.
	Site *Site
	// Audit takes denied requests; nil: they are not recorded. Set it before serving.
	Audit audit.Repeater
	// Tracer traces requests; nil: none. Set it before serving.
	Tracer *telemetry.Tracer
	// Gate refuses requests while the server is overloaded; nil: never. Set it before serving.
	Gate *overload.Gate

	access   *AccessLog // nil: no access log
	log      *slog.Logger
	clock    func() time.Time
	failures failureRuns
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

// A Meter has a route's metrics, looked up once.
type Meter struct {
	method, route string
	name          string                // of spans
	classes       [6]prometheus.Counter // by status/100
	seconds       prometheus.Observer
}

// Meter returns the metrics of a route.
func (o *Observer) Meter(method, route string) *Meter {
	m := &Meter{method: method, route: route, name: method + " " + route, seconds: o.seconds.WithLabelValues(method, route)}
	for class := range m.classes {
		m.classes[class] = o.requests.WithLabelValues(method, route, strconv.Itoa(class)+"xx")
	}
	return m
}

// Facts collects the facts of a request for the access log and the metrics. It is the
// response writer that handlers get.
type Facts struct {
	http.ResponseWriter // nil: the request is answered outside net/http

	start     time.Time
	method    string
	path      []byte
	remote    string // the address of the connection's other end
	requestID string
	client    Client
	status    int
	bytes     int64
	principal *auth.Principal
	err       error  // what the handler returned
	clientID  string // that could not be authenticated
	code      string // of the error, in the dialect's terms

	connection Connection // nil: unknown
	admission  overload.Request
	awaiting   time.Duration // its body, if it was admitted as an update
	proxied    bool          // the connection is a trusted proxy's, which has requests of many clients

	span       *telemetry.Span // nil: the request is not traced
	responding time.Time       // when the response began, if it is traced
}

// WriteHeader records the status.
func (f *Facts) WriteHeader(status int) {
	if f.status == 0 || f.status < 200 {
		f.status = status
	}
	f.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
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
	if framed, ok := conn.(interface{ Release() (net.Conn, []byte) }); ok {
		var early []byte
		conn, early = framed.Release()
		rw.Reader = unread(rw.Reader, early, conn)
	}
	return conn, rw, conn.SetDeadline(time.Time{})
}

// unread returns a reader of conn that has buffered what r has, and then early.
func unread(r *bufio.Reader, early []byte, conn net.Conn) *bufio.Reader {
	buffered, _ := r.Peek(r.Buffered()) // does not read
	early = append(bytes.Clone(buffered), early...)
	r = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), conn), len(early))
	_, _ = r.Peek(len(early)) // likewise
	return r
}

// RecordPrincipal records who a request acts for, for the access log.
func RecordPrincipal(w http.ResponseWriter, p *auth.Principal) {
	if f, ok := w.(*Facts); ok {
		f.SetPrincipal(p)
	}
}

// RecordCode records the code of the error in a response, in the dialect's terms, for the
// access log.
func RecordCode(w http.ResponseWriter, code string) {
	if f, ok := w.(*Facts); ok {
		f.SetCode(code)
	}
}

// RequestID is the id of the request that w answers, as in the response's headers, its
// problem document and the logs.
func RequestID(w http.ResponseWriter) string {
	if f, ok := w.(*Facts); ok {
		return f.requestID
	}
	return ""
}

// Headers of every response that does not replace them: no cache keeps it, and no browser
// guesses its type. They are shared and must not be changed.
var noStore, noSniff = []string{"no-store"}, []string{"nosniff"}

// appendPath appends the path of a request for the access log: the pattern of the route in its
// place, if a part of the path is a secret.
func appendPath(b []byte, r *http.Request) []byte {
	if r.PathValue("secret") != "" {
		return append(b, r.Pattern...)
	}
	return append(b, r.URL.Path...)
}

// run answers one request.
func (o *Observer) run(w http.ResponseWriter, r *http.Request, m *Meter, d Dialect, serve Handler) {
	f, _ := o.facts.Get().(*Facts)
	*f = Facts{ResponseWriter: w, method: r.Method, path: appendPath(f.path[:0], r), remote: r.RemoteAddr, connection: connectionOf(r)}
	peer := Peer(r.RemoteAddr, r.TLS != nil, r.Host)
	o.identify(f, peer, o.Proxies.forwarded(peer.Addr, r.Header))
	if f.trace(o, m, r.Header["Traceparent"], r.Header["Tracestate"]); f.span != nil {
		r = r.WithContext(telemetry.With(r.Context(), f.span))
	}
	h := w.Header()
	h[requestIDHeader] = []string{f.requestID}
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, noSniff
	if a, ok := d.(Announcer); ok {
		a.Announce(h, f.requestID)
	}
	o.Site.announce(h, r, &f.client)

	broken := false               // the response had begun: it must not look complete
	err := o.guarded(f, r, serve) //nolint:contextcheck // the handler has the one of r
	o.Responding(f)
	if err != nil {
		f.err = err
		o.logFailure(r.Context(), f)
		if broken = f.status != 0; !broken {
			d.Fail(f, r, err)
		}
	}
	if f.err != nil {
		o.recordDenial(f, m)
	}
	status := f.status
	switch {
	case broken:
		status = http.StatusInternalServerError
	case status == 0:
		status = http.StatusOK // net/http writes it when the handler returns
	}
	if f.err != nil && errors.Is(r.Context().Err(), context.Canceled) {
		status = 499 // the client has disconnected
	}
	o.record(r.Context(), f, m, status)
	f.ResponseWriter, f.principal, f.err, f.connection, f.span = nil, nil, nil, nil, nil
	o.facts.Put(f)
	if broken {
		panic(http.ErrAbortHandler)
	}
}

// identify records when a request came, from whom, and its id. by is what the peer
// reports; nil: the peer is not a trusted proxy.
func (o *Observer) identify(f *Facts, peer Client, by *Forwarded) {
	f.start, f.client, f.proxied = o.clock(), peer, by != nil
	if by != nil {
		o.Proxies.follow(&f.client, by)
	}
	f.requestID = o.requestID(by)
}

// record counts and logs an answered request.
func (o *Observer) record(ctx context.Context, f *Facts, m *Meter, status int) {
	elapsed := o.clock().Sub(f.start)
	f.endSpan(m, status, elapsed)
	o.leave(f, elapsed, status < http.StatusMultipleChoices)
	m.classes[min(status/100, 5)].Inc()
	m.seconds.Observe(elapsed.Seconds())
	ordinary := status < 500 || status == http.StatusNotImplemented || status == http.StatusInsufficientStorage // the store logs a full disk once
	if !ordinary && !overLimit(f.err) {
		o.log.ErrorContext(ctx, "request failed", slog.String("request_id", f.requestID),
			slog.String("method", m.method), slog.String("route", m.route), slog.Int("status", status), slog.Any("err", f.err))
	}
	o.access.write(f, m, elapsed, status)
}

// overLimit reports whether a request was refused because of a limit. Such a refusal is
// counted and not logged, so that a client cannot fill the log.
func overLimit(err error) bool {
	_, ok := errors.AsType[*quota.Error](err)
	return ok
}

// A PanicError is a panic of a handler.
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
			o.Leave(f) // nothing records the request
			panic(v)
		}
		err = o.panicked(r.Context(), v)
	}()
	if err := f.admitted(); err != nil {
		return err
	}
	if err := o.admit(f, r); err != nil {
		return err
	}
	return h(f, r)
}

// panicked logs a panic with the stack of the goroutine, and returns it as an error.
func (o *Observer) panicked(ctx context.Context, v any) error {
	failure := &PanicError{Value: v, Stack: debug.Stack()}
	o.log.ErrorContext(ctx, "panic", slog.Any("value", v), slog.String("stack", string(failure.Stack)))
	return failure
}

const hexDigits = "0123456789abcdef"

const (
	requestIDHeader = "X-Request-Id"
	maxRequestID    = 64 // bytes of a proxy's id
)

// requestID is the id that a trusted proxy assigned, so that its log and this server's
// agree, or a new one. Ids from anybody else are ignored, so that clients cannot choose
// the ids in the log.
func (o *Observer) requestID(by *Forwarded) string {
	if by != nil && len(by.RequestID) == 1 && isRequestID(by.RequestID[0]) {
		return by.RequestID[0]
	}
	source, _ := o.ids.Get().(*mrand.ChaCha8)
	var random [8]byte
	binary.BigEndian.PutUint64(random[:], source.Uint64())
	o.ids.Put(source)
	var text [2 * len(random)]byte
	hex.Encode(text[:], random[:])
	return string(text[:])
}

// isRequestID reports whether text is short and consists of letters, digits, "-", "_",
// "." and ":".
func isRequestID(text string) bool {
	return text != "" && len(text) <= maxRequestID && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.:", c)
	})
}
