//go:build unix

package server

import "syscall"

// descriptorLimit is how many files and connections the process may have open,
// zero if that is not known. Go has raised it as far as it may go.
func descriptorLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}
