package server

import (
	"os"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/config"
)

// TestLimitsAreDocumented: the table in docs/operations.md lists every limit with its
// setting, and no other; every setting exists.
func TestLimitsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n| limit | default | setting | response |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	settings := make(map[string]bool)
	for _, s := range config.Settings() {
		settings[s.Name] = true
	}
	s := &Server{config: config.Default(), opts: Options{Clock: time.Now}}
	s.newLimits(1000)
	for _, limit := range s.limits.all() {
		row := "| `" + limit.Name + "` |"
		_, rest, found := strings.Cut(table, row)
		cells, _, _ := strings.Cut(rest, "\n")
		if !found || !strings.Contains(cells, "| `"+limit.Setting+"` |") {
			t.Errorf("docs/operations.md has no row of %s with its setting %s", limit.Name, limit.Setting)
		}
		if !settings[limit.Setting] || limit.Most <= 0 || limit.Unit == "" {
			t.Errorf("%s: there is no setting %s, no default or no unit", limit.Name, limit.Setting)
		}
	}
	if rows := strings.Count(table, "\n| `"); rows != len(s.limits.all()) {
		t.Errorf("docs/operations.md has %d limits, the server %d", rows, len(s.limits.all()))
	}
}

// TestLimitsScaleWithConnections: on a server with few connections, the default limits
// leave connections for other users.
func TestLimitsScaleWithConnections(t *testing.T) {
	for most, want := range map[int]map[string]int{
		1000: {"streams-per-user": 100, "streams-per-app": 900, "streams-per-address": 500, "connections-per-address": 500},
		300:  {"streams-per-user": 100, "streams-per-app": 270, "streams-per-address": 150, "connections-per-address": 150},
		20:   {"streams-per-user": 18, "streams-per-app": 18, "streams-per-address": 10, "connections-per-address": 10},
		1:    {"streams-per-user": 1, "streams-per-app": 1, "streams-per-address": 1, "connections-per-address": 1},
	} {
		s := &Server{config: config.Default(), opts: Options{Clock: time.Now}}
		s.newLimits(most)
		for _, limit := range s.limits.all() {
			if n, ok := want[limit.Name]; ok && n != limit.Most {
				t.Errorf("with %d connections %s is %d, want %d", most, limit.Name, limit.Most, n)
			}
		}
	}
}
