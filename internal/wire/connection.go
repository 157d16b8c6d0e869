package wire

import (
	"net/http"

	"porchlight.dev/porchlight/internal/netconn"
)

// A Connection is the listener's view of the connection of a request.
type Connection interface {
	// Authenticated records that a request had a valid token.
	Authenticated()
	// Refused is why the connection gets no service, or nil.
	Refused() error
}

// connectionOf is nil if the listener does not implement Connection.
func connectionOf(r *http.Request) Connection {
	c, _ := netconn.As[Connection](Conn(r))
	return c
}

// Authenticated records that the request that w answers was authenticated, so that its
// connection is evicted later than anonymous ones.
func Authenticated(w http.ResponseWriter) {
	if f, ok := w.(*Facts); ok {
		f.authenticated()
	}
}

func (f *Facts) authenticated() {
	if f.connection != nil {
		f.connection.Authenticated()
	}
}

// CloseAfter closes the connection after the response, if it carries one request at a
// time.
func CloseAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header()["Connection"] = []string{"close"}
	}
}

// admitted is the error for a request on a refused connection, or nil.
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
