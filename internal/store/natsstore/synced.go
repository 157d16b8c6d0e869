package natsstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Only the system account may request the settings of servers. Each server responds for
// itself, so responses are collected until all have arrived or reportTimeout passes.
const (
	jszSubject       = "$SYS.REQ.SERVER.PING.JSZ"
	minReportTimeout = 5 * time.Second
	// reportRetry is when the request is repeated: a server that has just joined may not
	// know the reply subject yet.
	reportRetry = 250 * time.Millisecond
)

// checkSynced refuses servers that acknowledge a write before they sync it. By default
// servers sync every two minutes, and a power failure loses the writes since then.
func (s *Store) checkSynced(ctx context.Context) error {
	if s.opts.Relaxed {
		return nil
	}
	if s.opts.SystemURL == "" && s.opts.SystemCredentials == "" {
		return fmt.Errorf("%w: %w: only a user of the system account can check whether the servers sync every write (sync_interval: always)", ErrSettings, ErrSystemAccount)
	}
	servers, err := s.requestReports(ctx)
	if err != nil {
		return fmt.Errorf("request the settings of the servers at %s with the system account: %w", redactURLs(s.systemURL()), err)
	}
	var bad []string
	for _, x := range servers.byName() {
		if !x.Data.Config.SyncAlways {
			bad = append(bad, x.Server.Name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w: server %s does not sync every write: set sync_interval: always in its jetstream block, or set durability to os", ErrSettings, strings.Join(bad, ", "))
	}
	missing, err := servers.missing(peerReport.isSilent)
	if len(missing) > 0 {
		err = fmt.Errorf("%w within %v: %s; repair them or remove them from the cluster, or set durability to os", errMissingReports, s.reportTimeout(), strings.Join(missing, ", "))
	}
	if err != nil {
		return fmt.Errorf("cannot check whether every NATS server syncs every write: %w", err)
	}
	return nil
}

var (
	errNoLeader       = errors.New("the NATS cluster has no JetStream meta leader: start a majority of its servers")
	errMissingReports = errors.New("NATS servers did not respond")
)

type serverReport struct {
	Server struct {
		Name    string `json:"name"`
		Domain  string `json:"domain"` // of JetStream
		Version string `json:"ver"`
	} `json:"server"`
	Data struct {
		Disabled bool `json:"disabled"`
		Config   struct {
			SyncAlways bool  `json:"sync_always"`
			MaxStorage int64 `json:"max_storage"` // below 1: unknown
		} `json:"config"`
		Storage uint64 `json:"storage"` // bytes in use
		Meta    struct {
			Size     int          `json:"cluster_size"` // 0: there is no cluster
			Leader   string       `json:"leader"`       // its name
			Replicas []peerReport `json:"replicas"`     // the others, as the sender knows them
		} `json:"meta_cluster"`
	} `json:"data"`
}

// A peerReport is what the leader of a cluster knows of another server.
type peerReport struct {
	Name    string        `json:"name"`
	Offline bool          `json:"offline"` // it announced its shutdown, or was silent for minutes
	Current bool          `json:"current"` // it has every entry
	Active  time.Duration `json:"active"`  // since the leader heard from it; 0: it has not
}

// silentAfter is the silence after which a server counts as down. A running one responds to the
// leader's heartbeats every second.
const silentAfter = 10 * time.Second

func (p peerReport) isOffline() bool { return p.Offline }

// isSilent reports whether the server is down, or the leader has not heard from it lately.
func (p peerReport) isSilent() bool {
	return p.Offline || !p.Current && p.Active == 0 || p.Active > silentAfter
}

// serverReports are the latest responses of servers with JetStream. Names are unique only within a
// domain.
type serverReports map[serverKey]serverReport

type serverKey struct{ domain, name string }

func (g serverReports) add(report serverReport) {
	if !report.Data.Disabled {
		g[serverKey{report.Server.Domain, report.Server.Name}] = report
	}
}

// members are the reports of the cluster's servers, or all if there is no cluster. A standalone
// server, such as one behind a leaf node, is not a member.
func (g serverReports) members() []serverReport {
	standalone := func(r serverReport) bool { return r.Data.Meta.Size == 0 }
	if clustered := slices.DeleteFunc(g.byName(), standalone); len(clustered) > 0 {
		return clustered
	}
	return g.byName()
}

// missing returns the servers that must still respond. Servers that are down store nothing, and are
// checked when they return. Only the leader knows every server of a new cluster. It is an error if
// nobody knows the leader, or if the leader is cut off from most servers.
func (g serverReports) missing(isDown func(peerReport) bool) (names []string, err error) {
	size, led, leader := 0, false, ""
	members := g.members()
	for i := range members {
		meta := &members[i].Data.Meta
		size, leader = max(size, meta.Size), cmp.Or(leader, meta.Leader)
		if meta.Leader != members[i].Server.Name {
			continue
		}
		led = true
		for _, peer := range meta.Replicas {
			if _, ok := g[serverKey{members[i].Server.Domain, peer.Name}]; !ok && !isDown(peer) {
				names = append(names, peer.Name)
			}
		}
	}
	switch {
	case len(members) == 0:
		return nil, fmt.Errorf("%w: enable JetStream on them, and check that the system account is theirs", errMissingReports)
	case size > 0 && leader == "":
		return nil, errNoLeader
	case size > 0 && !led:
		return []string{leader}, nil
	case len(names) == 0 && len(members) < size/2+1:
		return nil, fmt.Errorf("%w: only %d of %d did, and a majority must: start more of them", errMissingReports, len(members), size)
	}
	return names, nil
}

// complete reports whether all servers have responded that are not known to be down.
func (g serverReports) complete() bool {
	missing, err := g.missing(peerReport.isOffline)
	return err == nil && len(missing) == 0
}

// byName are the reports in the order of the servers' names.
func (g serverReports) byName() []serverReport {
	return slices.SortedFunc(maps.Values(g), func(a, b serverReport) int { return strings.Compare(a.Server.Name, b.Server.Name) })
}

func (s *Store) systemURL() string {
	if s.opts.SystemURL != "" {
		return s.opts.SystemURL
	}
	return s.conn.ConnectedUrl()
}

func (s *Store) reportTimeout() time.Duration { return max(minReportTimeout, s.opts.Timeout) }

var errNoReport = fmt.Errorf("%w: no server responded: check that this is a user of the system account", ErrSystemAccount)

func (s *Store) requestReports(ctx context.Context) (serverReports, error) {
	g := make(serverReports)
	options := []nats.Option{nats.Name("porchlight-settings"), nats.Timeout(s.connectTimeout())}
	if s.opts.SystemCredentials != "" {
		options = append(options, nats.UserCredentials(s.opts.SystemCredentials))
	}
	conn, err := nats.Connect(s.systemURL(), options...)
	if err != nil {
		if err = connectError(err); errors.Is(err, ErrDenied) {
			err = fmt.Errorf("%w: %w", ErrSystemAccount, err)
		}
		return g, err
	}
	defer conn.Close()
	limited, cancel := context.WithTimeout(ctx, s.reportTimeout())
	defer cancel()
	var own *string // the JetStream domain of the account; nil: not known yet
	for limited.Err() == nil {
		if own == nil {
			if own, err = s.domain(limited); err == nil {
				clear(g) // all servers respond again
			}
		}
		if err := g.collect(limited, conn, own); err != nil {
			return g, err
		}
		if own != nil && g.complete() {
			break
		}
	}
	if own == nil && g.domains() > 1 {
		return g, err
	}
	return g, ctx.Err()
}

// domain is the JetStream domain of the account. Servers behind leaf nodes that share the system
// account respond too, but those of another domain store nothing of this account.
func (s *Store) domain(ctx context.Context) (*string, error) {
	limited, end := s.calls.begin(ctx, s.requestTimeout()) // nobody responds without a leader
	defer end()
	account, err := s.js.AccountInfo(limited)
	if err != nil {
		return nil, fmt.Errorf("read the JetStream domain of the account: %w", cmp.Or(context.Cause(limited), err))
	}
	return &account.Domain, nil
}

func (g serverReports) domains() int {
	found := make(map[string]bool)
	for _, r := range g {
		found[r.Server.Domain] = true
	}
	return len(found)
}

// collect sends the request to all servers, and collects responses of a domain until all have
// arrived or reportRetry passes. If the domain is not known, it collects those of all domains.
func (g serverReports) collect(ctx context.Context, conn *nats.Conn, domain *string) error {
	ctx, cancel := context.WithTimeout(ctx, reportRetry)
	defer cancel()
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection is closed afterwards
	if err := conn.PublishRequest(jszSubject, inbox, nil); err != nil {
		return err
	}
	for domain == nil || !g.complete() {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return errNoReport
		}
		if err != nil {
			return nil // collect again, or evaluate what has arrived
		}
		var report serverReport
		if err := json.Unmarshal(m.Data, &report); err != nil {
			return err
		}
		if domain == nil || report.Server.Domain == *domain {
			g.add(report)
		}
	}
	return nil
}
