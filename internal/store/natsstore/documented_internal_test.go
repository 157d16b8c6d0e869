package natsstore

import (
	"testing"

	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestDocumentedFormat: an operator reads in docs/upgrade.md to which versions there is a way
// back.
func TestDocumentedFormat(t *testing.T) {
	storetest.DocumentedFormat(t, "../../../docs/upgrade.md", "NATS JetStream", formatVersion)
}
