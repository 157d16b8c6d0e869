package telemetry_test

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"porchlight.dev/porchlight/internal/telemetry"
)

const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func newTelemetry(t *testing.T, o telemetry.Options) *telemetry.Telemetry {
	t.Helper()
	o.Now, o.Log = time.Now, slog.New(slog.DiscardHandler)
	if o.Endpoint == "" {
		o.Endpoint = "http://127.0.0.1:1"
	}
	made, err := telemetry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestForcedTraces: a header alone has few requests traced, and none that the share would not.
func TestForcedTraces(t *testing.T) {
	begin := time.Now()
	for _, c := range []struct {
		sample float64
		parent string
		want   [2]int // of 1000 at once, and of as many a second later
	}{
		{0, sampled, [2]int{20, 10}},
		{1, sampled, [2]int{1000, 1000}},
		{0, sampled[:len(sampled)-1] + "0", [2]int{0, 0}},
		{0, "", [2]int{0, 0}},
		{1, "", [2]int{1000, 1000}},
	} {
		tracer := newTelemetry(t, telemetry.Options{Sample: c.sample}).Tracer
		var got [2]int
		for second := range got {
			for range 1000 {
				if tracer.Serve("GET", c.parent, nil, begin.Add(time.Duration(second)*time.Second)) != nil {
					got[second]++
				}
			}
		}
		if got != c.want {
			t.Errorf("share %v, traceparent %q: %v requests traced, want %v", c.sample, c.parent, got, c.want)
		}
	}
}

// TestSamplers: with a sampler of OpenTelemetry that does not begin with parentbased_, the
// decision of the caller does not count.
func TestSamplers(t *testing.T) {
	unsampled := sampled[:len(sampled)-1] + "0"
	for _, c := range []struct {
		sampler string
		want    [3]bool // traced: without a traceparent, with one that is sampled, with one that is not
	}{
		{"always_on", [3]bool{true, true, true}},
		{"always_off", [3]bool{false, false, false}},
		{"traceidratio", [3]bool{true, true, true}}, // of all
		{"parentbased_always_on", [3]bool{true, true, false}},
		{"parentbased_always_off", [3]bool{false, true, false}},
		{"parentbased_traceidratio", [3]bool{true, true, false}},
	} {
		tracer := newTelemetry(t, telemetry.Options{Sample: 0.5, Getenv: func(name string) string {
			return map[string]string{"OTEL_TRACES_SAMPLER": c.sampler}[name]
		}}).Tracer
		var got [3]bool
		for i, parent := range []string{"", sampled, unsampled} {
			got[i] = tracer.Serve("GET", parent, nil, time.Now()) != nil
		}
		if got != c.want {
			t.Errorf("%s: traced %v, want %v", c.sampler, got, c.want)
		}
	}
}

// TestTraceState: the header tracestate goes on with the spans of a request, in all its
// lines. One that is malformed is dropped, and leaves the trace as it is.
func TestTraceState(t *testing.T) {
	for _, row := range []struct {
		states []string
		want   string
	}{
		{nil, ""},
		{[]string{"a=1,b=2"}, "a=1,b=2"},
		{[]string{"a=1", "b=2"}, "a=1,b=2"},
		{[]string{"a=1", "no state"}, ""},
		{[]string{strings.Repeat("a=1,", 100)}, ""},
	} {
		sent := make(chan *tracepb.Span, 1)
		collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			var traces tracepb.TracesData
			if err := proto.Unmarshal(body, &traces); err != nil {
				t.Error(err)
			}
			sent <- traces.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0]
		}))
		made := newTelemetry(t, telemetry.Options{Endpoint: collector.URL, Getenv: func(name string) string {
			return map[string]string{"OTEL_METRICS_EXPORTER": "none"}[name]
		}})
		made.Tracer.Serve("GET", sampled, row.states, time.Now()).End()
		ended, end := context.WithCancel(t.Context())
		end()
		if err := made.Run(ended); err != nil {
			t.Fatal(err)
		}
		if span := <-sent; span.GetTraceState() != row.want || hex.EncodeToString(span.GetTraceId()) != sampled[3:35] {
			t.Errorf("%q became %q in the trace %x", row.states, span.GetTraceState(), span.GetTraceId())
		}
		collector.Close()
	}
}

// TestRedirectOfCollector: what is sent, and the headers, go to the collector that was named
// and nowhere else.
func TestRedirectOfCollector(t *testing.T) {
	var strayed atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		strayed.Add(1)
	}))
	defer elsewhere.Close()
	collector := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer collector.Close()
	made := newTelemetry(t, telemetry.Options{Endpoint: collector.URL, Headers: "X-Api-Key=secret", Getenv: func(name string) string {
		return map[string]string{"OTEL_METRICS_EXPORTER": "none"}[name]
	}})
	made.Tracer.Serve("GET", sampled, nil, time.Now()).End()
	ended, end := context.WithCancel(t.Context())
	end()
	if err := made.Run(ended); err != nil { // sends what there is
		t.Fatal(err)
	}
	if stats := made.Stats(); strayed.Load() != 0 || stats.Failed != 1 {
		t.Errorf("%d requests followed the redirect; %+v", strayed.Load(), stats)
	}
}

// TestHeaders: the standard variables take precedence over the file, whose lines are taken as
// they are.
func TestHeaders(t *testing.T) {
	for name, row := range map[string]struct {
		file, variable, signal string
		want                   string // of X-Key
	}{
		"file":               {file: "x-other=1\nx-key=file", want: "file"},
		"variable":           {variable: "x-key=of%20all", want: "of all"},
		"variable over file": {file: "X-Key=file", variable: "x-key=all", want: "all"},
		"signal over file":   {file: "X-Key=file", variable: "x-key=all", signal: "x-key=traces", want: "traces"},
		"comma in a line":    {file: "x-key=a, b=c\n", want: "a, b=c"},
		"percent in a line":  {file: "x-key=100%41%\r\n\n", want: "100%41%"},
	} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan string, 1)
			collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				sent <- r.Header.Get("X-Key")
			}))
			defer collector.Close()
			made := newTelemetry(t, telemetry.Options{Endpoint: collector.URL, Headers: row.file, Getenv: func(name string) string {
				return map[string]string{
					"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_HEADERS": row.variable, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": row.signal,
				}[name]
			}})
			made.Tracer.Serve("GET", sampled, nil, time.Now()).End()
			ended, end := context.WithCancel(t.Context())
			end()
			if err := made.Run(ended); err != nil {
				t.Fatal(err)
			}
			if stats := made.Stats(); stats.Sent != 1 {
				t.Fatalf("the span was not sent: %+v", stats)
			}
			if got := <-sent; got != row.want {
				t.Errorf("X-Key is %q, want %q", got, row.want)
			}
		})
	}
}

// TestStopWhileSending: spans that are being sent when the server stops are sent again, as long
// as that takes no longer than two seconds.
func TestStopWhileSending(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var requests atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1) == 1 {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusServiceUnavailable)
			stop()
		}
	}))
	defer collector.Close()
	made := newTelemetry(t, telemetry.Options{Endpoint: collector.URL, Getenv: func(name string) string {
		return map[string]string{"OTEL_METRICS_EXPORTER": "none", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}[name]
	}})
	made.Tracer.Serve("GET", sampled, nil, time.Now()).End()
	if err := made.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if stats := made.Stats(); stats.Sent != 1 || stats.Failed != 0 {
		t.Errorf("%+v after %d requests, want one span sent", stats, requests.Load())
	}
}

// TestResourceAttributes: values of the standard variable are percent-encoded.
func TestResourceAttributes(t *testing.T) {
	sent := make(chan map[string]string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var traces tracepb.TracesData
		if err := proto.Unmarshal(body, &traces); err != nil {
			t.Error(err)
		}
		got := make(map[string]string)
		for _, a := range traces.GetResourceSpans()[0].GetResource().GetAttributes() {
			got[a.GetKey()] = a.GetValue().GetStringValue()
		}
		sent <- got
	}))
	defer collector.Close()
	made := newTelemetry(t, telemetry.Options{Endpoint: collector.URL, Getenv: func(name string) string {
		return map[string]string{"OTEL_METRICS_EXPORTER": "none", "OTEL_RESOURCE_ATTRIBUTES": "site=R%26D%2C%20Oslo, rack = 100% ,service.name=door"}[name]
	}})
	made.Tracer.Serve("GET", sampled, nil, time.Now()).End()
	ended, end := context.WithCancel(t.Context())
	end()
	if err := made.Run(ended); err != nil {
		t.Fatal(err)
	}
	if got := <-sent; got["site"] != "R&D, Oslo" || got["rack"] != "100%" || got["service.name"] != "door" {
		t.Errorf("the resource is %q", got)
	}
}
