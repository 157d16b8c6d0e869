package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// Sizes of the streams benchmark. A process may have 20,000 files open.
const (
	fanoutWatchers = 10_000
	idleWatchers   = 15_000
	smallestStore  = 20_000
)

// streams measures realtime streams, each part on its own server.
func (r *run) streams(b *binary) error {
	large, err := r.seed(max(r.mostUsers(), smallestStore))
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(*binary, *seeded) error
	}{
		{"one", r.oneToMany},
		{"memory", r.streamMemory},
		{"idle", r.streamIdle},
		{"slow", r.streamSlow},
		{"dense", r.dense},
		{"wide", r.wide},
		{"herd", r.herd},
	} {
		if r.part != "" && r.part != part.name {
			continue
		}
		if err := part.run(b, large); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// during returns the CPU time in µs that the process uses while do runs.
func (p *process) during(do func() error) (float64, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := p.cpu()
	return float64((after - before).Microseconds()), err
}

// A oneRound is a round of consecutive changes, each sent to all watchers.
type oneRound struct {
	first, last, cpu float64 // ms, ms, µs for each delivery; the median of the changes
	length           int     // of a frame
}

// changesOfOne is the number of changes in a round.
const changesOfOne = 20

// oneToMany measures one user's change to many watchers against a loop that writes to
// sockets.
func (r *run) oneToMany(b *binary, s *seeded) error {
	p, err := b.serve(s.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	bare, err := startSelf("-bare-streams")
	if err != nil {
		return err
	}
	defer bare.stop(syscall.SIGKILL)
	fmt.Printf("\none change to %d watchers, %d times a round\n", fanoutWatchers, changesOfOne)
	var first, last, cpu []float64
	for round := range r.rounds + 1 { // the first round warms up
		if err := s.prime(p.address); err != nil {
			return err
		}
		ours, err := oneRoundOf(p, func(i int) string { return s.streamRequest(i, s.IDs[:1], "", false) }, (*watcher).snapshot, s.putter(p.address, 0))
		if err != nil {
			return err
		}
		theirs, err := oneRoundOf(bare, func(int) string { return "GET / HTTP/1.1\r\nHost: bench\r\n" + upgradeHeaders }, func(*watcher) error { return nil }, trigger(bare.address, ours.length))
		if err != nil {
			return fmt.Errorf("bare: %w", err)
		}
		if round == 0 {
			continue
		}
		fmt.Printf("round %d: first %.1f ms, last %.1f ms, %.2f µs CPU a delivery; bare %.1f ms, %.1f ms, %.2f µs; frames of %d bytes\n",
			round, ours.first, ours.last, ours.cpu, theirs.first, theirs.last, theirs.cpu, ours.length)
		first, last, cpu = append(first, ours.first), append(last, ours.last/theirs.last), append(cpu, ours.cpu/theirs.cpu)
	}
	report("one change to 10,000 watchers: first receipt", "-", "ms", first)
	report("one change to 10,000 watchers: last receipt", "1.3", "×", last)
	report("one change to 10,000 watchers: server CPU", "1.2", "×", cpu)
	return nil
}

// A change makes one change, and returns when it was requested.
type change func() (time.Time, error)

// oneRoundOf opens all watchers, makes consecutive changes and closes all.
func oneRoundOf(p *process, request func(int) string, begin func(*watcher) error, open func() (change, func(), error)) (oneRound, error) {
	var got atomic.Int64
	var length atomic.Int64
	receipts := make([]atomic.Int64, fanoutWatchers) // times since begun
	begun := time.Now()
	all := make(chan struct{}, 1)
	stop, err := watchAll(p.address, fanoutWatchers, 512, request, begin, func(i int, w *watcher) {
		for {
			frame, err := w.next()
			if err != nil {
				return
			}
			receipts[i].Store(int64(time.Since(begun)))
			length.Store(int64(len(frame)))
			if got.Add(1)%fanoutWatchers == 0 {
				all <- struct{}{}
			}
		}
	})
	if err != nil {
		return oneRound{}, err
	}
	defer stop()
	change, end, err := open()
	if err != nil {
		return oneRound{}, err
	}
	defer end()
	var firsts, lasts []float64
	time.Sleep(time.Second)
	before, err := p.cpu()
	if err != nil {
		return oneRound{}, err
	}
	for range changesOfOne {
		at, err := change()
		if err != nil {
			return oneRound{}, err
		}
		select {
		case <-all:
		case <-time.After(10 * time.Second):
			return oneRound{}, fmt.Errorf("received only %d frames", got.Load())
		}
		first, last := int64(math.MaxInt64), int64(0)
		for i := range receipts {
			first, last = min(first, receipts[i].Load()), max(last, receipts[i].Load())
		}
		sent := at.Sub(begun)
		firsts = append(firsts, (time.Duration(first)-sent).Seconds()*1000)
		lasts = append(lasts, (time.Duration(last)-sent).Seconds()*1000)
		time.Sleep(20 * time.Millisecond)
	}
	after, err := p.cpu()
	return oneRound{median(firsts), median(lasts), float64((after - before).Microseconds()) / changesOfOne / fanoutWatchers, int(length.Load())}, err
}

// prime sets the first user to the last status, so that the first PUT is a change.
func (s *seeded) prime(address string) error {
	change, end, err := s.putter(address, len(cycle)-1)()
	if err != nil {
		return err
	}
	defer end()
	_, err = change()
	return err
}

// putter changes the first user to the next status each time.
func (s *seeded) putter(address string, turn int) func() (change, func(), error) {
	return func() (change, func(), error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		c := changer{seeded: s, users: s.IDs[:1]}
		in := bufio.NewReader(conn)
		turn := turn
		return func() (time.Time, error) {
			at := time.Now()
			if _, err := conn.Write(c.request(nil, 0, turn)); err != nil {
				return at, err
			}
			turn++
			_, err := acknowledged(in)
			return at, err
		}, func() { _ = conn.Close() }, nil
	}
}

// trigger makes the baseline write a frame.
func trigger(address string, length int) func() (change, func(), error) {
	return func() (change, func(), error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		if _, err := fmt.Fprintf(conn, "length %d\n", length); err != nil {
			return nil, nil, err
		}
		return func() (time.Time, error) {
			at := time.Now()
			_, err := conn.Write([]byte{'.'})
			return at, err
		}, func() { _ = conn.Close() }, nil
	}
}

// twenty returns the users that watcher i follows: 20 of 10,000, different from those
// of the previous watcher.
func (s *seeded) twenty(i int) []presence.UserID {
	const each, of = 20, 10_000
	at := i * each % of
	return s.IDs[at : at+each]
}

// streamMemory measures the memory of an idle stream over WebSocket and over SSE.
func (r *run) streamMemory(b *binary, s *seeded) error {
	for _, kind := range []struct {
		name, budget string
		events       bool
		begin        func(*watcher) error
		run          func(int, *watcher)
	}{
		{"WebSocket", "8", false, (*watcher).snapshot, idle},
		{"SSE", "-", true, (*watcher).snapshotEvent, discard},
	} {
		p, err := b.serve(s.dir)
		if err != nil {
			return err
		}
		if err := s.warm(p); err != nil {
			return errors.Join(err, p.stop(syscall.SIGKILL))
		}
		err = func() error {
			before, err := p.settled(10 * time.Second)
			if err != nil {
				return err
			}
			if err := p.reportHeap("no stream"); err != nil {
				return err
			}
			stop, err := watchAll(p.address, idleWatchers, 512, func(i int) string { return s.streamRequest(i, s.twenty(i), "", kind.events) }, kind.begin, kind.run)
			if err != nil {
				return err
			}
			defer stop()
			at, err := p.rss()
			if err != nil {
				return err
			}
			after, err := p.settled(time.Minute)
			if err != nil {
				return err
			}
			if err := p.reportHeap(kind.name); err != nil {
				return err
			}
			if err := p.save("/debug/pprof/heap", filepath.Join(r.dir, kind.name+"-heap.prof")); err != nil {
				return err
			}
			each := func(mib float64) []float64 { return []float64{(mib - before) * 1024 / idleWatchers} }
			report(fmt.Sprintf("RSS of an idle %s of %d that follows 20, after opening", kind.name, idleWatchers), "-", "KiB", each(at))
			report(fmt.Sprintf("RSS of an idle %s of %d that follows 20, a minute later", kind.name, idleWatchers), kind.budget, "KiB", each(after))
			return nil
		}()
		if err := errors.Join(err, p.stop(syscall.SIGTERM)); err != nil {
			return err
		}
	}
	return nil
}

// warm reads the followed users, so that their memory is not counted for streams.
func (s *seeded) warm(p *process) error {
	w, err := open(p.address, "GET /v1/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer "+s.Token+"\r\n"+upgradeHeaders, 64<<10)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	for i := range 500 {
		ids := s.twenty(i)
		text := []byte(`{"type":"follow","users":["`)
		for k, id := range ids {
			if k > 0 {
				text = append(text, `","`...)
			}
			text = append(text, id...)
		}
		text = append(text, `"]}`...)
		frame := append([]byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}, text...)
		if _, err := w.conn.Write(frame); err != nil {
			return err
		}
		if err := w.snapshot(); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond) // 50 frames a second are allowed
	}
	return nil
}

// reportHeap prints the runtime's memory statistics.
func (p *process) reportHeap(when string) error {
	response, err := http.Get("http://" + p.admin + "/debug/pprof/heap?debug=1")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	fmt.Printf("memory, %s:", when)
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# "), " = ")
		if ok && slices.Contains([]string{"HeapAlloc", "HeapInuse", "HeapIdle", "HeapReleased", "Stack", "MSpan", "GCSys"}, name) {
			fmt.Printf(" %s %s", name, value)
		}
	}
	fmt.Println()
	return nil
}

// settled returns the memory after an idle period that begins with a garbage
// collection.
func (p *process) settled(after time.Duration) (float64, error) {
	if err := p.save("/debug/pprof/heap?gc=1", ""); err != nil {
		return 0, err
	}
	time.Sleep(after)
	return p.rss()
}

// A watchedLoad is changes at a given rate with watchers, and the share of their CPU.
type watchedLoad struct {
	name       string
	users      int
	watchers   int
	follows    func(watcher int) []int32
	rate       int
	duration   time.Duration
	budget     string
	cpuWithout float64 // µs a change
}

func (r *run) watched(p *process, s *seeded, l *watchedLoad) error {
	c := &changer{address: p.address, seeded: s, users: s.IDs[:l.users], conns: min(r.mostConns(), l.users), rate: l.rate, duration: l.duration}
	index := make(map[string]int32)
	for i, id := range c.users {
		index[string(id)] = int32(i)
	}
	logs := make([]*receipts, l.watchers)
	for i := range logs {
		logs[i] = &receipts{follows: l.follows(i)}
	}
	stop, err := watchAll(p.address, l.watchers, 4<<10, func(i int) string {
		ids := make([]presence.UserID, len(logs[i].follows))
		for k, user := range logs[i].follows {
			ids[k] = c.users[user]
		}
		return s.streamRequest(i, ids, "", false)
	}, (*watcher).snapshot, func(i int, w *watcher) { logs[i].record(w, c, index) })
	if err != nil {
		return err
	}
	used, err := p.during(func() error {
		err := c.run()
		time.Sleep(time.Second) // wait for the last receipts
		return err
	})
	stop()
	if err != nil {
		return err
	}
	each := used / float64(c.changes())
	name := fmt.Sprintf("%s, %d changes/s requested", l.name, l.rate)
	report(name+": achieved rate", "-", "/s", []float64{float64(c.changes()) / c.took.Seconds()})
	if l.watchers == 0 {
		l.cpuWithout = each
		report(name+": server CPU a change", "-", "µs", []float64{each})
		return nil
	}
	f := match(c, logs)
	perChange := float64(f.frames) / float64(f.changes)
	fmt.Printf("%d changes, %d expected deliveries, %d frames, %d superseded, %d missing\n", f.changes, f.due, f.frames, f.coalesced, f.missing)
	report(name+": ack to receipt, p50", "-", "ms", []float64{at(f.fromAck, .5).Seconds() * 1000})
	report(name+": ack to receipt, p99", l.budget, "ms", []float64{at(f.fromAck, .99).Seconds() * 1000})
	report(name+": send to receipt, p50", "-", "ms", []float64{at(f.fromSend, .5).Seconds() * 1000})
	report(name+": send to receipt, p99", "-", "ms", []float64{at(f.fromSend, .99).Seconds() * 1000})
	report(name+": server CPU a change", "-", "µs", []float64{each})
	report(name+": server CPU a delivery, all", "-", "µs", []float64{each / perChange})
	if l.cpuWithout > 0 {
		report(name+": server CPU a delivery, minus that without watchers", "-", "µs", []float64{(each - l.cpuWithout) / perChange})
	}
	if f.missing > 0 {
		return fmt.Errorf("%d deliveries are missing", f.missing)
	}
	return nil
}

// dense: 256 users who all change all the time, with 20 watchers each.
func (r *run) dense(b *binary, s *seeded) error {
	const users, each = 256, 20
	follows := func(watcher int) []int32 {
		all := make([]int32, each)
		for i := range all {
			all[i] = int32((watcher + i) % users)
		}
		return all
	}
	p, err := b.serve(s.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	for _, rate := range []int{5000, 20_000} {
		l := &watchedLoad{name: "256 users, without watchers", users: users, rate: rate, duration: r.seconds}
		if err := r.watched(p, s, l); err != nil {
			return err
		}
		l.name, l.watchers, l.follows, l.budget = "256 users, 20 watchers each", users, follows, "50"
		if err := r.watched(p, s, l); err != nil {
			return err
		}
	}
	return nil
}

// wide: 2,000 watchers of 50 users each, for as long as asked for.
func (r *run) wide(b *binary, s *seeded) error {
	const users, watchers, each = 10_000, 2000, 50
	p, err := b.serve(s.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	l := &watchedLoad{name: "10,000 users, without watchers", users: users, rate: r.rate, duration: r.seconds}
	if err := r.watched(p, s, l); err != nil {
		return err
	}
	l.name, l.watchers, l.budget, l.duration = "2,000 watchers of 50 users", watchers, "50", r.streaming
	l.follows = func(watcher int) []int32 {
		all := make([]int32, each)
		for i := range all {
			all[i] = int32((watcher*users/watchers + i) % users)
		}
		return all
	}
	return r.watched(p, s, l)
}
