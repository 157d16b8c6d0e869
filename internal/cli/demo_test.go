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

// TestCallOf: the commands that the demo prints call the program as the user did.
func TestCallOf(t *testing.T) {
	const hash = "0afe2aba7be6fd160b51756bff970fb1c10fe9fea2a6064a8c1e637e389861fd"
	for program, want := range map[string]string{
		"":                                 "porchlight",
		"porchlight":                       "porchlight",
		"./porchlight":                     "./porchlight",
		"/usr/local/bin/porchlight":        "/usr/local/bin/porchlight",
		"/home/ada/my tools/it's/porch":    `'/home/ada/my tools/it'\''s/porch'`,
		"/tmp/go-build62300/b001/exe/main": "go run ./cmd/porchlight",
		"/root/.cache/go-build/0a/" + hash + "-d/porchlight": "go run ./cmd/porchlight",
		"/srv/go-build/porchlight":                           "/srv/go-build/porchlight",
	} {
		if got := callOf(program); got != want {
			t.Errorf("callOf(%q) = %s, want %s", program, got, want)
		}
	}
}
