package server

import (
	"fmt"
	"os"

	"porchlight.dev/porchlight/internal/telemetry"
)

// newTelemetry builds what sends traces and metrics, if the settings or the standard
// variables name a collector.
func (s *Server) newTelemetry() error {
	headers := ""
	if file := s.config.OTLPHeadersFile; file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("otlp-headers-file %s cannot be read: %w", file, err)
		}
		headers = string(text)
	}
	made, err := telemetry.New(telemetry.Options{
		Endpoint: s.config.OTLPEndpoint, Headers: headers, Sample: s.config.TraceShare(), Version: Version(), Getenv: s.opts.Getenv,
		Now: s.opts.Clock, Log: s.log, Metrics: s.metrics,
	})
	if err != nil {
		return fmt.Errorf("telemetry cannot be sent: %w; correct otlp-endpoint, otlp-headers-file or the variable", err)
	}
	s.telemetry = made
	s.metrics.MustRegister(newTelemetryCollector(made.Stats))
	return nil
}

// tracer traces requests; nil: none.
func (s *Server) tracer() *telemetry.Tracer {
	if s.telemetry == nil {
		return nil
	}
	return s.telemetry.Tracer
}

func newTelemetryCollector(from func() telemetry.Stats) *collector[telemetry.Stats] {
	c := collect("porchlight_trace_spans_", from)
	c.counter("sent_total", "Spans that the collector accepted.", func(s *telemetry.Stats) float64 { return float64(s.Sent) })
	c.counter("failed_total", "Spans that could not be sent.", func(s *telemetry.Stats) float64 { return float64(s.Failed) })
	c.counter("dropped_total", "Spans dropped because the queue was full.", func(s *telemetry.Stats) float64 { return float64(s.Dropped) })
	return c
}
