package server

import (
	"errors"
	"net"
	"testing"
)

// TestPlanDescriptors: connections and the store fit into what there is.
func TestPlanDescriptors(t *testing.T) {
	for _, c := range []struct {
		limit uint64
		asked int
		want  descriptorPlan
	}{
		{limit: 0, want: descriptorPlan{1<<20 - 1096, 1000}},
		{limit: 65536, want: descriptorPlan{65536 - 1096, 1000}},
		{limit: 1024, want: descriptorPlan{512, 416}},
		{limit: 256, want: descriptorPlan{96, 64}},
		{limit: 256, asked: 10, want: descriptorPlan{10, 64}},
		{limit: 256, asked: 1000, want: descriptorPlan{96, 64}},
		{limit: 100, want: descriptorPlan{1, 64}},
	} {
		if got := planDescriptors(c.limit, c.asked); got != c.want {
			t.Errorf("planDescriptors(%d, %d) = %+v, want %+v", c.limit, c.asked, got, c.want)
		}
	}
}

// TestLimitConnections: one more connection than there is room for waits until
// another is closed, and a listener that is closed waits for nothing.
func TestLimitConnections(t *testing.T) {
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 2)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 4 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	if n := len(l.slots); n != 2 {
		t.Errorf("%d connections are counted, want 2", n)
	}
	select {
	case <-accepted:
		t.Fatal("a third connection was accepted")
	default:
	}
	if err := errors.Join(first.Close(), first.Close()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing twice: %v", err)
	}
	third := <-accepted
	select {
	case <-accepted:
		t.Fatal("a connection that was closed twice made room for two")
	default:
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v", err)
	}
	if err := errors.Join(second.Close(), third.Close()); err != nil {
		t.Error(err)
	}
}
