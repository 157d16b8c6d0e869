package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/server"
)

// send sends a request with headers, which come in pairs; "Host" may be one.
func (r *running) send(t *testing.T, method, url, body string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	req.Host = req.Header.Get("Host")
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestTrustedProxies: the client that a trusted proxy reports is used in the access log
// and in the server's URL. Reports of other peers are ignored.
func TestTrustedProxies(t *testing.T) {
	for trusted, want := range map[string]struct{ client, url string }{
		"127.0.0.0/8": {"203.0.113.9", "https://presence.example"},
		"10.0.0.0/8":  {"127.0.0.1", ""},
		"":            {"127.0.0.1", ""},
	} {
		cfg := settings(t)
		cfg.TrustedProxies, cfg.AccessLog = trusted, "on"
		log := new(lockedBuffer)
		r := start(t, cfg, server.Options{AccessLog: log})
		form := "grant_type=client_credentials&client_id=" + r.made.ClientID + "&client_secret=" + r.made.ClientSecret
		answer := readAll(t, r.send(t, "POST", r.URL()+"/oauth/token", form, "Content-Type", "application/x-www-form-urlencoded",
			"X-Forwarded-For", "198.51.100.7, 203.0.113.9", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "presence.example"))
		url := want.url
		if url == "" {
			url = r.URL()
		}
		if !strings.Contains(answer, `"api_url":"`+url+`"`) {
			t.Errorf("with %q: %s, want %s", trusted, answer, url)
		}
		r.stop(server.ErrInterrupted)
		if err := r.wait(t); err != nil {
			t.Error(err)
		}
		if line := log.String(); !strings.Contains(line, `"client":"`+want.client+`"`) {
			t.Errorf("with %q the access log has %s, want %s", trusted, line, want.client)
		}
	}
}
