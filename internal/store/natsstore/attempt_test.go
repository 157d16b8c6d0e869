package natsstore_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestLastLook: the outcome of a write whose acknowledgement was lost is checked once
// more before the write is reported as unknown.
func TestLastLook(t *testing.T) {
	t.Parallel()
	s, p := openThroughProxy(t, startServers(t, 1), 3*time.Second)
	defer closeStore(t, s)
	for name, c := range map[string]struct {
		made bool
		err  error
		want error
	}{
		"made":          {made: true},
		"not there yet": {want: store.ErrUnknown},
		"check fails":   {err: errors.New("no answer"), want: store.ErrUnknown},
	} {
		p.dropResponses.Store(true)
		checks := 0
		err := s.Apply(t.Context(), func() (bool, error) { checks++; return c.made, c.err })
		if !errors.Is(err, c.want) || checks == 0 {
			t.Errorf("%s: %v after %d checks of the outcome, want %v", name, err, checks, c.want)
		}
		// The next one needs a new connection: one on which nothing arrives soon counts as lost.
		before := s.Stats().Reconnects
		p.restore()
		waitFor(t, "another connection", func() bool { return s.Stats().Reconnects > before && s.Stats().Connected })
	}
	if got := s.Stats(); got.Unknown != 2 || got.Retries.Unanswered == 0 {
		t.Errorf("counted %d unknown outcomes and %+v", got.Unknown, got.Retries)
	}
}

// TestClosedBeforeTheAnswer: a write on a connection that closes permanently may have
// been stored, so its result is unknown. The store fails at once.
func TestClosedBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, 10*storeTimeout)
	defer closeStore(t, s)
	a := servers.admin(t)
	before := a.messages("porchlight-state")
	p.dropResponses.Store(true)
	result := make(chan error, 1)
	go func() {
		result <- s.Apply(t.Context(), func() (bool, error) { return false, errors.New("no connection") })
	}()
	waitFor(t, "the write", func() bool { return a.messages("porchlight-state") > before })
	s.Disconnect()
	for what, end := range map[string]func() bool{
		"an error": func() bool { return len(result) > 0 },
		"the end of the store": func() bool {
			return errors.Is(s.Check(t.Context()), store.ErrFailed)
		},
	} {
		waitFor(t, what, end)
	}
	if err := <-result; !errors.Is(err, store.ErrUnknown) {
		t.Errorf("%v, want ErrUnknown", err)
	}
}

// TestManyWithoutAnswers: while the servers do not respond, updates fail as fast as one,
// however many there are: those that set timers, whose batches are limited, and those of one
// user. They waited for each other's timeouts: 400 took two minutes.
func TestManyWithoutAnswers(t *testing.T) {
	t.Parallel()
	const users, ofOne = 400, 40
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, time.Second)
	defer closeStore(t, s)
	outOfOffice := func(lasts time.Duration) (failed int64) {
		var group sync.WaitGroup
		var failures atomic.Int64
		note := func(_ store.Record, err error) {
			defer group.Done()
			if err != nil {
				failures.Add(1)
			}
		}
		decide := storetest.UpdateFunc(store.By{}, edit(outFor(lasts)))
		group.Add(users + 2*ofOne)
		for i := range users {
			go func() { note(s.Update(context.Background(), userNumber(i), decide)) }()
		}
		for range ofOne {
			go func() { note(s.Update(context.Background(), userNumber(users), decide)) }()
			s.Begin(userNumber(users+1), decide, note)
		}
		group.Wait()
		return failures.Load()
	}
	waitFor(t, "the records", func() bool { return outOfOffice(2*time.Hour) == 0 })
	p.dropResponses.Store(true)
	began := time.Now()
	failed := outOfOffice(time.Hour) // each needs an earlier timer
	if took := time.Since(began); failed != users+2*ofOne || took > time.Minute {
		t.Errorf("%d of %d updates failed, the last after %v", failed, users+2*ofOne, took)
	} else {
		t.Logf("the last update failed after %v", took)
	}
	p.restore()
	waitFor(t, "updates afterwards", func() bool { return outOfOffice(30*time.Minute) == 0 })
}
