package framer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"time"
)

// handshake negotiates TLS, and lets net/http serve HTTP/2. A new goroutine reads what
// follows, because the stack of this one has grown.
func (c *Conn) handshake() {
	secure, err := c.negotiate()
	if err != nil {
		c.server.Log.Debug("TLS handshake failed", slog.String("remote", c.RemoteAddr().String()), slog.Any("err", err))
		c.end()
		return
	}
	state := secure.ConnectionState()
	c.mu.Lock()
	c.conn, c.secure = secure, &state
	c.enter(phaseNew)
	c.mu.Unlock()
	if state.NegotiatedProtocol != "h2" {
		go c.run()
		return
	}
	c.server.remove(c) // it is net/http's
	if !c.server.toHTTP2.put(secure) {
		c.end()
	}
}

func (c *Conn) negotiate() (*tls.Conn, error) {
	secure := tls.Server(c.conn, c.server.TLS)
	if err := secure.SetDeadline(after(c.server.HTTP1.ReadHeaderTimeout)); err != nil {
		return nil, err
	}
	if err := secure.HandshakeContext(context.Background()); err != nil {
		c.refusePlain(err)
		return nil, err
	}
	return secure, secure.SetDeadline(time.Time{})
}

// refusePlain answers a client that does not speak TLS, in net/http's words.
func (c *Conn) refusePlain(err error) {
	var not tls.RecordHeaderError
	if !errors.As(err, &not) || not.Conn == nil {
		return
	}
	for _, method := range [...]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"} {
		if bytes.Equal(not.RecordHeader[:], []byte(method)) {
			_, _ = io.WriteString(not.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n") // it is closed anyway
		}
	}
}
