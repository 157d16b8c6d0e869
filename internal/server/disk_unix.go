//go:build unix

package server

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sameDisk reports whether two directories share their free space.
func sameDisk(one, other string) bool {
	a, b := device(one), device(other)
	return a != nil && b != nil && a.Dev == b.Dev
}

func device(path string) *syscall.Stat_t {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	stat, _ := info.Sys().(*syscall.Stat_t) // as on every unix
	return stat
}

// writeError is why this process cannot create files in a directory; nil: it can, as far as
// that is known without trying.
func writeError(dir string) error {
	return unix.Access(dir, unix.W_OK|unix.X_OK)
}
