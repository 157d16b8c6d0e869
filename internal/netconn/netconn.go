// Package netconn does with a connection what package net does only blocking: it writes
// what the system accepts at once, and takes a buffer only when there is something to
// read. It also finds a connection among those that are wrapped in each other.
//
// It is separate because the framer and the streams both need it. It guarantees that
// nothing here waits. It must not know HTTP.
package netconn

import (
	"errors"
	"net"
	"syscall"
)

// As finds the first T among conn and the connections that it wraps.
func As[T any](conn net.Conn) (found T, ok bool) {
	for {
		if found, ok = conn.(T); ok {
			return found, true
		}
		outer, wraps := conn.(interface{ NetConn() net.Conn })
		if !wraps {
			return found, false
		}
		conn = outer.NetConn()
	}
}

// CloseWrite shuts down the sending side.
func CloseWrite(conn net.Conn) error {
	if c, ok := As[interface{ CloseWrite() error }](conn); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// WriteNow writes what the connection accepts without blocking.
func WriteNow(raw syscall.RawConn, b []byte) (n int, err error) {
	return new(Writer).WriteNow(raw, b)
}

// A Writer is for many writes, one at a time. Using it again saves an allocation.
type Writer struct {
	b     []byte
	n     int
	err   error
	write func(fd uintptr) bool
}

// WriteNow is WriteNow.
func (w *Writer) WriteNow(raw syscall.RawConn, b []byte) (int, error) {
	if w.write == nil {
		w.write = w.writeTo
	}
	w.b, w.n, w.err = b, 0, nil
	failed := raw.Write(w.write)
	w.b = nil
	return w.n, errors.Join(failed, w.err)
}
