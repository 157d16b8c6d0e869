package egress

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain sets a proxy that nobody runs, before net/http reads the environment: see
// TestNoProxy.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}
