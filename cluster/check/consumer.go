package check

// A Delivery is an entry that a consumer handed over, with the id of the event.
type Delivery struct {
	User   string
	Commit uint64
	ID     string
}

// Consumer checks what one consumer handed over: each of the entries that are due at least
// once, none but those that concern it, always with the same id, and at most repeats more
// than once.
func Consumer(deliveries []Delivery, due, concerned []Entry, repeats int) (found []string) {
	var p problems
	type key struct {
		user   string
		commit uint64
	}
	ids := make(map[key]string)
	again := 0
	for _, d := range deliveries {
		k := key{d.User, d.Commit}
		id, repeated := ids[k]
		if repeated {
			again++
		}
		if repeated && id != d.ID {
			p.add("%s: revision %d was handed over as %s and as %s", d.User, d.Commit, id, d.ID)
		}
		ids[k] = d.ID
	}
	if again > repeats {
		p.add("%d entries were handed over again, want at most %d", again, repeats)
	}
	for _, e := range due {
		if _, ok := ids[key{e.User, e.Commit}]; !ok {
			p.add("%s: revision %d was not handed over", e.User, e.Commit)
		}
	}
	for _, e := range concerned {
		delete(ids, key{e.User, e.Commit})
	}
	for k := range ids {
		p.add("%s: revision %d was handed over, but does not concern the consumer", k.user, k.commit)
	}
	return p
}
