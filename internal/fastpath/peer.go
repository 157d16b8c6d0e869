package fastpath

import (
	"porchlight.dev/porchlight/internal/framer"
	"porchlight.dev/porchlight/internal/netconn"
	"porchlight.dev/porchlight/internal/wire"
)

// A peer is what is known of the other end of a connection. It lasts as long as the
// connection, so it is small.
type peer struct {
	remote     string
	client     wire.Client
	trusted    bool            // it is a proxy that may speak for its clients
	connection wire.Connection // nil: unknown
	token      string          // of the last request
	later      bool            // its handler answers on another goroutine
}

// peerOf is the peer of a connection.
func (s *Server) peerOf(c *framer.Conn) *peer {
	if p, ok := c.State.(*peer); ok {
		return p
	}
	remote := c.RemoteAddr().String()
	p := &peer{remote: remote, client: wire.Peer(remote, c.TLS() != nil, "")}
	p.trusted = s.observer.Proxies.Trusts(p.client.Addr)
	p.connection, _ = netconn.As[wire.Connection](c.NetConn())
	c.State = p
	return p
}
