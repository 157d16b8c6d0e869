package natsstore

import (
	"testing"
	"time"
)

// TestMissingReports: a server that has just joined may know a part of its cluster only, so the
// report of the leader is waited for. A server that crashed is known to be offline after minutes,
// so one that the leader does not hear from is not waited for either.
func TestMissingReports(t *testing.T) {
	report := func(name string, size int, leader string, others ...peerReport) (r serverReport) {
		r.Server.Name = name
		r.Data.Meta.Size, r.Data.Meta.Leader, r.Data.Meta.Replicas = size, leader, others
		return r
	}
	running := peerReport{Current: true, Active: time.Second}
	behind := peerReport{Active: time.Second}
	stopped := peerReport{Offline: true, Current: true, Active: time.Second}
	crashed := peerReport{Current: true, Active: silentAfter + 1}
	unheard := peerReport{} // by a new leader
	for name, c := range map[string]struct {
		reports     []serverReport
		now, waited int // missing, at first and after the wait
		leaderless  bool
	}{
		"none":                             {nil, 1, 1, false},
		"no cluster":                       {[]serverReport{report("a", 0, "")}, 0, 0, false},
		"two that know each other only":    {[]serverReport{report("a", 2, ""), report("b", 2, "")}, 1, 1, true},
		"all, without a leader":            {[]serverReport{report("a", 3, ""), report("b", 3, ""), report("c", 3, "")}, 1, 1, true},
		"two, and the leader is another":   {[]serverReport{report("a", 2, "c"), report("b", 2, "c")}, 1, 1, false},
		"all":                              {[]serverReport{report("a", 2, "c"), report("b", 2, "c"), report("c", 3, "c", running, behind)}, 0, 0, false},
		"one that runs":                    {[]serverReport{report("a", 3, "c"), report("c", 3, "c", running, behind)}, 1, 1, false},
		"one is down":                      {[]serverReport{report("a", 3, "c"), report("c", 3, "c", running, stopped)}, 0, 0, false},
		"one has crashed":                  {[]serverReport{report("a", 3, "c"), report("c", 3, "c", running, crashed)}, 1, 0, false},
		"the leader before it has crashed": {[]serverReport{report("a", 3, "c"), report("c", 3, "c", running, unheard)}, 1, 0, false},
		"the leader is cut off":            {[]serverReport{report("c", 3, "c", crashed, crashed)}, 2, 1, false},
		"all others are down":              {[]serverReport{report("c", 3, "c", stopped, stopped)}, 1, 1, false},
		"it became the leader":             {[]serverReport{report("a", 2, ""), report("b", 2, ""), report("b", 2, "b", running)}, 0, 0, false},
		"one beside the cluster":           {[]serverReport{report("leaf", 0, ""), report("a", 3, "c"), report("b", 3, "c")}, 1, 1, false},
		"one beside it, in place of one":   {[]serverReport{report("leaf", 0, ""), report("a", 3, "c"), report("c", 3, "c", running, running)}, 1, 1, false},
		"one beside it, and no leader":     {[]serverReport{report("leaf", 0, ""), report("a", 3, ""), report("b", 3, ""), report("c", 3, "")}, 1, 1, true},
		"one started again":                {[]serverReport{report("a", 3, "c"), report("a", 3, "c"), report("c", 3, "c", running, running)}, 1, 1, false},
	} {
		g := make(serverReports)
		for _, r := range c.reports {
			g.add(r)
		}
		now, waited, leaderless := g.missing(peerReport.isOffline), g.missing(peerReport.isSilent), g.leaderless()
		if now != c.now || waited != c.waited || leaderless != c.leaderless {
			t.Errorf("%s: %d and %d reports are missing, leaderless %t; want %d, %d, %t", name, now, waited, leaderless, c.now, c.waited, c.leaderless)
		}
	}
}
