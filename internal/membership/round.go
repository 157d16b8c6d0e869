package membership

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// round reads all beats, declares those dead that were silent for too long, and beats.
func (m *Members) round(ctx context.Context) error {
	m.rounds.lock()
	defer m.rounds.unlock()
	read, err := m.read(ctx)
	if err != nil {
		m.interrupt()
		return err
	}
	if err := m.observe(read); err != nil {
		return err
	}
	m.checkSelf(ctx, read)
	m.reportDead()
	m.reportUnknownDead(read)
	return errors.Join(m.declareDead(ctx), m.raise(ctx, read), m.beat(ctx))
}

// interrupt keeps the time until the next reading from counting as silence of anybody.
func (m *Members) interrupt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counted = time.Time{}
}

// observe takes note of what was read, and counts silence.
func (m *Members) observe(read *reading) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.level.observe(read.level, m.opts.Facts.Reads); err != nil {
		return err
	}
	if own, ok := read.nodes[m.self.id]; ok {
		m.observeSelf(&own)
	}
	step := m.step(read.at)
	for id, doc := range read.nodes {
		if id == m.self.id && !m.self.givenUp {
			continue
		}
		m.observePeer(id, &doc, read, step)
	}
	for id := range m.peers {
		if _, ok := read.nodes[id]; !ok {
			delete(m.peers, id) // its tombstone has expired
			if !m.dead[id] {
				m.asked[id] = true
			}
		}
	}
	return nil
}

// observeSelf notes the version that the next beat replaces. A beat whose answer was lost is
// found here.
func (m *Members) observeSelf(doc *store.Doc) {
	v := m.decode(doc)
	m.self.version = doc.Version
	if !v.dead() && v.Beat == m.self.beat {
		m.acknowledge()
	}
}

// acknowledge notes that the last beat was stored; the caller holds mu.
func (m *Members) acknowledge() {
	if !m.self.acked && !m.self.givenUp {
		m.self.acked, m.self.ackedAt = true, m.self.attempted
	}
}

// step is how much silence a reading adds: the time since the reading before, if this
// node's beat between the two was acknowledged. A longer pause of this node adds no more
// than two intervals, because others had no more than that to beat while it looked.
func (m *Members) step(at time.Time) time.Duration {
	last, interval := m.counted, m.opts.Times.Interval
	m.counted = at
	switch {
	case m.opts.Exclusive:
		interval = aloneInterval
	case m.self.givenUp || !m.self.acked:
		return 0
	}
	if last.IsZero() {
		return 0
	}
	return min(at.Sub(last), 2*interval)
}

// observePeer counts silence from the end of the reading that found the newest beat, which may
// have been stored during that reading.
func (m *Members) observePeer(id string, doc *store.Doc, read *reading, step time.Duration) {
	p := m.peers[id]
	if p != nil && p.version == doc.Version {
		p.silent += step
		return
	}
	m.peers[id] = &peer{value: m.decode(doc), version: doc.Version, moved: read.at, first: p == nil, silent: -min(read.took, callTimeout)}
}

// checkSelf gives the incarnation up if another node has declared it dead.
func (m *Members) checkSelf(ctx context.Context, read *reading) {
	m.mu.Lock()
	doc, ok := read.nodes[m.self.id]
	var v nodeValue
	if ok {
		v = m.decode(&doc)
	}
	m.mu.Unlock()
	if !ok && !m.isUnregistered() || v.dead() {
		m.giveUp(ctx, "another node declared it dead")
	}
}

// reportUnknownDead reports as dead each requested incarnation that has no document: an
// incarnation has one before it holds anything, until its tombstone expires.
func (m *Members) reportUnknownDead(read *reading) {
	for _, id := range read.asked {
		m.mu.Lock()
		delete(m.asked, id)
		_, found := read.nodes[id]
		gone := !found && !m.dead[id] && id != m.self.id
		m.mu.Unlock()
		if gone {
			m.report(id)
		}
	}
}

// declareDead stores a tombstone over the last beat of each node that was silent for too
// long. The next reading shows whether the write succeeded.
func (m *Members) declareDead(ctx context.Context) error {
	m.mu.Lock()
	silent := make(map[string]peer)
	for id, p := range m.peers {
		if p.silent >= m.opts.Times.verdictAfter() && !p.value.dead() {
			silent[id] = *p
		}
	}
	m.mu.Unlock()
	var failures []error
	for id, p := range silent {
		err := m.write(ctx, m.tombstone(id, &p))
		switch {
		case err == nil:
			m.opts.Log.WarnContext(ctx, "node declared dead", slog.String("node", id), slog.String("host", p.value.Host), slog.String("address", p.value.Address), slog.Bool("leaving", p.value.Leaving))
			m.wake()
		case !conflict(err): // it beat, or another node was quicker
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

func (m *Members) write(ctx context.Context, docs ...store.Doc) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return m.opts.Store.Write(ctx, account, docs...)
}

// beat renews the document of this node, or registers a new incarnation.
func (m *Members) beat(ctx context.Context) error {
	if m.isUnregistered() {
		return m.registerAgain(ctx)
	}
	m.mu.Lock()
	if m.opts.Exclusive && m.self.acked {
		m.mu.Unlock()
		return nil
	}
	if m.self.givenUp {
		leaving := m.leaving
		m.mu.Unlock()
		if leaving {
			return nil
		}
		return m.rejoin(ctx)
	}
	m.self.beat++
	m.self.attempted, m.self.acked = m.now(), false
	n, leaving := m.self, m.leaving
	m.mu.Unlock()

	err := m.write(ctx, m.beatDoc(&n))
	if err != nil {
		if conflict(err) {
			return nil // an earlier beat arrived late, or a tombstone was quicker: the next reading shows which
		}
		m.interrupt()
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acknowledge()
	if leaving && !m.isLeft() {
		close(m.left)
	}
	return nil
}

func (m *Members) isLeft() bool {
	select {
	case <-m.left:
		return true
	default:
		return false
	}
}

// rejoin registers a new incarnation after the last one was given up.
func (m *Members) rejoin(ctx context.Context) error {
	before := m.Self()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := m.registerAgain(ctx); err != nil {
		return err
	}
	m.switching.lock()
	defer m.switching.unlock()
	m.mu.Lock()
	id, givenUp := m.self.id, m.self.givenUp
	m.mu.Unlock()
	if givenUp { // isolated again; the next round rejoins
		return nil
	}
	m.opts.Log.InfoContext(ctx, "this node serves again", slog.String("node", id), slog.String("before", before))
	m.OnRejoined(id)
	m.mu.Lock()
	m.isolated = false
	m.mu.Unlock()
	return nil
}

// liveValues are the newest beats of all nodes without a tombstone, this one included; the
// caller holds mu.
func (m *Members) liveValues() []nodeValue {
	all := []nodeValue{{Reads: m.opts.Facts.Reads, Host: m.opts.Facts.Host, Version: m.opts.Facts.Version}}
	for _, p := range m.peers {
		if !p.value.dead() {
			all = append(all, p.value)
		}
	}
	return slices.Clip(all)
}
