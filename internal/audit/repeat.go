package audit

import (
	"net/netip"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

const (
	maxBuckets          = 10_000 // of kinds of repeated events, in all
	maxBucketsOfAccount = 250
)

// repeats counts repeated events, so that a flood of denied requests can fill neither the
// log nor the memory.
type repeats struct {
	mu        sync.Mutex
	buckets   map[bucketKey]*bucket      // guarded by mu, as is the rest
	ofAccount map[presence.AccountID]int // buckets, apart from those of others
}

// A bucketKey is what events have in common that are counted together.
type bucketKey struct {
	account        presence.AccountID
	action, target string
	reason         string
	denied         bool
	user           presence.UserID
	app            presence.AppID
	network        netip.Prefix // of the client, if nothing else is known of it
	window         Window
	others         bool // all events for which there is no bucket
}

type bucket struct {
	event Event // the first
	count int   // after it
	until time.Time
}

// Repeated implements Repeater.
func (l *Log) Repeated(account presence.AccountID, e *Event, window Window) {
	if first := l.repeats.add(bucketOf(account, e, window), e, l.clock()); first != nil {
		l.Later(account, first)
	}
}

func bucketOf(account presence.AccountID, e *Event, window Window) bucketKey {
	k := bucketKey{account: account, action: e.Action, target: e.Target, reason: e.Reason, denied: e.Denied, app: e.By.App, window: window}
	if !e.By.AccountLevel {
		k.user = e.By.User
	}
	if k.user == "" && k.app == "" {
		k.network = networkOf(e.By.Address)
	}
	return k
}

// networkOf is the address itself, or the /64 of an IPv6 address: one subscriber has at
// least that many.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	network, _ := a.Prefix(bits) // the zero Prefix, if the address is not known
	return network
}

// add counts an event. It returns the event to record now, if it is the first.
func (r *repeats) add(k bucketKey, e *Event, now time.Time) *Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[k]
	if b == nil && (len(r.buckets) >= maxBuckets || r.ofAccount[k.account] >= maxBucketsOfAccount) {
		k = bucketKey{account: k.account, action: k.action, reason: k.reason, denied: k.denied, window: k.window, others: true}
		e = &Event{Action: e.Action, Target: "others", Denied: e.Denied, Reason: e.Reason, Count: e.Count}
		b = r.buckets[k]
	}
	if b != nil {
		b.count += e.count()
		return nil
	}
	r.buckets[k] = &bucket{event: *e, until: now.Add(time.Duration(k.window))}
	if !k.others {
		r.ofAccount[k.account]++
	}
	first := *e
	return &first
}

// A counted event stands for those of a window.
type counted struct {
	account presence.AccountID
	event   Event
}

// takeEnded takes the events of the windows that have ended; with all, of every window.
func (r *repeats) takeEnded(now time.Time, all bool) []counted {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ended []counted
	for k, b := range r.buckets {
		if !all && now.Before(b.until) {
			continue
		}
		if b.count == 0 {
			r.remove(k)
			continue
		}
		e := b.event
		e.Count, e.By.Request = b.count, ""
		ended = append(ended, counted{k.account, e})
		b.count, b.until = 0, now.Add(time.Duration(k.window))
	}
	return ended
}

func (r *repeats) remove(k bucketKey) {
	delete(r.buckets, k)
	if k.others {
		return
	}
	if r.ofAccount[k.account]--; r.ofAccount[k.account] == 0 {
		delete(r.ofAccount, k.account)
	}
}

// recordRepeated records what was counted.
func (l *Log) recordRepeated(all bool) {
	for _, c := range l.repeats.takeEnded(l.clock(), all) {
		l.Later(c.account, &c.event)
	}
}
