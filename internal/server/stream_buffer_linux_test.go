package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"porchlight.dev/porchlight/api"
)

// sendBuffer returns SO_SNDBUF of the server's end of a client's connection. Both ends
// are in this process.
func sendBuffer(t *testing.T, client net.Conn) int {
	t.Helper()
	local, ok := client.LocalAddr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("%T", client)
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		fd, _ := strconv.Atoi(file.Name())
		peer, err := unix.Getpeername(fd)
		if err != nil {
			continue // not connected
		}
		if port, ok := portOf(peer); !ok || port != local.Port {
			continue
		}
		size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	t.Fatalf("no socket is connected to %v", local)
	return 0
}

func portOf(a unix.Sockaddr) (int, bool) {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return a.Port, true
	case *unix.SockaddrInet6:
		return a.Port, true
	default:
		return 0, false
	}
}

// TestSendBuffersAreSmall: the kernel's send buffer for a slow consumer is bounded on
// every transport, and does not grow to megabytes. Linux doubles the configured size
// for its own needs, and reports the doubled size.
func TestSendBuffersAreSmall(t *testing.T) {
	const most = 512 << 10
	check := func(t *testing.T, conn net.Conn) {
		t.Helper()
		if size := sendBuffer(t, conn); size != 2*128<<10 || size > most {
			t.Errorf("the send buffer has %d bytes", size)
		}
	}
	runPlainAndTLS(t, func(t *testing.T, r *running) {
		t.Run("WebSocket", func(t *testing.T) {
			s := r.open(t, r.made.AccessToken, "")
			s.read(t, api.FrameHello)
			check(t, s.Conn)
		})
		t.Run("SSE", func(t *testing.T) {
			s, _ := r.sendRaw(t, "GET /v1/stream HTTP/1.1\r\nHost: porchlight.example\r\nAuthorization: Bearer "+r.made.AccessToken+"\r\n\r\n")
			if _, err := s.in.ReadString('\n'); err != nil { // the stream has begun
				t.Fatal(err)
			}
			check(t, s.Conn)
		})
		if !strings.HasPrefix(r.URL(), "https:") {
			return
		}
		t.Run("SSE over HTTP/2", func(t *testing.T) {
			var conn net.Conn
			modern := &http.Transport{TLSClientConfig: trustAnyServer(), ForceAttemptHTTP2: true}
			modern.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				var err error
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return conn, err
			}
			defer modern.CloseIdleConnections()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+"/v1/stream", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+r.made.AccessToken)
			resp, err := modern.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil || resp.ProtoMajor != 2 {
				t.Fatalf("HTTP/%d, %v", resp.ProtoMajor, err)
			}
			check(t, conn)
		})
	})
}
