package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/server"
)

// Opcodes of RFC 6455.
const (
	opContinue = 0x0
	opText     = 0x1
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xa
	final      = 0x80
	masked     = 0x80
)

// A rawSocket is a WebSocket whose bytes the test writes itself.
type rawSocket struct {
	net.Conn
	in    *bufio.Reader
	pongs int // read by waitForClose
}

// upgrade returns a handshake with additional headers.
func upgrade(token, query string, headers ...string) string {
	return "GET /v1/stream" + query + " HTTP/1.1\r\nHost: porchlight.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer " + token + "\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// sendRaw sends a request unchanged, and reads the head of the response.
func (r *running) sendRaw(t *testing.T, request string) (*rawSocket, *http.Response) {
	t.Helper()
	return sendRawOver(t, r.dial(t), request)
}

// dial connects to a server, over TLS if it serves that.
func (r *running) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := r.tryDial()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (r *running) tryDial() (net.Conn, error) {
	if address, secure := strings.CutPrefix(r.URL(), "https://"); secure {
		return tls.Dial("tcp", address, trustAnyServer())
	}
	return net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
}

func sendRawOver(t *testing.T, conn net.Conn, request string) (*rawSocket, *http.Response) {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	s := &rawSocket{Conn: conn, in: bufio.NewReader(conn)}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, resp
}

// open opens a rawSocket with a token, and completes the handshake.
func (r *running) open(t *testing.T, token, query string) *rawSocket {
	t.Helper()
	s, resp := r.sendRaw(t, upgrade(token, query))
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake failed with status %d", resp.StatusCode)
	}
	return s
}

// rawFrame returns a masked frame as a client sends it. first has the bits before the
// length.
func rawFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, masked|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...) // a zero mask
}

func (s *rawSocket) sendText(text string) error {
	_, err := s.Write(rawFrame(final|opText, []byte(text)))
	return err
}

// next reads one frame.
func (s *rawSocket) next() (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	if extended := map[byte]int{126: 2, 127: 8}[head[1]]; extended > 0 {
		var b [8]byte
		if _, err := io.ReadFull(s.in, b[8-extended:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(s.in, payload)
	return head[0], payload, err
}

// read reads frames until one of that type arrives.
func (s *rawSocket) read(t *testing.T, kind string) api.ServerFrame {
	t.Helper()
	for {
		first, payload, err := s.next()
		if err != nil {
			t.Fatalf("no %s frame: %v", kind, err)
		}
		if first != final|opText {
			continue
		}
		if f := frameOf(t, payload); f.Type == kind {
			return f
		}
	}
}

func frameOf(t *testing.T, payload []byte) (f api.ServerFrame) {
	t.Helper()
	if err := json.Unmarshal(payload, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// waitForClose reads until the connection ends, and returns the code of the close
// frame, or 0 without one. It is an error if the connection stays open.
func (s *rawSocket) waitForClose() (code int, err error) {
	for {
		first, payload, err := s.next()
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // net returns it unwrapped
			return code, err
		}
		if err != nil {
			return code, nil //nolint:nilerr // the end was expected
		}
		if first == final|opPong {
			s.pongs++
		}
		if first == final|opClose && len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
		}
	}
}

// runPlainAndTLS runs a test on a server without TLS and on one with TLS.
func runPlainAndTLS(t *testing.T, test func(t *testing.T, r *running)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { test(t, start(t, settings(t), server.Options{})) })
	t.Run("TLS", func(t *testing.T) {
		secure := settings(t)
		dir := t.TempDir()
		secure.TLSCertFile, secure.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		writeCertificate(t, secure.TLSCertFile, secure.TLSKeyFile, 1)
		r := start(t, secure, server.Options{})
		transport := &http.Transport{TLSClientConfig: trustAnyServer()}
		t.Cleanup(transport.CloseIdleConnections)
		r.http.Transport = transport
		test(t, r)
	})
}

// TestInvalidFrames: the server answers earlier frames, and then closes the connection
// with the documented code. The server keeps running.
func TestInvalidFrames(t *testing.T) { runPlainAndTLS(t, testInvalidFrames) }

func testInvalidFrames(t *testing.T, r *running) {
	t.Helper()
	token := r.made.AccessToken
	ping := rawFrame(final|opPing, []byte("before"))
	unmasked := append([]byte{final | opText, 2}, "{}"...)
	length := func(n uint64) []byte {
		return append(binary.BigEndian.AppendUint64([]byte{final | opText, masked | 127}, n), 0, 0, 0, 0)
	}
	for name, c := range map[string]struct {
		bytes []byte
		code  int
	}{
		"more than 64 KiB":                {rawFrame(final|opText, make([]byte, 64<<10+1)), 1009},
		"a megabyte":                      {rawFrame(final|opText, make([]byte, 1<<20)), 1009},
		"2^62 bytes":                      {length(1 << 62), 1009},
		"2^63 bytes":                      {length(1 << 63), 1009},
		"2^64-1 bytes":                    {length(1<<64 - 1), 1009},
		"fragments above 64 KiB in total": {slices.Concat(rawFrame(opText, make([]byte, 60<<10)), rawFrame(final|opContinue, make([]byte, 60<<10))), 1009},
		"not UTF-8":                       {rawFrame(final|opText, []byte("{\"type\":\"\xff\"}")), 1007},
		"not UTF-8 across fragments":      {slices.Concat(rawFrame(opText, []byte("\xe2\x82")), rawFrame(final|opContinue, []byte("x"))), 1007},
		"without a mask":                  {unmasked, 1002},
		"reserved bit 1":                  {rawFrame(final|opText|0x40, []byte("{}")), 1002},
		"reserved bit 2":                  {rawFrame(final|opText|0x20, []byte("{}")), 1002},
		"reserved bit 3":                  {rawFrame(final|opText|0x10, []byte("{}")), 1002},
		"unknown data opcode":             {rawFrame(final|0x3, nil), 1002},
		"unknown control opcode":          {rawFrame(final|0xb, nil), 1002},
		"a ping in fragments":             {rawFrame(opPing, nil), 1002},
		"a ping of 126 bytes":             {rawFrame(final|opPing, make([]byte, 126)), 1002},
		"a continuation without a start":  {rawFrame(final|opContinue, []byte("{}")), 1002},
		"a message within a message":      {slices.Concat(rawFrame(opText, []byte("{")), rawFrame(final|opText, []byte("{}"))), 1002},
		"a close with half a code":        {rawFrame(final|opClose, []byte{3}), 1002},
		"a valid close":                   {rawFrame(final|opClose, []byte{3, 0xe8}), 1000},
	} {
		s := r.open(t, token, "")
		s.read(t, api.FrameHello)
		if _, err := s.Write(slices.Concat(ping, c.bytes)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if code, err := s.waitForClose(); err != nil || code != c.code || s.pongs != 1 {
			t.Errorf("%s: closed with %d, %v, after %d pongs; want %d after 1", name, code, err, s.pongs, c.code)
		}
	}
	if _, err := r.client.Me(t.Context()); err != nil {
		t.Errorf("a request after the invalid frames: %v", err)
	}
}

// TestFloods: a client that sends far too much, in any form, is disconnected, and other
// clients are not affected.
func TestFloods(t *testing.T) { runPlainAndTLS(t, testFloods) }

func testFloods(t *testing.T, r *running) {
	t.Helper()
	other := r.open(t, r.made.AccessToken, "")
	other.read(t, api.FrameHello)
	for name, flood := range map[string][]byte{
		"pings":     rawFrame(final|opPing, []byte("are you there?")),
		"pongs":     rawFrame(final|opPong, nil),
		"messages":  rawFrame(final|opText, []byte(`{"type":"ping"}`)),
		"nonsense":  rawFrame(final|opText, []byte(`[`)),
		"fragments": rawFrame(opText, nil),
		"bytes":     rawFrame(final|opText, bytes.Repeat([]byte(" "), 60<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			s := r.open(t, r.made.AccessToken, "")
			var sending sync.WaitGroup
			sending.Go(func() {
				if name == "fragments" {
					if _, err := s.Write(flood); err != nil {
						return
					}
					flood = rawFrame(opContinue, nil)
				}
				burst := bytes.Repeat(flood, 1+4096/len(flood))
				for {
					if _, err := s.Write(burst); err != nil {
						return
					}
				}
			})
			code, err := s.waitForClose()
			if err != nil {
				t.Errorf("still open: %v", err)
			}
			if code != api.CloseTooFast {
				t.Errorf("closed with %d", code)
			}
			_ = s.Close()
			sending.Wait()
		})
	}
	if err := other.sendText(`{"type":"ping","id":"1"}`); err != nil {
		t.Fatal(err)
	}
	if f := other.read(t, api.FramePong); f.ID != "1" {
		t.Errorf("the pong has the id %q", f.ID)
	}
}

// TestRefusedHandshakes: an invalid handshake gets a problem document, and no stream
// begins.
func TestRefusedHandshakes(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	token := r.made.AccessToken
	handshake := upgrade(token, "")
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"a short key":            {strings.Replace(handshake, "dGhlIHNhbXBsZSBub25jZQ==", "abc", 1), 400},
		"HTTP/1.0":               {strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1), 400},
		"an empty host":          {strings.Replace(handshake, "Host: porchlight.example", "Host:", 1), 400},
		"no key":                 {strings.Replace(handshake, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 1), 400},
		"another version":        {strings.Replace(handshake, "Version: 13", "Version: 8", 1), 400},
		"no connection":          {strings.Replace(handshake, "Connection: keep-alive, Upgrade\r\n", "", 1), 400},
		"an unknown parameter":   {upgrade(token, "?user=me"), 400},
		"contacts=maybe":         {upgrade(token, "?contacts=maybe"), 400},
		"101 users":              {upgrade(token, "?users=a"+strings.Repeat(",a", 100)), 400},
		"no token":               {strings.Replace(handshake, "Authorization: Bearer "+token+"\r\n", "", 1), 401},
		"another token":          {upgrade("guess", ""), 401},
		"a page of another host": {upgrade(token, "", "Origin: https://evil.example"), 403},
		"an opaque origin":       {upgrade(token, "", "Origin: null"), 403},
		"another port":           {upgrade(token, "", "Origin: http://porchlight.example:81"), 403},
	} {
		_, resp := r.sendRaw(t, c.request)
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != c.status || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, %v; want the problem %d", name, resp.StatusCode, body, err, c.status)
		}
	}
	if _, resp := r.sendRaw(t, upgrade(token, "", "Origin: http://porchlight.example")); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("a page of the server's own origin: %d", resp.StatusCode)
	}
	head, resp := r.sendRaw(t, strings.Replace(handshake, "GET", "HEAD", 1))
	if resp.StatusCode == http.StatusSwitchingProtocols {
		t.Errorf("HEAD opened a WebSocket: %d", resp.StatusCode)
	}
	_ = head.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, r.URL()+"/v1/stream?users=me", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if resp, err = r.http.Do(request); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD of an event stream: %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
}

// TestTickets: a ticket opens one stream, once.
func TestTickets(t *testing.T) {
	cfg := settings(t)
	cfg.AllowedHosts = "porchlight.example"
	r := start(t, cfg, server.Options{})
	asked := time.Now()
	ticket, err := r.client.Ticket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lasts, took := ticket.Expires.Sub(asked), time.Since(asked)
	if lasts < 28*time.Second || lasts > 32*time.Second+took {
		t.Errorf("the ticket is valid for %v", lasts)
	}
	withTicket := func(ticket string) string {
		return strings.Replace(upgrade("", "?ticket="+url.QueryEscape(ticket)), "Authorization: Bearer \r\n", "", 1)
	}
	if _, resp := r.sendRaw(t, withTicket(ticket.Ticket)); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("with a ticket: %d", resp.StatusCode)
	}
	for _, wrong := range []string{ticket.Ticket, "guess", strings.ToUpper(ticket.Ticket), ticket.Ticket + "x", "\x00"} {
		if _, resp := r.sendRaw(t, withTicket(wrong)); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("with the ticket %q: %d", wrong, resp.StatusCode)
		}
	}
}

// TestMutatedCursors: a client gets an answer for any cursor: either the changes since,
// or a reset and a full snapshot, and never silence or a gap.
func TestMutatedCursors(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 3)
	users := strings.Join(ids, ",")
	s := r.open(t, r.made.AccessToken, "?users="+users)
	given := s.read(t, api.FrameSnapshot).Cursor
	cursors := []string{"x", ".", "..", "...", given + ".", given + "..", given + ".zzzzzzzzzzzzzzzzz", strings.Repeat("9", 4000), "-1", "\u2028", "null"}
	for range 489 {
		cursors = append(cursors, mutate(given))
	}
	resets := 0
	for i, cursor := range cursors {
		id := fmt.Sprint(i)
		ask, err := json.Marshal(api.ClientFrame{Type: api.FrameFollow, ID: id, Users: ids, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		if i%400 == 0 { // a client may send bursts of 500 frames
			s = r.open(t, r.made.AccessToken, "?users="+users)
			s.read(t, api.FrameSnapshot)
		}
		if err := s.sendText(string(ask)); err != nil {
			t.Fatalf("after %q: %v", cursor, err)
		}
		var reset bool
		for {
			_, payload, err := s.next()
			var f api.ServerFrame
			if err == nil {
				err = json.Unmarshal(payload, &f)
			}
			if err != nil {
				t.Fatalf("the cursor %q: %v", cursor, err)
			}
			if f.Type == api.FrameError {
				t.Fatalf("the cursor %q: %s %s", cursor, f.Code, f.Detail)
			}
			reset = reset || f.Type == api.FrameReset
			if f.Type != api.FrameSnapshot {
				continue
			}
			if f.ID != id || reset == f.Partial || reset && len(f.Presences) != len(ids) || f.Cursor == "" {
				t.Errorf("the cursor %q: reset %v, %s", cursor, reset, payload)
			}
			break
		}
		if reset {
			resets++
		}
	}
	t.Logf("%d of %d got a reset", resets, len(cursors))
}

// mutate changes some bytes of a text.
func mutate(text string) string {
	b := []byte(text)
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCXYZ-_.~ "
	for range 1 + rand.IntN(3) {
		at := rand.IntN(len(b))
		switch rand.IntN(3) {
		case 0:
			b[at] = digits[rand.IntN(len(digits))]
		case 1:
			b = slices.Delete(b, at, at+1)
		default:
			b = slices.Insert(b, at, digits[rand.IntN(len(digits))])
		}
		if len(b) == 0 {
			return "0"
		}
	}
	return string(b)
}

// TestNotesCannotForgeEvents: a note stays within one data line of an event, as a
// watcher over SSE checks.
func TestNotesCannotForgeEvents(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, 1)
	ctx, stop := context.WithCancel(t.Context())
	w := r.watcher(r.made.AccessToken, ids)
	var open sync.WaitGroup
	open.Go(func() { _, _ = w.connect(ctx, overEvents, neverCut) })
	for _, refused := range []string{"a\ndata: {}\n\nevent: gone", "a\rb", "a\u2028b", "a\u2029b", "a\u0085b"} {
		if _, err := r.client.SetNote(ctx, ids[0], api.SetNote{Text: refused}); !client.Is(err, &api.InvalidField) {
			t.Errorf("the note %q: %v", refused, err)
		}
	}
	for _, note := range []string{"data: {}", `"},{"type":"gone"`, `\n\nevent: gone`, `\u000a`, "<script>&amp;", "id: 1", ": ping", "🎈"} {
		if _, err := r.client.SetNote(ctx, ids[0], api.SetNote{Text: note}); err != nil {
			t.Fatalf("the note %q: %v", note, err)
		}
		eventually(t, "the note arrives unchanged: "+note, func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.has[ids[0]].Note == note
		})
	}
	stop()
	open.Wait()
	for _, what := range w.violations {
		t.Error(what)
	}
}

// TestSlowConsumerIsDisconnected: a connection that never reads is closed after ten
// seconds, and neither other readers nor writers are delayed.
func TestSlowConsumerIsDisconnected(t *testing.T) {
	r := start(t, settings(t), server.Options{})
	ids := r.createUsers(t, api.MaxStreamUsers)
	users := strings.Join(ids, ",")
	stuck := r.open(t, r.made.AccessToken, "?users="+users)
	if tcp, ok := stuck.Conn.(*net.TCPConn); !ok || tcp.SetReadBuffer(4<<10) != nil {
		t.Fatal("cannot limit the receive buffer of the connection")
	}
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	var open sync.WaitGroup
	all := make([]*watcher, 50)
	for i := range all {
		all[i] = r.watcher(r.made.AccessToken, ids)
		open.Go(func() { _, _ = all[i].connect(ctx, route(i%2), neverCut) })
	}
	for _, w := range all {
		eventually(t, "all streams are open", func() bool { return w.lastCursor() != "" })
	}
	// The responses fill the kernel's buffers of the slow consumer.
	follow, err := json.Marshal(api.ClientFrame{Type: api.FrameFollow, Users: ids})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 380 { // just below 1 MiB
		if err := stuck.sendText(string(follow)); err != nil {
			break
		}
	}
	var slowest time.Duration
	var paused atomic.Int64 // the longest pause of the machine
	open.Go(func() {
		for ctx.Err() == nil {
			from := time.Now()
			time.Sleep(writeEvery)
			paused.Store(max(paused.Load(), int64(time.Since(from))))
		}
	})
	closed := func() bool {
		_, err := stuck.Write(rawFrame(final|0xa, nil))
		return err != nil
	}
	pace := time.NewTicker(writeEvery)
	defer pace.Stop()
	for i := 0; !closed(); i++ {
		for range 10 {
			<-pace.C
			from := time.Now()
			if _, err := r.client.SetNote(ctx, ids[i%len(ids)], api.SetNote{Text: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
			slowest = max(slowest, time.Since(from))
		}
		if time.Since(began) > hub.SlowAfter+waitLimit {
			t.Fatalf("after %v the slow consumer is still connected", time.Since(began))
		}
	}
	t.Logf("closed after %v; the slowest write took %v", time.Since(began), slowest)
	if took := time.Since(began); took < hub.SlowAfter-2*time.Second {
		t.Errorf("closed after %v, too early for a slow consumer", took)
	}
	if slowest-time.Duration(paused.Load()) > hub.SlowAfter-2*time.Second { // as long as one that waits for the slow consumer
		t.Errorf("a write took %v", slowest)
	}
	r.waitForConvergence(t, all)
	stop()
	open.Wait()
}
