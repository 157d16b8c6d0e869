package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/api"
)

// TestListen: a listener reconnects when the connection is lost, or when the server sends
// nothing, not even a ping. It stops when the subscription has ended.
func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		var got []string
		var states []bool
		ended := make(chan error, 1)
		c := f.client(StaticToken("t"))
		go func() {
			ended <- c.Listen(t.Context(), "s1", ListenOptions{
				OnEvent: func(_ context.Context, e *api.EventFrame) error {
					got = append(got, e.ID+" "+e.Event+" "+e.Headers["webhook-id"]+" "+e.Body)
					return nil
				},
				OnState: func(s State) { states = append(states, s.Connected) },
			})
		}()
		s := f.open()
		s.send(`{"type":"event","id":"a","event_type":"ping","headers":{"webhook-id":"a"},"body":"{}"}`)
		s.send(`{"type":"of a newer server"}`)
		synctest.Wait()
		s.dropConn()
		s = f.open()
		began := time.Now()
		s.keepReading()
		next := f.open() // without a sign of life from the server
		if silent := time.Since(began); silent < silence || silent > silence+longest {
			t.Errorf("reconnected after %v", silent)
		}
		next.send(`{"type":"event","id":"b","event_type":"gap","headers":{},"body":"{}"}`)
		next.close(api.CloseEnded, `{"reason":"ended"}`)
		closed, ok := errors.AsType[*ClosedError](<-ended)
		if !ok || closed.Code != api.CloseEnded {
			t.Errorf("ended with %v", closed)
		}
		if want := []string{"a ping a {}", "b gap  {}"}; !slices.Equal(got, want) {
			t.Errorf("received %q, want %q", got, want)
		}
		if want := []bool{true, false, true, false, true}; !slices.Equal(states, want) {
			t.Errorf("states %v, want %v", states, want)
		}
		close(s.done)
	})
}

// TestListenHandlerFails: an error of OnEvent ends the call.
func TestListenHandlerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		failure := errors.New("cannot store it")
		ended := make(chan error, 1)
		c := f.client(StaticToken("t"))
		go func() {
			ended <- c.Listen(t.Context(), "s1", ListenOptions{OnEvent: func(context.Context, *api.EventFrame) error { return failure }})
		}()
		s := f.open()
		s.send(`{"type":"event","id":"a","event_type":"ping","headers":{},"body":"{}"}`)
		if err := <-ended; !errors.Is(err, failure) {
			t.Errorf("ended with %v", err)
		}
		s.dropConn()
	})
}
