package zoomapi

import (
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
)

var _ quota.Ledger = (*Limits)(nil)

// The kinds of usage that nodes exchange: for each label the cost in its bucket, and from
// daily on, for each pool the requests of the day.
const (
	daily     = labelCount
	kindCount = 2 * labelCount
)

// unsent is what was used here and not sent to other nodes yet.
type unsent struct {
	amounts [kindCount]int64
	queued  bool // in Limits.changed
}

// SetNodes makes the limits hold over that many nodes, which exchange their usage.
func (l *Limits) SetNodes(nodes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes = nodes
}

// noteUsage adds a request to what is sent to other nodes. l.mu is locked.
func (l *Limits) noteUsage(account presence.AccountID, u *usage, allowed *allowance, kind label) {
	u.unsent.amounts[kind] += quota.Cost(allowed.n, allowed.per)
	if allowed.daily > 0 {
		u.unsent.amounts[daily+allowed.pool]++
	}
	if !u.unsent.queued {
		u.unsent.queued = true
		l.changed = append(l.changed, account)
	}
}

// Unsent implements quota.Ledger.
func (l *Limits) Unsent(amounts int) (used []quota.Used) {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for ; n < len(l.changed) && len(used)+int(kindCount) <= amounts; n++ {
		if u := l.accounts[l.changed[n]]; u != nil { // it was not evicted
			u.begin(now)
			used = u.appendUnsent(used, l.changed[n])
		}
	}
	l.changed = append(l.changed[:0], l.changed[n:]...)
	return used
}

// appendUnsent appends what was not sent, and notes that it was.
func (u *usage) appendUnsent(used []quota.Used, account presence.AccountID) []quota.Used {
	for kind, amount := range u.unsent.amounts {
		if amount > 0 {
			used = append(used, u.amountOf(account, label(kind), amount))
		}
	}
	u.unsent = unsent{}
	return used
}

// amountOf is an amount of the present day.
func (u *usage) amountOf(account presence.AccountID, kind label, amount int64) quota.Used {
	x := quota.Used{Account: string(account), Kind: uint8(kind), Amount: amount}
	if kind >= daily {
		x.Day = u.day
	}
	return x
}

// Add implements quota.Ledger.
func (l *Limits) Add(used []quota.Used) {
	l.merge(used, func(spent int, n int64) int { return spent + int(n) })
}

// AddTotals implements quota.Ledger.
func (l *Limits) AddTotals(totals []quota.Used) {
	l.merge(totals, func(spent int, n int64) int { return max(spent, int(n)) })
}

func (l *Limits) merge(used []quota.Used, spend func(spent int, n int64) int) {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range used {
		if x.Kind >= uint8(kindCount) || x.Amount < 0 || x.Amount > int64(day) {
			continue // of a newer version
		}
		u := l.usage(presence.AccountID(x.Account), now)
		u.begin(now)
		if kind := label(x.Kind); kind < daily {
			u.short[kind].Add(x.Amount, now)
		} else if u.isOfDay(x.Day, now) {
			u.spent[kind-daily] = spend(u.spent[kind-daily], x.Amount)
		}
		l.touch(u)
	}
}

// maxSkew is how far the clocks of nodes may differ.
const maxSkew = 2 * time.Second

// isOfDay reports whether a node that names a day counts for the same day as this one. The
// next day begins when it has begun at the first node.
func (u *usage) isOfDay(named int64, now time.Time) bool {
	if ahead := now.Add(maxSkew); named > u.day && named == dayOf(ahead) {
		u.begin(ahead)
	}
	return named == u.day || named == 0
}

// Totals implements quota.Ledger.
func (l *Limits) Totals() (totals []quota.Used) {
	today := dayOf(l.clock())
	l.mu.Lock()
	defer l.mu.Unlock()
	for account, u := range l.accounts {
		for pool, n := range u.spent {
			if n > 0 && u.day == today {
				totals = append(totals, u.amountOf(account, daily+label(pool), int64(n)))
			}
		}
	}
	return totals
}

func dayOf(now time.Time) int64 { return now.Unix() / int64(day/time.Second) }

// begin begins a new day, if there is one. It may have begun already at another node.
func (u *usage) begin(now time.Time) {
	if today := dayOf(now); u.day != today && u.day != today+1 {
		u.day, u.spent = today, [labelCount]int{}
		clear(u.unsent.amounts[daily:])
	}
}
