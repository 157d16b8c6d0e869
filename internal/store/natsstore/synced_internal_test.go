package natsstore

import (
	"errors"
	"slices"
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
	running := func(name string) peerReport { return peerReport{Name: name, Current: true, Active: time.Second} }
	behind := func(name string) peerReport { return peerReport{Name: name, Active: time.Second} }
	stopped := func(name string) peerReport {
		return peerReport{Name: name, Offline: true, Current: true, Active: time.Second}
	}
	crashed := func(name string) peerReport { return peerReport{Name: name, Current: true, Active: silentAfter + 1} }
	unheard := func(name string) peerReport { return peerReport{Name: name} } // by a new leader
	none := []string(nil)
	for name, c := range map[string]struct {
		reports     []serverReport
		now, waited []string // missing, at first and after the wait
		err         error    // after the wait
	}{
		"none":                             {nil, none, none, errMissingReports},
		"no cluster":                       {[]serverReport{report("a", 0, "")}, none, none, nil},
		"two that know each other only":    {[]serverReport{report("a", 2, ""), report("b", 2, "")}, none, none, errNoLeader},
		"all, without a leader":            {[]serverReport{report("a", 3, ""), report("b", 3, ""), report("c", 3, "")}, none, none, errNoLeader},
		"two, and the leader is another":   {[]serverReport{report("a", 2, "c"), report("b", 2, "c")}, []string{"c"}, []string{"c"}, nil},
		"all":                              {[]serverReport{report("a", 2, "c"), report("b", 2, "c"), report("c", 3, "c", running("a"), behind("b"))}, none, none, nil},
		"one that runs":                    {[]serverReport{report("a", 3, "c"), report("c", 3, "c", running("a"), behind("b"))}, []string{"b"}, []string{"b"}, nil},
		"one is down":                      {[]serverReport{report("a", 3, "c"), report("c", 3, "c", running("a"), stopped("b"))}, none, none, nil},
		"one has crashed":                  {[]serverReport{report("a", 3, "c"), report("c", 3, "c", running("a"), crashed("b"))}, []string{"b"}, none, nil},
		"the leader before it has crashed": {[]serverReport{report("a", 3, "c"), report("c", 3, "c", running("a"), unheard("b"))}, []string{"b"}, none, nil},
		"one that has reported crashed":    {[]serverReport{report("a", 5, "c"), report("b", 5, "c"), report("c", 5, "c", crashed("a"), running("b"), running("d"), running("e"))}, []string{"d", "e"}, []string{"d", "e"}, nil},
		"the leader is cut off":            {[]serverReport{report("c", 3, "c", crashed("a"), crashed("b"))}, []string{"a", "b"}, none, errMissingReports},
		"all others are down":              {[]serverReport{report("c", 3, "c", stopped("a"), stopped("b"))}, none, none, errMissingReports},
		"it became the leader":             {[]serverReport{report("a", 2, ""), report("b", 2, ""), report("b", 2, "b", running("a"))}, none, none, nil},
		"one beside the cluster":           {[]serverReport{report("leaf", 0, ""), report("a", 3, "c"), report("b", 3, "c")}, []string{"c"}, []string{"c"}, nil},
		"one beside it, in place of one":   {[]serverReport{report("leaf", 0, ""), report("a", 3, "c"), report("c", 3, "c", running("a"), running("b"))}, []string{"b"}, []string{"b"}, nil},
		"one beside it, and no leader":     {[]serverReport{report("leaf", 0, ""), report("a", 3, ""), report("b", 3, ""), report("c", 3, "")}, none, none, errNoLeader},
		"one started again":                {[]serverReport{report("a", 3, "c"), report("a", 3, "c"), report("c", 3, "c", running("a"), running("b"))}, []string{"b"}, []string{"b"}, nil},
	} {
		g := make(serverReports)
		for _, r := range c.reports {
			g.add(r)
		}
		now, _ := g.missing(peerReport.isOffline)
		waited, err := g.missing(peerReport.isSilent)
		if !slices.Equal(now, c.now) || !slices.Equal(waited, c.waited) || !errors.Is(err, c.err) {
			t.Errorf("%s: missing at first %q, then %q, %v; want %q, %q, %v", name, now, waited, err, c.now, c.waited, c.err)
		}
	}
}
