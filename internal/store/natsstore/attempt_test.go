package natsstore_test

import (
	"errors"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
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
