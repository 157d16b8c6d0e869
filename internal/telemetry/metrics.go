package telemetry

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/sdk/resource"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// A metricSender sends the metrics of a registry at intervals: the same ones as /metrics,
// under the same names.
type metricSender struct {
	to       *collector
	from     prometheus.Gatherer
	log      *slog.Logger
	now      func() time.Time
	begin    uint64
	resource *resourcepb.Resource
	interval time.Duration
	failing  bool
}

const defaultInterval = 60_000 // ms

func newMetricSender(to *collector, described *resource.Resource, o *Options) *metricSender {
	s := &metricSender{
		to: to, from: o.Metrics, log: o.Log, now: o.Now, begin: nanos(o.Now()), resource: new(resourcepb.Resource),
		interval: time.Duration(o.number("OTEL_METRIC_EXPORT_INTERVAL", defaultInterval)) * time.Millisecond,
	}
	for _, a := range described.Attributes() {
		s.resource.Attributes = append(s.resource.Attributes, attributeOf(string(a.Key), a.Value.String()))
	}
	return s
}

// run sends until ctx ends, and then once more.
func (s *metricSender) run(ctx context.Context) {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.send(ctx)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTimeout)
			defer cancel()
			s.send(ctx)
			s.to.client.CloseIdleConnections()
			return
		}
	}
}

func (s *metricSender) send(ctx context.Context) {
	families, err := s.from.Gather() // after an error, it has what could be read
	if len(families) > 0 {
		err = s.to.send(ctx, s.message(families))
	}
	if (err != nil) != s.failing {
		logChange(ctx, s.log, "metrics", err)
	}
	s.failing = err != nil
}

func (s *metricSender) message(families []*dto.MetricFamily) *metricpb.MetricsData {
	now := nanos(s.now())
	all := make([]*metricpb.Metric, 0, len(families))
	for _, f := range families {
		all = append(all, s.metric(f, now))
	}
	scope := &metricpb.ScopeMetrics{Scope: &common.InstrumentationScope{Name: "porchlight"}, Metrics: all}
	return &metricpb.MetricsData{ResourceMetrics: []*metricpb.ResourceMetrics{{Resource: s.resource, ScopeMetrics: []*metricpb.ScopeMetrics{scope}}}}
}

// metric is a family in OTLP's form. All sums are cumulative.
func (s *metricSender) metric(f *dto.MetricFamily, now uint64) *metricpb.Metric {
	m := &metricpb.Metric{Name: f.GetName(), Description: f.GetHelp()}
	const cumulative = metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	switch f.GetType() {
	case dto.MetricType_COUNTER:
		sum := &metricpb.Sum{AggregationTemporality: cumulative, IsMonotonic: true}
		for _, each := range f.GetMetric() {
			sum.DataPoints = append(sum.DataPoints, s.number(each, each.GetCounter().GetValue(), now))
		}
		m.Data = &metricpb.Metric_Sum{Sum: sum}
	case dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM:
		all := &metricpb.Histogram{AggregationTemporality: cumulative}
		for _, each := range f.GetMetric() {
			all.DataPoints = append(all.DataPoints, s.histogram(each, now))
		}
		m.Data = &metricpb.Metric_Histogram{Histogram: all}
	case dto.MetricType_SUMMARY:
		all := new(metricpb.Summary)
		for _, each := range f.GetMetric() {
			all.DataPoints = append(all.DataPoints, s.summary(each, now))
		}
		m.Data = &metricpb.Metric_Summary{Summary: all}
	case dto.MetricType_GAUGE, dto.MetricType_UNTYPED:
		all := new(metricpb.Gauge)
		for _, each := range f.GetMetric() {
			all.DataPoints = append(all.DataPoints, s.number(each, each.GetGauge().GetValue()+each.GetUntyped().GetValue(), now))
		}
		m.Data = &metricpb.Metric_Gauge{Gauge: all}
	}
	return m
}

func (s *metricSender) number(m *dto.Metric, value float64, now uint64) *metricpb.NumberDataPoint {
	return &metricpb.NumberDataPoint{
		Attributes: attributesOf(m), StartTimeUnixNano: s.begin, TimeUnixNano: now, Value: &metricpb.NumberDataPoint_AsDouble{AsDouble: value},
	}
}

func (s *metricSender) histogram(m *dto.Metric, now uint64) *metricpb.HistogramDataPoint {
	h := m.GetHistogram()
	sum := h.GetSampleSum()
	p := &metricpb.HistogramDataPoint{Attributes: attributesOf(m), StartTimeUnixNano: s.begin, TimeUnixNano: now, Count: h.GetSampleCount(), Sum: &sum}
	below := uint64(0)
	for _, b := range h.GetBucket() {
		if math.IsInf(b.GetUpperBound(), 1) {
			continue
		}
		p.ExplicitBounds = append(p.ExplicitBounds, b.GetUpperBound())
		p.BucketCounts = append(p.BucketCounts, b.GetCumulativeCount()-below)
		below = b.GetCumulativeCount()
	}
	p.BucketCounts = append(p.BucketCounts, h.GetSampleCount()-below)
	return p
}

func (s *metricSender) summary(m *dto.Metric, now uint64) *metricpb.SummaryDataPoint {
	p := &metricpb.SummaryDataPoint{
		Attributes: attributesOf(m), StartTimeUnixNano: s.begin, TimeUnixNano: now, Count: m.GetSummary().GetSampleCount(), Sum: m.GetSummary().GetSampleSum(),
	}
	for _, q := range m.GetSummary().GetQuantile() {
		p.QuantileValues = append(p.QuantileValues, &metricpb.SummaryDataPoint_ValueAtQuantile{Quantile: q.GetQuantile(), Value: q.GetValue()})
	}
	return p
}

func attributesOf(m *dto.Metric) []*common.KeyValue {
	all := make([]*common.KeyValue, 0, len(m.GetLabel()))
	for _, label := range m.GetLabel() {
		all = append(all, attributeOf(label.GetName(), label.GetValue()))
	}
	return all
}

func attributeOf(name, value string) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
