package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// A watcher is the client's end of one stream: a bare socket, so that thousands of them
// need few resources.
type watcher struct {
	conn   net.Conn
	in     *bufio.Reader
	frame  []byte
	cursor string
	retry  time.Duration // the server's retry time in its close frame
}

// watcherBuffer is the read buffer of a watcher that receives few bytes at a time.
const watcherBuffer = 1 << 10

// streamRequest opens the stream i, which follows users, with its own token.
func (s *seeded) streamRequest(i int, users []presence.UserID, cursor string, events bool) string {
	texts := make([]string, len(users))
	for i := range users {
		texts[i] = string(users[i])
	}
	head := "GET /v1/stream?users=" + strings.Join(texts, ",")
	if cursor != "" {
		head += "&cursor=" + cursor
	}
	head += " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + s.Tokens[i%len(s.Tokens)] + "\r\n"
	if events {
		return head + "Accept: text/event-stream\r\n\r\n"
	}
	return head + upgradeHeaders
}

const upgradeHeaders = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// errBusy: the server asked the client to reconnect later.
type errBusy struct{ after time.Duration }

func (e *errBusy) Error() string { return fmt.Sprintf("reconnect in %v", e.after) }

// dialFromMany connects from one of several loopback addresses, because one address has
// too few ports.
func dialFromMany(address string) (net.Conn, error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+rand.IntN(8)))} //nolint:gosec // below 10
	return (&net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}).Dial("tcp", address)
}

// open sends a request and reads the head of the response.
func open(address, request string, buffer int) (*watcher, error) {
	conn, err := dialFromMany(address)
	if err != nil {
		return nil, err
	}
	w := &watcher{conn: conn, in: bufio.NewReaderSize(conn, buffer)}
	if _, err = io.WriteString(conn, request); err == nil {
		err = w.head()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return w, nil
}

func (w *watcher) head() error {
	var status string
	var after time.Duration
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if status == "" && len(line) >= 12 {
			status = string(line[9:12])
		}
		if value, ok := bytes.CutPrefix(line, []byte("Retry-After: ")); ok {
			seconds, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil {
				return err
			}
			after = time.Duration(seconds) * time.Second
		}
		if len(line) <= 2 {
			break
		}
	}
	switch {
	case status == "101" || status == "200":
		return nil
	case status == "503" && after > 0:
		return &errBusy{after}
	}
	return fmt.Errorf("unexpected response to the stream: %s", status)
}

var (
	errClosed = errors.New("the server closed the stream")
	// aPong is masked with zeros.
	aPong = []byte{0x8a, 0x80, 0, 0, 0, 0}
)

// next returns the next text frame, which is valid until the following call. It answers
// pings.
func (w *watcher) next() ([]byte, error) {
	for {
		head, err := w.in.Peek(2)
		if err != nil {
			return nil, err
		}
		opcode, n := head[0]&0xf, int(head[1])
		_, _ = w.in.Discard(2) // the bytes were peeked
		if n == 126 {
			if head, err = w.in.Peek(2); err != nil {
				return nil, err
			}
			n = int(head[0])<<8 | int(head[1])
			_, _ = w.in.Discard(2)
		} else if n > 126 {
			return nil, errors.New("frame exceeds 64 KiB")
		}
		if cap(w.frame) < n || cap(w.frame) > watcherBuffer && n <= watcherBuffer {
			w.frame = make([]byte, max(n, 256))
		}
		w.frame = w.frame[:n]
		if _, err := io.ReadFull(w.in, w.frame); err != nil {
			return nil, err
		}
		switch opcode {
		case 1:
			return w.frame, nil
		case 8:
			if ms, ok := numberAfter(w.frame, `"retry_ms":`); ok {
				w.retry = time.Duration(ms) * time.Millisecond
			}
			return nil, errClosed
		case 9:
			if _, err := w.conn.Write(aPong); err != nil {
				return nil, err
			}
		}
	}
}

// textAfter returns the quoted text after key.
func textAfter(frame []byte, key string) []byte {
	at := bytes.Index(frame, []byte(key))
	if at < 0 {
		return nil
	}
	rest := frame[at+len(key):]
	return rest[:max(0, bytes.IndexByte(rest, '"'))]
}

func numberAfter(frame []byte, key string) (uint64, bool) {
	at := bytes.Index(frame, []byte(key))
	if at < 0 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range frame[at+len(key):] {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + uint64(c-'0')
	}
	return n, true
}

// snapshot reads until the last part of the snapshot.
func (w *watcher) snapshot() error {
	for {
		frame, err := w.next()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(frame, []byte(`{"type":"snapshot"`)) {
			tail := frame[max(0, len(frame)-200):]
			if cursor := textAfter(tail, `"cursor":"`); cursor != nil {
				w.cursor = string(cursor)
				return nil
			}
		} else if bytes.HasPrefix(frame, []byte(`{"type":"error"`)) {
			return fmt.Errorf("unexpected frame %s", frame)
		}
	}
}

// snapshotEvent is snapshot over SSE.
func (w *watcher) snapshotEvent() error {
	for found := false; ; {
		line, err := w.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if bytes.HasPrefix(line, []byte(`data: {"type":"snapshot"`)) {
			found = true
		}
		if found && err == nil {
			return nil
		}
	}
}

// watchAll opens n streams, a few at a time, and runs a goroutine for each after its
// snapshot. The returned function ends them.
func watchAll(address string, n, buffer int, request func(i int) string, begin func(*watcher) error, run func(i int, w *watcher)) (stop func(), err error) {
	watchers := make([]*watcher, n)
	var running sync.WaitGroup
	stop = func() {
		for _, w := range watchers {
			if w != nil {
				_ = w.conn.Close()
			}
		}
		running.Wait()
	}
	var next atomic.Int64
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				w, failed := open(address, request(i), buffer)
				if failed == nil {
					watchers[i] = w
					failed = begin(w)
				}
				if failed != nil {
					mu.Lock()
					err = errors.Join(err, fmt.Errorf("stream %d: %w", i, failed))
					mu.Unlock()
					return
				}
				running.Go(func() { run(i, w) })
			}
		})
	}
	group.Wait()
	if err != nil {
		stop()
	}
	return stop, err
}

// idle answers pings until the end.
func idle(_ int, w *watcher) {
	for {
		if _, err := w.next(); err != nil {
			return
		}
	}
}

// discard reads until the end.
func discard(_ int, w *watcher) {
	for {
		if _, err := w.in.Discard(1); err != nil {
			return
		}
	}
}
