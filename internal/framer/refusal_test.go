package framer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/framer"
)

// TestRefusals: a message of ambiguous framing is answered, counted, and ends its
// connection, also if more was sent; nothing serves it or what follows.
func TestRefusals(t *testing.T) {
	for head, want := range map[string]string{
		"GET /fast HTTP/1.1\nHost: a\n\n":                                                       "400 Bad Request: line ends with bare LF",
		"GET /fast HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n":                                        "400 Bad Request: invalid header name",
		"GET /fast HTTP/1.1\r\n\r\n":                                                            "400 Bad Request: missing required Host header",
		"PUT /fast HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n":       "400 Bad Request: too many Content-Length headers",
		"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n": "400 Bad Request: both Transfer-Encoding and Content-Length",
		"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":                         "Unsupported transfer encoding",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                                      "505 HTTP Version Not Supported: unsupported protocol version",
		"GET /a HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("x", 20<<10) + "\r\n\r\n":          "431 Request Header Fields Too Large",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			h := serve(t, new(fast), slow, nil)
			c := h.dial()
			c.send(get("/fast/1") + get("/b"))
			c.want("fast GET /fast/1 ")
			c.want("slow GET /b ")
			c.send(head + strings.Repeat(get("/fast"), 5000))
			got := c.receive(http.MethodPut)
			if got.body != want || !got.closes || got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("answer %+v, want %q", got, want)
			}
			c.wantEnd()
			if n := h.Malformed(); n != 1 {
				t.Errorf("%d malformed messages are counted", n)
			}
		})
	}
}

// TestRefusalsAsNetHTTP: where net/http refuses with a reason, its bytes are the same.
func TestRefusalsAsNetHTTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bare := newHTTP(http.HandlerFunc(slow))
	bare.Protocols.SetHTTP1(true)
	go func() { _ = bare.Serve(l) }()
	t.Cleanup(func() { _ = bare.Close() })
	ours := serve(t, nil, slow, nil)
	for _, head := range []string{
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("x", 21<<10),
		"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", // net/http's in both
	} {
		var answers [2]string
		for i, at := range []string{l.Addr().String(), ours.at} {
			c := (&harness{t: t, at: at}).dial()
			c.send(head)
			b, _ := io.ReadAll(c.r) // net/http may reset the connection after its answer
			answers[i] = string(b)
		}
		if answers[0] != answers[1] || answers[0] == "" {
			t.Errorf("%.60q: net/http answers %q, the framer %q", head, answers[0], answers[1])
		}
	}
}

// TestEarlyAnswer: a client that is still sending when net/http answers and closes reads
// the answer.
func TestEarlyAnswer(t *testing.T) {
	for target, want := range map[string]int{"a": http.StatusBadRequest, "/early": http.StatusTeapot} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			c := serve(t, nil, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusTeapot)
			}, nil).dial()
			c.send("PUT " + target + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat(" ", 100_000))
			if got := c.receive(http.MethodPut); got.status != want {
				t.Errorf("answer %+v", got)
			}
			c.wantEnd()
		})
	}
}

// TestMalformedChunks: the handler gets an error, and the connection ends. The bytes after
// it are not a request.
func TestMalformedChunks(t *testing.T) {
	for _, body := range []string{"3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\nContent-Length: 1\r\n\r\n", "3;a\nb\r\nabc\r\n0\r\n\r\n"} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			h := serve(t, new(fast), slow, nil)
			c := h.dial()
			c.send("PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body + get("/fast"))
			if got := c.receive(http.MethodPut); got.status != http.StatusUnprocessableEntity {
				t.Errorf("answer %+v", got)
			}
			if rest, _ := io.ReadAll(c.r); len(rest) > 0 { // it may be reset
				t.Errorf("after the answer: %q", rest)
			}
			if n := h.Malformed(); n != 1 {
				t.Errorf("%d malformed messages are counted", n)
			}
		})
	}
}

// TestUnreadBody: a body that the handler does not read is not taken for a request.
func TestUnreadBody(t *testing.T) {
	for name, body := range map[string]string{"short": get("/fast"), "long": strings.Repeat(get("/fast"), 20_000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			served := make(chan string, 2)
			c := serve(t, new(fast), func(_ http.ResponseWriter, r *http.Request) { served <- r.URL.Path }, nil).dial()
			go func() {
				_, _ = io.WriteString(c.Conn, put("/a", body+strings.Repeat(" ", framer.MaxFastBody))+get("/b"))
			}()
			if got := c.receive(http.MethodPut); got.status != http.StatusOK {
				t.Errorf("answer %+v", got)
			} else if name == "short" {
				c.receive(http.MethodGet)
				<-served
			} else if rest, _ := io.ReadAll(c.r); len(rest) > 0 { // it may be reset
				t.Errorf("after the answer: %q", rest)
			}
			if path := <-served; name == "short" && path != "/b" || name == "long" && path != "/a" {
				t.Errorf("served %s", path)
			}
		})
	}
}

// TestTLS: both paths and HTTP/2 work over TLS, and a handler sees that it is.
func TestTLS(t *testing.T) {
	h := serveTLS(t, new(fast))
	for name, protos := range map[string][]string{"HTTP/1.1": {"http/1.1"}, "HTTP/2.0": {"h2", "http/1.1"}, "no ALPN": nil} {
		t.Run(name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", h.at, &tls.Config{InsecureSkipVerify: true, NextProtos: protos}) //nolint:gosec // the certificate is of no interest
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			transport := &http.Transport{
				DialTLS:   func(string, string) (net.Conn, error) { return conn, nil }, //nolint:staticcheck // no context is needed
				Protocols: new(http.Protocols),
			}
			defer transport.CloseIdleConnections()
			want := "HTTP/1.1 true"
			if transport.Protocols.SetHTTP1(true); name == "HTTP/2.0" {
				transport.Protocols.SetHTTP1(false)
				transport.Protocols.SetHTTP2(true)
				want = "HTTP/2.0 true"
			}
			for _, path := range []string{"/a", "/fast", "/a", "/fast", "/a"} {
				expected := want
				if path == "/fast" && name != "HTTP/2.0" {
					expected = "fast GET /fast "
				}
				resp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + h.at + path)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if string(body) != expected {
					t.Errorf("%s: %q, want %q", path, body, expected)
				}
			}
		})
	}
	c := h.dial()
	c.send(get("/a"))
	if b, _ := io.ReadAll(c.r); !strings.HasSuffix(string(b), "Client sent an HTTP request to an HTTPS server.\n") {
		t.Errorf("plain HTTP is answered with %q", b)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// serveTLS starts a framer with a certificate of its own.
func serveTLS(t *testing.T, f framer.Fast) *harness {
	t.Helper()
	handler := func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Proto, " ", r.TLS != nil) }
	return serve(t, f, handler, func(s *framer.Server) {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS12}
	})
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestRefusalOfHTTP: net/http refuses what the framer passes on, and the connection ends,
// also if the request is not the first one on it.
func TestRefusalOfHTTP(t *testing.T) {
	t.Parallel()
	h := serve(t, nil, slow, nil)
	for _, before := range []int{0, 1, 2} {
		c := h.dial()
		for range before {
			c.send(get("/a"))
			c.want("slow GET /a ")
		}
		c.send(get("/%zz"))
		if got := c.receive(http.MethodGet); got.status != http.StatusBadRequest {
			t.Fatalf("answer %+v", got)
		}
		c.wantEnd()
	}
}

// TestPartsOnSockets: as TestIdleParts, on connections of the system, plain and TLS.
func TestPartsOnSockets(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint(secure), func(t *testing.T) {
			t.Parallel()
			h := serve(t, new(fast), slow, nil)
			if secure {
				h = serveTLS(t, new(fast))
			}
			c := h.dial()
			if secure {
				c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is of no interest
				c.r.Reset(c.Conn)
			}
			for range 2 {
				c.send(get("/a"))
				if got := c.receive(http.MethodGet); got.status != http.StatusOK {
					t.Fatalf("answer %+v", got)
				}
				for end := time.Now().Add(patience); framer.Virtuals(h.Server) > 0; {
					if time.Now().After(end) {
						t.Fatal("net/http keeps its part")
					}
					time.Sleep(10 * time.Millisecond)
				}
				c.send(get("/fast"))
				c.want("fast GET /fast ")
			}
		})
	}
}
