package framer

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
)

// TestAnsweredTooEarly: if net/http says that it has answered a message whose body it has
// not read, the rest of the body is not read as a message.
func TestAnsweredTooEarly(t *testing.T) {
	here, there := net.Pipe()
	defer func() { _ = here.Close() }()
	s := &Server{HTTP1: new(http.Server), Log: slog.New(slog.DiscardHandler), removed: make(chan struct{}, 1)}
	c := newConn(s, there)
	m := s.takeMessage()
	m.buf = append(m.buf, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nA: b\r\n\r\n"...)
	if err := m.parse(bufferSize); err != nil {
		t.Fatal(err)
	}
	c.m = m
	v := &virtual{c: c}
	if n, err := v.Read(make([]byte, 20)); n != 20 || err != nil {
		t.Fatal(n, err)
	}
	stateChanged(v.asConn(), http.StateIdle)
	if n, err := v.Read(make([]byte, 20)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes more, %v", n, err)
	}
}
