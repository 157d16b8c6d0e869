package wire_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	. "porchlight.dev/porchlight/internal/wire"
)

func proxies(networks ...string) Proxies {
	var all Proxies
	for _, n := range networks {
		all = append(all, netip.MustParsePrefix(n))
	}
	return all
}

// TestClient: the client's address, scheme and host are those of the connection, unless
// a trusted proxy reports others.
func TestClient(t *testing.T) {
	trusted := proxies("10.0.0.0/8", "127.0.0.1/32", "fd00::/8")
	const peer, stranger = "10.0.0.1:4711", "203.0.113.9:4711"
	for name, c := range map[string]struct {
		remote  string
		headers []string
		want    string // address and URL
	}{
		"no proxy":                       {stranger, nil, "203.0.113.9 http://x:1"},
		"no proxy, spoofed":              {stranger, []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil"}, "203.0.113.9 http://x:1"},
		"one proxy":                      {peer, []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "p.example"}, "192.0.2.1 https://p.example"},
		"one proxy that reports nothing": {peer, nil, "10.0.0.1 http://x:1"},
		"a client that spoofs":           {peer, []string{"X-Forwarded-For", "198.51.100.1, 192.0.2.1"}, "192.0.2.1 http://x:1"},
		"spoofed as a trusted proxy":     {peer, []string{"X-Forwarded-For", "10.9.9.9, 192.0.2.1"}, "192.0.2.1 http://x:1"},
		"two proxies":                    {peer, []string{"X-Forwarded-For", "198.51.100.1, 192.0.2.1, 10.0.0.2"}, "192.0.2.1 http://x:1"},
		"two lines":                      {peer, []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-For", "10.0.0.2"}, "192.0.2.1 http://x:1"},
		"all trusted":                    {peer, []string{"X-Forwarded-For", "10.0.0.3,10.0.0.2"}, "10.0.0.3 http://x:1"},
		"garbage":                        {peer, []string{"X-Forwarded-For", "192.0.2.1, unknown, 10.0.0.2"}, "10.0.0.2 http://x:1"},
		"garbage at the end":             {peer, []string{"X-Forwarded-For", "192.0.2.1, "}, "10.0.0.1 http://x:1"},
		"empty":                          {peer, []string{"X-Forwarded-For", ""}, "10.0.0.1 http://x:1"},
		"a port":                         {peer, []string{"X-Forwarded-For", "192.0.2.1:80"}, "192.0.2.1 http://x:1"},
		"IPv6":                           {peer, []string{"X-Forwarded-For", "2001:db8::1"}, "2001:db8::1 http://x:1"},
		"IPv6 in brackets":               {peer, []string{"X-Forwarded-For", "[2001:db8::1]"}, "2001:db8::1 http://x:1"},
		"IPv6 with a port":               {peer, []string{"X-Forwarded-For", "[2001:db8::1]:80"}, "2001:db8::1 http://x:1"},
		"IPv6 with a zone":               {peer, []string{"X-Forwarded-For", "fe80::1%eth0"}, "fe80::1 http://x:1"},
		"an IPv6 proxy":                  {"[fd00::1]:4711", []string{"X-Forwarded-For", "192.0.2.1"}, "192.0.2.1 http://x:1"},
		"mapped peer":                    {"[::ffff:10.0.0.1]:4711", []string{"X-Forwarded-For", "192.0.2.1"}, "192.0.2.1 http://x:1"},
		"mapped hop":                     {peer, []string{"X-Forwarded-For", "192.0.2.1, ::ffff:10.0.0.2"}, "192.0.2.1 http://x:1"},
		"mapped client":                  {peer, []string{"X-Forwarded-For", "::ffff:192.0.2.1"}, "192.0.2.1 http://x:1"},
		"a socket that is not TCP":       {"@", []string{"X-Forwarded-For", "192.0.2.1"}, "invalid IP http://x:1"},
		"a spoofed scheme and host": {
			peer,
			[]string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https, http", "X-Forwarded-Host", "evil, p.example:81"},
			"192.0.2.1 http://p.example:81",
		},
		"scheme and host through two": {
			peer,
			[]string{"X-Forwarded-For", "192.0.2.1, 10.0.0.2", "X-Forwarded-Proto", "http, https, http", "X-Forwarded-Host", "evil, p.example, x"},
			"192.0.2.1 https://p.example",
		},
		"a scheme that is set once": {peer, []string{"X-Forwarded-For", "192.0.2.1, 10.0.0.2", "X-Forwarded-Proto", "HTTPS"}, "192.0.2.1 https://x:1"},
		"an upgrade":                {peer, []string{"X-Forwarded-Proto", "wss"}, "10.0.0.1 https://x:1"},
		"an upgrade in the clear":   {peer, []string{"X-Forwarded-Proto", "WS"}, "10.0.0.1 http://x:1"},
		"other schemes":             {peer, []string{"X-Forwarded-Proto", "ftp", "X-Forwarded-Host", "a/b"}, "10.0.0.1 http://x:1"},
		"an empty host":             {peer, []string{"X-Forwarded-Host", " "}, "10.0.0.1 http://x:1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://x:1/", nil)
		r.RemoteAddr = c.remote
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Add(c.headers[i], c.headers[i+1])
		}
		got := trusted.Client(r)
		if text := got.Addr.String() + " " + got.URL(); text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
		if spoofed := (Proxies{}).Client(r); spoofed.URL() != "http://x:1" || len(c.headers) > 0 && spoofed.Addr == netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%s: without trusted proxies the client is %+v", name, spoofed)
		}
	}
	over := httptest.NewRequest(http.MethodGet, "/", nil)
	over.TLS = new(tls.ConnectionState)
	if c := (Proxies{}).Client(over); !c.Secure() {
		t.Errorf("over TLS the client is %+v", c)
	}
	over.RemoteAddr = peer
	over.Header.Set("X-Forwarded-Proto", "http")
	if c := trusted.Client(over); c.Secure() {
		t.Errorf("over TLS from a proxy that was reached by HTTP the client is %+v", c)
	}
}

// TestLimitKey: limits are kept for an IPv4 address or an IPv6 /64.
func TestLimitKey(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64", "2001:db8:1:3::": "2001:db8:1:3::/64",
	} {
		if got := (Client{Addr: netip.MustParseAddr(addr)}).LimitKey(); got.String() != want {
			t.Errorf("the key of %s is %s, want %s", addr, got, want)
		}
	}
	if got := (Client{}).LimitKey(); got.IsValid() {
		t.Errorf("the key of an unknown address is %s", got)
	}
}
