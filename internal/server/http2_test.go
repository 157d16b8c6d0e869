package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/server"
)

// An http2Flood is what one client sends on one connection, over and over.
type http2Flood struct {
	name string
	// send sends one part, and returns an error when the server has closed the connection.
	send  func(f *http2.Framer, n int) error
	parts int
}

// headersOf encodes header fields of a request.
func headersOf(fields ...string) []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to memory
	}
	return block.Bytes()
}

func requestHeaders(more ...string) []byte {
	return headersOf(append([]string{":method", "GET", ":scheme", "https", ":authority", "localhost", ":path", "/v1/me"}, more...)...)
}

func http2Floods() []http2Flood {
	request := requestHeaders()
	stream := func(n int) uint32 { return uint32(2*n + 1) } //nolint:gosec // far below the limit
	begin := func(f *http2.Framer, n int, block []byte, end bool) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream(n), BlockFragment: block, EndStream: true, EndHeaders: end})
	}
	return []http2Flood{
		{"rapid reset", func(f *http2.Framer, n int) error {
			if err := begin(f, n, request, true); err != nil {
				return err
			}
			return f.WriteRSTStream(stream(n), http2.ErrCodeCancel)
		}, 20_000},
		{"streams that the server resets", func(f *http2.Framer, n int) error {
			if err := begin(f, n, request, true); err != nil {
				return err
			}
			return f.WriteWindowUpdate(stream(n), 0) // an error of the stream
		}, 20_000},
		{"more streams than are allowed", func(f *http2.Framer, n int) error {
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream(n), BlockFragment: request, EndHeaders: true}) // the body never comes
		}, 20_000},
		{"continuations without end", func(f *http2.Framer, n int) error {
			if n == 0 {
				return begin(f, 0, request, false)
			}
			return f.WriteContinuation(1, false, headersOf("x", strings.Repeat("x", 4_000)))
		}, 20_000},
		{"empty continuations", func(f *http2.Framer, n int) error {
			if n == 0 {
				return begin(f, 0, request, false)
			}
			return f.WriteContinuation(1, false, nil)
		}, 100_000},
		{"settings", func(f *http2.Framer, _ int) error {
			return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65_535})
		}, 50_000},
		{"pings", func(f *http2.Framer, _ int) error { return f.WritePing(false, [8]byte{}) }, 50_000},
		{"large header lists", func(f *http2.Framer, n int) error {
			// Each field is an index of one byte that stands for 4 kB.
			block := append(requestHeaders("x", strings.Repeat("x", 4_000)), bytes.Repeat([]byte{0xbe}, 10_000)...)
			return begin(f, n, block, true)
		}, 200},
		{"empty data", func(f *http2.Framer, n int) error {
			if n == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headersOf(":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", "/v1/users"), EndHeaders: true})
			}
			return f.WriteData(1, false, nil)
		}, 50_000},
		{"priorities", func(f *http2.Framer, n int) error {
			return f.WritePriority(stream(n), http2.PriorityParam{StreamDep: 0, Weight: 1})
		}, 50_000},
	}
}

// TestHTTP2Floods: a client that floods its connection costs neither memory nor
// goroutines without bound, and other clients are answered meanwhile.
func TestHTTP2Floods(t *testing.T) {
	cfg := settings(t)
	dir := t.TempDir()
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1)
	r := start(t, cfg, server.Options{})
	transport := &http.Transport{TLSClientConfig: trustAnyServer(), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	r.http = &http.Client{Transport: transport, Timeout: waitLimit}
	for _, flood := range http2Floods() {
		t.Run(flood.name, func(t *testing.T) {
			before, goroutines := heap(), runtime.NumGoroutine()
			sent, refused := r.flood(t, &flood)
			if resp := r.send(t, http.MethodGet, r.URL()+"/v1/me", "", "Authorization", "Bearer "+r.made.AccessToken); resp.StatusCode != http.StatusOK {
				t.Errorf("another client got %d", resp.StatusCode)
			} else {
				readAll(t, resp)
			}
			eventually(t, "the goroutines of the connection end", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
			grown := int64(heap()) - int64(before) //nolint:gosec // bytes of a test
			t.Logf("%d of %d parts sent, connection closed by the server: %t; the heap grew by %d KiB", sent, flood.parts, refused, grown>>10)
			if grown > 16<<20 {
				t.Errorf("the heap grew by %d bytes", grown)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// flood sends the parts of a flood, and checks what the connection takes meanwhile.
func (r *running) flood(t *testing.T, flood *http2Flood) (sent int, refused bool) {
	t.Helper()
	config := trustAnyServer()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.URL(), "https://"), config)
	apptest.Check(t, err)
	defer func() { _ = conn.Close() }()
	apptest.Check(t, conn.SetDeadline(time.Now().Add(2*waitLimit)))
	_, err = io.WriteString(conn, http2.ClientPreface)
	apptest.Check(t, err)
	f := http2.NewFramer(conn, conn)
	f.AllowIllegalWrites = true
	apptest.Check(t, f.WriteSettings())
	drained := make(chan struct{})
	go func() { // what the server answers is read, or it would wait
		defer close(drained)
		_, _ = io.Copy(io.Discard, conn)
	}()
	most, limit := uint64(0), heap()+64<<20
	for sent = range flood.parts {
		if err = flood.send(f, sent); err != nil {
			break
		}
		if sent%5_000 == 0 {
			most = max(most, heap())
			if n := runtime.NumGoroutine(); n > 500 {
				t.Errorf("%d goroutines after %d parts", n, sent)
			}
		}
	}
	if most > limit {
		t.Errorf("the heap grew to %d bytes", most)
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // as it is returned
		t.Errorf("the server neither read nor closed the connection: %v", fmt.Errorf("part %d: %w", sent, err))
	}
	_ = conn.Close()
	<-drained
	return sent, err != nil
}
