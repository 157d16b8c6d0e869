package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// A spanQueue sends spans in batches. It is the library's batch processor with counters:
// that one drops spans without counting them.
type spanQueue struct {
	to      sdk.SpanExporter
	log     *slog.Logger
	queue   chan sdk.ReadOnlySpan
	batch   int
	delay   time.Duration
	failing bool // the last batch was not sent; only run uses it

	sent, failed, dropped atomic.Uint64
}

// finalTimeout bounds the sending of what is left at the end.
const finalTimeout = 2 * time.Second

func newSpanQueue(to sdk.SpanExporter, o *Options) *spanQueue {
	return &spanQueue{
		to: to, log: o.Log,
		queue: make(chan sdk.ReadOnlySpan, o.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)),
		batch: o.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
		delay: time.Duration(o.number("OTEL_BSP_SCHEDULE_DELAY", 5000)) * time.Millisecond,
	}
}

// OnStart implements sdk.SpanProcessor.
func (*spanQueue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor. It never waits.
func (q *spanQueue) OnEnd(s sdk.ReadOnlySpan) {
	select {
	case q.queue <- s:
	default:
		q.dropped.Add(1)
	}
}

// Shutdown implements sdk.SpanProcessor: run ends with its context.
func (*spanQueue) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdk.SpanProcessor.
func (*spanQueue) ForceFlush(context.Context) error { return nil }

// run sends until ctx ends, and then what is left.
func (q *spanQueue) run(ctx context.Context) {
	spans := make([]sdk.ReadOnlySpan, 0, q.batch)
	ticker := time.NewTicker(q.delay)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case s := <-q.queue:
			if spans = append(spans, s); len(spans) < q.batch {
				continue
			}
		case <-ticker.C:
		case <-ctx.Done():
		}
		if ctx.Err() == nil && q.send(ctx, spans) {
			clear(spans)
			spans = spans[:0]
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTimeout)
	defer cancel()
	for len(q.queue) > 0 {
		spans = append(spans, <-q.queue)
	}
	q.send(ctx, spans)
	_ = q.to.Shutdown(ctx) // closes connections
}

// send sends spans, and reports whether they are done with: they are not if the server stopped
// meanwhile.
func (q *spanQueue) send(ctx context.Context, spans []sdk.ReadOnlySpan) (done bool) {
	if len(spans) == 0 {
		return true
	}
	switch err := q.to.ExportSpans(ctx, spans); {
	case err == nil:
		q.sent.Add(uint64(len(spans)))
		q.note(ctx, nil)
	case errors.Is(ctx.Err(), context.Canceled):
		return false
	default:
		q.failed.Add(uint64(len(spans)))
		q.note(ctx, err)
	}
	return true
}

// note logs whether spans are sent, if that has changed.
func (q *spanQueue) note(ctx context.Context, err error) {
	if (err != nil) != q.failing {
		logChange(ctx, q.log, "traces", err)
	}
	q.failing = err != nil
}

// logChange logs that sending begins to fail, or works again.
func logChange(ctx context.Context, log *slog.Logger, what string, err error) {
	if err != nil {
		log.WarnContext(ctx, "telemetry export failed; check the collector and otlp-endpoint", slog.String("signal", what), slog.Any("err", err))
		return
	}
	log.InfoContext(ctx, "telemetry export works again", slog.String("signal", what))
}
