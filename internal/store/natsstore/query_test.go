package natsstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/store"
)

// An actor responds to direct gets as a test defines.
type actor struct {
	conn  *nats.Conn
	asked atomic.Int64
}

// script returns a store whose replicas respond to the nth request with answers[n], and
// to all later ones with the last of them.
func script(t *testing.T, answers ...func(a *actor, reply string)) (*Store, *actor) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, StoreDir: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("a NATS server did not start")
	}
	s := newStore(srv.ClientURL(), Options{}.withDefaults())
	if err := s.connect(srv.ClientURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	a := &actor{}
	if a.conn, err = nats.Connect(srv.ClientURL(), nats.Timeout(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.conn.Close)
	_, err = a.conn.Subscribe("$JS.API.DIRECT.GET.*", func(m *nats.Msg) {
		n := int(a.asked.Add(1)) - 1
		answers[min(n, len(answers)-1)](a, m.Reply)
	})
	if err == nil {
		err = a.conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, a
}

// send responds with messages of these sequences, and ends the response. A negative
// sequence is lost.
func (a *actor) send(reply string, upTo uint64, seqs ...int) {
	last := 0
	for _, seq := range seqs {
		m := nats.NewMsg(reply)
		m.Header.Set(subjectHeader, fmt.Sprint("s.", max(seq, -seq)))
		m.Header.Set(seqHeader, strconv.Itoa(max(seq, -seq)))
		m.Header.Set(lastHeader, strconv.Itoa(last))
		if last = max(seq, -seq); seq > 0 {
			_ = a.conn.PublishMsg(m)
		}
	}
	a.end(reply, "204 EOB\r\n"+lastHeader+": "+strconv.Itoa(last)+"\r\n"+upToHeader+": "+strconv.FormatUint(upTo, 10))
}

func (a *actor) end(reply, status string) {
	header := "NATS/1.0 " + status + "\r\n\r\n"
	m, err := nats.DecodeHeadersMsg([]byte(header))
	if err != nil {
		panic(err)
	}
	_ = a.conn.PublishMsg(&nats.Msg{Subject: reply, Header: m})
}

func responds(upTo uint64, seqs ...int) func(*actor, string) {
	return func(a *actor, reply string) { a.send(reply, upTo, seqs...) }
}

func endsWith(status string) func(*actor, string) {
	return func(a *actor, reply string) { a.end(reply, status) }
}

// TestQuery: a stale or incomplete response is requested again.
func TestQuery(t *testing.T) {
	for name, c := range map[string]struct {
		answers []func(*actor, string)
		asked   int64
		found   int
		err     error
	}{
		"new enough":              {[]func(*actor, string){responds(10, 3, 10)}, 1, 2, nil},
		"older than was stored":   {[]func(*actor, string){responds(9, 3), responds(9, 3), responds(11, 3, 11)}, 3, 2, nil},
		"the first was lost":      {[]func(*actor, string){responds(10, -3, 5, 10), responds(10, 3, 5, 10)}, 2, 3, nil},
		"one was lost":            {[]func(*actor, string){responds(10, 3, -5, 10), responds(10, 3, 5, 10)}, 2, 3, nil},
		"the last was lost":       {[]func(*actor, string){responds(10, 3, 5, -10), responds(10, 3, 5, 10)}, 2, 3, nil},
		"removed during the read": {[]func(*actor, string){endsWith("404 Message Not Found"), responds(10, 3)}, 2, 1, nil},
		"too many":                {[]func(*actor, string){endsWith("413 Too Many Results")}, 1, 0, errTooMany},
		"too many bytes":          {[]func(*actor, string){endsWith("204 EOB\r\nNats-Num-Pending: 1\r\nNats-Last-Sequence: 0\r\nNats-UpTo-Sequence: 10")}, 1, 0, errTooMany},
		"always stale":            {[]func(*actor, string){responds(9, 3)}, 0, 0, store.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a := script(t, c.answers...)
			s.advanceSeq(10)
			if !errors.Is(c.err, store.ErrUnavailable) {
				s.opts.Timeout = 20 * time.Second
			}
			began := time.Now()
			snap, err := s.query(t.Context(), lastQuery{Filters: []string{"s.>"}})
			if !errors.Is(err, c.err) || len(snap.msgs) != c.found {
				t.Errorf("%d messages, %v; want %d, %v", len(snap.msgs), err, c.found, c.err)
			}
			slow := time.Since(began) > s.requestTimeout() // a request may have been repeated
			if n := a.asked.Load(); c.asked > 0 && n != c.asked && (n < c.asked || !slow) {
				t.Errorf("%d requests, want %d", a.asked.Load(), c.asked)
			}
		})
	}
}

// TestConflictIsFresh: a version conflict on a stale replica does not refuse a write: a replica
// that has a barrier decides.
func TestConflictIsFresh(t *testing.T) {
	k := store.Key{Collection: "c", Key: "k"}
	subject := subjects{prefix: DefaultPrefix}.doc("acme", k)
	version := func(upTo uint64, seq int) func(*actor, string) {
		return func(a *actor, reply string) {
			m := nats.NewMsg(reply)
			m.Header.Set(subjectHeader, subject)
			m.Header.Set(seqHeader, strconv.Itoa(seq))
			m.Header.Set(lastHeader, "0")
			m.Data = seal(subject, appendDoc(newBody(64), docHead{ops: writeOps{{id: 1}}}, []byte("v")))
			_ = a.conn.PublishMsg(m)
			a.end(reply, "204 EOB\r\n"+lastHeader+": "+strconv.Itoa(seq)+"\r\n"+upToHeader+": "+strconv.FormatUint(upTo, 10))
		}
	}
	// The replica is stale twice; the barrier is at 12.
	s, a := script(t, version(10, 9), version(10, 9), version(12, 12))
	s.gate.opened()
	s.opts.Timeout = time.Minute
	answerBarriers(t, s, a, ack(12))
	answerWrites(t, a, subject, ack(13))
	if err := s.Write(t.Context(), "acme", store.Doc{Key: k, Version: docHead{seq: 12}.versionText(), Value: []byte("w")}); err != nil {
		t.Errorf("Write of the newest version: %v", err)
	}
}

// answerWrites acknowledges what is published on a subject.
func answerWrites(t *testing.T, a *actor, subject, text string) {
	t.Helper()
	_, err := a.conn.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte(text)) })
	if err == nil {
		err = a.conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestLastBefore: a response of a replica that lacks the message at upTo is refused.
func TestLastBefore(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*actor, string)
		found  int
		err    error
	}{
		"there":      {responds(5, 3, 5), 2, nil},
		"behind":     {responds(5, 3), 0, errBehind},
		"far behind": {endsWith("404 No Results"), 0, errBehind},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := script(t, c.answer)
			msgs, err := s.lastBefore(t.Context(), []string{"s.3"}, historyPos{seq: 5, subject: "s.5"})
			if !errors.Is(err, c.err) || err == nil && len(msgs) != c.found {
				t.Errorf("%d messages, %v; want %d, %v", len(msgs), err, c.found, c.err)
			}
		})
	}
}
