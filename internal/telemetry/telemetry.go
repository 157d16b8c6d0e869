package telemetry

import (
	"context"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Options configure telemetry. The standard variables take precedence over
// Endpoint and Sample where both are given.
type Options struct {
	Endpoint string  // base URL of the collector; "": none
	Headers  string  // for the collector: NAME=VALUE in each line
	Sample   float64 // the share of requests to trace, of those that belong to no trace
	Version  string  // of the server
	// Getenv reads the variables OTEL_…; nil: there are none.
	Getenv  func(string) string
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Gatherer // what is sent as metrics
}

func (o *Options) endpoint() string {
	if at := o.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); at != "" {
		return at
	}
	return o.Endpoint
}

// signalVariable is a variable for one signal, or that for all of them.
func (o *Options) signalVariable(signal, name string) string {
	if value := o.Getenv("OTEL_EXPORTER_OTLP_" + signal + "_" + name); value != "" {
		return value
	}
	return o.Getenv("OTEL_EXPORTER_OTLP_" + name)
}

// sample is the share of requests to trace by the standard variables, or by Sample.
func (o *Options) sample() float64 {
	switch strings.TrimPrefix(o.Getenv("OTEL_TRACES_SAMPLER"), "parentbased_") {
	case "always_on":
		return 1
	case "always_off":
		return 0
	case "traceidratio":
		if share, err := strconv.ParseFloat(o.Getenv("OTEL_TRACES_SAMPLER_ARG"), 64); err == nil {
			return share
		}
		return 1 // the default of the standard
	}
	return o.Sample
}

// ignoresParents reports whether the sampler of the standard variables decides about a request
// whatever the caller has decided about its trace.
func (o *Options) ignoresParents() bool {
	switch o.Getenv("OTEL_TRACES_SAMPLER") {
	case "always_on", "always_off", "traceidratio":
		return true
	}
	return false
}

// number is a variable that is a number, or a default.
func (o *Options) number(name string, otherwise int) int {
	if n, err := strconv.Atoi(o.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// Telemetry sends traces and metrics. A nil Telemetry sends nothing.
type Telemetry struct {
	Tracer *Tracer // nil: no traces

	provider *sdk.TracerProvider
	spans    *spanQueue
	metrics  *metricSender
}

// New returns what the options ask for, or nil. Run sends.
func New(o Options) (*Telemetry, error) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	traces, err := newCollector(&o, "TRACES")
	if err != nil {
		return nil, err
	}
	metrics, err := newCollector(&o, "METRICS")
	if err != nil || traces == nil && metrics == nil {
		return nil, err
	}
	described, err := describe(&o)
	if err != nil {
		return nil, err
	}
	t := new(Telemetry)
	if traces != nil {
		t.spans = newSpanQueue(otlptrace.NewUnstarted(traces), &o)
		t.provider = sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithIDGenerator(ids{}),
			sdk.WithResource(described), sdk.WithSpanProcessor(t.spans))
		t.Tracer = newTracer(t.provider, o.sample(), o.Now)
		t.Tracer.alone = o.ignoresParents()
	}
	if metrics != nil {
		t.metrics = newMetricSender(metrics, described, &o)
	}
	return t, nil
}

// describe is the resource in OpenTelemetry's sense: what identifies this server.
func describe(o *Options) (*resource.Resource, error) {
	attributes := []attribute.KeyValue{attribute.String("service.name", "porchlight"), attribute.String("service.version", o.Version)}
	for pair := range strings.SplitSeq(o.Getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			value = strings.TrimSpace(value)
			if decoded, err := url.PathUnescape(value); err == nil {
				value = decoded
			}
			attributes = append(attributes, attribute.String(strings.TrimSpace(name), value))
		}
	}
	if name := o.Getenv("OTEL_SERVICE_NAME"); name != "" {
		attributes = append(attributes, attribute.String("service.name", name))
	}
	return resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithAttributes(attributes...))
}

// Run sends until ctx ends, and then what is left.
func (t *Telemetry) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if t.metrics != nil {
			t.metrics.run(ctx)
		}
	}()
	if t.spans != nil {
		t.spans.run(ctx)
	}
	<-done
	return nil
}

// Stats are the counters of the traces.
type Stats struct{ Sent, Failed, Dropped uint64 }

// Stats counts spans: those sent, those that could not be sent, and those that were
// dropped because the queue was full.
func (t *Telemetry) Stats() Stats {
	if t == nil || t.spans == nil {
		return Stats{}
	}
	return Stats{t.spans.sent.Load(), t.spans.failed.Load(), t.spans.dropped.Load()}
}
