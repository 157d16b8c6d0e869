package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// serveRedisService is a small presence service as one writes it oneself: net/http,
// json.Decoder, and one SET for each update. It answers when Redis has.
func serveRedisService(address string, set func(key, value string) error) error {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v2/users/{userId}/presence_status", func(w http.ResponseWriter, r *http.Request) {
		body, err := decodeBare(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := set("presence:"+r.PathValue("userId"), body.Status+":"+strconv.Itoa(body.Duration)); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return serveUntilEnd(address, mux)
}

// A bareBody is the body of an update, as the comparisons read it.
type bareBody struct {
	Status   string `json:"status"`
	Duration int    `json:"duration"`
}

func decodeBare(r *http.Request) (body bareBody, err error) {
	err = json.NewDecoder(r.Body).Decode(&body)
	return body, err
}

// appendSet appends the command SET in Redis's protocol.
func appendSet(b []byte, key, value string) []byte {
	b = append(b, "*3\r\n$3\r\nSET\r\n"...)
	for _, text := range [...]string{key, value} {
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(len(text)), 10)
		b = append(b, '\r', '\n')
		b = append(b, text...)
		b = append(b, '\r', '\n')
	}
	return b
}

// readOK reads the reply to SET.
func readOK(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err == nil && string(line) != "+OK\r\n" {
		err = fmt.Errorf("unexpected reply of Redis: %q", line)
	}
	return err
}

// A redisPool is a client with a pool of connections, as most clients of Redis are: an
// update takes a connection, sends its command and waits for the reply.
type redisPool struct {
	address string
	conns   chan *redisConn // nil: not connected yet
}

type redisConn struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

func newRedisPool(address string, size int) *redisPool {
	p := &redisPool{address, make(chan *redisConn, size)}
	for range size {
		p.conns <- nil
	}
	return p
}

func (p *redisPool) set(key, value string) error {
	conn := <-p.conns
	if conn == nil {
		dialled, err := net.Dial("tcp", p.address)
		if err != nil {
			p.conns <- nil
			return err
		}
		conn = &redisConn{Conn: dialled, in: bufio.NewReaderSize(dialled, 512)}
	}
	conn.out = appendSet(conn.out[:0], key, value)
	_, err := conn.Write(conn.out)
	if err == nil {
		err = readOK(conn.in)
	}
	if err != nil {
		_ = conn.Close()
		p.conns <- nil
		return err
	}
	p.conns <- conn
	return nil
}

// A redisPipeline is a client that sends the commands of concurrent updates together
// over one connection.
type redisPipeline struct{ queue chan pipelined }

type pipelined struct {
	key, value string
	done       chan<- error
}

// pipelineDepth is the number of commands that may be under way, above the number of
// connections of any measurement.
const pipelineDepth = 4096

func newRedisPipeline(address string) (*redisPipeline, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	p := &redisPipeline{make(chan pipelined, pipelineDepth)}
	sent := make(chan pipelined, pipelineDepth)
	go p.send(conn, sent)
	go func() {
		in := bufio.NewReader(conn)
		for next := range sent {
			next.done <- readOK(in)
		}
	}()
	return p, nil
}

// send writes what is queued in one piece.
func (p *redisPipeline) send(conn net.Conn, sent chan<- pipelined) {
	var out []byte
	for next := range p.queue {
		out = appendSet(out[:0], next.key, next.value)
		sent <- next
		for range len(p.queue) {
			next = <-p.queue
			out = appendSet(out, next.key, next.value)
			sent <- next
		}
		if _, err := conn.Write(out); err != nil {
			_ = conn.Close() // the reader fails every command that was sent
		}
	}
}

func (p *redisPipeline) set(key, value string) error {
	done := make(chan error, 1)
	p.queue <- pipelined{key, value, done}
	return <-done
}
