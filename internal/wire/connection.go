package wire

import (
	"net"
	"net/http"
)

// A Connection is what requests come over, as the server's listener knows it.
type Connection interface {
	// Authenticated notes that a request had a token that holds.
	Authenticated()
	// Refused is why no request is answered, or nil.
	Refused() error
}

// connectionOf is nil for a request whose listener says nothing.
func connectionOf(r *http.Request) Connection {
	c, _ := ConnAs[Connection](Conn(r))
	return c
}

// ConnAs finds what is a T: conn, or the connection under it.
func ConnAs[T any](conn net.Conn) (found T, ok bool) {
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

// Authenticated notes that the request that w answers is of somebody who is known:
// its connection is closed for others later than those of strangers.
func Authenticated(w http.ResponseWriter) {
	if f, ok := w.(*Facts); ok && f.connection != nil {
		f.connection.Authenticated()
	}
}

// CloseAfter has the connection closed when the answer is written, if it carries
// nothing else.
func CloseAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header()["Connection"] = []string{"close"}
	}
}

// admitted is why the request is not served for its connection's sake, or nil.
func (f *Facts) admitted() error {
	if f.connection == nil {
		return nil
	}
	err := f.connection.Refused()
	if err != nil {
		f.Header()["Connection"] = []string{"close"}
	}
	return err
}
