//go:build unix

package server

import (
	"os"
	"syscall"
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
