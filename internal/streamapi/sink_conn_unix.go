//go:build unix

package streamapi

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"porchlight.dev/porchlight/internal/wire"
)

// rawOf is the system's connection under conn, or nil if a layer between them, such as
// TLS, transforms the bytes.
func rawOf(conn net.Conn) syscall.RawConn {
	if _, secure := wire.ConnAs[*tls.Conn](conn); secure {
		return nil
	}
	tcp, ok := wire.ConnAs[*net.TCPConn](conn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// writeNow writes what the socket accepts without blocking.
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

// readLater waits until the socket is readable, and only then takes a buffer.
func readLater(raw syscall.RawConn, buffers *sync.Pool) (r *readBuffer, n int, err error) {
	failed := raw.Read(func(fd uintptr) bool {
		r = takeBuffer(buffers)
		for n, err = syscall.Read(int(fd), r[:]); errors.Is(err, syscall.EINTR); {
			n, err = syscall.Read(int(fd), r[:])
		}
		if errors.Is(err, syscall.EAGAIN) {
			buffers.Put(r)
			r = nil
			return false
		}
		return true
	})
	if n <= 0 && err == nil {
		err = io.EOF
	}
	return r, max(n, 0), errors.Join(failed, err)
}
