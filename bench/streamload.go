package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// A commit is an acknowledged change.
type commit struct {
	revision    uint64
	sent, acked time.Duration // since the load began
}

// A receipt is a presence that a watcher received.
type receipt struct {
	user     int32
	revision uint64
	at       time.Duration
}

// A changer changes users at a constant rate in an open loop. Each connection has its
// own users and cycles through their statuses, so that each PUT is a change.
type changer struct {
	address  string
	seeded   *seeded
	users    []presence.UserID
	conns    int
	rate     int
	duration time.Duration
	begun    time.Time

	commits [][]commit // by user
	took    time.Duration
}

var cycle = []string{`{"status":"Busy"}`, `{"status":"Away"}`, `{"status":"Do_Not_Disturb","duration":30}`}

func (c *changer) request(b []byte, user int, turn int) []byte {
	body := cycle[turn%len(cycle)]
	b = append(b, "PUT /v2/users/"...)
	b = append(b, c.users[user]...)
	b = append(b, "/presence_status HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer "...)
	b = append(b, c.seeded.Token...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	return append(append(b, "\r\n\r\n"...), body...)
}

func (c *changer) run() error {
	c.commits = make([][]commit, len(c.users))
	c.begun = time.Now()
	var mu sync.Mutex
	var failure error
	var group sync.WaitGroup
	for i := range c.conns {
		group.Go(func() {
			if err := c.connection(i); err != nil {
				mu.Lock()
				failure = errors.Join(failure, err)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	c.took = time.Since(c.begun)
	return failure
}

func (c *changer) connection(i int) error {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 4096)
	every := time.Duration(c.conns) * time.Second / time.Duration(c.rate)
	var request []byte
	user, turn := i, int(time.Now().UnixNano()%3)
	for due := every * time.Duration(i) / time.Duration(c.conns); due < c.duration; due += every {
		time.Sleep(due - time.Since(c.begun))
		sent := time.Since(c.begun)
		if sent > c.duration {
			return nil // too late: skip the remaining changes
		}
		request = c.request(request[:0], user, turn)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		revision, err := acknowledged(in)
		if err != nil {
			return err
		}
		own := &c.commits[user]
		if n := len(*own); n == 0 || (*own)[n-1].revision < revision {
			*own = append(*own, commit{revision, sent, time.Since(c.begun)})
		}
		if user += c.conns; user >= len(c.users) {
			user = i
			turn++
		}
	}
	return nil
}

// acknowledged reads the response to a PUT and returns its revision.
func acknowledged(in *bufio.Reader) (uint64, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || string(line[9:12]) != "204" {
		rest, _ := io.ReadAll(io.LimitReader(in, 600))
		return 0, fmt.Errorf("unexpected response %q %q", line, rest)
	}
	var revision uint64
	for len(line) > 2 {
		if line, err = in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if n, ok := numberAfter(line, `Etag: "`); ok {
			revision = n
		}
	}
	if revision == 0 {
		return 0, errors.New("the response to a PUT has no revision")
	}
	return revision, nil
}

func (c *changer) changes() int {
	n := 0
	for _, own := range c.commits {
		n += len(own)
	}
	return n
}

// A receipts is the list of receipts of one watcher, and the users that it follows.
type receipts struct {
	mu      sync.Mutex
	follows []int32
	all     []receipt
}

// record stores the frames of w until it ends.
func (r *receipts) record(w *watcher, c *changer, index map[string]int32) {
	for {
		frame, err := w.next()
		if err != nil {
			return
		}
		if !bytes.HasPrefix(frame, []byte(`{"type":"presence"`)) {
			continue
		}
		at := time.Now()
		revision, _ := numberAfter(frame, `"revision":`)
		user := index[string(textAfter(frame, `"user":"`))]
		r.mu.Lock()
		r.all = append(r.all, receipt{user, revision, at.Sub(c.begun)})
		r.mu.Unlock()
	}
}

// A fanout describes how changes were received.
type fanout struct {
	changes, due, frames int
	coalesced            int // changes that were superseded by a later version
	missing              int
	fromAck, fromSend    []time.Duration // sorted; 0 for a receipt before the ack
}

// match finds when each watcher of a user received each change. It leaves out the first
// change of each user, which may have set the status that the user already had, so that
// nothing was sent.
func match(c *changer, logs []*receipts) *fanout {
	f := &fanout{changes: c.changes()}
	next := make([]int, len(c.commits))
	for _, log := range logs {
		for i := range next {
			next[i] = min(1, len(c.commits[i]))
		}
		log.mu.Lock()
		for _, r := range log.all {
			own, n := c.commits[r.user], 0
			for ; next[r.user] < len(own) && own[next[r.user]].revision <= r.revision; n++ {
				change := own[next[r.user]]
				f.fromAck = append(f.fromAck, max(0, r.at-change.acked))
				f.fromSend = append(f.fromSend, r.at-change.sent)
				next[r.user]++
			}
			f.coalesced += max(0, n-1)
		}
		f.frames += len(log.all)
		for _, user := range log.follows {
			f.due += max(0, len(c.commits[user])-1)
			f.missing += len(c.commits[user]) - next[user]
		}
		log.mu.Unlock()
	}
	slices.Sort(f.fromAck)
	slices.Sort(f.fromSend)
	return f
}
