package netns_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/cluster/check"
)

// How much a workload does.
const (
	registers  = 8 // users whose note clients write and read
	writers    = 6 // clients that do so
	readers    = 3 // clients that only read
	thinkTime  = 30 * time.Millisecond
	putUsers   = 24 // users whose status several clients set at once
	putsAtOnce = 12
	putEvery   = 1500 * time.Millisecond
	leased     = 18 // users with a session that is refreshed by HTTP
	lease      = 30 * time.Second
	followers  = 3
)

// dialSoon connects, or fails soon: a host that is cut off does not answer.
func dialSoon(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
}

// A workload has clients use a world, and records their histories.
type workload struct {
	*world
	users   map[string]string // ids by name
	writing context.Context   // the goroutines that write end with it
	reading context.Context   // the goroutines that follow end with it
	stopAll [2]context.CancelFunc
	clients sync.WaitGroup
	streams sync.WaitGroup
	people  []*person
	follow  []*follower
	sink    *sink

	mu         sync.Mutex // guards the fields below
	operations []check.Span
	calls      []check.Call
	puts       []check.Put
	bursts     map[string]*burst
	leases     []*check.Session
	refused    map[string]int
	found      []string // problems
}

// addProblem records that something was wrong.
func (l *workload) addProblem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found = append(l.found, fmt.Sprintf(format, args...))
}

// A burst is what became of the first simultaneous updates of a user.
type burst struct{ accepted, unknown int }

// newWorkload makes users and signs people in.
func newWorkload(w *world) *workload {
	l := &workload{world: w, users: make(map[string]string), bursts: make(map[string]*burst), refused: make(map[string]int)}
	l.writing, l.stopAll[0] = context.WithCancel(w.Context())
	l.reading, l.stopAll[1] = context.WithCancel(w.Context())
	w.Cleanup(func() {
		l.stopAll[0]()
		l.stopAll[1]()
		l.clients.Wait()
		l.streams.Wait()
	})
	var names []string
	for kind, count := range map[string]int{"register": registers, "put": putUsers, "leased": leased, "person": people} {
		for i := range count {
			names = append(names, fmt.Sprint(kind, i))
		}
	}
	l.createUsers(names)
	return l
}

func (l *workload) createUsers(names []string) {
	l.Helper()
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			for n := i; n < len(names); n += 6 {
				id := l.createUser(l.nodes[n%3], names[n])
				l.mu.Lock()
				l.users[names[n]] = id
				l.mu.Unlock()
			}
		})
	}
	group.Wait()
	if l.Failed() {
		l.FailNow()
	}
}

// createUser makes a user through a node. After an attempt that failed, the user may exist.
func (l *workload) createUser(n *node, name string) (id string) {
	l.Helper()
	email := name + "@example.com"
	l.retry("create a user", func() error {
		made, err := n.client.CreateUser(l.Context(), api.CreateUser{Email: email})
		if client.Is(err, &api.EmailTaken) {
			made, err = n.client.User(l.Context(), email)
		}
		id = made.ID
		return err
	})
	return id
}

// start starts all clients, and waits until sessions and streams exist.
func (l *workload) start() {
	l.Helper()
	l.startSink()
	hour := 3600
	for i := range registers { // a note of a user who is offline is not shown
		l.retry("sign a user in", func() error {
			_, err := l.nodes[0].client.SignIn(l.Context(), l.users[fmt.Sprint("register", i)], api.SignIn{ClientType: "desktop", LeaseSeconds: &hour}, client.IdempotencyKey("start"))
			return err
		})
	}
	l.startPeople()
	l.startFollowers()
	for i := range writers + readers {
		l.clients.Go(func() { l.useRegisters(i) })
	}
	for i := range leased {
		l.clients.Go(func() { l.keepLease(i) })
	}
	l.clients.Go(l.putAtOnce)
}

// An outcome is what a client knows of an operation.
type outcome string

const (
	done    outcome = "done"
	refused outcome = "refused" // nothing was changed
	unknown outcome = "unknown" // it may have been done, or be done later
	limited outcome = "limited" // too soon after another one
	wrong   outcome = "wrong"
)

func outcomeOf(err error) outcome {
	if err == nil {
		return done
	}
	if _, lost := errors.AsType[*client.TransportError](err); lost {
		op, ok := errors.AsType[*net.OpError](err)
		if ok && op.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED) {
			return refused
		}
		return unknown
	}
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return wrong
	case e.Status == http.StatusTooManyRequests:
		return limited
	case e.Status == http.StatusServiceUnavailable && strings.Contains(e.Message, "may or may not"):
		return unknown
	case e.Status == http.StatusServiceUnavailable:
		return refused
	default:
		return wrong
	}
}

// record counts what became of an operation, and fails for an answer that nobody expects.
func (l *workload) record(what string, span check.Span, err error) outcome {
	o := outcomeOf(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o {
	case done:
		l.operations = append(l.operations, span)
	case wrong:
		if l.writing.Err() == nil {
			l.found = append(l.found, fmt.Sprintf("%s: %v", what, err))
		}
	case refused, unknown, limited:
		l.refused[what+" "+string(o)]++
	}
	return o
}

// measure calls fn, and returns when.
func measure(fn func() error) (check.Span, error) {
	span := check.Span{From: time.Now()}
	err := fn()
	span.To = time.Now()
	return span, err
}

// pause waits, and reports whether clients are still to write.
func (l *workload) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-l.writing.Done():
	}
	return l.writing.Err() == nil
}

// useRegisters writes notes that no other call writes, and reads with strong consistency,
// or, after a write, at least as new as that on another node. Those after the writers only read,
// one at each node: no write keeps them waiting at a node that is behind.
func (l *workload) useRegisters(id int) {
	random := rand.New(rand.NewPCG(uint64(id), 1))
	at := id
	for n := 0; l.pause(thinkTime); n++ {
		c := check.Call{User: l.users[fmt.Sprint("register", random.IntN(registers))], Client: id}
		var o outcome
		if id < writers && random.IntN(2) == 0 {
			c.Write = fmt.Sprintf("%d-%d", id, n)
			o = l.writeNote(at, &c)
		} else {
			o = l.readNote(at, &c)
		}
		if o == done || o == unknown && c.Write != "" {
			c.Unknown = o == unknown
			l.mu.Lock()
			l.calls = append(l.calls, c)
			l.mu.Unlock()
		}
		if o != done {
			at++ // to the next node
			l.pause(100 * time.Millisecond)
		}
	}
}

func (l *workload) readNote(at int, c *check.Call) (o outcome) {
	var err error
	c.Span, err = measure(func() error {
		p, err := l.nodes[at%3].client.Presence(l.Context(), c.User, client.Strong())
		c.Found, c.Revision = p.Note, p.Revision
		return err
	})
	return l.record("read", c.Span, err)
}

func (l *workload) writeNote(at int, c *check.Call) outcome {
	var err error
	var cursor string
	c.Span, err = measure(func() error {
		r, err := l.nodes[at%3].client.SetNote(l.Context(), c.User, api.SetNote{Text: c.Write}, client.CursorOf(&cursor))
		c.Revision = r.Presence.Revision
		return err
	})
	o := l.record("note", c.Span, err)
	if o == done {
		var p api.Presence
		span, err := measure(func() (err error) {
			p, err = l.nodes[(at+1)%3].client.Presence(l.Context(), c.User, client.AtLeast(cursor))
			return err
		})
		if l.record("read at least", span, err) == done && p.Revision < c.Revision {
			l.addProblem("%s: a read at least as new as revision %d found revision %d", c.User, c.Revision, p.Revision)
		}
	}
	return o
}

// putAtOnce sets the status of one user after another, by several clients at once.
func (l *workload) putAtOnce() {
	for n := 0; l.pause(putEvery); n++ {
		user := l.users[fmt.Sprint("put", n%putUsers)]
		var found burst
		var group sync.WaitGroup
		for i := range putsAtOnce {
			group.Go(func() {
				span, err := measure(func() error {
					_, err := l.nodes[i%3].client.SetZoomStatus(l.Context(), user, "Do_Not_Disturb", 1+(n+i)%1440)
					return err
				})
				o := l.record("status", span, err)
				l.mu.Lock()
				defer l.mu.Unlock()
				switch o {
				case done:
					found.accepted++
					l.puts = append(l.puts, check.Put{User: user, Span: span})
				case unknown, refused, wrong:
					found.unknown++
				case limited:
				}
			})
		}
		group.Wait()
		l.mu.Lock()
		if l.bursts[user] == nil {
			l.bursts[user] = &found
		}
		l.mu.Unlock()
	}
}

// keepLease signs a user in and refreshes the session through any node. A third of the
// clients disappear.
func (l *workload) keepLease(i int) {
	random := rand.New(rand.NewPCG(uint64(i), 2))
	user := l.users[fmt.Sprint("leased", i)]
	seconds := int(lease.Seconds())
	s := &check.Session{User: user, Lease: lease}
	until := time.Now().Add(time.Hour)
	if i%3 == 0 {
		until = time.Now().Add(rand.N(12 * time.Second))
	}
	for at := i; time.Now().Before(until) && l.writing.Err() == nil; at++ {
		var made api.Session
		span, err := measure(func() (err error) {
			if s.ID == "" {
				made, err = l.nodes[at%3].client.SignIn(l.Context(), user, api.SignIn{ClientType: "desktop", LeaseSeconds: &seconds})
			} else {
				made, err = l.nodes[random.IntN(3)].client.Refresh(l.Context(), s.ID, api.SessionUpdate{})
			}
			return err
		})
		if client.Is(err, &api.NoSession) && time.Now().After(s.Acks[len(s.Acks)-1].Until) {
			break // no node could refresh it in time
		}
		if l.record("session", span, err) != done {
			l.pause(200 * time.Millisecond)
			continue
		}
		s.ID = made.ID
		s.Acks = append(s.Acks, check.Ack{At: span.To, Until: made.EndsAt.Time})
		if !l.pause(8*time.Second + time.Duration(random.Int64N(int64(6*time.Second)))) {
			break
		}
	}
	l.mu.Lock()
	l.leases = append(l.leases, s)
	l.mu.Unlock()
}
