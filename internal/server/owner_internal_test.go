//go:build unix

package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/config"
)

// TestCheckOwner checks that only the owner of a directory may change what is in it.
func TestCheckOwner(t *testing.T) {
	dir := t.TempDir()
	if err := checkOwner(dir, os.Getuid()); err != nil {
		t.Error(err)
	}
	if err := checkOwner(filepath.Join(dir, "missing"), os.Getuid()+1); err != nil {
		t.Error(err)
	}
	if os.Getuid() == 0 { // only root can give a store to another user
		if err := os.MkdirAll(storeDir(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(storeDir(dir), 1, 1); err != nil {
			t.Fatal(err)
		}
		cfg := config.Default()
		cfg.DataDir = dir
		if _, err := SystemTokens(t.Context(), cfg, SystemTokenRequest{}); err == nil || !strings.Contains(err.Error(), "run the command as this user") {
			t.Errorf("system tokens of another user's server: %v", err)
		}
	}
	if err := checkOwner(dir, os.Getuid()+1); err == nil || !strings.Contains(err.Error(), "run the command as this user") {
		t.Errorf("%v", err)
	}
}
