package membership

import (
	"hash/fnv"
	"io"
	"slices"
)

// Serving lists the incarnations that may be given work, in order: those that neither drain,
// nor are suspected, nor were replaced by a newer one of the same process. If there are none,
// it lists all that are live.
func (m *Members) Serving() []string {
	m.mu.Lock()
	replaced := map[string]bool{m.self.replaces: true}
	for _, p := range m.peers {
		replaced[p.value.Replaces] = true
	}
	var serving []string
	if !m.self.givenUp && !m.leaving {
		serving = append(serving, m.self.id)
	}
	for id, p := range m.peers {
		if !replaced[id] && !p.value.dead() && !p.value.Leaving && p.silent < m.opts.Times.suspectAfter() {
			serving = append(serving, id)
		}
	}
	m.mu.Unlock()
	if serving == nil {
		return m.Live()
	}
	slices.Sort(serving)
	return serving
}

// Preferred is the node to which a piece of work falls, by rendezvous hashing: when a node
// comes or goes, only its own work moves. Without nodes it is "".
func Preferred(work string, nodes []string) (best string) {
	var most uint64
	for _, node := range nodes {
		if w := weight(node, work); best == "" || w > most || w == most && node < best {
			best, most = node, w
		}
	}
	return best
}

func weight(node, work string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, node+"/"+work) // it never fails
	// FNV leaves the upper bits of similar texts similar: MurmurHash3's finalizer mixes them.
	w := h.Sum64()
	w = (w ^ w>>33) * 0xff51afd7ed558ccd
	w = (w ^ w>>33) * 0xc4ceb9fe1a85ec53
	return w ^ w>>33
}
