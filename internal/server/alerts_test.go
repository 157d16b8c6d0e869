package server_test

import (
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/server"
)

// TestAlerts: the alerting rules are valid, each fires when it should and none on a healthy
// server (alerts_test.yaml has the cases). They, and the operations guide, name metrics that
// a server has.
func TestAlerts(t *testing.T) {
	const dir = "../../deploy/prometheus"
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		command := exec.CommandContext(t.Context(), "promtool", args...)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s (of the Debian package prometheus, which make test-tools installs): %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	cfg := settings(t)
	cfg.SignedInRule = "off"
	r := start(t, cfg, server.Options{})
	response, answer := r.roundTrip(t, "PUT", "/v2/users/"+r.made.OwnerID+"/presence_status", `{"status":"Away"}`,
		"Authorization", "Bearer "+r.made.AccessToken, "Content-Type", "application/json")
	if response.StatusCode != http.StatusNoContent {
		t.Fatalf("%d %s", response.StatusCode, answer)
	}
	takeBackup(t, cfg.DataDir, true)
	rules, err := os.ReadFile(dir + "/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var metrics string
	eventually(t, "a consumer runs", func() bool {
		_, metrics = r.get(t, r.AdminURL()+"/metrics")
		return strings.Contains(metrics, "\nporchlight_consumer_lag_seconds")
	})
	guide, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`porchlight_[a-z_]+`).FindAllString(string(rules)+string(guide), -1) {
		if strings.HasPrefix(name, "porchlight_trace_") || strings.HasPrefix(name, "porchlight_certificate_") { // with a collector, or TLS, only
			continue
		}
		if !regexp.MustCompile(`(?m)^` + name + `(_bucket)?[ {]`).MatchString(metrics) {
			t.Errorf("the rules or docs/operations.md name %s, which the server does not have", name)
		}
	}
}
