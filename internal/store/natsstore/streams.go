package natsstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keptVersions is how many versions of a record the state stream keeps: enough
// for the history stream to fetch them when it is behind.
const keptVersions = 16

func (s *Store) stateConfig() jetstream.StreamConfig {
	n := s.names
	return jetstream.StreamConfig{
		Name:        n.stateStream(),
		Description: "Porchlight: records, documents and schedules. Never purge or edit by hand.",
		Subjects: []string{
			n.records(), n.subject("x.>"), n.subject("t.>"), n.subject("d.>"), n.subject("f.>"), n.identity(), n.probe(),
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
		RePublish:          &jetstream.RePublish{Source: n.records(), Destination: n.subject("r.>")},
	}
}

func (s *Store) historyConfig() jetstream.StreamConfig {
	n := s.names
	return jetstream.StreamConfig{
		Name:        n.historyStream(),
		Description: "Porchlight: every version of the records, for the retention. Never purge or edit by hand.",
		Sources:     []*jetstream.StreamSource{{Name: n.stateStream(), FilterSubject: n.records()}},
		Storage:     jetstream.FileStorage,
		Replicas:    s.opts.Replicas,
		MaxAge:      s.opts.Retention,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		AllowDirect: true,
		DenyDelete:  true,
	}
}

// The consumer of firings is shared by all nodes. It holds what was not dealt
// with yet; a firing whose taker dies comes again after redeliver.
const ackWait = 10 * time.Second

func (s *Store) dueConsumerConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       s.names.dueConsumer(),
		Description:   "Porchlight: users whose record may be due",
		FilterSubject: s.names.subject("t.>"),
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: 100_000,
		ReplayPolicy:  jetstream.ReplayInstantPolicy,
	}
}

// A setting of a stream, as it is and as it must be.
type setting struct {
	name        string
	found, want any
	ok          bool
	fix         string // what to do
}

func same[T comparable](name string, found, want T, fix string) setting {
	return setting{name: name, found: found, want: want, ok: found == want, fix: fix}
}

const recreate = "it cannot be changed on an existing stream: restore a backup under a new store name (nats://HOST/NAME)"

// checkState compares the state stream with what was created.
func (s *Store) checkState(have jetstream.StreamConfig) error {
	want := s.stateConfig()
	edit := "set it with nats stream edit " + want.Name
	return s.refuse(want.Name, append(s.checkCommon(have, want),
		same("max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject, edit),
		same("max_age", have.MaxAge, 0, edit+": messages must not expire by age"),
		same("max_bytes", have.MaxBytes, -1, edit+": a size limit discards the oldest messages"),
		same("allow_atomic", have.AllowAtomicPublish, true, edit),
		same("allow_msg_schedules", have.AllowMsgSchedules, true, edit),
		same("allow_msg_ttl", have.AllowMsgTTL, true, edit),
		same("allow_rollup_hdrs", have.AllowRollup, true, edit),
		same("subjects", sorted(have.Subjects), sorted(want.Subjects), edit),
		same("republish", republished(have.RePublish), republished(want.RePublish), edit+": documents must never be published again"),
		same("sources", len(have.Sources), 0, edit),
	))
}

// checkHistory compares the history stream with what was created.
func (s *Store) checkHistory(have jetstream.StreamConfig) error {
	want := s.historyConfig()
	edit := "set it with nats stream edit " + want.Name
	return s.refuse(want.Name, append(s.checkCommon(have, want),
		same("max_msgs_per_subject", max(have.MaxMsgsPerSubject, -1), -1, edit+": it drops entries that nobody has read"),
		same("max_age", have.MaxAge, want.MaxAge, edit+", or set log-retention to match"),
		same("max_bytes", have.MaxBytes, -1, edit+": a limit drops entries that nobody has read"),
		same("subjects", sorted(have.Subjects), "", edit),
		same("republish", republished(have.RePublish), "", edit),
		same("sources", sourced(have.Sources), sourced(want.Sources), edit),
	))
}

// checkCommon is what both streams must have.
func (s *Store) checkCommon(have, want jetstream.StreamConfig) []setting {
	edit := "set it with nats stream edit " + want.Name
	replicas := setting{
		name: "num_replicas", found: have.Replicas, want: fmt.Sprint("at least ", want.Replicas),
		ok: have.Replicas >= want.Replicas || s.opts.Relaxed, fix: edit + ", or lower store-replicas",
	}
	return []setting{
		replicas,
		same("storage", have.Storage, jetstream.FileStorage, recreate),
		same("persist_mode", have.PersistMode, jetstream.DefaultPersistMode, recreate+": async acknowledges writes before they are on disk"),
		same("retention", have.Retention, jetstream.LimitsPolicy, recreate),
		same("allow_direct", have.AllowDirect, true, edit),
		same("deny_delete", have.DenyDelete, true, recreate),
		same("deny_purge", have.DenyPurge, false, recreate),
		same("max_msgs", have.MaxMsgs, -1, edit),
		same("max_msg_size", max(have.MaxMsgSize, -1), -1, edit),
		same("subject_delete_marker_ttl", have.SubjectDeleteMarkerTTL, 0, edit+": it adds messages that Porchlight does not expect"),
		same("no_ack", have.NoAck, false, edit),
		same("sealed", have.Sealed, false, recreate),
		same("mirror", have.Mirror == nil, true, recreate),
		same("subject_transform", have.SubjectTransform == nil, true, edit),
	}
}

func (s *Store) refuse(stream string, settings []setting) error {
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

// streamInfo is nil if there is no such stream.
func (s *Store) streamInfo(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	stream, err := s.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	return stream.CachedInfo(), nil
}
