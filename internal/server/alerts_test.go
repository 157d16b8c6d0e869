package server_test

import (
	"os/exec"
	"strings"
	"testing"
)

// alertsDir has the alerting rules.
const alertsDir = "../../deploy/prometheus"

// TestAlerts: the alerting rules are valid, each fires when it should and none on a healthy
// server (alerts_test.yaml has the cases). TestPrometheus shows that a server has the series
// that they select.
func TestAlerts(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		command := exec.CommandContext(t.Context(), "promtool", args...)
		command.Dir = alertsDir
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s (of the Debian package prometheus, which make test-tools installs): %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
