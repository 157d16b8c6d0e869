package telemetry

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
)

type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// TestRetryAfter: a message is sent again no earlier than the collector says, in seconds or
// as a date, with backoff where it says nothing, and soon enough where it says nonsense.
func TestRetryAfter(t *testing.T) {
	date := func(in time.Duration) string { return time.Now().Add(in).UTC().Format(http.TimeFormat) }
	for name, row := range map[string]struct {
		answer func() string
		want   []time.Duration // from the first attempt
	}{
		"nothing":         {func() string { return "" }, []time.Duration{0, time.Second, 3 * time.Second}},
		"seconds":         {func() string { return "30" }, []time.Duration{0, 30 * time.Second, time.Minute}},
		"a date":          {func() string { return date(20 * time.Second) }, []time.Duration{0, 20 * time.Second, 40 * time.Second}},
		"a date before":   {func() string { return date(-time.Hour) }, []time.Duration{0, time.Second, 3 * time.Second}},
		"less than usual": {func() string { return "0" }, []time.Duration{0, time.Second, 3 * time.Second}},
		"much too long":   {func() string { return "999999" }, []time.Duration{0, 5 * time.Minute, 10 * time.Minute}},
		"nonsense":        {func() string { return "soon" }, []time.Duration{0, time.Second, 3 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var sent []time.Duration
				c := collector{url: "http://collector.test", header: http.Header{}, client: &http.Client{Transport: roundTrip(func(*http.Request) *http.Response {
					sent = append(sent, time.Since(begin))
					return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {row.answer()}}, Body: io.NopCloser(strings.NewReader(""))}
				})}}
				if err := c.send(t.Context(), new(metricpb.MetricsData)); err == nil || !slices.Equal(sent, row.want) {
					t.Errorf("sent after %v, want %v; %v", sent, row.want, err)
				}
			})
		})
	}
}
