package tail

import (
	"time"

	"porchlight.dev/porchlight/internal/membership"
)

// Nodes are the nodes that serve the store, as this one sees them. membership.Members
// implements it.
type Nodes interface {
	// Self is the incarnation of this node.
	Self() string
	// Isolated is above zero while others may declare this node dead soon, or have.
	Isolated() time.Duration
	// Serving lists the incarnations that may be given work.
	Serving() []string
	// Dead reports whether an incarnation was declared dead: none of its later writes
	// takes effect.
	Dead(id string) bool
}

// ownerOf is the node to which a consumer is assigned: of the nodes that own the fewest of
// the consumers listed before it, the preferred one. So the consumers spread evenly, and nodes
// that know the same nodes agree without messages.
func ownerOf(name string, names, nodes []string) string {
	load := make(map[string]int)
	for _, n := range names {
		owner := membership.Preferred(n, leastLoaded(nodes, load))
		if n == name {
			return owner
		}
		load[owner]++
	}
	return ""
}

func leastLoaded(nodes []string, load map[string]int) (least []string) {
	for _, n := range nodes {
		if len(least) > 0 && load[n] < load[least[0]] {
			least = least[:0]
		}
		if len(least) == 0 || load[n] == load[least[0]] {
			least = append(least, n)
		}
	}
	return least
}
