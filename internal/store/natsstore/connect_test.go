package natsstore_test

import (
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/store/natsstore"
)

// TestErrorsHoldNoSecret: an address that cannot be parsed is not repeated with its
// password.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"nats://me:topsecret@127.0.0.1:port", "nats://me:topsecret@127.0.0.1:1", "nats://me:topsecret@[::1"} {
		_, err := natsstore.Open(t.Context(), address, natsstore.Options{})
		if err == nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("Open: %v", err)
		}
	}
}
