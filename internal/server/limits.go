package server

import (
	"net/http"
	"runtime"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/overload"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// limits are the limits on what clients may use.
type limits struct {
	connections *connections
	guard       *quota.Guard
	live        auth.LiveTokens
	reads       *quota.Turns
	waiting     *quota.Limit // of reads
	delay       *quota.Limit // of requests that wait until they are read, in milliseconds
	gate        *overload.Gate
}

// newLimits makes the limits from the settings, for a number of connections.
func (s *Server) newLimits(most int) {
	c := &s.config
	each := c.MaxConnectionsPerAddress
	if each == 0 {
		each = max(1, most/2)
	}
	streams := amounts(&c.StreamLimits, most)
	if streams[quota.User] > 0 { // one user cannot take all of a small server
		streams[quota.User] = min(streams[quota.User], max(1, most*9/10))
	}
	s.limits = limits{
		connections: newConnections(
			&quota.Limit{Name: "connections", Setting: "max-connections", Most: most, Unit: "connections", Shared: true},
			&quota.Limit{Name: "connections-per-address", Setting: "max-connections-per-address", Most: each, Unit: "connections"},
			wire.Proxies(c.Networks()).Trusts,
		),
		guard: quota.NewGuard(map[quota.Resource]quota.Amounts{
			quota.Streams: streams,
			quota.Tickets: amounts(&c.TicketLimits, most),
			quota.Tokens:  amounts(&c.TokenLimits, most),
			quota.Writes:  amounts(&c.WriteLimits, most),
		}, s.opts.Clock),
		live: auth.LiveTokens{
			User: &quota.Limit{Name: "live-tokens-per-user", Setting: "live-token-limits", Most: c.LiveTokenLimits.User.Of(most), Unit: "valid tokens"},
			App:  &quota.Limit{Name: "live-tokens-per-app", Setting: "live-token-limits", Most: c.LiveTokenLimits.App.Of(most), Unit: "valid tokens"},
		},
		waiting: &quota.Limit{Name: "waiting-reads", Setting: "waiting-reads", Most: c.WaitingReads, Unit: "large reads that wait for their turn", Shared: true},
	}
	s.limits.delay = &quota.Limit{
		Name: "queue-delay", Setting: "max-queue-delay", Most: int(c.MaxQueueDelay / time.Millisecond), Unit: "milliseconds that requests wait", Shared: true,
	}
	s.limits.gate = overload.New(s.limits.delay, s.opts.Clock)
	if s.limits.gate != nil && s.opts.Yield != nil {
		s.limits.gate.Yield = s.opts.Yield
	}
	// Half of the processors remain for small requests.
	s.limits.reads = quota.NewTurns((runtime.GOMAXPROCS(0)+1)/2, s.limits.waiting)
}

func amounts(q *config.Quotas, connections int) quota.Amounts {
	return quota.Amounts{
		quota.User:    q.User.Of(connections),
		quota.App:     q.App.Of(connections),
		quota.Account: q.Account.Of(connections),
		quota.Address: q.Address.Of(connections),
	}
}

// all returns every limit, for the metrics.
func (l *limits) all() []*quota.Limit {
	return append([]*quota.Limit{l.connections.total, l.connections.each, l.live.User, l.live.App, l.waiting, l.delay}, l.guard.Limits()...)
}

// admitGrant counts a new token of the token endpoint, and marks the connection of a client
// that proved who it is as authenticated.
func (l *limits) admitGrant(w http.ResponseWriter, g oauthapi.Grantee) error {
	if g != (oauthapi.Grantee{}) {
		wire.Authenticated(w)
	}
	_, err := l.guard.Take(quota.Tokens, quota.Caller{
		Account: string(g.Account), App: string(g.App), Address: wire.ClientOf(w).LimitKey(),
	})
	return err
}

func newConnectionCollector(t *connections) *collector[connectionStats] {
	c := collect("porchlight_connections_", t.stats)
	c.gauge("open", "Connections to the API.", func(s *connectionStats) float64 { return float64(s.open) })
	c.counter("closed_anonymous_total", "Idle connections on which no request had a token, closed for new ones.", func(s *connectionStats) float64 { return float64(s.closedAnonymous) })
	c.counter("closed_idle_total", "Other idle connections, closed for new ones.", func(s *connectionStats) float64 { return float64(s.closedIdle) })
	return c
}

// newOverloadCollector measures the gate. Its refusals are counted for the limit queue-delay.
func newOverloadCollector(g *overload.Gate) *collector[time.Duration] {
	c := collect("porchlight_overload_", g.Refusing)
	c.gauge("seconds", "How long the server has been refusing requests because it is overloaded; 0 if it is not.", func(d *time.Duration) float64 { return d.Seconds() })
	return c
}

// newLimitCollector has the limits that clients meet.
func newLimitCollector(all []*quota.Limit) *collector[*quota.Limit] {
	c := collectEach("porchlight_limit", "limit", func(l **quota.Limit) string { return (*l).Name }, func() []*quota.Limit { return all })
	c.gauge("", "Value of the limit; 0 means that there is none.", func(l **quota.Limit) float64 { return float64((*l).Most) })
	c.counter("_refused_total", "Refusals because the limit was reached.", func(l **quota.Limit) float64 { return float64((*l).Refused()) })
	return c
}
