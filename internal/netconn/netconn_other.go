//go:build !unix

package netconn

import (
	"errors"
	"net"
	"syscall"
)

// Raw is nil: connections only block.
func Raw(net.Conn) syscall.RawConn { return nil }

func (w *Writer) writeTo(uintptr) bool {
	w.err = errors.ErrUnsupported
	return true
}

// ReadNow is not called, because Raw is nil.
func ReadNow(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
