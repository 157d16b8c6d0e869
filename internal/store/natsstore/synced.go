package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Only the system account may ask servers for their settings. Each of them
// answers for itself, so answers are gathered, for a moment if some do not come.
const (
	jszSubject    = "$SYS.REQ.SERVER.PING.JSZ"
	reportTimeout = 5 * time.Second
	// repeatTime is when they are asked again: a server that has just joined may
	// not know yet where the answer goes.
	reportRetry = 250 * time.Millisecond
)

// checkSynced refuses servers that acknowledge before they sync: at the default
// they do so every two minutes, and a power cut loses what came since.
func (s *Store) checkSynced(ctx context.Context) error {
	if s.opts.Relaxed {
		return nil
	}
	if s.opts.SystemURL == "" && s.opts.SystemCredentials == "" {
		return fmt.Errorf("%w: %w: only a user of the system account can check whether the servers sync every write (sync_interval: always): give its URL or credentials, or set durability to os", ErrSettings, ErrSystemAccount)
	}
	servers, err := s.requestReports(ctx)
	if err != nil {
		return fmt.Errorf("ask the servers at %s for their settings, with the system account: %w", redactURLs(s.systemURL()), err)
	}
	var bad []string
	for _, x := range servers.withStorage {
		if !x.Data.Config.SyncAlways {
			bad = append(bad, x.Server.Name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w: server %s does not sync every write: set sync_interval: always in its jetstream block, or set durability to os", ErrSettings, strings.Join(bad, ", "))
	}
	if len(servers.withStorage) < servers.expected() {
		return fmt.Errorf("%w: only %d of %d servers reported within %v whether they sync every write: repair the others or remove them from the cluster, or set durability to os", errMissingReports, len(servers.withStorage), servers.expected(), reportTimeout)
	}
	return nil
}

// errNotAllAnswered: servers that may store did not answer.
var errMissingReports = errors.New("not every server responded")

type serverReport struct {
	Server struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"server"`
	Data struct {
		Disabled bool `json:"disabled"`
		Config   struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
		Meta struct {
			Size     int `json:"cluster_size"`
			Replicas []struct {
				Offline bool `json:"offline"`
			} `json:"replicas"` // known to the leader alone
		} `json:"meta_cluster"`
	} `json:"data"`
}

// A gathering is the servers with JetStream that answered.
type serverReports struct {
	answered    map[string]bool // by id
	withStorage []serverReport
	size        int // of the cluster of those that store
	offline     int // how many of them its leader does not reach
}

func (g *serverReports) add(answer serverReport) {
	if g.answered[answer.Server.ID] {
		return
	}
	g.answered[answer.Server.ID] = true
	if answer.Data.Disabled {
		return
	}
	g.withStorage = append(g.withStorage, answer)
	g.size = max(g.size, answer.Data.Meta.Size)
	offline := 0
	for _, r := range answer.Data.Meta.Replicas {
		if r.Offline {
			offline++
		}
	}
	g.offline = max(g.offline, offline)
}

// expected is how many have to answer: servers that are down store nothing, and
// are checked when they are back.
func (g *serverReports) expected() int { return max(g.size-g.offline, 1) }

func (s *Store) systemURL() string {
	if s.opts.SystemURL != "" {
		return s.opts.SystemURL
	}
	return s.conn.ConnectedUrl()
}

var errNoReport = fmt.Errorf("%w: no server answered: is this a user of the system account?", ErrSystemAccount)

func (s *Store) requestReports(ctx context.Context) (serverReports, error) {
	g := serverReports{answered: make(map[string]bool)}
	options := []nats.Option{nats.Name("porchlight-settings"), nats.Timeout(connectTimeout)}
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
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	for len(g.withStorage) < g.expected() && ctx.Err() == nil {
		if err := g.collect(ctx, conn); err != nil {
			return g, err
		}
	}
	return g, nil
}

// ask asks all servers, and gathers answers until all are there or it is time to
// ask again.
func (g *serverReports) collect(ctx context.Context, conn *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, reportRetry)
	defer cancel()
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection is closed soon
	if err := conn.PublishRequest(jszSubject, inbox, nil); err != nil {
		return err
	}
	for len(g.withStorage) < g.expected() {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return errNoReport
		}
		if err != nil {
			return nil // what came by now counts
		}
		var answer serverReport
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return err
		}
		g.add(answer)
	}
	return nil
}
