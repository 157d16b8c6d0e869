package server_test

import (
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/server"
)

// TestRepeatedFailures: twenty wrong secrets or tokens leave one line in the log, without
// the secret. Nineteen leave none.
func TestRepeatedFailures(t *testing.T) {
	const wrong = "wrong-secret-of-an-attacker"
	for name, fail := range map[string]func(t *testing.T, r *running){
		"secrets": func(t *testing.T, r *running) {
			t.Helper()
			form := "grant_type=client_credentials&client_id=" + r.made.ClientID + "&client_secret=" + wrong
			readAll(t, r.send(t, "POST", r.URL()+"/oauth/token", form, "Content-Type", "application/x-www-form-urlencoded"))
		},
		"tokens": func(t *testing.T, r *running) {
			t.Helper()
			readAll(t, r.send(t, "GET", r.URL()+"/v1/me", "", "Authorization", "Bearer plt_"+wrong))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, settings(t), server.Options{})
			const message = `level=WARN msg="repeated authentication failures" address=127.0.0.1 failures=20 `
			for n := 1; n <= 40; n++ {
				fail(t, r)
				want := 0
				if n >= 20 {
					want = 1
				}
				if got := strings.Count(r.log.String(), message); got != want {
					t.Fatalf("after %d failures %d lines:\n%s", n, got, r.log)
				}
			}
			if name == "secrets" && !strings.Contains(r.log.String(), "client_id="+r.made.ClientID) && !strings.Contains(r.log.String(), "client_id=\""+r.made.ClientID) {
				t.Errorf("the line lacks the client id:\n%s", r.log)
			}
			if strings.Contains(r.log.String(), wrong) {
				t.Errorf("the log has the secret:\n%s", r.log)
			}
		})
	}
}
