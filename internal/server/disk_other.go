//go:build !unix

package server

import "path/filepath"

// sameDisk reports whether two directories are on one volume.
func sameDisk(one, other string) bool {
	one, err := filepath.Abs(one)
	if err != nil {
		return true
	}
	other, err = filepath.Abs(other)
	return err != nil || filepath.VolumeName(one) == filepath.VolumeName(other)
}

// writeError is not known here without trying.
func writeError(string) error { return nil }
