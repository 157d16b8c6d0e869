package httpapi

import (
	"testing"

	"porchlight.dev/porchlight/internal/notify"
)

// TestEventsOfKeepalive: a page sees them, which it does not see a comment.
func TestEventsOfKeepalive(t *testing.T) {
	const want = "event: ping\ndata: {\"type\":\"ping\"}\n\n"
	if got := string(appendEvent(nil, &notify.Frame{Kind: notify.Ping})); got != want {
		t.Errorf("an idle stream sends %q, want %q", got, want)
	}
}
