package zoomapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// bareGet and barePut are the baseline of the budget.
func bareGet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"status":"Available"}`)
}

func barePut(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Status   string `json:"status"`
		Duration *int   `json:"duration"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func newBenchFixture(b *testing.B) *fixture {
	w := newFixture(b, options{access: io.Discard, policy: func(p *presence.Policy) { p.MinInterval = 0 }})
	w.clock.Advance(time.Second)
	return w
}

// discardWriter is a ResponseWriter without cost.
type discardWriter struct{ header http.Header }

func (r *discardWriter) Header() http.Header         { return r.header }
func (r *discardWriter) Write(b []byte) (int, error) { return len(b), nil }
func (r *discardWriter) WriteHeader(int)             {}

// BenchmarkGetHandler measures the allocations of a GET without those of net/http.
func BenchmarkGetHandler(b *testing.B) {
	w := newBenchFixture(b)
	r := httptest.NewRequest("GET", path(string(w.ann.ID)), nil)
	r.Header.Set("Authorization", "Bearer "+w.app)
	out := &discardWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(out.header)
		w.ServeHTTP(out, r)
	}
}

// BenchmarkGet and BenchmarkPut go through net/http on the loopback interface.
func BenchmarkGet(b *testing.B) {
	w := newBenchFixture(b)
	text := "GET " + path(string(w.ann.ID)) + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + w.app + "\r\n\r\n"
	b.Run("bare", func(b *testing.B) { benchRequests(b, http.HandlerFunc(bareGet), text, 200) })
	b.Run("zoom", func(b *testing.B) { benchRequests(b, w, text, 200) })
	b.Run("fast", func(b *testing.B) { benchFast(b, w, text, 200) })
}

func BenchmarkPut(b *testing.B) {
	w := newBenchFixture(b)
	const body = `{"status":"Do_Not_Disturb","duration":60}`
	text := "PUT " + path(string(w.ann.ID)) + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + w.app +
		"\r\nContent-Type: application/json\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body
	b.Run("bare", func(b *testing.B) { benchRequests(b, http.HandlerFunc(barePut), text, 204) })
	b.Run("zoom", func(b *testing.B) { benchRequests(b, w, text, 204) })
	b.Run("fast", func(b *testing.B) { benchFast(b, w, text, 204) })
}

func benchRequests(b *testing.B, h http.Handler, request string, status int) {
	server := httptest.NewServer(h)
	defer server.Close()
	benchServer(b, server.Listener.Addr().String(), request, status)
}

// benchFast goes through the framer and the fast path.
func benchFast(b *testing.B, w *fixture, request string, status int) {
	benchServer(b, w.serveFast(), request, status)
}

// benchServer sends the request repeatedly on persistent connections.
func benchServer(b *testing.B, address, request string, status int) {
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(b.Context(), "tcp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		in, text := bufio.NewReader(conn), []byte(request)
		for pb.Next() {
			if err := roundTrip(conn, in, text, status); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// roundTrip reads a response without net/http, whose client would cost more than the
// server.
func roundTrip(conn net.Conn, in *bufio.Reader, request []byte, status int) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	length, statusText := 0, strconv.Itoa(status)
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case first && string(line[9:12]) != statusText:
			return fmt.Errorf("answered %s", line)
		case len(line) > 16 && string(line[:16]) == "Content-Length: ":
			length = 0
			for _, c := range line[16 : len(line)-2] {
				length = 10*length + int(c-'0')
			}
		case len(line) == 2:
			_, err := in.Discard(length)
			return err
		}
	}
}
