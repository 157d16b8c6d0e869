package auth

import (
	"io"
	"strings"
	"testing"
)

// FuzzMayHoldSecret: the fast path never misses a secret that the scan finds.
func FuzzMayHoldSecret(f *testing.F) {
	secret := strings.Repeat("aB3_-", 9)[:secretLen]
	for _, text := range []string{
		"", "pl_12345678", "PL_12345678", "%70l_12345678", "p%6c_12345678", "pl%5f12345678", "%252570l_12345678",
		"whsec_12345678", "WHSEC_12345678", "%77hsec_12345678", "whse%63_+/+/+/+/", "wh%2573ec_12345678=", "pl_whsec_12345678",
		secret, "%" + secret, "%4" + secret, `"\n` + secret + `"`, `"\u0041` + secret + `"`, strings.Repeat("%61", secretLen),
		"/v2/users/ada%40example.com/presence_status", "x" + secret, secret + "%2F",
	} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, lines bool) {
		if _, found := appendScanned(nil, text, lines); found && !mayHoldSecret(text) {
			t.Errorf("the fast path misses the secret in %q", text)
		}
		if may := mayHoldSecret(text); may != mayHoldSecretByByte(text) {
			t.Errorf("%q may hold a secret: %v", text, may)
		}
	})
}

// mayHoldSecretByByte is mayHoldSecret without skipping.
func mayHoldSecretByByte(text []byte) bool {
	n := 0 // bytes of a word so far
	for i, c := range text {
		switch {
		case c == '_':
			before := strings.ToLower(string(text[max(0, i-5):i]))
			if strings.HasSuffix(before, "pl") || before == "whsec" {
				return true
			}
		case c == '%':
			if decoded, _ := percentEncoded(text[i:]); strings.IndexByte("pPlLwWhHsSeEcC_", decoded) >= 0 {
				return true
			}
		case !secretBytes[c]:
			n = 0
			continue
		}
		if n++; n >= secretLen-2 {
			return true
		}
	}
	return false
}

// ordinaryLine is of the access log.
const ordinaryLine = `{"time":"2026-11-28T12:53:47.718Z","level":"INFO","msg":"request","request_id":"99113d00370f0d0d","method":"PUT",` +
	`"path":"/v2/users/ada.okafor%40example.com/presence_status","status":204,"client":"2001:db8::1","account":"N4CkC68OIFBf7NmfhchE1w",` +
	`"app":"QrlsRDNayzITtgWFnSaSdA","token":"NEup0VSJCiY1fPelM2MEUg"}` + "\n"

// TestMostLinesHoldNoSecret: ordinary log lines take the fast path.
func TestMostLinesHoldNoSecret(t *testing.T) {
	if mayHoldSecret([]byte(ordinaryLine)) {
		t.Errorf("%s does not take the fast path", ordinaryLine)
	}
}

// BenchmarkRedactor measures a line of the access log, which is written with others: with
// and without one among them that holds a secret.
func BenchmarkRedactor(b *testing.B) {
	const lines = 96
	secret := strings.Repeat("aB3_-", 9)[:secretLen]
	for name, text := range map[string]string{
		"none": strings.Repeat(ordinaryLine, lines),
		"one":  strings.Repeat(ordinaryLine, lines-1) + strings.Replace(ordinaryLine, "ada", secret, 1),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			w, written := NewRedactor(io.Discard), []byte(text)
			for range b.N/lines + 1 {
				_, _ = w.Write(written)
			}
		})
	}
}
