package wire

import (
	"cmp"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the networks of trusted proxies, whose headers about the client are used.
// By default there are none, and such headers are ignored.
type Proxies []netip.Prefix

// Trusts reports whether an address is one of a trusted proxy.
func (p Proxies) Trusts(a netip.Addr) bool {
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// A Client is the sender of a request and the URL that it used, as trusted proxies
// report them.
type Client struct {
	Addr   netip.Addr // not valid if unknown
	Scheme string     // http or https
	Host   string     // with its port, if the client sent one
}

// ClientOf is the client of the request that w answers. It is found once, before
// the handler runs.
func ClientOf(w http.ResponseWriter) Client {
	if f, ok := w.(*Facts); ok {
		return f.client
	}
	return Client{}
}

// URL is the server's URL as the client sees it, without a slash at its end.
func (c Client) URL() string { return c.Scheme + "://" + c.Host }

// Secure reports whether the client's connection is encrypted.
func (c Client) Secure() bool { return c.Scheme == "https" }

// LimitKey is what limits count a client by: its IPv4 address, or the /64 of its
// IPv6 address, since one subscriber has at least that many.
func (c Client) LimitKey() netip.Prefix {
	bits := 64
	if c.Addr.Is4() {
		bits = 32
	}
	network, _ := c.Addr.Prefix(bits) // the zero Prefix, if the address is not known
	return network
}

// Client finds who sent a request.
func (p Proxies) Client(r *http.Request) Client {
	peer := Peer(r.RemoteAddr, r.TLS != nil, r.Host)
	if by := p.forwarded(peer.Addr, r.Header); by != nil {
		p.follow(&peer, by)
	}
	return peer
}

// Peer is the other end of a connection, which may be a proxy.
func Peer(remote string, encrypted bool, host string) Client {
	at, _ := netip.ParseAddrPort(remote) // not valid for what is not TCP
	c := Client{Addr: PlainAddr(at.Addr()), Scheme: "http", Host: host}
	if encrypted {
		c.Scheme = "https"
	}
	return c
}

// Forwarded has the values of the headers that only trusted proxies may set: X-Forwarded-For,
// -Proto and -Host, and X-Request-Id.
type Forwarded struct{ For, Proto, Host, RequestID []string }

// forwarded is what a peer reports of its client; nil if the peer is not a trusted proxy.
func (p Proxies) forwarded(peer netip.Addr, h http.Header) *Forwarded {
	if !p.Trusts(peer) {
		return nil
	}
	return &Forwarded{h["X-Forwarded-For"], h["X-Forwarded-Proto"], h["X-Forwarded-Host"], h[requestIDHeader]}
}

// follow walks X-Forwarded-For from its end, which the nearest proxy wrote, to the
// first address that is not a trusted proxy's. What is no address ends the walk at
// the proxy that reported it. Scheme and host are those that the proxy nearest to
// the client reported.
func (p Proxies) follow(c *Client, by *Forwarded) {
	hops := 0 // trusted proxies that were passed
	for rest, more := strings.Join(by.For, ","), true; more && p.Trusts(c.Addr); {
		hops++
		var last string
		rest, last, more = cutLast(rest)
		addr, ok := hopAddr(last)
		if !ok {
			break
		}
		c.Addr = addr
	}
	hops = max(hops, 1)
	c.Scheme = cmp.Or(schemeOf(reported(by.Proto, hops)), c.Scheme)
	if host := reported(by.Host, hops); plausibleHost(host) {
		c.Host = host
	}
}

// schemeOf is the scheme that a value of X-Forwarded-Proto means; empty if it means none.
// Traefik reports ws and wss for the request that opens a WebSocket.
func schemeOf(proto string) string {
	switch strings.ToLower(proto) {
	case "http", "ws":
		return "http"
	case "https", "wss":
		return "https"
	default:
		return ""
	}
}

// cutLast cuts a list at its last comma.
func cutLast(list string) (rest, last string, more bool) {
	if i := strings.LastIndexByte(list, ','); i >= 0 {
		return list[:i], list[i+1:], true
	}
	return "", list, false
}

// reported is what the proxy that is hops away wrote into a header. A header with
// fewer values was not added to by each proxy: its first value is the client's.
func reported(header []string, hops int) string {
	values := strings.Split(strings.Join(header, ","), ",")
	return strings.TrimSpace(values[max(len(values)-hops, 0)])
}

// hopAddr reads an address of X-Forwarded-For: with or without a port, and IPv6
// with or without brackets.
func hopAddr(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if at, err := netip.ParseAddrPort(text); err == nil {
		return PlainAddr(at.Addr()), true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		text = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(text)
	return PlainAddr(addr), err == nil
}

// PlainAddr makes an IPv4 address of one that is mapped to IPv6, and leaves out
// the zone, which is the machine's own matter.
func PlainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// plausibleHost reports whether text can be a host, with or without a port.
func plausibleHost(text string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]"
	return text != "" && len(text) <= 300 && strings.Trim(text, letters) == ""
}
