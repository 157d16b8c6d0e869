package webhook

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, " 5 ": 5 * time.Second, "007": 7 * time.Second,
		"-1": 0, "+1": 0, "1.5": 0, "1e3": 0, "5 seconds": 0, "٣": 0, "x": 0,
		"9223372036":                      9223372036 * time.Second,
		"9223372037":                      math.MaxInt64,
		"99999999999999999999":            math.MaxInt64,
		"Sun, 01 Mar 2026 12:00:30 GMT":   30 * time.Second,
		"Sunday, 01-Mar-26 12:01:00 GMT":  time.Minute,
		"Sun Mar  1 13:00:00 2026":        time.Hour,
		"Sun, 01 Mar 2026 11:59:59 GMT":   0,
		"Mon, 02 Mar 2026 12:00:00 GMT":   24 * time.Hour,
		"Sun, 32 Mar 2026 12:00:30 GMT":   0,
		"Sun, 01 Mar 2026 12:00:30 +0000": 0,
	} {
		if got := parseRetryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// FuzzParseRetryAfter: the result is never negative, and what net/http writes is read.
func FuzzParseRetryAfter(f *testing.F) {
	f.Add("120", int64(1_700_000_000))
	f.Add("Sun, 01 Mar 2026 12:00:30 GMT", int64(0))
	f.Fuzz(func(t *testing.T, text string, at int64) {
		now := time.Unix(at%(1<<33), 0)
		got := parseRetryAfter(text, now)
		if got < 0 || got > 0 && strings.TrimSpace(text) == "" {
			t.Errorf("%q: %s", text, got)
		}
		later := now.UTC().Add(time.Minute)
		if year := later.Year(); year < 1 || year > 9999 {
			return
		}
		if d := parseRetryAfter(later.Format(http.TimeFormat), now); d != time.Minute {
			t.Errorf("%s at %s: %s", later, now, d)
		}
	})
}

// TestSigningKey: the key of Standard Webhooks, or any other text as it is.
func TestSigningKey(t *testing.T) {
	for secret, want := range map[string]string{
		"whsec_aGVsbG8=": "hello", "whsec_": "whsec_", "whsec_not base64": "whsec_not base64", "aGVsbG8=": "aGVsbG8=", "whsec": "whsec",
	} {
		if got := string(signingKey(secret)); got != want {
			t.Errorf("%q: %q, want %q", secret, got, want)
		}
	}
}

// TestTraceParent: attempts of an event share the trace, and each has its own span.
func TestTraceParent(t *testing.T) {
	first, second, other := traceParent("evt_1", 1), traceParent("evt_1", 2), traceParent("evt_2", 1)
	if first[:35] != second[:35] || first[36:52] == second[36:52] || first[:35] == other[:35] || first != traceParent("evt_1", 1) {
		t.Errorf("%s, %s, %s", first, second, other)
	}
}
