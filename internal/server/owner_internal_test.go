//go:build unix

package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	if err := checkOwner(dir, os.Getuid()+1); err == nil || !strings.Contains(err.Error(), "run the command as this user") {
		t.Errorf("%v", err)
	}
}
