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
// answers for itself, so answers are gathered for a moment.
const (
	jszSubject = "$SYS.REQ.SERVER.PING.JSZ"
	gatherTime = time.Second
)

// checkSynced refuses servers that acknowledge before they sync: at the default
// they do so every two minutes, and a power cut loses what came since.
func (s *Store) checkSynced(ctx context.Context) error {
	if s.opts.Relaxed {
		return nil
	}
	if s.opts.System == "" && s.opts.SystemCredentials == "" {
		return fmt.Errorf("%w: whether the servers sync every write (sync_interval: always) can only be asked with the system account: give its URL or credentials, or accept relaxed durability", ErrSettings)
	}
	servers, err := s.askServers(ctx)
	if err != nil {
		return fmt.Errorf("ask the servers at %s for their settings, with the system account: %w", redacted(s.systemURL()), err)
	}
	var bad []string
	for _, x := range servers {
		if x.Data.Disabled || x.Data.Config.SyncAlways {
			continue
		}
		bad = append(bad, x.Server.Name)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w: server %s does not sync every write: set sync_interval: always in its jetstream block, or accept relaxed durability", ErrSettings, strings.Join(bad, ", "))
	}
	return nil
}

type serverAnswer struct {
	Server struct {
		Name string `json:"name"`
	} `json:"server"`
	Data struct {
		Disabled bool `json:"disabled"`
		Config   struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
		Meta struct {
			Size int `json:"cluster_size"`
		} `json:"meta_cluster"`
	} `json:"data"`
}

func (s *Store) systemURL() string {
	if s.opts.System != "" {
		return s.opts.System
	}
	return s.conn.ConnectedUrl()
}

var errSilent = errors.New("no server answered: is this a user of the system account?")

func (s *Store) askServers(ctx context.Context) ([]serverAnswer, error) {
	options := []nats.Option{nats.Name("porchlight-settings"), nats.Timeout(connectTime)}
	if s.opts.SystemCredentials != "" {
		options = append(options, nats.UserCredentials(s.opts.SystemCredentials))
	}
	conn, err := nats.Connect(s.systemURL(), options...)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	if err := conn.PublishRequest(jszSubject, inbox, nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	var servers []serverAnswer
	for expected := 1; len(servers) < expected; {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil || m.Header.Get(statusHeader) != "" {
			break
		}
		var answer serverAnswer
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return nil, err
		}
		servers = append(servers, answer)
		expected = max(expected, answer.Data.Meta.Size)
	}
	if len(servers) == 0 {
		return nil, errSilent
	}
	return servers, nil
}
