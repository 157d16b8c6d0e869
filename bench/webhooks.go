package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Sizes of the webhooks benchmark.
const (
	webhookEndpoints = 20
	webhookRate      = 1_000 // changes per second
	webhookBacklog   = 100_000
	healthyEndpoints = 5
	webhookConns     = 16
	webhookCatchUp   = 5 * time.Minute // a failure bound
)

// webhooks measures the delivery of events, each part on its own server.
func (r *run) webhooks(b *binary) error {
	s, err := r.seed(r.users[0])
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(*process, *seeded) error
	}{
		{"put", r.webhookPUT},
		{"latency", r.webhookLatency},
		{"drain", r.webhookDrain},
		{"dead", r.webhookDead},
	} {
		if r.part != "" && r.part != part.name {
			continue
		}
		p, err := b.serve(s.dir, "--webhook-allow", "127.0.0.0/8")
		if err != nil {
			return err
		}
		err = part.run(p, s)
		if err := errors.Join(err, p.stop(syscall.SIGTERM)); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// A subscribing has the members of the request that creates a subscription.
type subscribing struct {
	URL    string   `json:"url"`
	Form   string   `json:"form"`
	Events []string `json:"events"`
	Users  []string `json:"users,omitempty"`
}

// subscribe creates a subscription to changes of presence, and returns a function that
// deletes it.
func (s *seeded) subscribe(p *process, address string, users ...string) (remove func() error, err error) {
	text, err := json.Marshal(subscribing{URL: "http://" + address + "/", Form: "native", Events: []string{"presence.changed"}, Users: users})
	if err != nil {
		return nil, err
	}
	made, err := s.ask(p, http.MethodPost, "/v1/subscriptions", text)
	if err != nil {
		return nil, err
	}
	var subscription struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(made, &subscription); err != nil {
		return nil, err
	}
	return func() error {
		_, err := s.ask(p, http.MethodDelete, "/v1/subscriptions/"+subscription.ID, nil)
		return err
	}, nil
}

func (s *seeded) ask(p *process, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(method, "http://"+p.address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.Token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode > 299 {
		err = fmt.Errorf("%s %s: %s %s", method, path, response.Status, answer)
	}
	return answer, err
}

// webhookPUT compares PUTs without a subscription, with one that none of them matches,
// and with one that all of them match. The last includes the CPU time of delivery.
func (r *run) webhookPUT(p *process, s *seeded) error {
	to, err := newSink()
	if err != nil {
		return err
	}
	defer to.close()
	kinds := []struct {
		name  string
		users []string
	}{{"none", nil}, {"of one user", []string{string(s.IDs[0])}}, {"of all users", []string{}}}
	full, paced := make([][]sample, len(kinds)), make([][]sample, len(kinds))
	for round := range r.rounds + 1 { // the first round warms up
		for i, kind := range kinds {
			remove := func() error { return nil }
			if kind.users != nil {
				if remove, err = s.subscribe(p, to.address, kind.users...); err != nil {
					return err
				}
			}
			l := load{address: p.address, conns: webhookConns, status: http.StatusNoContent, request: s.put}
			atFull, err := r.sample(p, l)
			if err != nil {
				return err
			}
			if err := p.quiesce(webhookCatchUp); err != nil {
				return err
			}
			atRate, err := r.sampleAtRate(p, l)
			if err := errors.Join(err, remove()); err != nil {
				return err
			}
			if round > 0 {
				full[i], paced[i] = append(full[i], atFull), append(paced[i], atRate)
			}
		}
	}
	for _, load := range []struct {
		name    string
		samples [][]sample
	}{{fmt.Sprintf("%d connections, as fast as they can", webhookConns), full}, {fmt.Sprintf("%d a second", webhookRate), paced}} {
		fmt.Printf("\nPUTs, %s\n", load.name)
		for i, kind := range kinds {
			all := load.samples[i]
			fmt.Printf("subscription %-13s %8.0f PUT/s, %6.1f µs CPU a PUT, p50 %v, p99 %v\n", kind.name+":",
				middle(all, func(s *sample) float64 { return s.rate }), middle(all, func(s *sample) float64 { return s.cpu }),
				middleDuration(all, func(s *sample) time.Duration { return s.p50 }), middleDuration(all, func(s *sample) time.Duration { return s.p99 }))
			if i == 0 {
				continue
			}
			over := func(value func(*sample) float64) []float64 {
				ratios := make([]float64, len(all))
				for k := range all {
					ratios[k] = value(&all[k]) / value(&load.samples[0][k])
				}
				return ratios
			}
			of := ", subscription " + kind.name + ", × none"
			report("PUT "+load.name+": CPU"+of, "1.15", "×", over(func(s *sample) float64 { return s.cpu }))
			report("PUT "+load.name+": p50"+of, "1.15", "×", over(func(s *sample) float64 { return s.p50.Seconds() }))
			report("PUT "+load.name+": p99"+of, "-", "×", over(func(s *sample) float64 { return s.p99.Seconds() }))
		}
	}
	return nil
}

func middleDuration(all []sample, value func(*sample) time.Duration) time.Duration {
	return time.Duration(middle(all, func(s *sample) float64 { return float64(value(s)) })).Round(time.Microsecond)
}

// sampleAtRate measures a load in an open loop.
func (r *run) sampleAtRate(p *process, l load) (sample, error) {
	l.duration = r.seconds
	o := openLoop{load: l, rate: webhookRate}
	var latencies []time.Duration
	cpu, err := p.during(func() (err error) {
		latencies, err = o.run()
		return err
	})
	if err != nil {
		return sample{}, err
	}
	slices.Sort(latencies)
	return sample{cpu / float64(len(latencies)), float64(len(latencies)) / r.seconds.Seconds(), at(latencies, .5), at(latencies, .99)}, nil
}

// quiesce waits until the process uses no CPU time, such as when it has delivered
// everything.
func (p *process) quiesce(limit time.Duration) error {
	for begun := time.Now(); time.Since(begun) < limit; {
		used, err := p.during(func() error { time.Sleep(300 * time.Millisecond); return nil })
		if err != nil {
			return err
		}
		if used <= 10_000 { // one tick
			return nil
		}
	}
	return fmt.Errorf("the server is still busy after %v", limit)
}

// changes makes changes of the seeded users at a rate.
func (s *seeded) changes(p *process, rate int, duration time.Duration) *changer {
	return &changer{address: p.address, seeded: s, users: s.IDs, conns: webhookConns, rate: rate, duration: duration}
}

func (s *seeded) index() map[string]int32 {
	index := make(map[string]int32, len(s.IDs))
	for i, id := range s.IDs {
		index[string(id)] = int32(i)
	}
	return index
}

// allUsers lists the users that a sink is sent.
func (s *seeded) allUsers() []int32 {
	all := make([]int32, len(s.IDs))
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

// webhookLatency measures the time from a commit to the first attempt, when each change
// goes to one of 20 endpoints, and when each goes to all of them.
func (r *run) webhookLatency(p *process, s *seeded) error {
	for _, kind := range []struct {
		name, budget string
		to           func(i int) (users []string, follows []int32)
	}{
		{"each to one of 20 endpoints", "50", func(i int) (users []string, follows []int32) {
			for user := i; user < len(s.IDs); user += webhookEndpoints {
				users, follows = append(users, string(s.IDs[user])), append(follows, int32(user))
			}
			return users, follows
		}},
		{"each to all of 20 endpoints", "50", func(int) ([]string, []int32) { return nil, s.allUsers() }},
	} {
		f, err := r.fanOut(p, s, webhookEndpoints, kind.to, nil)
		if err != nil {
			return err
		}
		f.print(kind.name, kind.budget)
	}
	return nil
}

// fanOut subscribes sinks, and endpoints that die then, makes changes at the constant
// rate, and finds when the sinks received them.
func (r *run) fanOut(p *process, s *seeded, sinks int, to func(int) ([]string, []int32), dead []deadEndpoint) (f *fanout, err error) {
	c := s.changes(p, webhookRate, r.streaming)
	index := s.index()
	all := make([]*receipts, sinks)
	var remove []func() error
	defer func() {
		for _, each := range remove {
			err = errors.Join(err, each())
		}
	}()
	add := func(address string, users ...string) error {
		each, err := s.subscribe(p, address, users...)
		if err == nil {
			remove = append(remove, each)
		}
		return err
	}
	for i := range all {
		one, err := newSink()
		if err != nil {
			return nil, err
		}
		defer one.close()
		users, follows := to(i)
		one.recordInto(c, index)
		one.follows, all[i] = follows, &one.receipts
		if err := add(one.address, users...); err != nil {
			return nil, err
		}
	}
	for i := range dead {
		alive, err := newSink() // until it has proved that it wants events
		if err != nil {
			return nil, err
		}
		err = add(alive.address)
		alive.close()
		if err != nil {
			return nil, err
		}
		closeIt, err := dead[i].open(alive.address)
		if err != nil {
			return nil, err
		}
		defer closeIt()
	}
	var cpu float64
	if cpu, err = p.during(c.run); err != nil {
		return nil, err
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if f = match(c, all); f.missing == 0 {
			fmt.Printf("\n%d changes a second for %v, %d endpoints: %.0f µs CPU of the server a change\n", webhookRate, r.streaming, sinks, cpu/float64(f.changes))
			return f, nil
		}
		if time.Since(begun) > webhookCatchUp {
			return nil, fmt.Errorf("%d of %d events: %w", f.missing, f.due, errIncomplete)
		}
	}
}

// print reports when the changes arrived. A change may arrive before its answer.
func (f *fanout) print(name, budget string) {
	fmt.Printf("%d changes, %d events due, %d received, %d missing\n", f.changes, f.due, f.frames, f.missing)
	for _, percentile := range []float64{.5, .99, .999} {
		limit := "-"
		if percentile == .99 {
			limit = budget
		}
		report(fmt.Sprintf("%s: request of a PUT to first attempt, p%g", name, 100*percentile), limit, "ms", []float64{at(f.fromSend, percentile).Seconds() * 1000})
	}
	report(name+": response of a PUT to first attempt, p99", budget, "ms", []float64{at(f.fromAck, .99).Seconds() * 1000})
}

// webhookDrain measures how fast a backlog is delivered to an endpoint that was dead,
// against a bare loop that posts the same number of bodies over as many connections.
func (r *run) webhookDrain(p *process, s *seeded) error {
	var rates, bare, ratios []float64
	for range r.rounds {
		ours, err := r.drainOnce(p, s)
		if err != nil {
			return err
		}
		theirs, err := barePosts()
		if err != nil {
			return err
		}
		rates, bare, ratios = append(rates, ours), append(bare, theirs), append(ratios, ours/theirs)
	}
	report(fmt.Sprintf("drain of %s events: events a second", thousands(webhookBacklog)), "-", "/s", rates)
	report("bare loop of POSTs, 8 connections: a second", "-", "/s", bare)
	report("drain × bare loop", "-", "×", ratios)
	return nil
}

// drainOnce returns the number of events per second.
func (r *run) drainOnce(p *process, s *seeded) (float64, error) {
	to, err := newSink()
	if err != nil {
		return 0, err
	}
	remove, err := s.subscribe(p, to.address)
	if err != nil {
		return 0, err
	}
	to.close()
	made := 0
	for made < webhookBacklog {
		c := s.changes(p, 50_000, 2*time.Second) // as fast as it can
		if err := c.run(); err != nil {
			return 0, err
		}
		made += c.changes()
	}
	var mu sync.Mutex
	var first, last time.Time
	to.accepted.Store(0)
	to.note = func(_ []byte, at time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if first.IsZero() {
			first = at
		}
		last = at
	}
	if err := to.open(); err != nil {
		return 0, err
	}
	defer to.close()
	if err := to.await(webhookBacklog, webhookCatchUp); err != nil {
		return 0, err
	}
	mu.Lock()
	took := last.Sub(first)
	mu.Unlock()
	return float64(to.accepted.Load()) / took.Seconds(), remove()
}

// webhookDead measures five healthy endpoints alone, and beside five that fail.
func (r *run) webhookDead(p *process, s *seeded) error {
	everyone := func(int) ([]string, []int32) { return nil, s.allUsers() }
	alone, err := r.fanOut(p, s, healthyEndpoints, everyone, nil)
	if err != nil {
		return err
	}
	alone.print("5 healthy endpoints alone", "-")
	beside, err := r.fanOut(p, s, healthyEndpoints, everyone, deadEndpoints())
	if err != nil {
		return err
	}
	beside.print("5 healthy endpoints beside 5 that fail", "-")
	for _, percentile := range []float64{.5, .99} {
		report(fmt.Sprintf("healthy endpoints beside failing ones, × alone, p%g", 100*percentile), "1", "×",
			[]float64{at(beside.fromSend, percentile).Seconds() / at(alone.fromSend, percentile).Seconds()})
	}
	return nil
}
