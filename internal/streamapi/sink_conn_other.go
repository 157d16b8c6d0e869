//go:build !unix

package streamapi

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// rawOf is nil: goroutines of the stream write, and each connection has a buffer.
func rawOf(net.Conn) syscall.RawConn { return nil }

func writeNow(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func readLater(syscall.RawConn, *sync.Pool) (*readBuffer, int, error) {
	return nil, 0, errors.ErrUnsupported
}
