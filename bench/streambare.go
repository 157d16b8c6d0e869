package main

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// serveBareStreams is the baseline of fan-out. It answers every client with 101, and
// writes one prepared frame to each socket for each byte from the client that began with
// "length N". When that client disconnects, it closes all sockets.
func serveBareStreams(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	time.AfterFunc(2*time.Hour, func() { _ = listener.Close() }) // stop automatically
	var mu sync.Mutex
	var conns []net.Conn
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			in := bufio.NewReader(conn)
			first, err := in.ReadString('\n')
			if err != nil {
				_ = conn.Close()
				return
			}
			if length, ok := strings.CutPrefix(first, "length "); ok {
				mu.Lock()
				defer mu.Unlock()
				writeToAll(in, conns, length)
				conns = nil
				_ = conn.Close()
				return
			}
			for line := first; err == nil && len(line) > 2; {
				line, err = in.ReadString('\n')
			}
			if strings.HasPrefix(first, "GET /v2/") { // readiness probe
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				_ = conn.Close()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			conns = append(conns, conn)
		}()
	}
}

func writeToAll(in *bufio.Reader, conns []net.Conn, length string) {
	n, _ := strconv.Atoi(strings.TrimSpace(length))
	frame := append([]byte{0x81, 126, byte(n >> 8), byte(n)}, strings.Repeat("x", n)...)
	for {
		if _, err := in.ReadByte(); err != nil {
			break
		}
		for _, conn := range conns {
			_, _ = conn.Write(frame) // the client counts missing frames
		}
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
}
