package cli_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/cli"
	"porchlight.dev/porchlight/internal/server"
)

// TestInterruptedRequest interrupts a command while it waits for the server: this is not the
// server's failure.
func TestInterruptedRequest(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel(server.ErrInterrupted)
		<-r.Context().Done()
	}))
	defer srv.Close()
	var stderr strings.Builder
	code := cli.Run(ctx, []string{"user", "list", "--url", srv.URL, "--token", "x"}, cli.Env{Getenv: func(string) string { return "" }},
		strings.NewReader(""), io.Discard, &stderr)
	if want := "porchlight: interrupted before the server answered\n"; code != 1 || stderr.String() != want {
		t.Errorf("exit code %d, %q, want %q", code, stderr.String(), want)
	}
}
