package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

const (
	// signInRate is how many people sign in with a password in a second.
	signInRate = 100
	// signInPeople is how many different ones do, each from an address of their own. It is
	// more than the server lets wait.
	signInPeople = 200
	signInSecret = "a password of the benchmark"
)

// signIns measures PUTs at a constant rate with and without people who sign in with a
// password, in turns. The hash of a password takes a processor for some 20 ms.
func (r *run) signIns(b *binary) error {
	s, err := r.seed(r.reference())
	if err != nil {
		return err
	}
	p, err := b.serve(s.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	people := &signInLoad{address: p.address, people: s.IDs[:min(signInPeople, len(s.IDs))]}
	if err := people.setPasswords(s.Token); err != nil {
		return err
	}
	fmt.Printf("\n%d PUTs a second for %v, %d users, %d connections, with and without %d sign-ins a second\n", r.rate, r.seconds, r.reference(), r.mostConns(), signInRate)
	puts := &openLoop{load: load{address: p.address, conns: r.mostConns(), duration: r.seconds, status: http.StatusNoContent, request: s.put}, rate: r.rate}
	figures := make(signInFigures)
	for range r.rounds {
		if err := figures.measure(puts, people); err != nil {
			return err
		}
	}
	for _, what := range []string{"PUT alone, p50", "PUT while people sign in, p50", "PUT alone, p99", "PUT while people sign in, p99", "sign-in, p50", "sign-in, p99"} {
		report(what, "-", "ms", figures[what])
	}
	for _, what := range []string{"sign-ins made", "sign-ins refused because too many wait"} {
		report(what, "-", "/s", figures[what])
	}
	return nil
}

// signInFigures are the results of all rounds, by what they are of.
type signInFigures map[string][]float64

// measure adds the figures of one round.
func (f signInFigures) measure(puts *openLoop, people *signInLoad) error {
	alone, err := puts.run()
	if err != nil {
		return err
	}
	beside, err := people.during(puts.run)
	if err != nil {
		return err
	}
	f.add("PUT alone", alone)
	f.add("PUT while people sign in", beside)
	f.add("sign-in", people.took)
	for what, n := range map[string]int{"sign-ins made": len(people.took), "sign-ins refused because too many wait": people.refused} {
		f[what] = append(f[what], float64(n)/puts.duration.Seconds())
	}
	return nil
}

// add adds the percentiles of some durations.
func (f signInFigures) add(what string, took []time.Duration) {
	slices.Sort(took)
	for name, percentile := range map[string]float64{"p50": .5, "p99": .99} {
		f[what+", "+name] = append(f[what+", "+name], at(took, percentile).Seconds()*1000)
	}
}

// during runs something while people sign in.
func (l *signInLoad) during(run func() ([]time.Duration, error)) (took []time.Duration, err error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()
	took, err = run()
	stop()
	return took, cmp.Or(<-ended, err)
}

// A signInLoad has people who sign in over and over.
type signInLoad struct {
	address string
	people  []presence.UserID // user i has the e-mail address of createUsers

	mu      sync.Mutex // guards the fields below
	took    []time.Duration
	refused int
}

// setPasswords gives each person a link and uses it.
func (l *signInLoad) setPasswords(token string) error {
	client := timingClient{url: "http://" + l.address, token: token}
	for _, id := range l.people {
		status, answer, _, err := client.do(http.MethodPost, "/v1/users/"+string(id)+"/password-reset", "")
		if err != nil {
			return err
		}
		var link struct{ URL string }
		if err := json.Unmarshal(answer, &link); err != nil || status != http.StatusCreated {
			return fmt.Errorf("a link: %d %s", status, answer)
		}
		_, secret, _ := strings.Cut(link.URL, "#")
		status, answer, _, err = client.do(http.MethodPost, "/v1/invitations/accept", fmt.Sprintf(`{"secret":%q,"password":%q}`, secret, signInSecret))
		if err != nil {
			return err
		}
		if status >= http.StatusBadRequest {
			return fmt.Errorf("a password: %d %s", status, answer)
		}
	}
	return nil
}

// run lets people sign in at a constant rate until ctx is done.
func (l *signInLoad) run(ctx context.Context) error {
	l.took, l.refused = nil, 0
	begun := time.Now()
	var next atomic.Int64
	failures := make(chan error, len(l.people))
	for i := range l.people {
		go func() {
			client := clientFrom(net.IPv4(127, 0, byte(1+i/250), byte(1+i%250)))
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				due := begun.Add(time.Duration(next.Add(1)-1) * time.Second / signInRate)
				select {
				case <-ctx.Done():
				case <-time.After(time.Until(due)):
					if err := l.signIn(client, i, due); err != nil {
						failures <- err
						return
					}
				}
			}
			failures <- nil
		}()
	}
	var failure error
	for range l.people {
		if err := <-failures; err != nil {
			failure = err
		}
	}
	return failure
}

// clientFrom connects from an address of its own, because the server counts failed
// attempts by address.
func clientFrom(address net.IP) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: address}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
}

func (l *signInLoad) signIn(client *http.Client, person int, due time.Time) error {
	body := fmt.Sprintf(`{"email":"user%d@example.com","password":%q}`, person, signInSecret)
	response, err := client.Post("http://"+l.address+"/v1/sign-ins", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch response.StatusCode {
	case http.StatusOK, http.StatusCreated:
		l.took = append(l.took, time.Since(due))
	case http.StatusServiceUnavailable:
		l.refused++
	default:
		return fmt.Errorf("a sign-in: %d %s", response.StatusCode, answer)
	}
	return err
}
