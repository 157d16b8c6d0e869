// Package egress makes outgoing HTTP requests to addresses that users chose.
//
// It is separate so that the rule for permitted addresses exists once and in a place
// that can be tested against hostile names. It guarantees that no connection is made to
// an address that is private, local or otherwise special unless the operator allowed its
// network, whatever a name resolves to at that moment, and that no endpoint can hold a
// request for longer, or make the server read more, than its limits say. It must not
// follow redirects, use a proxy, or know what the requests are for.
package egress

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// Options configure a Client. The zero value of a field is its default.
type Options struct {
	// Allow lists the networks whose addresses are permitted although they are special.
	Allow []netip.Prefix
	// Setting is the name of the setting for Allow, for errors.
	Setting  string
	Resolver *net.Resolver  // default: the system's
	RootCAs  *x509.CertPool // default: the system's
	Connect  time.Duration  // to resolve the name and connect; default 5 s
	TLS      time.Duration  // for the handshake; default 5 s
	Total    time.Duration  // for the whole exchange; default 30 s
	Body     time.Duration  // for the answer's body, once its head is there; default 5 s
	// Connections bounds the connections that are open at a time, idle ones included;
	// default 512. Requests that need more wait. A quarter of it may be idle.
	Connections int
}

const (
	maxHead = 32 << 10 // of an answer, with all interim answers before it
	// maxUnread is how much of an answer's body is read, beyond what the caller wants, to
	// keep the connection.
	maxUnread   = 16 << 10
	connections = 512
	maxHostIdle = 64 // as many as the largest concurrency of a subscription
	// keepIdle is shorter than the time for which common servers keep an idle connection
	// (5 s), so that a request seldom meets a connection that is just being closed.
	keepIdle = 4 * time.Second
)

// A Client makes requests under the rule. Close it at the end.
type Client struct {
	rule      rule
	transport *http.Transport
	total     time.Duration
	body      time.Duration
	slots     chan struct{} // one for each request that is being made
}

// NewClient returns a client.
func NewClient(o Options) *Client {
	c := &Client{
		rule:  rule{allow: o.Allow, setting: o.Setting},
		total: cmp.Or(o.Total, 30*time.Second),
		body:  cmp.Or(o.Body, 5*time.Second),
	}
	most := max(cmp.Or(o.Connections, connections), 4)
	idle := most / 4
	c.slots = make(chan struct{}, most-idle)
	dialer := &net.Dialer{Timeout: cmp.Or(o.Connect, 5*time.Second), Resolver: o.Resolver, ControlContext: c.control}
	c.transport = &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    cmp.Or(o.TLS, 5*time.Second),
		MaxResponseHeaderBytes: maxHead,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    maxHostIdle,
		IdleConnTimeout:        keepIdle,
		DisableCompression:     true, // a small answer could decompress into a huge one
		Protocols:              new(http.Protocols),
	}
	c.transport.Protocols.SetHTTP1(true)
	return c
}

// control checks an address between its resolution and the connection.
func (c *Client) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return c.rule.refuse("the address")
	}
	return c.rule.checkDial(at)
}

// Close closes the connections that are not in use. It does not wait for that: TLS says so to
// one endpoint after the other, and waits 5 s for each that does not read.
func (c *Client) Close() { go c.transport.CloseIdleConnections() }

// An Answer is the response to a request, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // as much as the caller wanted and the endpoint sent in time
	Whole  bool   // Body is all of it
}

// Do sends the request, and reads at most limit bytes of the answer's body. A redirect is
// an answer like others. The request is sent again only if a kept connection turns out to
// be closed before anything was written to it. An error is an *Error.
func (c *Client) Do(req *http.Request, limit int) (*Answer, error) {
	if err := c.rule.checkURL(req.URL); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), c.total)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, busy(ctx)
	}
	p := &progress{began: time.Now(), host: req.URL.Hostname(), setting: c.rule.setting}
	resp, err := c.transport.RoundTrip(req.WithContext(p.trace(ctx)))
	if err != nil {
		return nil, p.describe(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // its error says nothing about the answer
	slow := time.AfterFunc(c.body, cancel)
	defer slow.Stop()
	return readAnswer(resp, limit), nil
}

func readAnswer(resp *http.Response, limit int) *Answer {
	a := &Answer{Status: resp.StatusCode, Header: resp.Header}
	if resp.StatusCode == http.StatusSwitchingProtocols { // what follows is not a body
		return a
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit+maxUnread)))
	a.Whole = err == nil && len(body) <= limit
	a.Body = body[:min(len(body), limit)]
	return a
}
