package zoomapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestOverTheWire checks what net/http adds: no type or length on a 204, and the length
// of a body that HEAD does not send.
func TestOverTheWire(t *testing.T) {
	w := newFixture(t, options{})
	server := httptest.NewServer(w)
	defer server.Close()
	kind, form := multipartForm("status", "Available", "duration", "Available1221")
	for _, c := range []struct {
		call
		status            int
		kind, length, got string
	}{
		{call{method: "PUT", path: path("me"), kind: kind, body: form}, 204, "", "", ""},
		{call{method: "GET", path: path("me")}, 200, "application/json", "23", `{"status":"Available"}` + "\n"},
		{call{method: "HEAD", path: path("me")}, 200, "application/json", "23", ""},
		{call{method: "PUT", path: path(":userId"), kind: kind, body: form}, 404, "application/json", "55", noUserBody(":userId") + "\n"},
		{call{method: "HEAD", path: path(":userId")}, 404, "application/json", "55", ""},
		{
			call{method: "PUT", path: path("me"), kind: kind, body: strings.Repeat("x", 1<<17)},
			413, "application/json", "71",
			`{"code":413,"message":"Request Body should have at most 65536 bytes."}` + "\n",
		},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, strings.NewReader(c.body))
		w.must(err)
		r.Header.Set("Authorization", "Bearer "+w.annToken)
		r.Header.Set("Content-Type", c.call.kind)
		resp, err := server.Client().Do(r)
		w.must(err)
		body, err := io.ReadAll(resp.Body)
		w.must(err)
		w.must(resp.Body.Close())
		h := resp.Header
		if resp.StatusCode != c.status || string(body) != c.got || h.Get("Content-Type") != c.kind || h.Get("Content-Length") != c.length {
			t.Errorf("%s %s: %d %s %v", c.method, c.path, resp.StatusCode, body, h)
		}
		if h.Get("x-zm-trackingid") == "" {
			t.Errorf("%s %s: no tracking id", c.method, c.path)
		}
	}
}
