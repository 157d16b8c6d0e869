package netns_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/cluster/check"
)

// A sink is the endpoint of a subscription to the presence of those who do not write notes.
type sink struct {
	*workload
	since      time.Time
	mu         sync.Mutex // guards the fields below
	path       string     // of the subscription
	deliveries []check.Delivery
}

// subscribedWithin is how long it takes until every node knows a new subscription.
const subscribedWithin = 3 * time.Second

// watched reports whether the subscription has a user of this name.
func watched(name string) bool { return !strings.HasPrefix(name, "register") }

func (l *workload) startSink() {
	l.Helper()
	s := &sink{workload: l}
	l.sink = s
	listener, err := net.Listen("tcp", l.net.address(1)+":0")
	if err != nil {
		l.Fatal(err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	l.Cleanup(func() { _ = server.Close() })
	var users []string
	for name, id := range l.users {
		if watched(name) {
			users = append(users, id)
		}
	}
	attempt := 0
	l.retry("create a subscription", func() error {
		attempt++ // after a failure, the subscription may exist
		path := fmt.Sprint("/events", attempt)
		s.expect(path)
		_, err := l.nodes[0].client.CreateSubscription(l.Context(), api.CreateSubscription{
			URL: "http://" + listener.Addr().String() + path, Form: "native", Events: []string{api.EventPresenceChanged}, Users: users, Profile: "durable",
		})
		return err
	})
	time.Sleep(subscribedWithin)
	s.since = time.Now().Add(-subscribedWithin / 2) // clocks may be apart
}

// expect makes the sink ignore subscriptions with another path.
func (s *sink) expect(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path = path
}

func (s *sink) expects(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return path == s.path
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var event struct {
		Type string `json:"type"`
		User string `json:"user"`
	}
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		return // the node was killed
	}
	if !s.expects(r.URL.Path) {
		return
	}
	switch event.Type {
	case api.EventPresenceChanged:
		revision, err := strconv.ParseUint(r.Header.Get("Porchlight-Revision"), 10, 64)
		if err != nil {
			s.Errorf("an event without a revision: %v", r.Header)
		}
		s.mu.Lock()
		s.deliveries = append(s.deliveries, check.Delivery{User: event.User, Commit: revision, ID: r.Header.Get("Webhook-Id")})
		s.mu.Unlock()
	case api.EventGap:
		s.Error("the subscription has a gap")
	}
	w.WriteHeader(http.StatusNoContent)
}

// has reports whether all of these entries were delivered.
func (s *sink) has(due []check.Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delivered := make(map[check.Delivery]bool)
	for _, d := range s.deliveries {
		d.ID = ""
		delivered[d] = true
	}
	return !slices.ContainsFunc(due, func(e check.Entry) bool { return !delivered[check.Delivery{User: e.User, Commit: e.Commit}] })
}

// delivered are the deliveries until now.
func (s *sink) delivered() []check.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}
