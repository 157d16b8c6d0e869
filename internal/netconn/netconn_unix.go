//go:build unix

package netconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
)

// Raw is the system's connection under conn, or nil if a layer between them, such as
// TLS, transforms the bytes.
func Raw(conn net.Conn) syscall.RawConn {
	if _, secure := As[*tls.Conn](conn); secure {
		return nil
	}
	tcp, ok := As[*net.TCPConn](conn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// writeTo is a callback of syscall.RawConn's Write, which it does not let wait.
func (w *Writer) writeTo(fd uintptr) bool {
	for w.n < len(w.b) {
		n, err := syscall.Write(int(fd), w.b[w.n:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return true
		case err != nil || n <= 0:
			w.err = err
			return true
		}
		w.n += n
	}
	return true
}

// ReadNow reads what is there, in a callback of syscall.RawConn's Read. If nothing is, it
// returns 0 and no error, and the callback returns false to wait. The end is io.EOF.
func ReadNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		switch {
		case err == nil && n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case errors.Is(err, syscall.EAGAIN):
			return 0, nil
		case !errors.Is(err, syscall.EINTR):
			return 0, err
		}
	}
}
