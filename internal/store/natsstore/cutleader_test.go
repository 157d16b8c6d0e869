package natsstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/porttest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// startSplittable runs three servers as a cluster. split cuts the first one off from the others,
// until heal. Their settings can be changed.
func startSplittable(tb testing.TB, change ...func(i int, o *server.Options)) (c *cluster, split, heal func()) {
	tb.Helper()
	const n = 3
	c = &cluster{}
	dir, ports := enginetest.DirInMemory(tb), porttest.Free(tb, 2*n)
	var routes []*proxy // of the first server
	for i := range n {
		o := serverOptions(tb, filepath.Join(dir, fmt.Sprint("n", i)), always)
		o.ServerName, o.Port = fmt.Sprint("n", i), ports[n+i]
		// Nobody reaches the advertised address, so servers use only the routes that they are given.
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i], Advertise: "127.0.0.1:1", NoAdvertise: true}
		for j := range n {
			addr := fmt.Sprintf("127.0.0.1:%d", ports[j])
			if i != j && min(i, j) == 0 {
				p := startProxy(tb, func() string { return fmt.Sprintf("127.0.0.1:%d", ports[j]) })
				routes, addr = append(routes, p), p.listen.Addr().String()
			}
			if i != j {
				o.Routes = append(o.Routes, server.RoutesFromStr("nats://"+addr)...)
			}
		}
		for _, f := range change {
			f(i, o)
		}
		c.settings = append(c.settings, o)
	}
	c.run(tb)
	split = func() {
		for _, p := range routes {
			p.closed.Store(true)
			p.cut()
		}
	}
	heal = func() {
		for _, p := range routes {
			p.closed.Store(false)
		}
	}
	return c, split, heal
}

// lead makes a server lead the cluster and the state stream.
func (c *cluster) lead(tb testing.TB, i int) {
	tb.Helper()
	stepDown := func(name, password, subject string) {
		conn, err := nats.Connect(c.urlOf(name, password), nats.Timeout(waitLimit))
		if err != nil {
			tb.Fatal(err)
		}
		defer conn.Close()
		body := fmt.Appendf(nil, `{"placement": {"preferred": %q}}`, c.servers[i].Name())
		_, _ = conn.Request(subject, body, time.Second) // it is repeated
	}
	waitFor(tb, "the leader", func() bool {
		if !c.servers[i].JetStreamIsLeader() {
			stepDown(sysUser, sysSecret, "$JS.API.META.LEADER.STEPDOWN")
			return false
		}
		if !c.servers[i].JetStreamIsStreamLeader("PORCHLIGHT", "porchlight-state") {
			stepDown(user, password, "$JS.API.STREAM.LEADER.STEPDOWN.porchlight-state")
			return false
		}
		return true
	})
}

// TestCutOffLeader: a node whose server is cut off with the leadership of the stream, which it
// does not know to be lost, answers neither that an update changes nothing nor that a document
// has another version. A node that has connected to that server does not take the store for lost.
func TestCutOffLeader(t *testing.T) {
	t.Parallel()
	c, split, _ := startSplittable(t)
	o := c.options()
	o.Logger = slog.New(slog.DiscardHandler)
	fast := o
	fast.Timeout = natsstore.DefaultTimeout // less than the server takes to notice that it does not lead
	urlOf := func(i int) string {
		return fmt.Sprintf("nats://%s:%s@%s", user, password, c.servers[i].Addr())
	}
	var serverOfMoved atomic.Int64
	serverOfMoved.Store(1)
	toMoved := startProxy(t, func() string { return c.servers[serverOfMoved.Load()].Addr().String() })
	cutOff, other, moved := openSoon(t, urlOf(0), fast), openSoon(t, urlOf(1), o), openSoon(t, toMoved.url(), o)
	defer closeStore(t, cutOff)
	defer closeStore(t, other)
	defer closeStore(t, moved)
	set := func(s *natsstore.Store, note string) (store.Record, error) {
		return s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, func(was presence.State) (presence.State, error) {
			if was.Note.Text == note {
				return was, presence.ErrNoChange
			}
			was.Note.Text = note
			return touch(was)
		}))
	}
	key := store.Key{Collection: "things", Key: "one"}
	version := func() string {
		t.Helper()
		docs, err := other.Load(t.Context(), "acme", key)
		if err != nil || len(docs) != 1 {
			t.Fatal(docs, err)
		}
		return docs[0].Version
	}
	waitFor(t, "a note and a document", func() bool {
		_, err := set(other, "one")
		written := other.Write(t.Context(), "acme", store.Doc{Key: key, Value: []byte("one")})
		return (err == nil || errors.Is(err, presence.ErrNoChange)) && (written == nil || errors.Is(written, store.ErrConflict))
	})
	before := version()
	c.lead(t, 0)
	waitFor(t, "a note that is set", func() bool {
		_, err := set(cutOff, "one")
		return errors.Is(err, presence.ErrNoChange)
	})
	split()
	waitFor(t, "a new leader", func() bool {
		_, err := set(moved, "two")
		return err == nil
	})
	if err := other.Write(t.Context(), "acme", store.Doc{Key: key, Version: before, Value: []byte("two")}); err != nil {
		t.Fatal(err)
	}
	after := version()
	var asked sync.WaitGroup // at once, while the server has not noticed it
	asked.Go(func() {
		if record, err := set(cutOff, "one"); errors.Is(err, presence.ErrNoChange) {
			t.Errorf("the note is said to be %q, after another one was acknowledged", record.State.Note.Text)
		}
	})
	asked.Go(func() {
		if err := cutOff.Write(t.Context(), "acme", store.Doc{Key: key, Version: after, Value: []byte("three")}); errors.Is(err, store.ErrConflict) {
			t.Error("the newest version of a document is said to be another one")
		}
	})
	serverOfMoved.Store(0)
	toMoved.cut()
	waitFor(t, "an answer", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // a request may get no response
		defer cancel()
		if err := moved.VerifyOnce(ctx); errors.Is(err, natsstore.ErrLost) {
			t.Errorf("a leader that was replaced is taken for the loss of the store: %v", err)
			return true
		}
		return !c.servers[0].JetStreamIsStreamLeader("PORCHLIGHT", "porchlight-state")
	})
	asked.Wait()
}

// TestOpenAfterCrash: a node starts although a server has just crashed, leader or not. The others
// report it as running for minutes, since it did not announce its shutdown.
func TestOpenAfterCrash(t *testing.T) {
	for name, leader := range map[string]int{"of the leader": 0, "of another server": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, split, _ := startSplittable(t)
			if err := c.open(t, c.options()).Close(); err != nil {
				t.Fatal(err)
			}
			c.lead(t, leader)
			split()
			openAt(t, c, 1)
		})
	}
}

// openAt opens and closes the store of a cluster, at one of its servers. Its first requests end before
// the leader misses a server that has just crashed.
func openAt(t *testing.T, c *cluster, i int) {
	t.Helper()
	at := func(name, password string) string {
		return fmt.Sprintf("nats://%s:%s@%s", name, password, c.servers[i].Addr())
	}
	o := c.options()
	o.Timeout, o.SystemURL = natsstore.SilentAfter-2*time.Second, at(sysUser, sysSecret)
	s, err := natsstore.Open(t.Context(), at(user, password), o)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
}

// TestAnswerLostBeforeCutOffLeader: the answer to an update is lost, and the node connects to a
// server that is cut off with the leadership of the stream, which it does not know to be lost.
// That the record there is another one does not mean that the update was not made.
func TestAnswerLostBeforeCutOffLeader(t *testing.T) {
	t.Parallel()
	c, split, heal := startSplittable(t)
	o := c.options()
	o.Logger = slog.New(slog.DiscardHandler)
	var server atomic.Int64
	server.Store(1)
	p := startProxy(t, func() string { return c.servers[server.Load()].Addr().String() })
	s := openSoon(t, p.url(), o)
	defer closeStore(t, s)
	other := openSoon(t, fmt.Sprintf("nats://%s:%s@%s", user, password, c.servers[2].Addr()), o)
	defer closeStore(t, other)
	var decided atomic.Int64
	add := func(s *natsstore.Store) error {
		_, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, func(was presence.State) (presence.State, error) {
			decided.Add(1)
			was.Note.Text += "x"
			return touch(was)
		}))
		return err
	}
	note := func() string {
		records, _, err := other.Read(t.Context(), []store.User{userNumber(1)}, store.Freshness{Strong: true})
		if err != nil || len(records) == 0 {
			return ""
		}
		return records[0].State.Note.Text
	}
	waitFor(t, "a record", func() bool { return add(s) == nil })
	c.lead(t, 0)
	split()
	waitFor(t, "a new leader", func() bool { return add(s) == nil })
	before := note()
	decided.Store(0)
	p.dropAfterWrite.Store(true)
	result := make(chan error, 1)
	go func() { result <- add(s) }()
	waitFor(t, "the update", func() bool { return note() == before+"x" })
	server.Store(0)
	p.restore()
	for end := time.Now().Add(3 * time.Second); decided.Load() < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	t.Logf("decided %d times; the server that was cut off leads: %t", decided.Load(), c.servers[0].JetStreamIsStreamLeader("PORCHLIGHT", "porchlight-state"))
	heal()
	err := <-result
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		t.Errorf("the update was made, and answered with %v", err)
	}
	waitFor(t, "a strong read", func() bool { return note() != "" })
	if got := note(); got != before+"x" {
		t.Errorf("the note is %q after one update of %q", got, before)
	}
}

// TestSourceAfterCrash: OpenSource succeeds just after the leader crashed, although requests get no
// response until there is a new one.
func TestSourceAfterCrash(t *testing.T) {
	t.Parallel()
	c, split, _ := startSplittable(t)
	if err := c.open(t, c.options()).Close(); err != nil {
		t.Fatal(err)
	}
	c.lead(t, 0)
	split()
	o := c.options()
	o.Timeout = waitLimit
	src, err := natsstore.OpenSource(t.Context(), fmt.Sprintf("nats://%s:%s@%s", user, password, c.servers[1].Addr()), o)
	if err != nil {
		t.Fatal(err)
	}
	_ = src.Close()
}
