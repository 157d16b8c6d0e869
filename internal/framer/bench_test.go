package framer_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/framer"
)

// A constant answers with 204 at once, or from another goroutine.
type constant struct{ late chan *framer.Conn }

var noContent = []byte("HTTP/1.1 204 No Content\r\nDate: Sat, 28 Nov 2026 04:50:44 GMT\r\n\r\n")

func (*constant) Wants(r *framer.Request) bool { return r.Target[1] == 'f' }

func (f *constant) Serve(c *framer.Conn, _ *framer.Request) {
	if f.late != nil {
		f.late <- c
		return
	}
	c.Reply(noContent)
}

const benchHead = "PUT /%s/u1/presence_status HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 22\r\n" +
	"Authorization: Bearer 0123456789abcdef0123456789abcdef0123456789abcdef\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{\"status\":\"Available\"}"

// BenchmarkFast compares the paths over loopback. The client's part is the same in each.
func BenchmarkFast(b *testing.B) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}
	late := &constant{make(chan *framer.Conn, 64)}
	defer close(late.late)
	go func() {
		for c := range late.late {
			c.Reply(noContent)
		}
	}()
	for _, path := range []struct {
		name, segment string
		fast          framer.Fast
	}{
		{"fast", "f", new(constant)}, {"late", "f", late}, {"framed", "slow", new(constant)}, {"bare", "slow", nil},
	} {
		b.Run(path.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			if path.name == "bare" {
				s := newHTTP(http.HandlerFunc(handler))
				s.Protocols.SetHTTP1(true)
				go func() { _ = s.Serve(l) }()
				defer func() { _ = s.Close() }()
			} else {
				s := &framer.Server{HTTP1: newHTTP(http.HandlerFunc(handler)), HTTP2: newHTTP(nil), Fast: path.fast}
				s.HTTP1.Protocols.SetHTTP1(true)
				go func() { _ = s.Serve(l) }()
				defer func() { _ = s.Close() }()
			}
			request := fmt.Appendf(nil, benchHead, path.segment)
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				answer := make([]byte, 1024)
				for pb.Next() {
					if _, err := conn.Write(request); err != nil {
						b.Error(err)
						return
					}
					if _, err := conn.Read(answer); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// TestIdleMemory measures what an idle connection costs this process, the client's part
// included: when it was opened, and after each path was used on it.
func TestIdleMemory(t *testing.T) {
	conns, _ := strconv.Atoi(os.Getenv("TEST_IDLE_CONNECTIONS"))
	if conns == 0 {
		t.Skip("a measurement: set TEST_IDLE_CONNECTIONS to a number of connections")
	}
	h := serve(t, new(constant), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, nil)
	all := make([]net.Conn, conns)
	base := resident(t)
	for i := range all {
		conn, err := net.Dial("tcp", h.at)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		all[i] = conn
	}
	t.Logf("opened: %d bytes for each", (resident(t)-base)/conns)
	for _, segment := range []string{"f", "slow"} {
		request := fmt.Appendf(nil, benchHead, segment)
		answer := make([]byte, 1<<10)
		for _, conn := range all {
			_, _ = conn.Write(request)
			if n, err := conn.Read(answer); err != nil || !strings.Contains(string(answer[:n]), "204") {
				t.Fatal(string(answer[:n]), err)
			}
		}
		time.Sleep(4 * time.Second) // until net/http has no part in them
		size := resident(t)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("after %s: %d bytes for each; heap %d, stacks %d", segment, (size-base)/conns, int(m.HeapAlloc)/conns, int(m.StackInuse)/conns)
	}
}

func resident(t *testing.T) int {
	t.Helper()
	for range 3 {
		debug.FreeOSMemory()
	}
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize()
}
