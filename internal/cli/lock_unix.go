//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package cli

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks the file until it is closed. It reports whether it succeeded: false means
// that another process has the lock.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.ENOSYS) {
		return true, nil // a network file system without locks, where two refreshes get the same token
	}
	return err == nil, err
}

// private reports whether only its owner may read and change the file.
func private(info os.FileInfo) bool { return info.Mode().Perm()&0o077 == 0 }
