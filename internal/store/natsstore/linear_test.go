package natsstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// A call is one operation on the note of a user, for the checker.
type call struct {
	user    int
	write   string // the note that it writes; "": it reads
	unknown bool   // it may have been done, or be done later
	found   string // the note that it found
}

func callOf(input any) *call {
	c, ok := input.(*call)
	if !ok {
		panic(input)
	}
	return c
}

// noteModel is what a single copy of each user's note would do.
func noteModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byUser := make(map[int][]porcupine.Operation)
			for _, op := range all {
				u := callOf(op.Input).user
				byUser[u] = append(byUser[u], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range byUser {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			c := callOf(input)
			switch {
			case c.write == "":
				return c.found == state, state
			case c.unknown:
				return true, c.write
			default:
				return c.found == state, c.write
			}
		},
		Equal: func(a, b any) bool { return a == b },
	}
}

// A linearRun has clients update and read a few users through several stores, and records
// their calls.
type linearRun struct {
	*testing.T
	stores     []*atomic.Pointer[natsstore.Store]
	stale      bool // every fourth read of a client finds what the client's last one of that user found
	users      int
	began      time.Time
	written    atomic.Int64
	faultsOver atomic.Bool

	mu      sync.Mutex // guards the fields below
	calls   []porcupine.Operation
	unknown int
	refused int
}

// client makes calls until that many are not refused, and then more, slowly, until the faults
// are over.
func (x *linearRun) client(id, calls int) {
	random := rand.New(rand.NewPCG(uint64(id), 7))
	last := make(map[int]string) // by user, what a read found
	for n, end := 0, time.Now().Add(5*waitLimit); (n < calls || !x.faultsOver.Load()) && time.Now().Before(end); {
		if n >= calls {
			time.Sleep(20 * time.Millisecond)
		}
		st := x.stores[id%len(x.stores)].Load()
		c := &call{user: random.IntN(x.users)}
		if random.IntN(2) == 0 {
			c.write = fmt.Sprint(x.written.Add(1))
		}
		earlier, again := last[c.user]
		if !x.do(id, st, c) {
			continue
		}
		if n++; c.write != "" {
			continue
		}
		if x.stale && again && n%4 == 0 {
			c.found = earlier
		}
		last[c.user] = c.found
	}
}

// do makes a call, and reports whether it was not refused.
func (x *linearRun) do(id int, st *natsstore.Store, c *call) bool {
	begin := time.Since(x.began)
	ctx, cancel := context.WithTimeout(x.Context(), waitLimit)
	defer cancel()
	u := userNumber(c.user)
	var err error
	if c.write == "" {
		var records []store.Record
		if records, _, err = st.Read(ctx, []store.User{u}, store.Freshness{Strong: true}); len(records) > 0 {
			c.found = records[0].State.Note.Text
		}
	} else {
		_, err = st.Update(ctx, u, storetest.UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
			c.found = s.Note.Text
			s, err := touch(s)
			s.Note.Text = c.write
			return s, err
		}))
	}
	end := time.Since(x.began)
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case err == nil:
	case c.write != "" && errors.Is(err, store.ErrUnknown):
		c.unknown, end = true, math.MaxInt64
		x.unknown++
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed):
		x.refused++
		return false // nothing was done
	default:
		x.Errorf("%+v: %v", c, err)
		return false
	}
	x.calls = append(x.calls, porcupine.Operation{ClientId: id, Input: c, Call: int64(begin), Return: int64(end)})
	return true
}

func (x *linearRun) done() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.calls)
}

// stateLeader is the server that leads the state stream.
func (c *cluster) stateLeader(tb testing.TB) (leader int) {
	tb.Helper()
	waitFor(tb, "a leader of the stream", func() bool {
		for i, s := range c.servers {
			if s.JetStreamIsStreamLeader("PORCHLIGHT", "porchlight-state") {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

// check reports whether the calls are those of a single copy.
func (x *linearRun) check() bool {
	x.Helper()
	result := porcupine.CheckOperationsTimeout(noteModel(), x.calls, waitLimit)
	if result == porcupine.Unknown {
		x.Fatal("the checker did not finish")
	}
	return result == porcupine.Ok
}

// run has clients make calls at once, while faults happen. They end even if a fault fails the test.
func (x *linearRun) run(clients, each int, faults func()) {
	var group sync.WaitGroup
	x.faultsOver.Store(false)
	for id := range clients {
		group.Go(func() { x.client(id, each) })
	}
	defer group.Wait()
	defer x.faultsOver.Store(true)
	faults()
}

// openLinear opens a store that gives up on a lost leader soon, and therefore also on opening
// while the machine is busy, so that it is tried again.
func openLinear(t *testing.T, servers *cluster) (s *natsstore.Store) {
	t.Helper()
	o := servers.options()
	o.Timeout = 4 * time.Second
	waitFor(t, "an open store", func() bool {
		var err error
		if s, err = servers.tryOpen(t, o); err != nil {
			t.Log(err)
		}
		return err == nil
	})
	return s
}

func newLinearRun(t *testing.T, servers *cluster, nodes int) *linearRun {
	t.Helper()
	x := &linearRun{T: t, users: 3, began: time.Now()}
	for range nodes {
		p := new(atomic.Pointer[natsstore.Store])
		p.Store(openLinear(t, servers))
		x.stores = append(x.stores, p)
		t.Cleanup(func() { closeStore(t, p.Load()) })
	}
	return x
}

// TestLinearizable: updates and strong reads through three nodes are those of a single copy of
// each record, while a node and the servers restart. With stale reads they are not, so that
// the check sees one.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	each := leveltest.Count(t, "calls of each of six clients", 100, 150, 3000)
	t.Run("strong reads", func(t *testing.T) {
		t.Parallel()
		servers := startServers(t, 3)
		x := newLinearRun(t, servers, 3)
		x.run(6, each, func() {
			time.Sleep(200 * time.Millisecond)
			again := openLinear(t, servers)
			closeStore(t, x.stores[0].Swap(again))
			leader := servers.stateLeader(t)
			servers.stopServer(leader)
			before := x.done()
			waitFor(t, "calls without the leader", func() bool { return x.done() > before+20 })
			servers.startServer(t, leader)
		})
		if !x.check() {
			t.Error("the calls are not linearizable")
		}
		t.Logf("%d calls, %d unknown, %d refused", len(x.calls), x.unknown, x.refused)
		if len(x.calls) < 4*each {
			t.Errorf("invalid: only %d of %d calls were done", len(x.calls), 6*each)
		}
	})
	t.Run("stale reads", func(t *testing.T) {
		t.Parallel()
		x := newLinearRun(t, startServers(t, 1), 2)
		x.stale = true
		x.run(6, each, func() {})
		if x.check() {
			t.Errorf("%d calls with stale reads are linearizable", len(x.calls))
		}
	})
}
