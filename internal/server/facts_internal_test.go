package server

import (
	"testing"

	"porchlight.dev/porchlight/internal/config"
)

// TestFactsOfOrigins: "*" counts wherever it is in the list.
func TestFactsOfOrigins(t *testing.T) {
	for setting, want := range map[string]bool{
		"": false, "https://app.example": false, "*": true, " * ": true, "*,*": true, "https://app.example,*": true,
	} {
		cfg := config.Default()
		cfg.DataDir, cfg.CORSOrigins = t.TempDir(), setting
		if problems := cfg.Check(); len(problems) > 0 {
			t.Error(problems)
		}
		if got := configured(&cfg).Settings.AnyOrigin; got != want {
			t.Errorf("cors-origins %q: every origin is allowed: %v, want %v", setting, got, want)
		}
	}
}
