package httpapi_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/quota"
)

// BenchmarkReadBesideLargeQueries measures single reads while another user makes large
// queries: once all concurrently, and once in turns, as the server runs them. The
// result is the ratio of the two within one run.
func BenchmarkReadBesideLargeQueries(b *testing.B) {
	w := newWorld(b)
	large, err := json.Marshal(api.PresenceQuery{Users: w.recordUsers(api.MaxQueryUsers)})
	w.must(err)
	srv := httptest.NewServer(w.router)
	defer srv.Close()
	load := &besideLoad{client: srv.Client(), url: srv.URL, body: string(large), reader: w.token(w.alice.ID, "presence:read"), asker: w.token(w.bob.ID, "presence:read")}
	var atOnce, inTurn []float64
	var queries [2]int64
	for b.Loop() {
		w.api.Reads = nil
		p99, n := load.measure(b)
		atOnce, queries[0] = append(atOnce, p99), queries[0]+n
		w.api.Reads = quota.NewTurns((runtime.GOMAXPROCS(0)+1)/2, &quota.Limit{Name: "waiting-reads"})
		p99, n = load.measure(b)
		inTurn, queries[1] = append(inTurn, p99), queries[1]+n
	}
	slices.Sort(atOnce)
	slices.Sort(inTurn)
	b.ReportMetric(atOnce[len(atOnce)/2], "p99-ms-at-once")
	b.ReportMetric(inTurn[len(inTurn)/2], "p99-ms-in-turn")
	b.ReportMetric(inTurn[len(inTurn)/2]/atOnce[len(atOnce)/2], "p99-ratio")
	b.ReportMetric(float64(queries[1])/float64(queries[0]), "queries-ratio")
}

// A besideLoad is many large queries of one user, and single reads of another user.
type besideLoad struct {
	client                   *http.Client
	url, body, reader, asker string
}

const (
	besideQueries = 32 // concurrent
	besideLasts   = 2 * time.Second
)

// measure returns the 99th percentile of reads in ms, and the number of queries that
// were answered meanwhile.
func (l *besideLoad) measure(b *testing.B) (p99 float64, queries int64) {
	b.Helper()
	var answered atomic.Int64
	var stop atomic.Bool
	var asking sync.WaitGroup
	for range besideQueries {
		asking.Go(func() {
			for !stop.Load() {
				l.ask(b, http.MethodPost, "/v1/presence/query", l.asker, l.body)
				answered.Add(1)
			}
		})
	}
	var took []time.Duration
	for began := time.Now(); time.Since(began) < besideLasts; {
		from := time.Now()
		l.ask(b, http.MethodGet, "/v1/users/me/presence", l.reader, "")
		took = append(took, time.Since(from))
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	asking.Wait()
	slices.Sort(took)
	return took[len(took)*99/100].Seconds() * 1000, answered.Load()
}

func (l *besideLoad) ask(b *testing.B, method, path, token, body string) {
	r, err := http.NewRequestWithContext(b.Context(), method, l.url+path, strings.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := l.client.Do(r)
	if err != nil {
		b.Error(err)
		return
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		b.Errorf("%s: %d, %v", path, resp.StatusCode, err)
	}
}
