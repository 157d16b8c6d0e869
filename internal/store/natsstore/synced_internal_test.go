package natsstore

import "testing"

// TestExpectedReports: a server that has just joined may know a part of its cluster only, so the
// report of the leader is waited for.
func TestExpectedReports(t *testing.T) {
	report := func(name string, size int, leader string, offline ...bool) (r serverReport) {
		r.Server.ID, r.Server.Name = name, name
		r.Data.Meta.Size, r.Data.Meta.Leader = size, leader
		for _, down := range offline {
			r.Data.Meta.Replicas = append(r.Data.Meta.Replicas, struct {
				Offline bool `json:"offline"`
			}{down})
		}
		return r
	}
	for name, c := range map[string]struct {
		reports []serverReport
		want    int
	}{
		"none":                           {nil, 1},
		"no cluster":                     {[]serverReport{report("a", 0, "")}, 1},
		"two that know each other only":  {[]serverReport{report("a", 2, ""), report("b", 2, "")}, 3},
		"two, and the leader is another": {[]serverReport{report("a", 2, "c"), report("b", 2, "c")}, 3},
		"all":                            {[]serverReport{report("a", 2, "c"), report("b", 2, "c"), report("c", 3, "c", false, false)}, 3},
		"one is down":                    {[]serverReport{report("a", 3, "c"), report("c", 3, "c", false, true)}, 2},
		"it became the leader":           {[]serverReport{report("a", 2, ""), report("b", 2, ""), report("b", 2, "b", false)}, 2},
	} {
		g := make(serverReports)
		for _, r := range c.reports {
			g.add(r)
		}
		if got := g.expected(); got != c.want {
			t.Errorf("%s: %d reports are expected, want %d", name, got, c.want)
		}
	}
}
