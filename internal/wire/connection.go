package wire

import (
	"io"
	"net/http"
	"time"

	"porchlight.dev/porchlight/internal/netconn"
	"porchlight.dev/porchlight/internal/overload"
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

// A Pauser is a connection whose next request can be left unread for a while.
type Pauser interface{ Pause(d time.Duration) }

// Admit returns the error for a request that is refused because the server is overloaded,
// or nil. A client that was told when to try again is not heard before, or it would cost
// what the refusal spared: conn, which carries one request at a time, is paused for that long.
func (o *Observer) Admit(f *Facts, conn Pauser) error {
	read := f.method == http.MethodGet || f.method == http.MethodHead || f.method == http.MethodOptions
	admitted, err := o.Gate.Admit(overload.Kind{Update: !read, Commits: !read && f.method != http.MethodPost})
	if err == nil {
		f.admission = admitted
		return nil
	}
	if conn != nil && !f.proxied {
		conn.Pause(err.RetryAfter)
	}
	return err
}

// Leave ends what Admit has begun, if the request is answered elsewhere.
func (o *Observer) Leave(f *Facts) { o.leave(f, 0, false) }

func (o *Observer) leave(f *Facts, took time.Duration, committed bool) {
	o.Gate.End(f.admission, took-f.awaiting, committed)
	f.admission = overload.Request{}
}

// admit is Admit for a request of net/http.
func (o *Observer) admit(f *Facts, r *http.Request) error {
	conn, _ := netconn.As[Pauser](Conn(r)) // HTTP/2 has none
	err := o.Admit(f, conn)
	if f.admission != (overload.Request{}) && r.Body != nil {
		r.Body = &awaitedBody{r.Body, f, o.clock}
	}
	return err
}

// An awaitedBody measures how long an update waits for its own client: others do not make it
// wait.
type awaitedBody struct {
	io.ReadCloser

	f     *Facts
	clock func() time.Time
}

func (b *awaitedBody) Read(p []byte) (int, error) {
	begun := b.clock()
	defer func() { b.f.awaiting += b.clock().Sub(begun) }()
	return b.ReadCloser.Read(p)
}
