package zoomapi

import (
	"fmt"
	"testing"
)

// BenchmarkParseJSON parses the most common bodies.
func BenchmarkParseJSON(b *testing.B) {
	for _, c := range []struct{ name, body string }{
		{"status", `{"status":"Available"}`},
		{"duration", `{"status":"Do_Not_Disturb","duration":60}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			body := []byte(c.body)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parseJSON(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestPlainMembers: what is read without a decoder is what the decoder reads.
func TestPlainMembers(t *testing.T) {
	for _, c := range []struct {
		body  string
		plain bool
	}{
		{`{"status":"Away"}`, true},
		{" {\t\"status\" :\r\n\"Away\" } ", true},
		{`{"status":""}`, true},
		{`{"status":"Do_No_Disturb","duration":60}`, true},
		{`{"duration":60, "status":"Do_No_Disturb"}`, true},
		{`{"status":"Do_No_Disturb","duration":1441}`, true},
		{`{"status":"Do_No_Disturb","duration":99999999999999999999999}`, true},
		{`{"status":"Away","duration":5}`, true},
		{`{"status":"Do_No_Disturb","duration":060}`, false},
		{`{"status":"Do_No_Disturb","duration":0}`, false},
		{`{"status":"Do_No_Disturb","duration":"60"}`, false},
		{`{"status":"Do_No_Disturb","duration":60.0}`, false},
		{`{"status":"Do_No_Disturb","duration":-1}`, false},
		{`{"status":"Do_No_Disturb","duration":}`, false},
		{`{"status":"A\u0077ay"}`, false},
		{`{"status":"Awäy"}`, false},
		{"{\"status\":\"A\tway\"}", false},
		{`{"status":"Away","status":"Away"}`, false},
		{`{"status":"Away","other":"x"}`, false},
		{`{"status":"Away",}`, false},
		{`{"status":"Away"`, false},
		{`{"status":"Away"}}`, false},
		{`{"status":"Away"} 1`, false},
		{`{"status":"Away" "duration":5}`, false},
		{`{"status":null}`, false},
		{`{"duration":5}`, false},
		{`{}`, false},
		{``, false},
		{"\ufeff{\"status\":\"Away\"}", false},
	} {
		status, duration, ok := plainMembers([]byte(c.body))
		if ok != c.plain {
			t.Errorf("%s: plain is %v", c.body, ok)
		}
		if !ok {
			continue
		}
		got, err := newUpdate(status, duration)
		want, wantErr := decodeJSON([]byte(c.body))
		if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%s: got %v, %v; the decoder finds %v, %v", c.body, got, err, want, wantErr)
		}
	}
}
