package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Quotas are the limits on one resource for each user, app, account and address.
// They are written like user=100,app=90%. Limits that are not named have the
// setting's default.
type Quotas struct{ User, App, Account, Address Quota }

// A Quota is a number, a percentage of max-connections, or none. The zero Quota is
// not set.
type Quota struct {
	N       int
	Percent bool // N is a percentage
}

// unlimited as N means no limit.
const unlimited = -1

// Of returns the limit, given the total number of connections. Zero means none.
func (q Quota) Of(connections int) int {
	switch {
	case q.Percent:
		return max(1, connections*q.N/100)
	case q.N == unlimited:
		return 0
	default:
		return q.N
	}
}

func (q Quota) String() string {
	switch {
	case q.N == unlimited:
		return "none"
	case q.Percent:
		return strconv.Itoa(q.N) + "%"
	default:
		return strconv.Itoa(q.N)
	}
}

// A namedQuota is one of a Quotas.
type namedQuota struct {
	name  string
	quota *Quota
}

func (q *Quotas) named() []namedQuota {
	return []namedQuota{{"user", &q.User}, {"app", &q.App}, {"account", &q.Account}, {"address", &q.Address}}
}

// UnmarshalText parses limits. Limits that it does not name are not set.
func (q *Quotas) UnmarshalText(text []byte) error {
	*q = Quotas{}
	for _, item := range items(string(text)) {
		if err := q.read(item); err != nil {
			return err
		}
	}
	return nil
}

func (q *Quotas) read(item string) error {
	name, value, _ := strings.Cut(item, "=")
	for _, each := range q.named() {
		if each.name != strings.TrimSpace(name) {
			continue
		}
		if *each.quota != (Quota{}) {
			return fmt.Errorf("%q is set twice: remove one", each.name)
		}
		parsed, ok := parseQuota(strings.TrimSpace(value))
		if !ok {
			return fmt.Errorf("%q is not a limit: use a positive number, a percentage such as 50%%, or none", item)
		}
		*each.quota = parsed
		return nil
	}
	return fmt.Errorf("%q is not a limit: expected a form such as user=100,app=1000; the names are user, app, account and address", item)
}

// maxQuota is more than a node can handle.
const maxQuota = 1_000_000_000

func parseQuota(text string) (Quota, bool) {
	if text == "none" {
		return Quota{N: unlimited}, true
	}
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	return Quota{n, percent}, err == nil && n >= 1 && n <= maxQuota && (!percent || n <= 100)
}

// String formats the limits so that UnmarshalText can parse them.
func (q Quotas) String() string {
	var set []string
	for _, each := range q.named() {
		if *each.quota != (Quota{}) {
			set = append(set, each.name+"="+each.quota.String())
		}
	}
	return strings.Join(set, ",")
}

// fill sets the limits that are not set.
func (q *Quotas) fill(from Quotas) {
	given := from.named()
	for i, each := range q.named() {
		if *each.quota == (Quota{}) {
			*each.quota = *given[i].quota
		}
	}
}

// fillQuotas sets limits that are not set to their default.
func fillQuotas(c *Config) {
	for _, f := range fields(c) {
		q, ok := f.value.Addr().Interface().(*Quotas)
		if !ok {
			continue
		}
		set := *q
		f.reset()
		set.fill(*q)
		*q = set
	}
}

func (k *checker) quotas() {
	c := k.config
	for _, each := range []struct {
		setting string
		quotas  *Quotas
		percent bool   // percentages are allowed
		names   string // the limits that exist, "" means all
	}{
		{setting: "stream-limits", quotas: &c.StreamLimits, percent: true},
		{setting: "ticket-limits", quotas: &c.TicketLimits},
		{setting: "token-limits", quotas: &c.TokenLimits},
		{setting: "live-token-limits", quotas: &c.LiveTokenLimits, names: "user app"},
		{setting: "write-limits", quotas: &c.WriteLimits},
	} {
		for _, q := range each.quotas.named() {
			switch {
			case *q.quota == (Quota{}):
			case q.quota.Percent && !each.percent:
				k.add(each.setting, "%s=%s is a percentage, which only stream-limits allows: use a number", q.name, q.quota)
			case each.names != "" && !strings.Contains(each.names, q.name):
				k.add(each.setting, "there is no limit by %s: remove %[1]s=%s", q.name, q.quota)
			}
		}
	}
}
