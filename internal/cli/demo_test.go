package cli

import (
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// TestDocsToken: a demo shows its token at /docs only to clients on this machine. If it
// listens on other addresses, it shows none and warns what those clients could do.
func TestDocsToken(t *testing.T) {
	keys := &demoKeys{Credentials: server.Credentials{AccessToken: "canary"}}
	for listen, own := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:0": true, "[::1]:8080": true, "127.9.9.9:1": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "192.0.2.1:8080": false, "demo.example:8080": false,
	} {
		token, warning := docsToken(&config.Config{Listen: listen}, keys)
		switch {
		case own && (token != "canary" || warning != ""):
			t.Errorf("%s: %q, %q", listen, token, warning)
		case !own && (token != "" || !strings.Contains(warning, listen) || !strings.Contains(warning, "change") || strings.Contains(warning, "canary")):
			t.Errorf("%s: %q, %q", listen, token, warning)
		}
	}
}
