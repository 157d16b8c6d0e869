package natsstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// An identity says which store the streams hold. It is written once, when
// everything else was created: streams without it are unfinished, or no store.
type identity struct {
	Format int    `json:"format"`
	Epoch  string `json:"epoch"`
	// When the servers made the streams. A stream that was made at another time
	// is not the one that this store's data went into.
	StateCreated   time.Time `json:"state_created"`
	HistoryCreated time.Time `json:"history_created"`
}

// inventory is what was found of a store.
type inventory struct {
	state, history *jetstream.StreamInfo // nil: missing
	id             *identity             // nil: none
	idSeq          uint64                // of the message that holds it
}

// find reads what there is, and changes nothing.
func (s *Store) inspect(ctx context.Context) (w inventory, err error) {
	if w.state, err = s.streamInfo(ctx, s.names.stateStream()); err != nil {
		return w, err
	}
	if w.history, err = s.streamInfo(ctx, s.names.historyStream()); err != nil {
		return w, err
	}
	if w.state == nil {
		return w, nil
	}
	last, err := s.leaderLast(ctx, s.names.identity())
	if err != nil || last == nil {
		return w, err
	}
	w.id, w.idSeq = new(identity), last.seq
	rest, err := unseal(last.subject, last.data)
	if err == nil {
		err = json.Unmarshal(rest, w.id)
	}
	if err != nil {
		return w, fmt.Errorf("the identity in stream %s: %w", s.names.stateStream(), errors.Join(errDamaged, err))
	}
	return w, nil
}

// The stages of a store's life.
type stage int

const (
	absent stage = iota
	unfinished
	complete
)

// stage is what was found, or why it is no store that can be opened.
func (s *Store) stageOf(w inventory) (stage, error) {
	n := s.names
	switch {
	case w.state == nil && w.history == nil:
		return absent, nil
	case w.state == nil:
		return 0, lost(n.stateStream(), "while stream "+n.historyStream()+" is there")
	case w.id != nil:
		return complete, s.checkIdentity(w)
	case w.state.State.LastSeq > 0:
		return 0, fmt.Errorf("%w: stream %s contains messages but no store identity: choose another store name (nats://HOST/NAME), or restore a backup under a new one", ErrForeign, n.stateStream())
	case w.history != nil && w.history.State.LastSeq > 0:
		return 0, lost(n.stateStream(), "and was recreated empty")
	}
	return unfinished, nil
}

func lost(stream, detail string) error {
	return fmt.Errorf("%w: stream %s is missing %s: restore a backup under a new store name (nats://HOST/NAME); it is not created again, since that would hide the loss", ErrLost, stream, detail)
}

// checkIdentity refuses formats of others, and streams that are not the store's.
func (s *Store) checkIdentity(w inventory) error {
	n := s.names
	if w.id.Format > formatVersion {
		return fmt.Errorf("%w: stream %s has format %d, this version supports formats up to %d: use the porchlight that made it, or restore a backup under a new store name (nats://HOST/NAME)", ErrNewer, n.stateStream(), w.id.Format, formatVersion)
	}
	if w.history == nil {
		return lost(n.historyStream(), "while stream "+n.stateStream()+" exists")
	}
	if !w.state.Created.Equal(w.id.StateCreated) {
		return lost(n.stateStream(), fmt.Sprintf("(created at %v); another one was created at %v", w.id.StateCreated, w.state.Created))
	}
	if !w.history.Created.Equal(w.id.HistoryCreated) {
		return lost(n.historyStream(), fmt.Sprintf("(created at %v); another one was created at %v", w.id.HistoryCreated, w.history.Created))
	}
	if err := s.checkState(w.state.Config); err != nil {
		return err
	}
	return s.checkHistory(w.history.Config)
}

// create makes what is missing of a store that was never complete. Each step may
// have been done before, by a node that was cut short or by one that is at it.
func (s *Store) create(ctx context.Context) error {
	for _, config := range []jetstream.StreamConfig{s.stateConfig(), s.historyConfig()} {
		if _, err := s.js.CreateStream(ctx, config); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return s.createError(config, err)
		}
	}
	w, err := s.inspect(ctx)
	if err != nil || w.id != nil {
		return err
	}
	if w.state == nil || w.history == nil {
		return fmt.Errorf("%w: the streams disappeared while the store was created", ErrLost)
	}
	if err := errors.Join(s.checkState(w.state.Config), s.checkHistory(w.history.Config)); err != nil {
		return err
	}
	id := identity{
		Format: formatVersion, Epoch: rand.Text(),
		StateCreated: w.state.Created, HistoryCreated: w.history.Created,
	}
	if err := s.storeIdentity(ctx, id, 0); err != nil {
		return err
	}
	s.awaitSource(ctx)
	return nil
}

// identify stores an identity in place of message was; another node may be quicker.
func (s *Store) storeIdentity(ctx context.Context, id identity, prev uint64) error {
	body, err := json.Marshal(id)
	if err != nil {
		return err
	}
	subject := s.names.identity()
	m := s.newMsg(subject, seal(subject, append(newBody(len(body)+headBytes), body...)))
	expectLast(m, prev)
	_, err = s.apply(ctx, write{msgs: msgs(m), outcome: s.replacedOutcome(subject, prev)})
	if errors.Is(err, errSuperseded) {
		return nil
	}
	return err
}

// upgrade numbers the store with this porchlight's format before anything of it is
// written. Older nodes that run see that, and end.
func (s *Store) upgrade(ctx context.Context, w inventory) (inventory, error) {
	id := *w.id
	id.Format = formatVersion
	if err := s.storeIdentity(ctx, id, w.idSeq); err != nil {
		return w, fmt.Errorf("give the store format %d: %w", formatVersion, err)
	}
	s.log.InfoContext(ctx, "the store has a new format", slog.Int("format", formatVersion), slog.Int("before", w.id.Format))
	return s.inspect(ctx)
}

// renew gives the store a new epoch.
func (s *Store) assignEpoch(ctx context.Context, w inventory) (inventory, error) {
	id := *w.id
	id.Epoch = rand.Text()
	if err := s.storeIdentity(ctx, id, w.idSeq); err != nil {
		return w, fmt.Errorf("give the store a new epoch: %w", err)
	}
	s.log.InfoContext(ctx, "new epoch assigned to the store", slog.String("epoch", id.Epoch), slog.String("previous", w.id.Epoch))
	return s.inspect(ctx)
}

// checkAge refuses a state stream that is older than what was copied from it into
// the history: data that the servers had before. Its positions would be given
// again, and the history would not copy them.
func (s *Store) checkRollback(ctx context.Context, w inventory) error {
	end, err := s.historyEnd(ctx)
	copied := uint64(end.at)
	if err != nil || copied <= w.state.State.LastSeq {
		return err
	}
	// Other nodes may have written between the two reads.
	if at, err := s.leaderSeq(ctx, s.names.stateStream()); err != nil || copied <= at {
		return err
	}
	return fmt.Errorf("%w: stream %s ends at %d, and stream %s has entries up to %d: the servers appear to have been rolled back to older data; restore a backup under a new store name (nats://HOST/NAME)",
		ErrLost, s.names.stateStream(), w.state.State.LastSeq, s.names.historyStream(), copied)
}

// awaitSource waits until the history stream follows the state stream, which the
// servers begin a moment after they made it. Until then, it could miss versions.
func (s *Store) awaitSource(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var b backoff
	for {
		info, err := s.streamInfo(ctx, s.names.historyStream())
		if err == nil && info != nil && len(info.Sources) > 0 && info.Sources[0].Active >= 0 {
			return
		}
		if b.wait(ctx) != nil {
			s.log.WarnContext(ctx, "nats: the history stream is not sourcing from the state stream yet", slog.String("stream", s.names.historyStream()))
			return
		}
	}
}

func (s *Store) createError(config jetstream.StreamConfig, err error) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	const notClustered, noPeers = 10074, 10005
	if ok && (api.ErrorCode == notClustered || api.ErrorCode == noPeers) {
		return fmt.Errorf("%w: stream %s should have %d replicas, and there are not as many servers (%w): start a cluster of three, or set one replica", ErrSettings, config.Name, config.Replicas, err)
	}
	return fmt.Errorf("create stream %s: %w", config.Name, err)
}
