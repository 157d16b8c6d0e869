package natsstore

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestObservedStreams: replicas count while they are up to date, the slowest one is the
// lag, and a new leader counts once, also after a time without any.
func TestObservedStreams(t *testing.T) {
	info := func(leader string, replicas ...*jetstream.PeerInfo) *jetstream.StreamInfo {
		return &jetstream.StreamInfo{
			Config:  jetstream.StreamConfig{Replicas: 3},
			State:   jetstream.StreamState{Bytes: 100, Msgs: 10},
			Cluster: &jetstream.ClusterInfo{Leader: leader, Replicas: replicas},
		}
	}
	current, behind := &jetstream.PeerInfo{Current: true}, &jetstream.PeerInfo{Lag: 7}
	offline := &jetstream.PeerInfo{Current: true, Offline: true, Lag: 9}
	var o observedStreams
	for i, row := range []struct {
		info *jetstream.StreamInfo
		want StreamStats
	}{
		{info("a", current, current), StreamStats{100, 10, 3, 3, 0, 0}},
		{info("a", current, behind), StreamStats{100, 10, 3, 2, 7, 0}},
		{nil, StreamStats{100, 10, 3, 2, 7, 0}}, // it could not be read
		{info("b", current, offline), StreamStats{100, 10, 3, 2, 9, 1}},
		{info("", offline), StreamStats{100, 10, 3, 0, 9, 1}},
		{info("b", current, current), StreamStats{100, 10, 3, 3, 0, 1}},
		{info("", current), StreamStats{100, 10, 3, 1, 0, 1}},
		{info("c", current, current), StreamStats{100, 10, 3, 3, 0, 2}},
	} {
		o.observe(row.info, &jetstream.StreamInfo{Sources: []*jetstream.StreamSourceInfo{{Lag: 4}}})
		state, history := o.last()
		if state != row.want || history.Lag != 4 || history.Current != 1 {
			t.Errorf("%d: %+v and %+v, want %+v", i, state, history, row.want)
		}
	}
}

// TestRetryReasons: each error of an attempt is one reason.
func TestRetryReasons(t *testing.T) {
	for _, row := range []struct {
		err  error
		want retryReason
	}{
		{fmt.Errorf("publish: %w", &apiError{ErrCode: codeWrongLastBusy}), retryBusy},
		{&apiError{Code: 503}, retryRefused},
		{nats.ErrNoResponders, retryUnsent},
		{fmt.Errorf("%w: closed", errNotSent), retryUnsent},
		{errDisconnected, retryUnanswered},
		{errors.New("timeout"), retryUnanswered},
	} {
		if got := retryReasonOf(row.err); got != row.want {
			t.Errorf("%v is reason %d, want %d", row.err, got, row.want)
		}
	}
}
