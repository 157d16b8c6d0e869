package membership_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/membership"
)

// TestServing: work is given to nodes that neither drain nor are suspected, while there are
// such.
func TestServing(t *testing.T) {
	simulate(t, func(w *world) {
		a, b, c := w.start("a"), w.start("b"), w.start("c")
		time.Sleep(5 * time.Second)
		check := func(want ...*node) {
			t.Helper()
			var ids []string
			for _, n := range want {
				ids = append(ids, n.Self())
			}
			slices.Sort(ids)
			for _, n := range want {
				if got := n.Serving(); !slices.Equal(got, ids) {
					t.Errorf("%s: %v, want %v", n.name, got, ids)
				}
			}
		}
		check(a, b, c)
		b.Leave(context.Background())
		time.Sleep(2 * time.Second)
		check(a, c)
		c.pause()
		time.Sleep(18 * time.Second)
		check(a)
		c.resume()
		time.Sleep(2 * time.Second)
		check(a, c)
		a.Leave(context.Background())
		c.Leave(context.Background())
		time.Sleep(2 * time.Second)
		if got := a.Serving(); !slices.Equal(got, a.Live()) || len(got) == 0 {
			t.Errorf("all drain: %v, want %v", got, a.Live())
		}
	})
}

// TestPreferred: work spreads evenly, and when a node goes only its own work moves.
func TestPreferred(t *testing.T) {
	nodes := []string{"run-1", "run-2", "run-3"}
	const all = 3000
	count := make(map[string]int)
	for i := range all {
		work := fmt.Sprint("consumer ", i)
		owner := membership.Preferred(work, nodes)
		count[owner]++
		for j, gone := range nodes {
			left := slices.Delete(slices.Clone(nodes), j, j+1)
			if moved := membership.Preferred(work, left); gone != owner && moved != owner {
				t.Fatalf("%s moved from %s to %s although %s went", work, owner, moved, gone)
			}
		}
	}
	for _, n := range nodes {
		if share := float64(count[n]) / all; share < 0.3 || share > 0.37 {
			t.Errorf("%s has %.2f of the work", n, share)
		}
	}
	if got := membership.Preferred("any", nil); got != "" {
		t.Errorf("without nodes: %q", got)
	}
}

// TestServingAfterOutage: when every node was isolated and has a new incarnation, work falls
// to those at once, although the earlier ones were not declared dead yet.
func TestServingAfterOutage(t *testing.T) {
	simulate(t, func(w *world) {
		nodes := []*node{w.start("a"), w.start("b"), w.start("c")}
		time.Sleep(5 * time.Second)
		w.setDown(true, false)
		time.Sleep(20 * time.Second)
		w.setDown(false, false)
		time.Sleep(8 * time.Second)
		var ids []string
		for _, n := range nodes {
			ids = append(ids, n.Self())
		}
		slices.Sort(ids)
		for _, n := range nodes {
			if got := n.Serving(); !slices.Equal(got, ids) {
				t.Errorf("%s: %v, want %v", n.name, got, ids)
			}
		}
		if live := nodes[0].Live(); len(live) != 6 {
			t.Errorf("live: %v", live)
		}
	})
}
