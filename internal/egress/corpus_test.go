package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// corpus lists URLs that must not lead to a connection, whatever they look like. PORT is
// the port of a server that would receive every one that reaches this machine.
var corpus = strings.Fields(`
	http://127.0.0.1:PORT/ http://127.0.0.1:PORT http://127.1.2.3:PORT/ http://127.255.255.254:PORT/ https://127.0.0.1:PORT/
	http://0.0.0.0:PORT/ http://0.0.0.1:PORT/ http://0:PORT/ http://0x0:PORT/ http://127.1:PORT/ http://127.0.1:PORT/
	http://2130706433:PORT/ http://017700000001:PORT/ http://0x7f000001:PORT/ http://0x7F.1:PORT/ http://0x7f.0x0.0x0.0x1:PORT/
	http://0177.0.0.1:PORT/ http://0177.0000.0000.0001:PORT/ http://00000177.1:PORT/ http://127.0.0.01:PORT/ http://127.0.0.0x1:PORT/ http://127.0.0.1.:PORT/
	http://127.0.0.1..:PORT/ http://4294967297:PORT/ http://340282366920938463463374607431768211455:PORT/ http://127.0.0.1.0:PORT/ http://1.127.0.0.1:PORT/
	http://10.0.0.1:PORT/ http://10.255.255.255:PORT/ http://172.16.0.1:PORT/ http://172.31.255.255:PORT/ http://192.168.0.1:PORT/ http://192.168.255.255:PORT/
	http://100.64.0.1:PORT/ http://100.127.255.255:PORT/ http://169.254.169.254/latest/meta-data/ http://169.254.170.2/v2/credentials http://100.100.100.200/latest/meta-data/
	http://192.0.0.192/opc/v2/ http://192.0.2.1:PORT/ http://192.88.99.1:PORT/ http://198.18.0.1:PORT/ http://198.51.100.1:PORT/ http://203.0.113.1:PORT/
	http://224.0.0.1:PORT/ http://239.255.255.250:PORT/ http://240.0.0.1:PORT/ http://255.255.255.255:PORT/ http://2852039166/latest/meta-data/ http://0xA9FEA9FE/

	http://[::1]:PORT/ http://[::]:PORT/ http://[0:0:0:0:0:0:0:1]:PORT/ http://[0000:0000:0000:0000:0000:0000:0000:0001]:PORT/ https://[::1]:PORT/
	http://[::ffff:127.0.0.1]:PORT/ http://[::ffff:7f00:1]:PORT/ http://[::FFFF:7F00:0001]:PORT/ http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/ http://[::ffff:10.0.0.1]:PORT/ http://[::ffff:a9fe:a9fe]/
	http://[::127.0.0.1]:PORT/ http://[::7f00:1]:PORT/ http://[::ffff:0:127.0.0.1]:PORT/ http://[::ffff:0.0.0.0]:PORT/
	http://[64:ff9b::127.0.0.1]:PORT/ http://[64:ff9b::7f00:1]:PORT/ http://[64:ff9b::a9fe:a9fe]/ http://[64:ff9b::8.8.8.8]:PORT/ http://[64:ff9b:1::127.0.0.1]:PORT/ http://[64:ff9b:1:abcd::1]:PORT/
	http://[2002:7f00:1::]:PORT/ http://[2002:a9fe:a9fe::1]/ http://[2002:c0a8:1::1]:PORT/ http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]:PORT/ http://[2001::1]:PORT/ http://[2001:2::1]:PORT/ http://[2001:10::1]:PORT/
	http://[2001:db8::1]:PORT/ http://[3fff::1]:PORT/ http://[fc00::1]:PORT/ http://[fd00:ec2::254]/latest/meta-data/ http://[fd12:3456:789a::1]:PORT/ http://[fe80::1]:PORT/ http://[febf::1]:PORT/
	http://[fe80::1%25lo]:PORT/ http://[fe80::1%lo]:PORT/ http://[::1%25lo]:PORT/ http://[::1%251]:PORT/ http://[2606:4700::1111%25lo]:PORT/ http://[ff02::1]:PORT/ http://[ff0e::1]:PORT/ http://[fec0::1]:PORT/ http://[100::1]:PORT/ http://[5f00::1]:PORT/
	http://[::1]]:PORT/ http://[[::1]]:PORT/ http://::1:PORT/ http://[127.0.0.1]:PORT/ http://[]:PORT/ http://[v1.fe80::a]:PORT/

	http://localhost:PORT/ http://LOCALHOST:PORT/ http://LocalHost.:PORT/ http://localhost.localdomain:PORT/ http://ip6-localhost:PORT/
	http://loopback.test:PORT/ http://LOOPBACK.test:PORT/ http://loopback.test.:PORT/ http://loopback6.test:PORT/ http://mapped.test:PORT/ http://nat64.test:PORT/ http://sixtofour.test:PORT/
	http://private.test:PORT/ http://metadata.test/ http://linklocal6.test:PORT/ http://ula.test:PORT/ http://unspecified.test:PORT/ http://unspecified6.test:PORT/ http://cgnat.test:PORT/ http://multicast.test:PORT/ http://broadcast.test:PORT/
	http://allprivate.test:PORT/ http://nothing.test:PORT/ http://empty.test:PORT/ http://metadata.google.internal/ http://kubernetes.default.svc:PORT/

	http://①②⑦.⓪.⓪.①:PORT/ http://１２７.０.０.１:PORT/ http://127。0。0。1:PORT/ http://127．0．0．1:PORT/ http://ⓛⓞⓞⓟⓑⓐⓒⓚ.test:PORT/ http://loopback。test:PORT/ http://loopback.ｔｅｓｔ:PORT/ http://ℓoopback.test:PORT/ http://loopback.test%2e:PORT/ http://xn--0.test:PORT/ http://[::ⓕⓕⓕⓕ:127.0.0.1]:PORT/

	http://user@127.0.0.1:PORT/ http://user:secret@loopback.test:PORT/ http://example.com@127.0.0.1:PORT/ http://example.com:80@127.0.0.1:PORT/ http://example.com%40127.0.0.1:PORT/ http://127.0.0.1:PORT@example.com/
	http://example.com#@127.0.0.1:PORT/ http://127.0.0.1:PORT#@example.com/ http://example.com\@127.0.0.1:PORT/ http://127.0.0.1:PORT\@example.com/ http:\\127.0.0.1:PORT\ http:/\127.0.0.1:PORT/ http:///127.0.0.1:PORT/ http:127.0.0.1:PORT/ //127.0.0.1:PORT/ 127.0.0.1:PORT/ /events ?
	http://127.0.0.1%00.example.com:PORT/ http://127.0.0.1%0d%0aHost:x:PORT/ http://%31%32%37.0.0.1:PORT/ http://%6c%6f%63%61%6c%68%6f%73%74:PORT/ http://loopback.test%20:PORT/ http://loopback_.test:PORT/ http://-.test:PORT/ http://a..b:PORT/ http://.:PORT/ http://*.test:PORT/ http://loop$back.test:PORT/
	file:///etc/passwd ftp://127.0.0.1:PORT/ gopher://127.0.0.1:PORT/_GET unix:///var/run/docker.sock dict://127.0.0.1:PORT/ ldap://127.0.0.1:PORT/ ws://127.0.0.1:PORT/ javascript:alert(1) data:text/html,x jar:http://127.0.0.1:PORT/!/ HTTP://127.0.0.1:PORT/ hTTp://loopback.test:PORT/
	http://example.com:22/ http://example.com:25/ http://example.com:0/ http://example.com:1023/ http://example.com:65536/ http://example.com:-1/ http://example.com:080/x:99 http://example.com:http/ http://example.com:8080:PORT/ http://example.com:+80/
`)

// corpusNames are names that resolve to addresses that are not permitted.
func corpusNames() *nameServer {
	return &nameServer{names: map[string][]string{
		"loopback.test": {"127.0.0.1"}, "loopback6.test": {"::1"}, "mapped.test": {"::ffff:127.0.0.1"}, "nat64.test": {"64:ff9b::7f00:1"}, "sixtofour.test": {"2002:7f00:1::"},
		"private.test": {"10.0.0.1"}, "metadata.test": {"169.254.169.254"}, "linklocal6.test": {"fe80::1"}, "ula.test": {"fd00::1"}, "unspecified.test": {"0.0.0.0"},
		"unspecified6.test": {"::"}, "cgnat.test": {"100.64.0.1"}, "multicast.test": {"224.0.0.1"}, "broadcast.test": {"255.255.255.255"}, "empty.test": {},
		"allprivate.test": {"127.0.0.1", "10.0.0.1", "::1", "fd00::1"}, "metadata.google.internal": {"169.254.169.254"}, "loopback_.test": {"127.0.0.1"}, "-.test": {"127.0.0.1"},
		"kubernetes.default.svc": {"127.0.0.1"}, "xn--0.test": {"127.0.0.1"}, "localhost.localdomain": {"127.0.0.1"},
	}}
}

// A trap counts the connections to a port of this machine, on all its addresses.
type trap struct {
	port  string
	count atomic.Int32
}

func newTrap(t *testing.T, address string) *trap {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c := &trap{port: port}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.count.Add(1)
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_ = readHead(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return c
}

// attempt does with a URL what happens when it is subscribed and sent to.
func attempt(c *Client, text string) error {
	if _, err := c.ParseURL(text); err != nil {
		return err
	}
	return send(c, text)
}

// send does what happens if a URL was stored without being checked.
func send(c *Client, text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, text, strings.NewReader("{}"))
	if err != nil {
		return &Error{Invalid, err.Error()}
	}
	_, err = c.Do(req, 512)
	return err
}

// TestCorpus: no URL of the corpus leads to a connection, neither by the check of the URL
// nor by the check of the address alone.
func TestCorpus(t *testing.T) {
	received := newTrap(t, ":0")
	client := NewClient(Options{Resolver: corpusNames().resolver(t), Setting: "webhook-allow"})
	defer client.Close()
	unchecked := NewClient(Options{Resolver: corpusNames().resolver(t), Setting: "webhook-allow"})
	defer unchecked.Close()
	for _, text := range corpus {
		text = strings.ReplaceAll(text, "PORT", received.port)
		for name, try := range map[string]func() error{
			"checked": func() error { return attempt(client, text) },
			"sent":    func() error { return send(client, text) },
			"dialed":  func() error { return dial(unchecked, text) },
		} {
			var e *Error
			err := try()
			if !errors.As(err, &e) || e.Kind != Invalid && e.Kind != Refused && e.Kind != Unresolved {
				t.Errorf("%s, %s: %v, want a refusal", text, name, err)
			}
		}
	}
	if n := received.count.Load(); n != 0 || len(corpus) < 100 {
		t.Errorf("%d URLs led to %d connections, want 0 of 100 or more", len(corpus), n)
	}
}

// dial bypasses the check of URLs, so that the one at dial stands alone.
func dial(c *Client, text string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, text, http.NoBody)
	if err != nil {
		return &Error{Invalid, err.Error()}
	}
	p := &progress{began: time.Now(), host: req.URL.Hostname()}
	resp, err := c.transport.RoundTrip(req.WithContext(p.trace(req.Context())))
	if err == nil {
		return resp.Body.Close()
	}
	if e := p.describe(req.Context(), err); p.step.Load() < handshaking && e.Kind == Connect {
		return &Error{Invalid, e.Text} // refused by net/http or the resolver
	}
	return p.describe(req.Context(), err)
}

// TestCorpusArrives shows that the corpus would reach the trap if the rule did not stop
// it, so that TestCorpus can fail.
func TestCorpusArrives(t *testing.T) {
	received := newTrap(t, ":0")
	client := NewClient(Options{Resolver: corpusNames().resolver(t), Allow: parsePrefixes("0.0.0.0/0", "::/0"), Connect: 20 * time.Second})
	defer client.Close()
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "localhost", "LOCALHOST", "loopback.test", "LOOPBACK.test",
		"loopback.test.", "①②⑦.⓪.⓪.①", "127。0。0。1", "ⓛⓞⓞⓟⓑⓐⓒⓚ.test", "loopback。test", "ℓoopback.test", "unspecified.test", "allprivate.test", "kubernetes.default.svc",
	} {
		before := received.count.Load()
		if err := dial(client, "http://"+host+":"+received.port+"/"); err != nil || received.count.Load() == before {
			t.Errorf("%s: %v, connections: %d", host, err, received.count.Load()-before)
		}
	}
}

// loopbackServer serves on an address of its own, so that a client may be allowed to
// reach it but no other.
func loopbackServer(t *testing.T, address string, h http.HandlerFunc) *httptest.Server {
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Skipf("this machine has no %s: %v", address, err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func portOf(s *httptest.Server) string {
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return port
}

// TestRebinding: a name that was permitted when it was checked is checked again at dial.
func TestRebinding(t *testing.T) {
	names := &nameServer{names: map[string][]string{}}
	received := newTrap(t, ":0")
	client := NewClient(Options{Resolver: names.resolver(t), Allow: parsePrefixes("127.0.0.2/32"), Setting: "webhook-allow"})
	defer client.Close()
	endpoint := "http://rebind.test:" + received.port + "/"

	names.set("rebind.test", "127.0.0.2")
	if err := attempt(client, endpoint); err != nil || received.count.Load() != 1 {
		t.Fatalf("a permitted address: %v, %d connections", err, received.count.Load())
	}
	var e *Error
	for _, addresses := range [][]string{{"127.0.0.1"}, {"127.0.0.1", "10.0.0.1"}, {"::1"}, {"169.254.169.254"}, {"::ffff:127.0.0.1"}, {"0.0.0.0"}} {
		names.set("rebind.test", addresses...)
		if err := attempt(client, endpoint); !errors.As(err, &e) || e.Kind != Unresolved {
			t.Errorf("%v: %v, want a refusal", addresses, err)
		}
	}
	if n := received.count.Load() - 1; n != 0 {
		t.Errorf("%d connections to addresses that are not permitted", n)
	}
}

// TestMixedAddresses: of several addresses, only permitted ones are used.
func TestMixedAddresses(t *testing.T) {
	peers := make(chan string, 1)
	server := loopbackServer(t, "127.0.0.2", func(_ http.ResponseWriter, r *http.Request) { peers <- r.Host })
	other := newTrap(t, "127.0.0.1:"+portOf(server))
	names := &nameServer{names: map[string][]string{"mixed.test": {"127.0.0.1", "10.0.0.1", "127.0.0.2"}}}
	client := NewClient(Options{Resolver: names.resolver(t), Allow: parsePrefixes("127.0.0.2/32")})
	defer client.Close()
	if err := attempt(client, "http://mixed.test:"+portOf(server)+"/"); err != nil {
		t.Fatal(err)
	}
	<-peers
	if n := other.count.Load(); n != 0 {
		t.Errorf("%d connections to an address that is not permitted", n)
	}
}

// TestRedirects: a redirect is an answer, and nobody goes where it points.
func TestRedirects(t *testing.T) {
	received := newTrap(t, ":0")
	for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		server := loopbackServer(t, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) {
			target := "http://127.0.0.1:" + received.port + "/"
			for _, name := range []string{"Location", "Content-Location", "Refresh", "URI"} {
				w.Header().Set(name, target)
			}
			w.Header().Set("Alt-Svc", fmt.Sprintf("http/1.1=\"127.0.0.1:%s\"; ma=3600", received.port))
			w.WriteHeader(status)
		})
		client := NewClient(Options{Allow: parsePrefixes("127.0.0.2/32")})
		for range 2 {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("{}"))
			if a, err := client.Do(req, 512); err != nil || a.Status != status {
				t.Errorf("%d: %+v, %v", status, a, err)
			}
		}
		client.Close()
	}
	if n := received.count.Load(); n != 0 {
		t.Errorf("%d connections to where redirects point", n)
	}
}

// TestNoProxy: the environment's proxies, which TestMain sets, are not used.
func TestNoProxy(t *testing.T) {
	server := loopbackServer(t, "127.0.0.1", func(http.ResponseWriter, *http.Request) {})
	names := &nameServer{names: map[string][]string{"direct.test": {"127.0.0.1"}}}
	client := NewClient(Options{Resolver: names.resolver(t), Allow: parsePrefixes("127.0.0.0/8")})
	defer client.Close()
	if err := attempt(client, "http://direct.test:"+portOf(server)+"/"); err != nil {
		t.Error(err)
	}
}

// TestErrorsAreNoOracle: a name in the operator's network looks like one that does not
// exist, and no error contains an address that the URL did not.
func TestErrorsAreNoOracle(t *testing.T) {
	names := &nameServer{names: map[string][]string{"exists.test": {"10.20.30.40"}, "exists6.test": {"fd00::1234"}}}
	client := NewClient(Options{Resolver: names.resolver(t), Setting: "webhook-allow"})
	defer client.Close()
	want := attempt(client, "http://absent.test:8080/").Error()
	for _, host := range []string{"exists.test", "exists6.test"} {
		if got := attempt(client, "http://"+host+":8080/").Error(); got != want {
			t.Errorf("%s: %q, but a name that does not exist: %q", host, got, want)
		}
	}
	if !strings.Contains(want, "webhook-allow") || strings.Contains(want, "10.20") {
		t.Errorf("%q does not name the setting, or names an address", want)
	}
	if got := attempt(client, "http://10.20.30.40:8080/").Error(); !strings.Contains(got, "10.20.30.40") || !strings.Contains(got, "webhook-allow") {
		t.Errorf("%q does not say what is refused and which setting allows it", got)
	}
}

// FuzzParseURL: what is accepted is a name that no resolver takes for an address, or a
// permitted address, and net/http sees the same host.
func FuzzParseURL(f *testing.F) {
	for _, text := range corpus {
		f.Add(strings.ReplaceAll(text, "PORT", "8080"))
	}
	f.Add("https://example.com/events?x=1")
	f.Add("https://bücher.example/")
	client := NewClient(Options{})
	f.Fuzz(func(t *testing.T, text string) {
		u, err := client.ParseURL(text)
		if err != nil {
			return
		}
		host := strings.TrimSuffix(u.Hostname(), ".")
		if addr, err := netip.ParseAddr(host); err == nil {
			if !new(rule).permits(addr) || addr.Zone() != "" {
				t.Errorf("%q: the address %s is accepted", text, addr)
			}
		} else if last := host[strings.LastIndexByte(host, '.')+1:]; numeric(last) {
			t.Errorf("%q: the host %s is accepted", text, host)
		}
		if u.User != nil || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(u.Host, "@%\\ ") {
			t.Errorf("%q is accepted", text)
		}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, text, http.NoBody)
		if err != nil || req.URL.Host != u.Host && strings.TrimSuffix(u.Host, ":") != req.URL.Host {
			t.Errorf("%q: net/http: %v", text, err)
		}
	})
}
