package netns_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"porchlight.dev/porchlight/cluster/check"
	"porchlight.dev/porchlight/internal/store"
)

// What a run must have, and what is allowed. Nodes of these tests have one clock, unless the
// scenario says otherwise.
const (
	leastOperations = 1000
	leastBursts     = 8 // users who were set at once
	minute          = time.Minute
	clocks          = 100 * time.Millisecond
	lateLimit       = 20 * time.Second // of an expiry beside its bound: the store may be without a leader meanwhile
	lossLimit       = 45 * time.Second // from the last answer of a node that is lost to the end of its sessions; 40 s, and the pings
	catchUpLimit    = time.Minute
	logLimit        = 3 * time.Minute
)

// An allowance is what a scenario changes of that.
type allowance struct {
	clocks time.Duration // how far they are apart
	// losses are how often a person must be shown offline.
	losses func(*person) int
	// lost reports whether a device has lost its session with its node.
	lost func(*person, int) bool
}

// finish ends the clients' writing when they have done enough, waits until streams and the subscription have caught up,
// and checks all histories. It returns what it found.
func (l *workload) finish(fault check.Span, a allowance) (problems []string) {
	l.Helper()
	l.awaitEnough()
	l.stopAll[0]()
	l.clients.Wait()
	settled := l.awaitLog()
	l.awaitStreams(settled)
	l.stopAll[1]()
	l.streams.Wait()
	deliveries := l.sink.delivered()
	entries := l.log()
	seen := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := entriesOf(entries)
	for what, found := range map[string][]string{
		"answers":  l.found,
		"run":      check.Validity(&check.Run{Operations: l.operations, Least: leastOperations, Fault: fault}),
		"notes":    check.Linearizable(l.calls, catchUpLimit),
		"minute":   check.Interval(l.puts, minute, 500*time.Millisecond+a.clocks),
		"at once":  l.burstProblems(),
		"sessions": check.Sessions(l.sessions(entries, a), check.Limits{Early: clocks, Late: lateLimit, AfterLoss: lossLimit + a.clocks, Seen: seen}),
		"offline":  check.Offlines(all, l.expectedLosses(a)),
		"log":      check.Log(all),
		"streams":  check.Streams(l.received(), all, newestOf(settled)),
		"consumer": check.Consumer(deliveries, l.concerned(settled, l.sink.since), l.concerned(entries, time.Time{}), 2*store.MaxFeedGroup),
	} {
		for _, problem := range found[:min(len(found), 5)] {
			problems = append(problems, fmt.Sprintf("%s, 1 of %d problems: %s", what, len(found), problem))
		}
	}
	l.summarise(fault, len(entries))
	return problems
}

// awaitEnough waits until the run is valid, or for too long: a busy machine does less in the
// time of a scenario.
func (l *workload) awaitEnough() {
	enough := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.operations) >= leastOperations && len(l.bursts) >= leastBursts
	}
	for end := time.Now().Add(catchUpLimit); !enough() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
}

// awaitLog waits until the log has what the followers have received, or for too long, and
// reads it. The log is a copy that the NATS servers make, which stands still for a while
// after the loss of a leader.
func (l *workload) awaitLog() (settled []store.Entry) {
	began := time.Now()
	for {
		settled = l.log()
		newest := newestOf(settled)
		complete := true
		for _, f := range l.follow {
			complete = complete && f.within(newest)
		}
		if complete || time.Since(began) > logLimit {
			l.Logf("the log was complete %v after the last change", time.Since(began).Round(time.Millisecond))
			return settled
		}
		time.Sleep(time.Second)
	}
}

// awaitStreams waits until the followers and the subscription have everything that the log
// has, or for too long: the checks then say what is missing.
func (l *workload) awaitStreams(settled []store.Entry) {
	newest, due := newestOf(settled), l.concerned(settled, l.sink.since)
	for end := time.Now().Add(catchUpLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !slices.ContainsFunc(l.follow, func(f *follower) bool { return !f.has(newest) }) && l.sink.has(due) {
			return
		}
	}
}

func entriesOf(entries []store.Entry) (all []check.Entry) {
	for i := range entries {
		all = append(all, entryOf(&entries[i]))
	}
	return all
}

func entryOf(e *store.Entry) check.Entry {
	return check.Entry{
		User: string(e.User.ID), Commit: uint64(e.Revision), Revision: uint64(e.After.Revision), Status: e.After.Status.String(), Note: e.After.Note, Gap: e.Gap,
	}
}

// newestOf has the newest revision of each user that watchers see.
func newestOf(entries []store.Entry) map[string]uint64 {
	newest := make(map[string]uint64)
	for i := range entries {
		e := &entries[i]
		newest[string(e.User.ID)] = max(newest[string(e.User.ID)], uint64(e.After.Revision))
	}
	return newest
}

// concerned are the entries since then that the subscription is for. It must have those since
// every node knew it, and may have some before.
func (l *workload) concerned(entries []store.Entry, since time.Time) (all []check.Entry) {
	ids := make(map[string]bool)
	for name, id := range l.users {
		ids[id] = watched(name)
	}
	for i := range entries {
		if e := &entries[i]; ids[string(e.User.ID)] && e.Time.After(since) && !e.Before.SameFor(&e.After) {
			all = append(all, entryOf(e))
		}
	}
	return all
}

func (l *workload) burstProblems() (found []string) {
	for user, b := range l.bursts {
		found = append(found, check.OncePerBurst(user, b.accepted, b.unknown)...)
	}
	if len(l.bursts) < leastBursts {
		found = append(found, fmt.Sprintf("INVALID: only %d users were set at once", len(l.bursts)))
	}
	return found
}

// sessions are those of the clients, with their ends in the log.
func (l *workload) sessions(entries []store.Entry, a allowance) (all []check.Session) {
	ended := make(map[string]time.Time)
	for i := range entries {
		for _, s := range entries[i].Ended {
			ended[string(s.ID)] = l.endOf(&entries[i])
		}
	}
	for _, s := range l.leases {
		own := *s
		own.Ended = ended[innerID(s.ID)]
		all = append(all, own)
	}
	for _, p := range l.people {
		for n, d := range p.devices {
			d.mu.Lock()
			own := d.session
			d.mu.Unlock()
			own.Ended = ended[innerID(own.ID)]
			if a.lost(p, n) {
				own.Lost = own.Bound[len(own.Bound)-1].To
			}
			all = append(all, own)
		}
	}
	return all
}

// endOf is when an entry was committed: by the clock of the node, which may be ahead, or when
// the first follower received it.
func (l *workload) endOf(e *store.Entry) time.Time {
	at := e.Time
	for _, f := range l.follow {
		if received, ok := f.at[string(e.User.ID)][uint64(e.After.Revision)]; ok && e.Before.Revision != e.After.Revision && received.Before(at) {
			at = received
		}
	}
	return at
}

// innerID is the id that the log has of a session: the API's begins with the length of the
// user's id and that id.
func innerID(id string) string {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) == 0 || len(raw) < 1+int(raw[0]) {
		return id
	}
	return string(raw[1+int(raw[0]):])
}

func (l *workload) expectedLosses(a allowance) (all []check.Loss) {
	for _, p := range l.people {
		all = append(all, check.Loss{User: p.user, Times: a.losses(p)})
	}
	return all
}

func (l *workload) received() (all []check.Stream) {
	for _, f := range l.follow {
		all = append(all, f.stream)
	}
	return all
}

// summarise logs what happened.
func (l *workload) summarise(fault check.Span, entries int) {
	var others []string
	for what, n := range l.refused {
		others = append(others, fmt.Sprint(what, " ", n))
	}
	sort.Strings(others)
	binds, moves, events := 0, 0, 0
	for _, p := range l.people {
		for _, d := range p.devices {
			binds += d.binds
		}
	}
	for _, f := range l.follow {
		moves += f.moves
		events += len(f.stream.Events)
	}
	l.Logf("%d operations (not done: %s), %d calls of notes, %d accepted statuses, %d sign-ins over connections, %d events over %d connections of followers, %d deliveries, %d log entries; the fault lasted %v",
		len(l.operations), strings.Join(others, ", "), len(l.calls), len(l.puts), binds, events, moves, len(l.sink.delivered()), entries, fault.To.Sub(fault.From).Round(time.Millisecond))
}
