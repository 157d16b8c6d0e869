package check

// A Delivery is an entry that a consumer handed over, with the id of the event.
type Delivery struct {
	User     string
	Revision uint64
	ID       string
}

// Consumer checks what one consumer handed over against the entries that concern it: each at
// least once, nothing else, always with the same id, and at most repeats more than once.
func Consumer(deliveries []Delivery, entries []Entry, repeats int) (found []string) {
	var p problems
	type key struct {
		user     string
		revision uint64
	}
	ids := make(map[key]string)
	again := 0
	for _, d := range deliveries {
		k := key{d.User, d.Revision}
		id, repeated := ids[k]
		if repeated {
			again++
		}
		if repeated && id != d.ID {
			p.add("%s: revision %d was handed over as %s and as %s", d.User, d.Revision, id, d.ID)
		}
		ids[k] = d.ID
	}
	if again > repeats {
		p.add("%d entries were handed over again, want at most %d", again, repeats)
	}
	for _, e := range entries {
		k := key{e.User, e.Revision}
		if _, ok := ids[k]; !ok {
			p.add("%s: revision %d was not handed over", e.User, e.Revision)
		}
		delete(ids, k)
	}
	for k := range ids {
		p.add("%s: revision %d was handed over, but does not concern the consumer", k.user, k.revision)
	}
	return p
}
