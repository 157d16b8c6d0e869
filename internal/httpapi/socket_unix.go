//go:build unix

package httpapi

import (
	"errors"
	"syscall"
)

// writeNow writes what the socket takes, and does not wait for more room.
func writeNow(raw syscall.RawConn, b []byte) (n int, err error) {
	failed := raw.Write(func(fd uintptr) bool {
		for n < len(b) {
			var some int
			some, err = syscall.Write(int(fd), b[n:])
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil || some <= 0 {
				break
			}
			n += some
		}
		return true
	})
	if errors.Is(err, syscall.EAGAIN) {
		err = nil
	}
	return n, errors.Join(failed, err)
}
