package zoomapi

import "testing"

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
