package netns_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
)

// The benchmarks here measure what docs/benchmarks.md says of several nodes, each once:
// `make cluster-bench`. Nothing passes or fails.

// newFigures starts a world with users, without a minimum interval of updates.
func newFigures(b *testing.B, users int) (w *world, ids []string) {
	b.Helper()
	w = newWorldWith(b, func(_ int, n *node) {
		n.always = []string{"PORCHLIGHT_MIN_UPDATE_INTERVAL=0", "PORCHLIGHT_LOG_LEVEL=error"}
	})
	l := &workload{world: w, users: make(map[string]string)}
	names := make([]string, users)
	for i := range names {
		names[i] = fmt.Sprint("user", i)
	}
	l.createUsers(names)
	for _, name := range names {
		ids = append(ids, l.users[name])
	}
	return w, ids
}

// commits counts the records that the servers store, until stop is called.
func (w *world) commits() (count *atomic.Int64, stop func()) {
	w.Helper()
	conn, err := nats.Connect(urls(w.servers, storeUser))
	if err != nil {
		w.Fatal(err)
	}
	count = new(atomic.Int64)
	js, err := jetstream.New(conn)
	if err == nil {
		var consumer jetstream.Consumer
		consumer, err = js.OrderedConsumer(w.Context(), "porchlight-state", jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{"porchlight.s.>"}, DeliverPolicy: jetstream.DeliverNewPolicy,
		})
		if err == nil {
			_, err = consumer.Consume(func(jetstream.Msg) { count.Add(1) })
		}
	}
	if err != nil {
		w.Fatal(err)
	}
	return count, conn.Close
}

// hold signs users in over connections to a node, until ctx ends.
func (w *world) hold(ctx context.Context, n *node, users []string) {
	w.Helper()
	l := &workload{world: w}
	l.reading = ctx
	var devices []*device
	for _, user := range users {
		made, err := n.client.CreateToken(ctx, api.CreateToken{User: user, Name: "test", Scopes: []string{"presence:read", "session:write"}})
		if err != nil {
			w.Fatal(err)
		}
		d := &device{workload: l, person: &person{user: user, homes: []int{slices.Index(w.nodes, n)}}, token: made.Secret}
		devices = append(devices, d)
		l.streams.Go(d.stay)
	}
	w.Cleanup(l.streams.Wait)
	waitFor(w, "sessions", func() bool {
		return !slices.ContainsFunc(devices, func(d *device) bool { return !d.isConnected() })
	})
}

// BenchmarkSessions counts what sessions cost while nothing changes: those of connections, and
// those that are refreshed at half of their lease, as every 60 s by default. The first refresh
// after a sign-in is a commit in any case, and not counted.
func BenchmarkSessions(b *testing.B) {
	const sessions, period, times = 150, 15 * time.Second, 6
	w, ids := newFigures(b, 2*sessions)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for i := range 3 {
		w.hold(ctx, w.nodes[i], ids[i*sessions/3:(i+1)*sessions/3])
	}
	for b.Loop() {
		count, stop := w.commits()
		time.Sleep(30 * time.Second)
		b.ReportMetric(float64(count.Swap(0))*120/sessions, "commits/bound-session-hour")
		var group sync.WaitGroup
		for _, id := range ids[sessions:] {
			group.Go(func() { w.refresh(id, 2*period, period, 1+times) })
		}
		group.Wait()
		perRefresh := float64(count.Load()-2*sessions) / (times * sessions)
		b.ReportMetric(perRefresh*60, "commits/leased-session-hour")
		stop()
	}
}

// refresh signs in and refreshes the session a number of times, through any node.
func (w *world) refresh(user string, lease, every time.Duration, times int) {
	seconds, active := int(lease.Seconds()), true
	s, err := w.nodes[rand.IntN(3)].client.SignIn(w.Context(), user, api.SignIn{ClientType: "desktop", LeaseSeconds: &seconds})
	for i := 0; err == nil && i < times; i++ {
		time.Sleep(every + time.Duration(rand.Int64N(int64(every/6))) - every/12) // as 55 to 65 s
		_, err = w.nodes[rand.IntN(3)].client.Refresh(w.Context(), s.ID, api.SessionUpdate{Active: &active})
	}
	if err != nil {
		w.Error(err)
	}
}

// BenchmarkUpdates compares PUTs through one node and through three.
func BenchmarkUpdates(b *testing.B) {
	const clients, during = 48, 10 * time.Second
	w, ids := newFigures(b, clients)
	rate := func(nodes int) float64 {
		var done atomic.Int64
		var group sync.WaitGroup
		end := time.Now().Add(during)
		for i, id := range ids {
			group.Go(func() {
				for n := 0; time.Now().Before(end); n++ {
					if _, err := w.nodes[i%nodes].client.SetZoomStatus(b.Context(), id, "Do_Not_Disturb", 1+n%1440); err != nil {
						b.Error(err)
						return
					}
					done.Add(1)
				}
			})
		}
		group.Wait()
		return float64(done.Load()) / during.Seconds()
	}
	for b.Loop() {
		rate(3) // connections
		one, three := rate(1), rate(3)
		b.ReportMetric(one, "updates/s-on-1")
		b.ReportMetric(three, "updates/s-on-3")
		b.ReportMetric(three/one, "ratio")
	}
}

// follow calls fn with what a stream to a node receives of users, until ctx ends.
func (w *world) follow(ctx context.Context, n *node, users []string, fn func(api.ServerFrame)) {
	w.Helper()
	conn, err := dialStream(ctx, n, "", w.token)
	if err != nil {
		w.Fatal(err)
	}
	ask, err := json.Marshal(api.ClientFrame{Type: api.FrameFollow, Users: users})
	if err == nil {
		err = conn.Write(ctx, 1, ask)
	}
	if err != nil {
		w.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		defer func() { _ = conn.CloseNow() }()
		for {
			_, text, err := conn.Read(ctx)
			if err != nil {
				return
			}
			var f api.ServerFrame
			if err := json.Unmarshal(text, &f); err != nil {
				w.Error(err)
			}
			if f.Type == api.FrameSnapshot && !f.More {
				close(ready)
			}
			fn(f)
		}
	}()
	<-ready
}

// BenchmarkReceipt measures how long after the answer to an update a stream of another node
// receives it.
func BenchmarkReceipt(b *testing.B) {
	const updates = 300
	w, ids := newFigures(b, 1)
	hour := 3600
	if _, err := w.nodes[0].client.SignIn(b.Context(), ids[0], api.SignIn{ClientType: "desktop", LeaseSeconds: &hour}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	received := make(chan time.Time, updates)
	w.follow(ctx, w.nodes[1], ids, func(f api.ServerFrame) {
		if f.Type == api.FramePresence {
			received <- time.Now()
		}
	})
	for b.Loop() {
		var after, whole []float64
		for n := range updates {
			sent := time.Now()
			if _, err := w.nodes[0].client.SetZoomStatus(b.Context(), ids[0], "Do_Not_Disturb", 1+n%1440); err != nil {
				b.Fatal(err)
			}
			answered := time.Now()
			at := <-received
			after, whole = append(after, at.Sub(answered).Seconds()*1000), append(whole, at.Sub(sent).Seconds()*1000)
			time.Sleep(20 * time.Millisecond)
		}
		slices.Sort(after)
		slices.Sort(whole)
		b.ReportMetric(after[updates/2], "ms-after-the-answer-p50")
		b.ReportMetric(after[updates*99/100], "ms-after-the-answer-p99")
		b.ReportMetric(whole[updates/2], "ms-after-the-request-p50")
		b.ReportMetric(whole[updates*99/100], "ms-after-the-request-p99")
	}
}

// BenchmarkDeath measures when users are shown offline after the node was killed that held
// their sessions.
func BenchmarkDeath(b *testing.B) {
	const users = 60
	for b.Loop() {
		w, ids := newFigures(b, users)
		ctx, cancel := context.WithCancel(b.Context())
		w.hold(ctx, w.nodes[0], ids)
		offline := make(chan time.Time, users)
		w.follow(ctx, w.nodes[1], ids, func(f api.ServerFrame) {
			if f.Type == api.FramePresence && f.Status == api.Offline {
				offline <- time.Now()
			}
		})
		time.Sleep(2 * time.Second)
		w.nodes[0].kill()
		killed := time.Now()
		var last time.Duration
		for n := range users {
			last = (<-offline).Sub(killed)
			if n == 0 {
				b.ReportMetric(last.Seconds(), "s-to-the-first-offline")
			}
		}
		b.ReportMetric(last.Seconds(), "s-to-the-last-offline")
		cancel()
	}
}

// BenchmarkWriteGap measures how long no write succeeds after the leader of the stream was
// killed.
func BenchmarkWriteGap(b *testing.B) {
	w, ids := newFigures(b, 8)
	for b.Loop() {
		var mu sync.Mutex
		var done []time.Time
		ctx, cancel := context.WithCancel(b.Context())
		var group sync.WaitGroup
		for i, id := range ids {
			group.Go(func() {
				for n := i; ctx.Err() == nil; n++ {
					if _, err := w.nodes[n%3].client.SetZoomStatus(ctx, id, "Do_Not_Disturb", 1+n%1440); err == nil {
						mu.Lock()
						done = append(done, time.Now())
						mu.Unlock()
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		time.Sleep(3 * time.Second)
		leader := w.leader()
		leader.kill()
		time.Sleep(25 * time.Second)
		cancel()
		group.Wait()
		var gap time.Duration
		for i := 1; i < len(done); i++ {
			gap = max(gap, done[i].Sub(done[i-1]))
		}
		b.ReportMetric(gap.Seconds(), "s-without-a-write")
		leader.run(b)
		time.Sleep(5 * time.Second)
	}
}

// BenchmarkEndings measures how long it takes to end 20,000 sessions of a dead node. They
// are written to the store without connections.
func BenchmarkEndings(b *testing.B) {
	const sessions = 20_000
	w, _ := newFigures(b, 1)
	for b.Loop() {
		holder := w.incarnation(w.nodes[0])
		w.seed(w.account(), holder, sessions)
		count, stop := w.commits()
		w.nodes[0].kill()
		waitFor(w, "the first end", func() bool { return count.Load() > 0 })
		began := time.Now()
		for count.Load() < sessions && time.Since(began) < waitLimit {
			time.Sleep(10 * time.Millisecond)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-for-20000-sessions")
		b.ReportMetric(float64(count.Load()), "commits")
		stop()
	}
}

// account is the id of the account.
func (w *world) account() presence.AccountID {
	w.Helper()
	me, err := w.nodes[0].client.Account(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return presence.AccountID(me.ID)
}

// incarnation is the id of a node's run.
func (w *world) incarnation(n *node) string {
	w.Helper()
	nodes, err := w.operator(n).SystemNodes(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, x := range nodes.Nodes {
		if x.Self {
			return x.ID
		}
	}
	w.Fatalf("%s is not among %+v", n.name, nodes)
	return ""
}

// seed writes records of users with a session that a run of a node holds.
func (w *world) seed(account presence.AccountID, holder string, users int) {
	w.Helper()
	st, err := natsstore.Open(w.Context(), urls(w.servers, storeUser), natsstore.Options{MustExist: true, SystemURL: urls(w.servers, systemUser), Timeout: 20 * time.Second})
	if err != nil {
		w.Fatal(err)
	}
	defer st.Close()
	var group sync.WaitGroup
	const workers = 64
	for i := range workers {
		group.Go(func() {
			for n := i; n < users; n += workers {
				user := store.User{Account: account, ID: presence.UserID(fmt.Sprint("seeded", n))}
				if _, err := st.Update(w.Context(), user, signInAs(holder)); err != nil {
					w.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// signInAs signs a user in over a connection to a run of a node.
func signInAs(holder string) store.Decide {
	return func(was presence.Recorded) (store.Change, error) {
		e := presence.SignIn{Session: "seeded", Client: presence.Desktop, Holder: holder}
		next, _, err := presence.ApplyEach(was, []presence.Event{e}, presence.Policy{Ahead: true, IdleAfter: 15 * time.Minute}, presence.InstantOf(time.Now()))
		return store.Change{Change: next, By: store.By{Cause: store.CauseSignIn}}, err
	}
}
