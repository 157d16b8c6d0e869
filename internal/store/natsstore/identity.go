package natsstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An identity identifies the store in the streams. It is written once, after everything
// else was created: streams without it are unfinished, or not a store.
type identity struct {
	Format int    `json:"format"`
	Epoch  string `json:"epoch"`
	// The instants at which the servers created the streams. A stream with another
	// instant does not contain the data of this store.
	StateCreated   time.Time `json:"state_created"`
	HistoryCreated time.Time `json:"history_created"`
	// Layout1 says that the store had layout 1 once: the records of users who were not
	// updated since are at the subjects of that.
	Layout1 bool `json:"layout1,omitempty"`
}

// An inventory describes the parts of a store that exist on the servers.
type inventory struct {
	state, history *jetstream.StreamInfo // nil: missing
	id             *identity             // nil: none
	idSeq          uint64                // of the identity's message
}

// inspect reads the inventory without changing anything.
func (s *Store) inspect(ctx context.Context) (inv inventory, err error) {
	if inv.state, err = s.streamInfo(ctx, s.names.stateStream()); err != nil {
		return inv, err
	}
	if inv.history, err = s.streamInfo(ctx, s.names.historyStream()); err != nil {
		return inv, err
	}
	s.streams.observe(inv.state, inv.history)
	if inv.state == nil {
		return inv, nil
	}
	var id identity
	if inv.idSeq, err = s.readJSON(ctx, s.names.identity(), &id); err == nil && inv.idSeq > 0 {
		inv.id = &id
	}
	return inv, err
}

// readJSON decodes the last message of a subject of the state stream, and returns its
// sequence. Zero: there is none.
func (s *Store) readJSON(ctx context.Context, subject string, into any) (seq uint64, err error) {
	last, err := s.leaderGet(ctx, s.names.stateStream(), leaderQuery{Last: subject})
	if err != nil || last == nil {
		return 0, err
	}
	body, err := unseal(subject, last.data)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return 0, fmt.Errorf("message at %s in stream %s: %w", subject, s.names.stateStream(), errors.Join(errDamaged, err))
	}
	return last.seq, nil
}

// jsonMsg makes a message that replaces message prev of its subject.
func (s *Store) jsonMsg(subject string, v any, prev uint64) (*nats.Msg, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	m := s.newMsg(subject, seal(subject, append(newBody(headBytes+len(body)), body...)))
	expectLast(m, prev)
	return m, nil
}

type stage int

const (
	absent stage = iota
	unfinished
	complete
)

// stageOf returns the stage of a store, or why it cannot be opened.
func (s *Store) stageOf(inv inventory) (stage, error) {
	n := s.names
	switch {
	case isImporting(inv.state) || isImporting(inv.history):
		return 0, fmt.Errorf("the store in streams %s and %s on NATS has no data yet: %w; wait until it has ended, or run \"porchlight migrate\" again, which starts over", n.stateStream(), n.historyStream(), ErrMigrating)
	case inv.state == nil && inv.history == nil:
		return absent, nil
	case inv.state == nil:
		return 0, lost(n.stateStream(), "while stream "+n.historyStream()+" exists")
	case inv.id != nil:
		return complete, s.checkIdentity(inv)
	case inv.state.State.LastSeq > 0:
		return 0, fmt.Errorf("%w: stream %s contains messages but no store identity: choose another store name (nats://HOST/NAME), or restore a backup under a new one", ErrForeign, n.stateStream())
	case inv.history != nil && inv.history.State.LastSeq > 0:
		return 0, lost(n.stateStream(), "and was recreated empty")
	}
	return unfinished, nil
}

func lost(stream, detail string) error {
	return fmt.Errorf("%w: stream %s is missing %s: restore a backup under a new store name (nats://HOST/NAME); it is not created again, since that would hide the loss", ErrLost, stream, detail)
}

// checkIdentity refuses newer formats, and streams that are not those of the store.
func (s *Store) checkIdentity(inv inventory) error {
	n := s.names
	if inv.id.Format > formatVersion {
		return fmt.Errorf("%w: stream %s has format %d, this version supports formats up to %d: use the Porchlight version that wrote it, or restore a backup under a new store name (nats://HOST/NAME)", ErrNewer, n.stateStream(), inv.id.Format, formatVersion)
	}
	if inv.history == nil {
		return lost(n.historyStream(), "while stream "+n.stateStream()+" exists")
	}
	if !inv.state.Created.Equal(inv.id.StateCreated) {
		return lost(n.stateStream(), fmt.Sprintf("(created at %v); another one was created at %v", inv.id.StateCreated, inv.state.Created))
	}
	if !inv.history.Created.Equal(inv.id.HistoryCreated) {
		return lost(n.historyStream(), fmt.Sprintf("(created at %v); another one was created at %v", inv.id.HistoryCreated, inv.history.Created))
	}
	state, history := inv.state.Config, inv.history.Config
	if inv.id.Format < splitFormat { // or when an upgrade was interrupted
		s.setLayout(&state, &history)
	}
	if err := s.checkState(state); err != nil {
		return err
	}
	return s.checkHistory(history)
}

// setLayout sets what differs between the layouts.
func (s *Store) setLayout(state, history *jetstream.StreamConfig) {
	want := s.stateConfig()
	state.Subjects, state.RePublish = want.Subjects, want.RePublish
	history.Sources = s.historyConfig().Sources
}

// create creates the missing parts of a store that was never complete. Each step may have
// been done before, by a node that was interrupted or by one that runs concurrently.
func (s *Store) create(ctx context.Context) error {
	for _, config := range []jetstream.StreamConfig{s.stateConfig(), s.historyConfig()} {
		if _, err := s.createStream(ctx, config); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
	}
	inv, err := s.inspect(ctx)
	if err != nil || inv.id != nil {
		return err
	}
	if inv.state == nil || inv.history == nil {
		return fmt.Errorf("%w: the streams disappeared while the store was created", ErrLost)
	}
	if err := errors.Join(s.checkState(inv.state.Config), s.checkHistory(inv.history.Config)); err != nil {
		return err
	}
	id := identity{
		Format: formatVersion, Epoch: rand.Text(),
		StateCreated: inv.state.Created, HistoryCreated: inv.history.Created,
	}
	if err := s.storeIdentity(ctx, id, 0); err != nil {
		return err
	}
	s.awaitSource(ctx)
	return nil
}

// storeIdentity replaces the identity in message prev. It is no error if another node
// does so first.
func (s *Store) storeIdentity(ctx context.Context, id identity, prev uint64) error {
	subject := s.names.identity()
	m, err := s.jsonMsg(subject, id, prev)
	if err != nil {
		return err
	}
	_, err = s.apply(ctx, write{msgs: []*nats.Msg{m}, outcome: s.replacedOutcome(subject, prev)})
	if errors.Is(err, errSuperseded) {
		return nil
	}
	return err
}

// upgrade stores the current format in the identity before anything is written in that
// format. Nodes with an older version notice it and fail.
func (s *Store) upgrade(ctx context.Context, inv inventory) (inventory, error) {
	id := *inv.id
	if id.Format < splitFormat {
		err := s.splitRecords(ctx, inv)
		if errors.Is(err, ErrLeaseHeld) { // perhaps by a node that has upgraded it meanwhile
			if now, failed := s.inspect(ctx); failed == nil && now.id != nil && now.id.Format >= formatVersion {
				return now, nil
			}
		}
		if err != nil {
			return inv, fmt.Errorf("upgrade the store to format %d: %w", formatVersion, err)
		}
		id.Layout1 = true
	}
	id.Format = formatVersion
	if err := s.storeIdentity(ctx, id, inv.idSeq); err != nil {
		return inv, fmt.Errorf("upgrade the store to format %d: %w", formatVersion, err)
	}
	s.log.InfoContext(ctx, "store upgraded to a new format", slog.Int("format", formatVersion), slog.Int("previous", inv.id.Format))
	return s.inspect(ctx)
}

// splitRecords gives the streams layout 2. It copies nothing: a record stays at its subject
// of layout 1 until its next update.
//
// It first removes the subjects of layout 1 from the state stream, so that the servers refuse
// what a node of an older version still writes. An interrupted upgrade is done again.
func (s *Store) splitRecords(ctx context.Context, inv inventory) error {
	if _, err := newLease(s).awaitFree(ctx); err != nil {
		return err
	}
	state, history := inv.state.Config, inv.history.Config
	s.setLayout(&state, &history)
	if _, err := s.js.UpdateStream(ctx, state); err != nil {
		return fmt.Errorf("update stream %s: %w", state.Name, err)
	}
	if err := s.awaitCopied(ctx, s.names.layout1()); err != nil {
		return err
	}
	if _, err := s.js.UpdateStream(ctx, history); err != nil {
		return fmt.Errorf("update stream %s: %w", history.Name, err)
	}
	return nil
}

// awaitCopied waits until the history has the last of the messages that match a filter, to
// which nobody writes.
func (s *Store) awaitCopied(ctx context.Context, filter string) error {
	last, err := s.leaderGet(ctx, s.names.stateStream(), leaderQuery{Last: filter})
	if err != nil || last == nil {
		return err
	}
	var b backoff
	for {
		end, err := s.historyEnd(ctx)
		if err != nil || uint64(end.at) >= last.seq {
			return err
		}
		if end.seq == 0 && s.isPastRetention(ctx, last.seq) {
			return nil
		}
		if err := b.wait(ctx); err != nil {
			return fmt.Errorf("stream %s does not copy stream %s: %w", s.names.historyStream(), s.names.stateStream(), err)
		}
	}
}

// isPastRetention reports whether the history has dropped the copy of a message by age.
func (s *Store) isPastRetention(ctx context.Context, seq uint64) bool {
	since := time.Now().Add(-s.opts.Retention)
	next, err := s.leaderGet(ctx, s.names.stateStream(), leaderQuery{Next: s.names.records(), Since: &since})
	return err == nil && (next == nil || next.seq > seq)
}

// adopt notes what the identity says of the layout.
func (s *Store) adopt(id identity) {
	s.epoch = id.Epoch
	s.names.isOld = id.Format < splitFormat
	s.names.hasLayout1 = id.Layout1 || s.names.isOld
}

// assignEpoch gives a store that no node serves a new epoch.
func (s *Store) assignEpoch(ctx context.Context, inv inventory) (inventory, error) {
	if _, err := newLease(s).awaitFree(ctx); err != nil {
		return inv, err
	}
	id := *inv.id
	id.Epoch = rand.Text()
	if err := s.storeIdentity(ctx, id, inv.idSeq); err != nil {
		return inv, fmt.Errorf("assign a new epoch to the store: %w", err)
	}
	s.log.InfoContext(ctx, "store has a new epoch", slog.String("epoch", id.Epoch), slog.String("previous", inv.id.Epoch))
	return s.inspect(ctx)
}

// checkRollback refuses a state stream that ends before the last message that the history
// copied from it: the servers were rolled back to older data. They would assign positions
// twice, and the history would not copy those messages.
func (s *Store) checkRollback(ctx context.Context, inv inventory) error {
	end, err := s.historyEnd(ctx)
	copied := uint64(end.at)
	if err != nil || copied <= inv.state.State.LastSeq {
		return err
	}
	// Other nodes may have written between the two reads.
	if at, err := s.leaderSeq(ctx, s.names.stateStream()); err != nil || copied <= at {
		return err
	}
	return fmt.Errorf("%w: stream %s ends at %d, but stream %s has entries up to %d: the servers appear to have been rolled back to older data; restore a backup under a new store name (nats://HOST/NAME)",
		ErrLost, s.names.stateStream(), inv.state.State.LastSeq, s.names.historyStream(), copied)
}

// awaitSource waits until the history stream copies the state stream, which the servers
// start shortly after they created it. The history lacks versions that were replaced
// before.
func (s *Store) awaitSource(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.connectTimeout())
	defer cancel()
	var b backoff
	for {
		info, err := s.streamInfo(ctx, s.names.historyStream())
		if err == nil && info != nil && len(info.Sources) > 0 && info.Sources[0].Active >= 0 {
			return
		}
		if b.wait(ctx) != nil {
			s.log.WarnContext(ctx, "nats: history stream does not copy the state stream yet; log entries may be missing", slog.String("stream", s.names.historyStream()))
			return
		}
	}
}

// createStream creates a stream. While the servers form their cluster, they refuse streams or
// do not answer; then it tries again until ctx ends.
func (s *Store) createStream(ctx context.Context, config jetstream.StreamConfig) (jetstream.Stream, error) {
	var b backoff
	for {
		attempt, cancel := context.WithTimeout(ctx, s.connectTimeout())
		stream, err := s.js.CreateStream(attempt, config)
		late := attempt.Err() != nil
		cancel()
		if err == nil || !late && !isForming(err) || b.wait(ctx) != nil {
			return stream, s.createError(config, err)
		}
	}
}

// Error codes of the JetStream API.
const (
	notClustered jetstream.ErrorCode = 10074
	noPeers      jetstream.ErrorCode = 10005
)

// isForming reports whether a stream was refused because a server of the cluster, which the
// leader knows, has not answered it yet.
func isForming(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == noPeers && strings.Contains(api.Description, "offline")
}

func (s *Store) createError(config jetstream.StreamConfig, err error) error {
	if err == nil {
		return nil
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if ok && (api.ErrorCode == notClustered || api.ErrorCode == noPeers) {
		return fmt.Errorf("%w: stream %s requires %d replicas, but there are fewer servers (%w): start a cluster of three servers, or set store-replicas to 1", ErrSettings, config.Name, config.Replicas, err)
	}
	return fmt.Errorf("create stream %s: %w", config.Name, err)
}
