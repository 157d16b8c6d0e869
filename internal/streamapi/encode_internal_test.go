package streamapi

import (
	"net/url"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/hub"
)

// TestEventsOfKeepalive: a keepalive is an event, because a page cannot see comments.
func TestEventsOfKeepalive(t *testing.T) {
	const want = "event: ping\ndata: {\"type\":\"ping\"}\n\n"
	if got := string(appendEvent(nil, &hub.Delivery{Event: hub.Ping{}})); got != want {
		t.Errorf("an idle stream sends %q, want %q", got, want)
	}
}

// TestTooManyUsers: the advice in the error is possible on every route.
func TestTooManyUsers(t *testing.T) {
	_, err := openingOf(url.Values{"users": {strings.Repeat("a,", 100) + "a"}}, "")
	if err == nil || !strings.Contains(httpapi.Problem(err).Detail, "contacts=true, everyone=true, a group, several streams or polls, or follow frames on a WebSocket") {
		t.Errorf("101 users: %v", err)
	}
}
