package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// onNATS are settings for a store on a NATS server that runs until the test ends.
func onNATS(t *testing.T) config.Config {
	t.Helper()
	n := enginetest.StartNATS(t)
	return settingsOnNATS(t, &n)
}

func settingsOnNATS(t *testing.T, n *enginetest.NATS) config.Config {
	t.Helper()
	file := func(name, secret string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := settings(t)
	cfg.Store, cfg.StoreReplicas, cfg.DataDir = "nats://"+n.Host, 1, ""
	cfg.StoreCredentials, cfg.StoreSystemCredentials = file("user", n.User), file("system", n.System)
	return cfg
}

// scim sends a request of SCIM.
func (r *running) scim(t *testing.T, token, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL()+"/scim/v2"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/scim+json")
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// me is the status of a GET of the own user with a token, or with the cookie of a browser.
func (r *running) me(t *testing.T, name, value string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+"/v1/me", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(name, value)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestDeprovisioning: whoever is deactivated or deleted by SCIM has lost the sessions, the
// tokens and the sign-ins of browsers when the identity provider gets its response, and
// open streams end.
func TestDeprovisioning(t *testing.T) {
	for engine, cfg := range map[string]func(*testing.T) config.Config{"embedded": func(t *testing.T) config.Config { return settings(t) }, "NATS": onNATS} {
		t.Run(engine, func(t *testing.T) {
			r := start(t, cfg(t), server.Options{StoreTimeout: waitLimit})
			provider := r.createToken(t, "", "scim:write:admin").Secret
			for _, row := range []struct{ name, method, body string }{
				{"okta", "PATCH", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","value":{"active":false}}]}`},
				{"entra", "PATCH", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Replace","path":"active","value":"False"}]}`},
				{"put", "PUT", `{"userName":"put@example.com","active":false}`},
				{"delete", "DELETE", ""},
			} {
				t.Run(row.name, func(t *testing.T) { r.deprovision(t, provider, row.name, row.method, row.body) })
			}
		})
	}
}

func (r *running) deprovision(t *testing.T, provider, name, method, body string) {
	status, text := r.scim(t, provider, "POST", "/Users", fmt.Sprintf(`{"userName":"%s@example.com"}`, name))
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(text), &made); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s: %v", status, text, err)
	}
	if _, err := r.client.SignIn(t.Context(), made.ID, longSignIn("desktop")); err != nil {
		t.Fatal(err)
	}
	token := r.createToken(t, made.ID, "presence:read", "session:write").Secret
	_, browser, err := r.Provisioner().Authority.SignIn(t.Context(), presence.AccountID(r.made.AccountID), presence.UserID(made.ID), auth.Browser{Name: "browser"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stream, ended := r.watcher(token, []string{made.ID}), make(chan int, 1)
	go func() {
		code, _ := stream.connect(t.Context(), overWebSocket, neverCut)
		ended <- code
	}()
	eventually(t, "the stream is open", func() bool { return stream.lastCursor() != "" })
	for header, value := range map[string]string{"Authorization": "Bearer " + token, "Cookie": "porchlight=" + browser} {
		if got := r.me(t, header, value); got != http.StatusOK {
			t.Fatalf("before: %s gets %d", header, got)
		}
	}

	began := time.Now()
	if status, text := r.scim(t, provider, method, "/Users/"+made.ID, body); status/100 != 2 {
		t.Fatalf("%d %s", status, text)
	}
	for header, value := range map[string]string{"Authorization": "Bearer " + token, "Cookie": "porchlight=" + browser} {
		if got := r.me(t, header, value); got != http.StatusUnauthorized {
			t.Errorf("after: %s gets %d", header, got)
		}
	}
	if shown, err := r.client.Presence(t.Context(), made.ID); method != "DELETE" && (err != nil || shown.Status != api.Offline) {
		t.Errorf("shown as %v, %v", shown.Status, err)
	}
	select {
	case code := <-ended:
		if code != api.CloseUnauthorized {
			t.Errorf("the stream ended with code %d", code)
		}
		t.Logf("all ended within %v", time.Since(began))
	case <-time.After(waitLimit):
		t.Errorf("the stream is open %v after the request", waitLimit)
	}
}
