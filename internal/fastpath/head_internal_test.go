package fastpath

import (
	"strings"
	"testing"
)

// TestReadToken: an idle connection does not keep a long token.
func TestReadToken(t *testing.T) {
	for token, want := range map[string]bool{"pl_x": true, strings.Repeat("x", maxToken): true, strings.Repeat("x", maxToken+1): false, "": false} {
		x := Exchange{peer: new(peer)}
		if got := x.readToken([]byte("Bearer " + token)); got != want || (x.peer.token == token) != want && token != "" {
			t.Errorf("a token of %d bytes: %v, kept %d", len(token), got, len(x.peer.token))
		}
	}
}
