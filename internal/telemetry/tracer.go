package telemetry

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"porchlight.dev/porchlight/internal/quota"
)

// A Tracer begins the spans of requests. A nil Tracer traces none.
type Tracer struct {
	tracer trace.Tracer
	now    func() time.Time
	sample float64 // of the requests that belong to no trace
	alone  bool    // decides about those that belong to one in the same way

	mu     sync.Mutex
	forced quota.Bucket
	links  links
}

// They bound the requests that are traced because their header says so: anybody can send it,
// even without a token.
const (
	mostForced   = 20
	forcedWithin = 2 * time.Second
)

func newTracer(provider *sdk.TracerProvider, sample float64, now func() time.Time) *Tracer {
	return &Tracer{tracer: provider.Tracer("porchlight"), now: now, sample: sample}
}

// mayForce reports whether one more request may be traced for its header.
func (t *Tracer) mayForce(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, wait := t.forced.Take(1, mostForced, forcedWithin, now)
	return wait == 0
}

// Serve begins the span of a request that the server answers. parent is its header
// traceparent, "" without one: a request of a trace is traced if the trace is sampled, unless
// there are too many, and of the others some are. states are its headers tracestate, which
// the spans of the request carry on.
func (t *Tracer) Serve(name, parent string, states []string, begin time.Time) *Span {
	if t == nil {
		return nil
	}
	ctx := context.Background()
	switch from, ok := parseParent(parent); {
	case ok && !from.IsSampled() && !t.alone:
		return nil
	case rand.Float64() >= t.sample && (!ok || t.alone || !t.mayForce(begin)): //nolint:gosec // no secret
		return nil
	case ok:
		ctx = trace.ContextWithRemoteSpanContext(ctx, withState(from, states))
	}
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(begin), trace.WithSpanKind(trace.SpanKindServer))
	return &Span{t, span}
}

// Follow begins a span for work that a commit led to, in the trace of the request that made
// the commit. It is nil if that request was not traced, or too long ago.
func (t *Tracer) Follow(name string, c Commit) *Span {
	from := t.commit(c)
	if !from.IsValid() {
		return nil
	}
	_, span := t.tracer.Start(trace.ContextWithSpanContext(context.Background(), from), name, trace.WithTimestamp(t.now()))
	return &Span{t, span}
}

// Call begins the span of a request that the server makes because of a commit. It has a
// trace of its own, whose id is given, with a link to the request that made the commit: the
// calls may go on for days. It is traced if that request was, and of the others some are.
func (t *Tracer) Call(name string, id [16]byte, c Commit) *Span {
	if t == nil {
		return nil
	}
	from := t.commit(c)
	if !from.IsValid() && rand.Float64() >= t.sample { //nolint:gosec // no secret
		return nil
	}
	options := []trace.SpanStartOption{trace.WithTimestamp(t.now()), trace.WithSpanKind(trace.SpanKindClient), trace.WithNewRoot()}
	if from.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: from}))
	}
	_, span := t.tracer.Start(context.WithValue(context.Background(), traceIDKey{}, trace.TraceID(id)), name, options...)
	return &Span{t, span}
}

func (t *Tracer) commit(c Commit) trace.SpanContext {
	if t == nil {
		return trace.SpanContext{}
	}
	return t.links.find(c)
}

type traceIDKey struct{}

// ids assigns the ids of spans. A context may bring that of a new trace.
type ids struct{}

// NewIDs implements sdk.IDGenerator.
func (g ids) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	id, _ = ctx.Value(traceIDKey{}).(trace.TraceID)
	for !id.IsValid() {
		putRandom(id[:8])
		putRandom(id[8:])
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		putRandom(id[:])
	}
	return id
}

func putRandom(b []byte) {
	random := rand.Uint64() //nolint:gosec // no secret
	for i := range b {
		b[i] = byte(random >> (8 * i))
	}
}

// parseParent reads a header traceparent by W3C Trace Context. A header that is malformed
// counts as none.
func parseParent(text string) (trace.SpanContext, bool) {
	const length = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	if len(text) < length || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return trace.SpanContext{}, false
	}
	if len(text) > length && (text[:2] == "00" || text[length] != '-') {
		return trace.SpanContext{}, false
	}
	var version, flags [1]byte
	var c trace.SpanContextConfig
	c.Remote = true
	for _, part := range []struct {
		to   []byte
		text string
	}{{version[:], text[:2]}, {c.TraceID[:], text[3:35]}, {c.SpanID[:], text[36:52]}, {flags[:], text[53:55]}} {
		if !lowerHex(part.text) {
			return trace.SpanContext{}, false
		}
		_, _ = hex.Decode(part.to, []byte(part.text)) // it is hexadecimal
	}
	c.TraceFlags = trace.TraceFlags(flags[0]) & trace.FlagsSampled
	from := trace.NewSpanContext(c)
	return from, from.IsValid() && version[0] != 0xff
}

// withState adds the header tracestate. One that is malformed counts as none, and does not
// make the parent invalid.
func withState(from trace.SpanContext, states []string) trace.SpanContext {
	if len(states) == 0 {
		return from
	}
	state, err := trace.ParseTraceState(strings.Join(states, ","))
	if err != nil {
		return from
	}
	return from.WithTraceState(state)
}

func lowerHex(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
