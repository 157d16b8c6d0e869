package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// A Span is a stage of a request that is traced. All methods do nothing for a nil Span,
// which stands for a request that is not.
type Span struct {
	tracer *Tracer
	span   trace.Span
}

// Child begins a stage of s.
func (s *Span) Child(name string) *Span {
	if s == nil {
		return nil
	}
	return s.ChildAt(name, s.tracer.now())
}

// ChildAt is Child for a stage that began at a time.
func (s *Span) ChildAt(name string, begin time.Time) *Span {
	if s == nil {
		return nil
	}
	_, span := s.tracer.tracer.Start(trace.ContextWithSpan(context.Background(), s.span), name, trace.WithTimestamp(begin))
	return &Span{s.tracer, span}
}

// Stage adds a stage of s that has ended.
func (s *Span) Stage(name string, begin, end time.Time) {
	if s != nil {
		s.ChildAt(name, begin).EndAt(end)
	}
}

// Text sets an attribute.
func (s *Span) Text(name, value string) {
	if s != nil {
		s.span.SetAttributes(attribute.String(name, value))
	}
}

// Number sets an attribute.
func (s *Span) Number(name string, value int) {
	if s != nil {
		s.span.SetAttributes(attribute.Int(name, value))
	}
}

// Fail marks the span as failed. why is one of a few words: it is sent.
func (s *Span) Fail(why string) {
	if s != nil {
		s.span.SetStatus(codes.Error, why)
	}
}

// End ends the span.
func (s *Span) End() {
	if s != nil {
		s.EndAt(s.tracer.now())
	}
}

// EndAt ends the span at a time.
func (s *Span) EndAt(end time.Time) {
	if s != nil {
		s.span.End(trace.WithTimestamp(end))
	}
}

// Parent returns the value of the header traceparent for a request that is made in the span.
func (s *Span) Parent() string {
	c := s.span.SpanContext()
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-01"
}

type spanKey struct{}

// With returns a context with the span.
func With(ctx context.Context, s *Span) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, spanKey{}, s)
}

// From is the span of a context, or nil.
func From(ctx context.Context) *Span {
	s, _ := ctx.Value(spanKey{}).(*Span)
	return s
}
