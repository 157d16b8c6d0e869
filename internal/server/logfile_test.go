package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/server"
)

// TestAccessLogFile: on SIGHUP the access log continues in a new file of the configured
// name. Every line is complete and in one file.
func TestAccessLogFile(t *testing.T) {
	cfg := settings(t)
	dir := t.TempDir()
	cfg.AccessLog = filepath.Join(dir, "access.log")
	r := start(t, cfg, server.Options{})
	const each = 150 // lines, more than fit into the buffer at once
	ask := func() {
		for range each {
			if _, err := r.client.Me(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	lines := func(name string) int {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return -1
		}
		for line := range strings.Lines(string(data)) {
			if !strings.HasSuffix(line, "\n") {
				return -1 // a reader sees a large write page by page
			}
			if !strings.HasPrefix(line, `{"time":`) || !strings.HasSuffix(line, "}\n") {
				t.Fatalf("%s has the line %q", name, line)
			}
		}
		return strings.Count(string(data), "\n")
	}
	ask()
	eventually(t, "the lines are written", func() bool { return lines("access.log") == each })
	if err := os.Rename(cfg.AccessLog, filepath.Join(dir, "access.log.1")); err != nil {
		t.Fatal(err)
	}
	ask()
	eventually(t, "the lines are in the file that was moved", func() bool { return lines("access.log.1") == 2*each })
	r.Reload() // as on SIGHUP
	ask()
	eventually(t, "the lines are in the new file", func() bool { return lines("access.log") == each })

	// The new file cannot be opened: the old file stays in use.
	if err := os.Rename(cfg.AccessLog, filepath.Join(dir, "access.log.2")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(cfg.AccessLog, 0o700); err != nil {
		t.Fatal(err)
	}
	r.Reload()
	ask()
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	if one, two := lines("access.log.1"), lines("access.log.2"); one != 2*each || two != 2*each {
		t.Errorf("%d and %d lines", one, two)
	}
	if !strings.Contains(r.log.String(), "continuing with the old file") {
		t.Errorf("the log does not report that the file could not be opened:\n%s", r.log)
	}
	r.Reload() // after shutdown nothing is reopened
}

// TestDurationsInLog: durations are text in both log formats.
func TestDurationsInLog(t *testing.T) {
	cfg := settings(t)
	cfg.LogFormat, cfg.DrainTimeout = "json", 1500*time.Millisecond
	r := start(t, cfg, server.Options{})
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	if !strings.Contains(r.log.String(), `"delay":"0s","timeout":"1.5s"`) {
		t.Errorf("the log:\n%s", r.log)
	}
}
