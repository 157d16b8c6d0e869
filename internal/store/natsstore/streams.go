package natsstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keptVersions is how many versions of a record the state stream keeps, so that a history
// stream that is behind can still copy them.
const keptVersions = 16

func (s *Store) stateConfig() jetstream.StreamConfig {
	n := s.names
	return jetstream.StreamConfig{
		Name:        n.stateStream(),
		Description: "Porchlight: records, documents and schedules. Never purge or edit by hand.",
		Subjects: []string{
			n.changes(), n.silent(), n.subject("x.>"), n.subject("t.>"), n.docs(), n.subject("f.>"), n.identity(), n.probe(),
		},
		Storage:            jetstream.FileStorage,
		Replicas:           s.opts.Replicas,
		MaxMsgsPerSubject:  keptVersions,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		AllowMsgSchedules:  true,
		AllowMsgTTL:        true,
		AllowRollup:        true,
		DenyDelete:         true,
		RePublish:          &jetstream.RePublish{Source: n.changes(), Destination: n.subject("r.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}")},
	}
}

func (s *Store) historyConfig() jetstream.StreamConfig {
	n := s.names
	return jetstream.StreamConfig{
		Name:        n.historyStream(),
		Description: "Porchlight: every logged version of the records, for the retention. Never purge or edit by hand.",
		Sources:     []*jetstream.StreamSource{{Name: n.stateStream(), FilterSubject: n.changes()}},
		Storage:     jetstream.FileStorage,
		Replicas:    s.opts.Replicas,
		MaxAge:      s.opts.Retention,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		AllowDirect: true,
		DenyDelete:  true,
	}
}

// ackWait is when the servers redeliver a firing that was not acknowledged, for example
// because its node crashed. All nodes share one consumer.
const ackWait = 10 * time.Second

func (s *Store) dueConsumerConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       s.names.dueConsumer(),
		Description:   "Porchlight: expiry timers that fired",
		FilterSubject: s.names.subject("t.>"),
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: 100_000,
		ReplayPolicy:  jetstream.ReplayInstantPolicy,
	}
}

// A setting of a stream, as found and as required.
type setting struct {
	name        string
	found, want any
	ok          bool
	fix         string
}

func equal[T comparable](name string, found, want T, fix string) setting {
	return setting{name: name, found: found, want: want, ok: found == want, fix: fix}
}

const recreate = "it cannot be changed on an existing stream: restore a backup under a new store name (nats://HOST/NAME)"

// checkState compares the configuration of the state stream with that of stateConfig.
func (s *Store) checkState(have jetstream.StreamConfig) error {
	want := s.stateConfig()
	edit := "set it with nats stream edit " + want.Name
	return checkSettings(want.Name, append(s.commonSettings(have, want),
		equal("max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject, edit),
		equal("max_age", have.MaxAge, 0, edit+": messages must not expire by age"),
		equal("max_bytes", have.MaxBytes, -1, edit+": a size limit discards the oldest messages"),
		equal("allow_atomic", have.AllowAtomicPublish, true, edit),
		equal("allow_msg_schedules", have.AllowMsgSchedules, true, edit),
		equal("allow_msg_ttl", have.AllowMsgTTL, true, edit),
		equal("allow_rollup_hdrs", have.AllowRollup, true, edit),
		equal("subjects", sorted(have.Subjects), sorted(want.Subjects), edit),
		equal("republish", republished(have.RePublish), republished(want.RePublish), edit+": documents must never be republished"),
		equal("sources", len(have.Sources), 0, edit),
	))
}

// checkHistory compares the configuration of the history stream with that of
// historyConfig.
func (s *Store) checkHistory(have jetstream.StreamConfig) error {
	want := s.historyConfig()
	edit := "set it with nats stream edit " + want.Name
	return checkSettings(want.Name, append(s.commonSettings(have, want),
		equal("max_msgs_per_subject", max(have.MaxMsgsPerSubject, -1), -1, edit+": a limit drops unread log entries"),
		equal("max_age", have.MaxAge, want.MaxAge, edit+", or set log-retention to match"),
		equal("max_bytes", have.MaxBytes, -1, edit+": a limit drops unread log entries"),
		equal("subjects", sorted(have.Subjects), "", edit),
		equal("republish", republished(have.RePublish), "", edit),
		equal("sources", sourced(have.Sources), sourced(want.Sources), edit),
	))
}

// commonSettings compares the settings that both streams share.
func (s *Store) commonSettings(have, want jetstream.StreamConfig) []setting {
	edit := "set it with nats stream edit " + want.Name
	replicas := setting{
		name: "num_replicas", found: have.Replicas, want: fmt.Sprint("at least ", want.Replicas),
		ok: have.Replicas >= want.Replicas || s.opts.Relaxed, fix: edit + ", or lower store-replicas",
	}
	return []setting{
		replicas,
		equal("storage", have.Storage, jetstream.FileStorage, recreate),
		equal("persist_mode", have.PersistMode, jetstream.DefaultPersistMode, recreate+": async acknowledges writes before they are on disk"),
		equal("retention", have.Retention, jetstream.LimitsPolicy, recreate),
		equal("allow_direct", have.AllowDirect, true, edit),
		equal("deny_delete", have.DenyDelete, true, recreate),
		equal("deny_purge", have.DenyPurge, false, recreate),
		equal("max_msgs", have.MaxMsgs, -1, edit),
		equal("max_msg_size", max(have.MaxMsgSize, -1), -1, edit),
		equal("subject_delete_marker_ttl", have.SubjectDeleteMarkerTTL, 0, edit+": it adds messages that Porchlight does not expect"),
		equal("no_ack", have.NoAck, false, edit),
		equal("sealed", have.Sealed, false, recreate),
		equal("mirror", have.Mirror == nil, true, recreate),
		equal("subject_transform", have.SubjectTransform == nil, true, edit),
	}
}

func checkSettings(stream string, settings []setting) error {
	for _, x := range settings {
		if !x.ok {
			return fmt.Errorf("%w: stream %s has %s %v and must have %v: %s", ErrSettings, stream, x.name, x.found, x.want, x.fix)
		}
	}
	return nil
}

func sorted(subjects []string) string {
	return strings.Join(slices.Sorted(slices.Values(subjects)), " ")
}

func republished(r *jetstream.RePublish) string {
	if r == nil {
		return ""
	}
	return r.Source + " as " + r.Destination
}

func sourced(sources []*jetstream.StreamSource) string {
	texts := make([]string, len(sources))
	for i, x := range sources {
		texts[i] = x.Name + " " + x.FilterSubject
		if x.External != nil || len(x.SubjectTransforms) > 0 || x.OptStartSeq > 0 || x.OptStartTime != nil {
			texts[i] += " (transformed)"
		}
	}
	return sorted(texts)
}

// streamInfo is nil if the stream does not exist. It repeats the request: one that
// arrives while the stream elects a leader gets no response.
func (s *Store) streamInfo(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	limited, end := s.calls.begin(ctx, s.connectTimeout())
	defer end()
	for {
		attempt, cancel := context.WithTimeout(limited, s.requestTimeout())
		stream, err := s.js.Stream(attempt, name)
		late := attempt.Err() != nil
		cancel()
		switch {
		case err == nil:
			return stream.CachedInfo(), nil
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return nil, nil //nolint:nilnil // none is an answer
		case !late || limited.Err() != nil:
			return nil, fmt.Errorf("read stream %s: %w", name, cmp.Or(context.Cause(limited), err))
		}
	}
}
