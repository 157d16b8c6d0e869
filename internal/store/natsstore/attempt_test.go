package natsstore_test

import (
	"errors"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// TestLastLook: before a write without an answer is said to be unknown, the servers
// are asked once more whether it was made.
func TestLastLook(t *testing.T) {
	t.Parallel()
	s, p := openThroughProxy(t, startServers(t, 1), 200*time.Millisecond)
	defer closed(t, s)
	p.deaf.Store(true)
	defer p.hear()
	for name, c := range map[string]struct {
		made bool
		err  error
		want error
	}{
		"made":             {made: true},
		"not there yet":    {want: store.ErrUnknown},
		"not to be learnt": {err: errors.New("no answer"), want: store.ErrUnknown},
	} {
		looks := 0
		err := s.Apply(t.Context(), func() (bool, error) { looks++; return c.made, c.err })
		if !errors.Is(err, c.want) || looks == 0 {
			t.Errorf("%s: %v after %d looks, want %v", name, err, looks, c.want)
		}
	}
}

// TestClosedBeforeTheAnswer: what was sent on a connection that was closed then may
// have been made. The store fails, since nobody asked for that, and does not wait.
func TestClosedBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s, p := openThroughProxy(t, servers, 10*patience)
	defer closed(t, s)
	a := servers.admin(t)
	before := a.messages("porchlight-state")
	p.deaf.Store(true)
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
