package server

import (
	"context"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"porchlight.dev/porchlight/internal/backupjob"
	"porchlight.dev/porchlight/internal/fastpath"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/webhook"
)

// newMetrics makes the server's own registry.
func (s *Server) newMetrics() {
	s.metrics = prometheus.NewRegistry()
	s.metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "porchlight_draining", Help: "1 while the server is shutting down.",
		}, func() float64 {
			if s.draining.Load() {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "porchlight_build_info", Help: "Always 1; the label is the version that runs.",
			ConstLabels: prometheus.Labels{"version": Version()},
		}, func() float64 { return 1 }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "porchlight_audit_dropped_total", Help: "Events missing from the audit log, such as refusals of requests during a flood.",
		}, func() float64 {
			if s.audit == nil {
				return 0 // it is not composed yet
			}
			return float64(s.audit.Dropped())
		}),
	)
	s.metrics.MustRegister(newNodesCollector(s.viewNodes))
	s.metrics.MustRegister(newHubCollector(func() hub.Stats {
		if s.hub == nil {
			return hub.Stats{} // it is not composed yet
		}
		return s.hub.Stats()
	}))
	s.metrics.MustRegister(newConsumerCollector(func() []tail.Stats { return s.consumerStats(context.Background()) }), newWebhookCollector(func() webhook.Stats {
		if s.webhooks.deliverer == nil {
			return webhook.Stats{} // it is not composed yet
		}
		return s.webhooks.deliverer.Stats()
	}))
	s.metrics.MustRegister(newConnectionCollector(s.limits.connections), newLimitCollector(s.limits.all()), newOverloadCollector(s.limits.gate))
	s.metrics.MustRegister(newCertificateCollector(s.certificates))
	if s.backups != nil {
		s.metrics.MustRegister(newBackupCollector(s.backups.Stats))
	}
	switch st := s.store.(type) {
	case statistician[pebblestore.Stats]:
		s.metrics.MustRegister(newPebbleCollector(st.Stats))
	case statistician[natsstore.Stats]:
		s.metrics.MustRegister(newNATSCollector(st.Stats))
	}
}

func newBackupCollector(from func() backupjob.Stats) *collector[backupjob.Stats] {
	c := collect("porchlight_backup_", from)
	known := func(s *backupjob.Stats) bool { return !s.Last.IsZero() || !s.Next.IsZero() }
	timed := func(s *backupjob.Stats) bool { return s.Took > 0 }
	sized := func(s *backupjob.Stats) bool { return s.Bytes > 0 }
	c.gaugeIf("last_success_timestamp_seconds", "When the newest successful backup began, in Unix time; 0 if there is none yet.", func(s *backupjob.Stats) float64 { return unixSeconds(s.Last) }, known)
	c.gaugeIf("last_duration_seconds", "How long the newest successful backup took.", func(s *backupjob.Stats) float64 { return s.Took.Seconds() }, timed)
	c.gaugeIf("last_bytes", "Size of the newest successful backup.", func(s *backupjob.Stats) float64 { return float64(s.Bytes) }, sized)
	c.gaugeIf("next_timestamp_seconds", "When the next scheduled backup is due, in Unix time.", func(s *backupjob.Stats) float64 { return unixSeconds(s.Next) }, func(s *backupjob.Stats) bool { return !s.Next.IsZero() })
	c.counter("failures_total", "Backups that failed, retries included.", func(s *backupjob.Stats) float64 { return float64(s.Failures) })
	return c
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}

func newFramerCollector(malformed func() uint64) *collector[uint64] {
	c := collect("porchlight_http_", malformed)
	c.counter("malformed_total", "HTTP/1 messages refused because they are malformed or their end is ambiguous.", func(n *uint64) float64 { return float64(*n) })
	return c
}

func newHubCollector(from func() hub.Stats) *collector[hub.Stats] {
	c := collect("porchlight_stream_", from)
	c.gauge("open", "Streams that are open, long polls among them.", func(s *hub.Stats) float64 { return float64(s.Streams) })
	c.gauge("followed_users", "Users whom at least one stream follows.", func(s *hub.Stats) float64 { return float64(s.Followed) })
	c.gauge("follows", "Users that streams follow, each counted for each stream.", func(s *hub.Stats) float64 { return float64(s.Edges) })
	c.counter("delivered_total", "Changes written to streams.", func(s *hub.Stats) float64 { return float64(s.Delivered) })
	c.counter("coalesced_total", "Changes replaced by a newer one of the same user before they were sent.", func(s *hub.Stats) float64 { return float64(s.Coalesced) })
	c.counter("slow_total", "Streams ended because the client did not read what was sent.", func(s *hub.Stats) float64 { return float64(s.Slow) })
	c.counter("resets_total", "Resets of streams and long polls, whose cursor could not be used.", func(s *hub.Stats) float64 { return float64(s.Resets) })
	return c
}

func newFastPathCollector(from func() fastpath.Stats) *collector[fastpath.Stats] {
	c := collect("porchlight_fast_path_", from)
	c.counter("answered_total", "Requests that were answered on the fast path.", func(s *fastpath.Stats) float64 { return float64(s.Answered) })
	c.counter("declined_total", "Requests on its routes that the fast path left to the general HTTP server.", func(s *fastpath.Stats) float64 { return float64(s.Declined) })
	return c
}

func newWebhookCollector(from func() webhook.Stats) *collector[webhook.Stats] {
	c := collect("porchlight_webhook_", from)
	c.counter("accepted_total", "Attempts to deliver an event that the endpoint accepted.", func(s *webhook.Stats) float64 { return float64(s.Accepted) })
	c.counter("failed_total", "Attempts to deliver an event that failed.", func(s *webhook.Stats) float64 { return float64(s.Failed) })
	c.counter("given_up_total", "Events given up after the last attempt, or because too many waited for a retry.", func(s *webhook.Stats) float64 { return float64(s.GivenUp) })
	c.counter("overtaken_total", "Events dropped because a newer one of the same user had been sent.", func(s *webhook.Stats) float64 { return float64(s.Overtaken) })
	c.counter("gaps_total", "Gaps: ranges of the log whose events could not be delivered.", func(s *webhook.Stats) float64 { return float64(s.Gaps) })
	c.gauge("subscriptions", "Subscriptions that this node delivers to, among them those that receive none for now.", func(s *webhook.Stats) float64 { return float64(s.Subscriptions) })
	c.gauge("disabled", "Subscriptions that receive no events because their endpoint failed validation, without those that are also paused or suspended.", func(s *webhook.Stats) float64 { return float64(s.Disabled) })
	c.gauge("paused", "Subscriptions that receive no events because somebody paused them.", func(s *webhook.Stats) float64 { return float64(s.Paused) })
	c.gauge("suspended", "Subscriptions that receive no events because their account is suspended, their user is deactivated or no longer an administrator, or one of them cannot be read; without those that are also paused.", func(s *webhook.Stats) float64 { return float64(s.Suspended) })
	c.gauge("down", "Subscriptions whose endpoint fails and is probed.", func(s *webhook.Stats) float64 { return float64(s.Down) })
	c.gauge("behind", "Subscriptions that are catching up, from older events in the log.", func(s *webhook.Stats) float64 { return float64(s.Behind) })
	c.gauge("pending", "Events that wait for a retry.", func(s *webhook.Stats) float64 { return float64(s.Pending) })
	c.gauge("lag_seconds", "Age of the oldest event that was not attempted yet.", func(s *webhook.Stats) float64 { return s.Lag.Seconds() })
	return c
}

// newConsumerCollector measures the consumers of the log. What only the node that runs
// a consumer knows is exported there alone.
func newConsumerCollector(from func() []tail.Stats) *collector[tail.Stats] {
	c := collectEach("porchlight_consumer_", "consumer", func(s *tail.Stats) string { return s.Name }, from)
	c.counter("retries_total", "Retries of the consumer after a failure.", func(s *tail.Stats) float64 { return float64(s.Retries) })
	here := func(name, help string, value func(*tail.Stats) float64) {
		c.gaugeIf(name, help, value, func(s *tail.Stats) bool { return s.Running })
	}
	here("lag_entries", "Entries of the log that the consumer has not handled, at most.", func(s *tail.Stats) float64 { return float64(s.LagEntries) })
	here("lag_seconds", "Age of the oldest entry that the consumer has not handled.", func(s *tail.Stats) float64 { return s.Lag.Seconds() })
	here("quarantined_entries", "Entries that the consumer skipped because they are damaged or failed permanently.", func(s *tail.Stats) float64 { return float64(s.Quarantined) })
	return c
}

// consumerStats measures the consumers; while the store does not answer there is nothing
// to measure by.
func (s *Server) consumerStats(ctx context.Context) []tail.Stats {
	if s.consumers == nil {
		return nil // they are not composed yet
	}
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	stats, err := s.consumers.Stats(ctx)
	if err != nil {
		return nil
	}
	return stats
}

// statsTimeout is how long a scrape waits for the store.
const statsTimeout = 2 * time.Second

// version is the version of a build of this repository, which the Makefile sets with
// -ldflags: the go command's own stamp also depends on the state of the checkout.
var version = ""

// Version is that of the build.
func Version() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(version, info)
}

// versionOf is the version that the linker was given, or else the module's, which "go
// install" records.
func versionOf(linked string, info *debug.BuildInfo) string {
	switch {
	case linked != "":
		return linked
	case info != nil && info.Main.Version != "" && info.Main.Version != "(devel)":
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return "devel"
}
