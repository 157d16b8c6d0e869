package server_test

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"porchlight.dev/porchlight/internal/server"
)

// A telemetryCollector is an OpenTelemetry collector that keeps what it is sent.
type telemetryCollector struct {
	*httptest.Server

	mu      sync.Mutex
	raw     []byte
	spans   []*tracepb.Span
	metrics map[string]*metricpb.Metric
	headers http.Header
}

func newTelemetryCollector(t *testing.T) *telemetryCollector {
	t.Helper()
	c := &telemetryCollector{metrics: make(map[string]*metricpb.Metric)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the server stops, and sends again what it has not sent
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw, c.headers = append(c.raw, body...), r.Header
		var traces tracepb.TracesData
		var metrics metricpb.MetricsData
		switch r.URL.Path {
		case "/v1/traces":
			err = proto.Unmarshal(body, &traces)
		case "/v1/metrics":
			err = proto.Unmarshal(body, &metrics)
		default:
			t.Errorf("sent to %s", r.URL.Path)
		}
		if err != nil {
			t.Error(err)
		}
		for _, resource := range traces.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
		for _, resource := range metrics.GetResourceMetrics() {
			for _, m := range resource.GetScopeMetrics()[0].GetMetrics() {
				c.metrics[m.GetName()] = m
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// trace is the spans of a trace as lines: the path of names from the root, and the names of
// the attributes.
func (c *telemetryCollector) trace(id string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	byID := make(map[string]*tracepb.Span)
	for _, s := range c.spans {
		byID[string(s.GetSpanId())] = s
	}
	var lines []string
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) != id {
			continue
		}
		path := s.GetName()
		for at := byID[string(s.GetParentSpanId())]; at != nil; at = byID[string(at.GetParentSpanId())] {
			path = at.GetName() + " > " + path
		}
		names := make(map[string]bool)
		for _, a := range s.GetAttributes() {
			names[a.GetKey()] = true
		}
		lines = append(lines, path+" ["+strings.Join(slices.Sorted(maps.Keys(names)), " ")+"]")
	}
	slices.Sort(lines)
	return lines
}

const sampledTrace = "0123456789abcdef0123456789abcdef"

// TestTraces: a PUT in a sampled trace is traced in its stages, on the fast path and on the
// general one, with the delivery to streams and the webhook that follow. One in a trace
// that is not sampled is not. Nothing that is sent names a user or has a secret.
func TestTraces(t *testing.T) {
	for name, fast := range map[string]bool{"fast path": true, "general path": false} {
		t.Run(name, func(t *testing.T) { testTraces(t, fast) })
	}
}

func testTraces(t *testing.T, fast bool) {
	received := make(chan http.Header, 16)
	const secret = "the-secret-of-the-test"
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event struct {
			Event   string
			Payload struct{ PlainToken string }
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			t.Error(err)
		}
		if event.Event == "endpoint.url_validation" {
			_ = json.NewEncoder(w).Encode(map[string]string{
				"plainToken": event.Payload.PlainToken, "encryptedToken": keyed(secret, event.Payload.PlainToken),
			})
			return
		}
		received <- r.Header
	}))
	defer endpoint.Close()
	collector := newTelemetryCollector(t)
	cfg := settings(t)
	cfg.FastPath, cfg.WebhookAllow, cfg.SignedInRule = fast, "127.0.0.0/8", "off"
	cfg.OTLPEndpoint, cfg.TraceSample = collector.URL, "0"
	r := start(t, cfg, server.Options{Getenv: func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "x-key=of%20the%20test", "OTEL_METRIC_EXPORT_INTERVAL": "100"}[name]
	}})
	put := func(status string, parent ...string) {
		t.Helper()
		headers := []string{"Authorization", "Bearer " + r.made.AccessToken, "Content-Type", "application/json"}
		for _, p := range parent {
			headers = append(headers, "Traceparent", p, "Tracestate", "vendor=of-the-test")
		}
		response, answer := r.roundTrip(t, "PUT", "/v2/users/"+r.made.OwnerID+"/presence_status", `{"status":"`+status+`"}`, headers...)
		if response.StatusCode != http.StatusNoContent {
			t.Fatalf("%d %s", response.StatusCode, answer)
		}
	}
	put("Away") // the first one reads the directory
	status, answer := r.subscribe(t, `{"url":"`+endpoint.URL+`/path-secret","form":"zoom","secret":"`+secret+`","events":["user.presence_status_updated"]}`)
	if status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	put("Out_of_Office", "00-"+sampledTrace+"-0123456789abcdef-01")
	var header http.Header
	// The first PUT's event precedes it if the subscription was made in the same millisecond.
	for late := time.After(waitLimit); !strings.HasSuffix(header.Get("Traceparent"), "-01"); {
		select {
		case header = <-received:
		case <-late:
			t.Fatalf("no event of a sampled trace arrived; the last one had the headers %v", header)
		}
	}
	const other = "fedcba9876543210fedcba9876543210"
	put("Away", "00-"+other+"-0123456789abcdef-00")
	put("Out_of_Office")
	eventually(t, "the attempt is counted", func() bool { return r.metric(t, "porchlight_webhook_accepted_total") != "0" })
	if answered := r.metric(t, "porchlight_fast_path_answered_total"); fast && answered != "4" {
		t.Errorf("%s requests on the fast path", answered)
	}
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	checkTraces(t, collector, header)
	if n := len(collector.trace(other)); n != 0 {
		t.Errorf("%d spans of a trace that is not sampled", n)
	}
	for _, private := range []string{r.made.OwnerID, r.made.AccessToken, r.made.ClientSecret, r.made.AccountID, secret, "path-secret", "ada@example.com", "Okafor"} {
		if strings.Contains(string(collector.raw), private) {
			t.Errorf("%q was sent", private)
		}
	}
	if collector.headers.Get("X-Key") != "of the test" {
		t.Errorf("headers %v", collector.headers)
	}
	requests := collector.metrics["porchlight_http_requests_total"]
	if !requests.GetSum().GetIsMonotonic() || len(requests.GetSum().GetDataPoints()) == 0 || collector.metrics["porchlight_http_request_seconds"].GetHistogram() == nil {
		t.Errorf("metrics: %v", requests)
	}
}

// checkTraces checks the trace of a PUT, and that of the webhook with a header.
func checkTraces(t *testing.T, c *telemetryCollector, header http.Header) {
	t.Helper()
	const root = "PUT /v2/users/{userId}/presence_status"
	want := []string{
		root + " > authenticate []",
		root + " > publish > commit []",
		root + " > publish > decide []",
		root + " > publish > deliver to streams [porchlight.streams]",
		root + " > publish > queue []",
		root + " > publish [porchlight.decisions]",
		root + " > respond []",
		root + " [http.request.method http.response.status_code http.route porchlight.request_id]",
	}
	if got := c.trace(sampledTrace); !slices.Equal(got, want) {
		t.Errorf("the trace has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == sampledTrace && s.GetTraceState() != "vendor=of-the-test" {
			t.Errorf("the span %q has the tracestate %q", s.GetName(), s.GetTraceState())
		}
	}
	parts := strings.Split(header.Get("Traceparent"), "-")
	if len(parts) != 4 || parts[3] != "01" {
		t.Fatalf("the webhook has the traceparent %q", header.Get("Traceparent"))
	}
	attempt := []string{"webhook attempt [http.request.method http.response.status_code porchlight.attempt porchlight.event.type]"}
	if got := c.trace(parts[1]); !slices.Equal(got, attempt) {
		t.Errorf("the trace of the webhook has %v", got)
	}
	for _, s := range c.spans {
		if s.GetName() == "webhook attempt" && hex.EncodeToString(s.GetSpanId()) == parts[2] &&
			(len(s.GetLinks()) != 1 || hex.EncodeToString(s.GetLinks()[0].GetTraceId()) != sampledTrace) {
			t.Errorf("the attempt has the links %v", s.GetLinks())
		}
	}
}

// TestCollectorDown: a collector that does not answer delays no request, and spans that do
// not fit into the queue are counted.
func TestCollectorDown(t *testing.T) {
	hangs := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-hangs:
		case <-r.Context().Done():
		}
	}))
	defer stuck.Close()
	defer close(hangs)
	cfg := settings(t)
	cfg.OTLPEndpoint, cfg.TraceSample = stuck.URL, "1"
	r := start(t, cfg, server.Options{Getenv: func(name string) string {
		return map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5"}[name]
	}})
	for range 50 {
		if _, err := r.client.Me(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.metric(t, "porchlight_trace_spans_dropped_total"); n == "0" || n == "" {
		t.Errorf("%q spans dropped", n)
	}
}
