package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestNewman runs the item of Zoom's published Postman collection, and variations of
// it, in Postman's runner. The collection contains the assertions.
func TestNewman(t *testing.T) {
	newman := requireFile(t, "node_modules/newman/bin/newman.js")
	d := startDemo(t)
	report := filepath.Join(t.TempDir(), "report.json")
	output, err := run(t, nil, "node", newman, "run", "testdata/presence-status.postman_collection.json",
		"--env-var", "baseUrl="+d.URL+"/v2",
		"--env-var", "token="+d.AccessToken,
		"--env-var", "userId="+d.signedIn(t, 0).ID,
		"--env-var", "otherUserId="+d.signedIn(t, 1).ID,
		"--env-var", "signedOutUserId="+d.signedOut(t).ID,
		"--color", "off", "--timeout", "45000", "--reporters", "cli,json", "--reporter-json-export", report)
	if err != nil {
		t.Fatalf("newman: %v\n%s", err, output)
	}
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Run struct {
			Stats struct {
				Requests, Assertions struct{ Total, Failed int }
			}
		}
	}
	if err := json.Unmarshal(data, &result); err != nil {
		t.Fatal(err)
	}
	// newman also succeeds without assertions.
	stats := result.Run.Stats
	if stats.Requests.Total != 6 || stats.Requests.Failed != 0 || stats.Assertions.Total < 12 || stats.Assertions.Failed != 0 {
		t.Errorf("newman reports %+v", stats)
	}
	if got := d.status(t, d.signedIn(t, 1)); got != "Do_Not_Disturb" {
		t.Errorf("shown: %s, want Do_Not_Disturb", got)
	}
}
