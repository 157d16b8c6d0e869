package natsstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/transfer"
)

// importKey is in the metadata of the streams until an import is complete. Its value
// identifies the run.
const importKey = "porchlight-migration"

func isImporting(info *jetstream.StreamInfo) bool {
	return info != nil && info.Config.Metadata[importKey] != ""
}

const (
	// The servers accept at most 1,000 messages in a batch.
	importMessages = 500
	importBytes    = 1 << 20
	// importStall is how long the servers may take for one step.
	importStall = time.Minute

	expectSeqHeader = "Nats-Expected-Last-Sequence"
)

// Import creates a store from the content of another one. Positions, versions of documents
// and the epoch stay the same: the state stream begins at a sequence such that each log
// entry can be stored at its position, and the servers copy it to the history as usual. Where
// the source has no entry, a message of another kind takes the position.
//
// The streams have a mark until check has returned and the identity is stored. Open refuses
// streams with the mark, and the next import replaces them. Every batch names the sequence
// that it follows, so two imports cannot mix.
func Import(ctx context.Context, url string, from transfer.Source, o Options, check transfer.Verify) error {
	s, err := dial(url, o)
	if err != nil {
		return err
	}
	defer s.hangUp()
	if err := errors.Join(s.checkPayload(), s.checkSynced(ctx)); err != nil {
		return err
	}
	m := &importing{s: s, from: from, run: rand.Text()}
	if err := m.vacate(ctx); err != nil {
		return s.jetStreamError(err)
	}
	return m.all(ctx, check)
}

// An importing is one run of Import.
type importing struct {
	s    *Store
	from transfer.Source
	run  string
	id   identity

	first   uint64 // sequence of the state stream
	next    uint64 // the sequence of the next message
	batch   []*nats.Msg
	bytes   int
	padded  bool   // the batch has a filler
	records int64  // stored with their state
	newest  uint64 // sequence of the last message of a record
}

// vacate refuses an existing store, and removes what an interrupted import left: the state
// stream last, since an import creates it first and removes its mark last.
func (m *importing) vacate(ctx context.Context) error {
	s, marked := m.s, false
	var left []string
	for _, name := range []string{s.names.stateStream(), s.names.historyStream()} {
		info, err := s.streamInfo(ctx, name)
		if err != nil {
			return err
		}
		if info == nil {
			continue
		}
		marked = marked || isImporting(info)
		if !marked {
			return fmt.Errorf("%w: NATS at %s has a stream %s: choose another store name (nats://HOST/NAME)", ErrOccupied, s.servers, name)
		}
		left = append(left, name)
	}
	for _, name := range slices.Backward(left) {
		s.log.InfoContext(ctx, "removing the incomplete copy of an interrupted migration", slog.String("stream", name))
		if err := s.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("remove stream %s: %w", name, err)
		}
	}
	return nil
}

func (m *importing) all(ctx context.Context, check transfer.Verify) error {
	for _, step := range []func(context.Context) error{
		m.create, m.oldRecords, m.log, m.documents, m.schedules, m.from.Check, m.awaitCopies, m.trimHistory,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	stored, err := m.s.source(ctx)
	if err != nil {
		return err
	}
	stored.info.Epoch = m.id.Epoch
	if err := check(ctx, stored); err != nil {
		return err
	}
	return m.commit(ctx)
}

// isOld reports whether the entry of a record was dropped with the beginning of the log.
func (m *importing) isOld(r *transfer.Record) bool { return r.At < m.from.Info().First }

// create creates the streams. Records whose entries are gone are stored before the log: each
// had a position there.
func (m *importing) create(ctx context.Context) error {
	info := m.from.Info()
	old := uint64(0)
	if err := m.from.Records(ctx, func(r *transfer.Record) error {
		if m.isOld(r) {
			old++
		}
		return nil
	}); err != nil {
		return err
	}
	if old >= uint64(info.First) {
		return fmt.Errorf("the source has %d records with a position below %d: check it with porchlight verify", old, info.First)
	}
	m.first = uint64(info.First) - old
	m.next = m.first
	state, history := m.configs()
	created := make([]time.Time, 0, 2)
	for _, config := range []jetstream.StreamConfig{state, history} {
		stream, err := m.s.createStream(ctx, config)
		if err != nil {
			return err
		}
		created = append(created, stream.CachedInfo().Created)
	}
	m.id = identity{Format: formatVersion, Epoch: cmp.Or(info.Epoch, rand.Text()), StateCreated: created[0], HistoryCreated: created[1]}
	m.s.awaitSource(ctx)
	return nil
}

// configs are the settings of the streams during the import. No version of a record may be
// dropped before it is in the history, and subscribers see no old ones.
func (m *importing) configs() (state, history jetstream.StreamConfig) {
	state, history = m.s.stateConfig(), m.s.historyConfig()
	state.FirstSeq, state.MaxMsgsPerSubject, state.RePublish = m.first, -1, nil
	state.Metadata = map[string]string{importKey: m.run}
	history.Metadata = map[string]string{importKey: m.run}
	return state, history
}

// oldRecords stores the records that have no entry.
func (m *importing) oldRecords(ctx context.Context) error {
	return m.from.Records(ctx, func(r *transfer.Record) error {
		if !m.isOld(r) {
			return nil
		}
		return m.addRecord(ctx, r, nil)
	})
}

// addRecord adds the message of a record, with its entry unless that is nil.
func (m *importing) addRecord(ctx context.Context, r *transfer.Record, e *transfer.Entry) error {
	rec := &record{user: r.User, Recorded: r.Recorded, at: r.At, armed: timerInstant(r.Next, r.State.At)}
	m.records++
	return m.addVersion(ctx, rec, e)
}

// addVersion adds the message of a version of a record.
func (m *importing) addVersion(ctx context.Context, rec *record, e *transfer.Entry) error {
	subject := m.s.names.change(rec.user)
	var body []byte
	if e == nil {
		body = appendRecord(newBody(512), rec, nil, 0)
	} else {
		body = appendRecord(newBody(512), rec, &e.Entry, e.Previous)
	}
	m.newest = m.next
	return m.add(ctx, m.s.newMsg(subject, seal(subject, body)))
}

// log stores each entry at its position. The state of an older version of a record is not
// known any more, and nothing reads it.
func (m *importing) log(ctx context.Context) error {
	err := m.from.Entries(ctx, func(e *transfer.Entry) error {
		if err := m.pad(ctx, uint64(e.At)); err != nil {
			return err
		}
		r, err := m.from.Record(ctx, e.User)
		switch {
		case err != nil:
			return err
		case r != nil && r.At == e.At && e.Dropped:
			return m.addRecord(ctx, r, nil)
		case r != nil && r.At == e.At:
			return m.addRecord(ctx, r, e)
		case e.Dropped:
			return nil // pad fills its place
		}
		return m.addVersion(ctx, &record{user: e.User}, e)
	})
	if err != nil {
		return err
	}
	return m.pad(ctx, uint64(m.from.Info().Last)+1)
}

// pad fills the positions below a sequence, at which the source has no entry. The servers
// keep the fillers of one batch: its first one, and only that, may remove earlier ones.
func (m *importing) pad(ctx context.Context, to uint64) error {
	if m.next > to {
		return fmt.Errorf("the log of the source has an entry at %d after one at %d: check it with porchlight verify", to, m.next-1)
	}
	for m.next < to {
		subject := m.s.names.probe()
		filler := m.s.newMsg(subject, seal(subject, newBody(headBytes)))
		if !m.padded {
			filler.Header.Set(rollupHeader, rollupSubject)
			m.padded = true
		}
		if err := m.add(ctx, filler); err != nil {
			return err
		}
	}
	return nil
}

// documents stores the documents after the log. Each keeps its version as the position of
// its newest operation.
func (m *importing) documents(ctx context.Context) error {
	now := m.s.now()
	return m.from.Documents(ctx, func(d *transfer.Doc) error {
		subject := m.s.names.doc(d.Account, d.Doc.Key)
		head := docHead{ops: writeOps{{id: mathrand.Uint64(), at: d.Written}}, until: presence.InstantOf(d.Until)}
		msg := m.s.newMsg(subject, seal(subject, appendDoc(newBody(headBytes+80+len(d.Value)), head, d.Value)))
		if !head.until.IsZero() {
			msg.Header.Set(ttlHeader, ttl(head.until.Sub(now)))
		}
		return m.add(ctx, msg)
	})
}

// schedules stores the timers, which may fire at once: the servers then add messages.
func (m *importing) schedules(ctx context.Context) error {
	if err := m.flush(ctx, true); err != nil {
		return err
	}
	stored := int64(0)
	err := m.from.Records(ctx, func(r *transfer.Record) error {
		stored++
		if r.Next.IsZero() {
			return nil
		}
		m.batch = append(m.batch, m.s.scheduleMessage(&record{user: r.User, armed: timerInstant(r.Next, r.State.At)}))
		if len(m.batch) < importMessages {
			return nil
		}
		return m.flush(ctx, false)
	})
	if err == nil && stored != m.records {
		err = fmt.Errorf("the source has %d records, and %d of them have a log entry or are older than the log: check it with porchlight verify", stored, m.records)
	}
	if err != nil {
		return err
	}
	return m.flush(ctx, false)
}

// add adds a message at the next sequence.
func (m *importing) add(ctx context.Context, msg *nats.Msg) error {
	if len(m.batch) == 0 {
		msg.Header.Set(expectSeqHeader, strconv.FormatUint(m.next-1, 10))
	}
	m.batch = append(m.batch, msg)
	m.next++
	if m.bytes += len(msg.Subject) + len(msg.Data); len(m.batch) < importMessages && m.bytes < importBytes {
		return nil
	}
	return m.flush(ctx, true)
}

// flush stores the batch. With exact, its last message must get the sequence before next: a
// batch that names its sequence can be published again. Timers can be stored repeatedly.
func (m *importing) flush(ctx context.Context, exact bool) error {
	if len(m.batch) == 0 {
		return nil
	}
	before, want := m.next-1-uint64(len(m.batch)), m.next-1
	var b backoff
	for begun := time.Now(); ; {
		seq, err := m.s.publish(ctx, m.batch)
		if err != nil && exact {
			seq, err = m.stored(ctx, before, err)
		}
		switch {
		case err == nil && exact && seq != want:
			return fmt.Errorf("stream %s ends at %d, and must end at %d: another process writes to it; stop that, then try again", m.s.names.stateStream(), seq, want)
		case err == nil:
			m.s.advanceSeq(seq)
			m.batch, m.bytes, m.padded = m.batch[:0], 0, false
			return nil
		case isFull(err):
			return fmt.Errorf("%w: %w", store.ErrFull, err)
		case isRefusal(err):
			return err
		case time.Since(begun) > importStall:
			return m.s.unavailable(err)
		}
		if err := b.wait(ctx); err != nil {
			return context.Cause(ctx)
		}
	}
}

// isRefusal reports whether the servers would refuse the same batch again.
func isRefusal(err error) bool {
	_, refused := errors.AsType[*apiError](err)
	return refused && !isTransient(err) && !hasCode(err, codeBatchIncomplete, codeBatchTooMany)
}

// stored reports after a failed attempt whether the batch was stored all the same: where the
// stream ends, or the cause if that is where the batch begins.
func (m *importing) stored(ctx context.Context, before uint64, cause error) (uint64, error) {
	at, err := m.s.leaderSeq(ctx, m.s.names.stateStream())
	if err != nil || at == before {
		return 0, cmp.Or(err, cause)
	}
	return at, nil
}

// awaitCopies waits until the history has every version of the records.
func (m *importing) awaitCopies(ctx context.Context) error {
	var b backoff
	last, since := uint64(0), time.Now()
	for m.newest > 0 {
		end, err := m.s.historyEnd(ctx)
		switch at := uint64(end.at); {
		case err != nil:
			return err
		case at >= m.newest:
			return nil
		case at > last:
			last, since = at, time.Now()
		case time.Since(since) > importStall:
			return fmt.Errorf("stream %s does not copy stream %s: it is at %d of %d: check the NATS servers, then try again", m.s.names.historyStream(), m.s.names.stateStream(), at, m.newest)
		}
		if err := b.wait(ctx); err != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// trimHistory removes the messages of old records from the history: they have no entry, and
// whoever searches the log by time would read them all. The last message stays, since the
// servers resume copying from it.
func (m *importing) trimHistory(ctx context.Context) error {
	info := m.from.Info()
	last, err := m.s.historyEnd(ctx)
	if err != nil || last.seq == 0 || m.first == uint64(info.First) {
		return err
	}
	below := last.seq
	if info.First <= info.Last {
		old, err := m.s.locate(ctx, info.First-1)
		if err != nil {
			return err
		}
		below = old.seq + 1
	}
	defer m.s.lastRead.Store(nil) // its message may be gone
	return m.s.purge(ctx, m.s.names.historyStream(), m.s.names.records(), below)
}

// commit stores the identity and removes the mark, from the state stream last.
func (m *importing) commit(ctx context.Context) error {
	if err := m.checkOwn(ctx); err != nil {
		return err
	}
	if err := m.s.storeIdentity(ctx, m.id, 0); err != nil {
		return err
	}
	var stored identity
	if _, err := m.s.readJSON(ctx, m.s.names.identity(), &stored); err != nil {
		return err
	}
	if !stored.StateCreated.Equal(m.id.StateCreated) {
		return m.replaced()
	}
	state, history := m.s.stateConfig(), m.s.historyConfig()
	state.FirstSeq = m.first
	for _, config := range []jetstream.StreamConfig{history, state} {
		if _, err := m.s.js.UpdateStream(ctx, config); err != nil {
			return fmt.Errorf("update stream %s: %w", config.Name, err)
		}
	}
	_, found, err := m.s.determineStage(ctx)
	if err == nil && found != complete {
		err = m.s.missing()
	}
	return err
}

// checkOwn refuses streams of another run, which takes those of this one for the rest of an
// interrupted migration.
func (m *importing) checkOwn(ctx context.Context) error {
	for _, name := range []string{m.s.names.stateStream(), m.s.names.historyStream()} {
		info, err := m.s.streamInfo(ctx, name)
		if err != nil {
			return err
		}
		if info == nil || info.Config.Metadata[importKey] != m.run {
			return m.replaced()
		}
	}
	return nil
}

func (m *importing) replaced() error {
	return fmt.Errorf("%w: another migration to NATS at %s with store name %s has begun meanwhile, and replaced this copy: wait for its end, and check the result with --verify-only", ErrOccupied, m.s.servers, m.s.opts.Prefix)
}
