package wire

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/auth"
)

// Site is what the server is called, and which pages may use it from a browser. A
// nil Site is called anything, and serves its own pages alone.
type Site struct {
	// Hosts are its names and addresses, beside those of loopback, in lower case
	// and without ports.
	Hosts []string
	// AnyAddress: it is called by every IP address too, because it listens on all
	// that the machine has.
	AnyAddress bool
	// Own is the origin of its own pages, as browsers write it, if it is known beside
	// the host that is asked for.
	Own string
	// Origins are those of other pages that may use it; "*" is every page. They may
	// call what is below the paths of Shared.
	Origins, Shared []string
	// Exposed are the headers that those pages may read beside the ones that every
	// dialect has.
	Exposed []string
	// HSTS is the Strict-Transport-Security header for HTTPS clients; "": none.
	HSTS string
}

// A HostError is a request for a page under a host name that is not allowed.
type HostError struct{ Host string }

func (e *HostError) Error() string {
	return fmt.Sprintf("this server does not serve pages or tickets under the host name %q: to allow it, set public-url to a URL with this name, or add it to allowed-hosts", auth.Shorten(e.Host))
}

// An OriginError is a request from a page of an origin that is not allowed.
type OriginError struct{ Origin string }

func (e *OriginError) Error() string {
	return fmt.Sprintf("pages of the origin %q may not call this server: if it is the server's own page behind a proxy, set public-url to its URL; to allow another origin, add it to cors-origins", auth.Shorten(e.Origin))
}

// OwnHost answers only requests to one of the site's names. Otherwise a page could
// make its own name point to this server, and read what the server gives to its
// own pages (DNS rebinding).
func (s *Site) OwnHost(h Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.checkHost(ClientOf(w).Host); err != nil {
			return err
		}
		return h(w, r)
	}
}

// OwnOrigin refuses pages of origins that are not allowed. Who is no browser names
// no origin.
func (s *Site) OwnOrigin(h Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		for _, origin := range r.Header["Origin"] {
			if !sameHost(origin, ClientOf(w).Host) && !s.allows(origin) {
				return &OriginError{Origin: origin}
			}
		}
		return h(w, r)
	}
}

// checkHost lets through what no browser asks for: no host at all.
func (s *Site) checkHost(asked string) error {
	host := hostname(asked)
	if s == nil || host == "" || host == "localhost" {
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if host = PlainAddr(addr).String(); s.AnyAddress || PlainAddr(addr).IsLoopback() {
			return nil
		}
	}
	if slices.Contains(s.Hosts, host) {
		return nil
	}
	return &HostError{Host: asked}
}

// hostname is a host without its port, brackets and final dot, in lower case.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// allows reports whether a page may use the server that is not of the origin which
// it asks.
func (s *Site) allows(origin string) bool {
	if s == nil {
		return false
	}
	return origin == s.Own || slices.Contains(s.Origins, "*") || slices.Contains(s.Origins, origin)
}

// sameHost reports whether an origin is that of the host that was asked for. The
// scheme is left out: behind a proxy that is not trusted it is not known.
func sameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	port := ":80"
	if u.Scheme == "https" {
		port = ":443"
	}
	return strings.EqualFold(strings.TrimSuffix(u.Host, port), strings.TrimSuffix(host, port))
}
