package auth

import (
	"strings"
	"testing"
)

// FuzzMayHoldSecret: the fast path never misses a secret that the scan finds.
func FuzzMayHoldSecret(f *testing.F) {
	secret := strings.Repeat("aB3_-", 9)[:secretLen]
	for _, text := range []string{
		"", "pl_12345678", "PL_12345678", "%70l_12345678", "p%6c_12345678", "pl%5f12345678", "%252570l_12345678",
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
	})
}

// TestMostLinesHoldNoSecret: ordinary log lines take the fast path.
func TestMostLinesHoldNoSecret(t *testing.T) {
	line := `{"time":"2026-11-28T12:53:47.718Z","level":"INFO","msg":"request","request_id":"99113d00370f0d0d","method":"PUT",` +
		`"path":"/v2/users/ada.okafor%40example.com/presence_status","status":204,"client":"2001:db8::1","account":"N4CkC68OIFBf7NmfhchE1w",` +
		`"app":"QrlsRDNayzITtgWFnSaSdA","token":"NEup0VSJCiY1fPelM2MEUg"}` + "\n"
	if mayHoldSecret([]byte(line)) {
		t.Errorf("%s does not take the fast path", line)
	}
}
