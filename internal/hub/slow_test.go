package hub_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
)

// A slowSink is a connection of which the system keeps nothing, and whose reader takes
// some bytes a second.
type slowSink struct {
	countingSink
	rate int
}

func (s *slowSink) Append(b []byte, d hub.Delivery) []byte {
	return append(b, make([]byte, d.Event.Size())...)
}

func (*slowSink) TryWrite([]byte) (int, error) { return 0, nil }

func (s *slowSink) Write(b []byte, pace *hub.Pace) error {
	for len(b) > 0 {
		n, by := pace.Next(len(b))
		takes := time.Duration(n) * time.Second / time.Duration(s.rate)
		time.Sleep(min(takes, time.Until(by)))
		if takes > 0 && !time.Now().Before(by) {
			return errBlocked
		}
		pace.Took(n)
		b = b[n:]
		s.mu.Lock()
		s.bytes += n
		s.mu.Unlock()
	}
	return nil
}

// TestSlowConsumersAreDisconnected: a reader has ten seconds from the first write that was refused
// to take what waits, or 256 KiB of it. What it takes meanwhile, if it is less, does
// not prolong that.
func TestSlowConsumersAreDisconnected(t *testing.T) {
	for _, test := range []struct {
		name  string
		rate  int // what the reader takes a second
		frame int // bytes of what it is sent ten times a second
		whole int // bytes of what it was sent at first
		slow  bool
	}{
		{name: "a byte a second", rate: 1, frame: 1000, slow: true},
		{name: "less than it is sent", rate: 20_000, frame: 3000, slow: true},
		{name: "less than it is sent, and enough", rate: 30_000, frame: 4000},
		{name: "what it is sent", rate: 20_000, frame: 1900},
		{name: "a large answer", rate: 30_000, whole: 1_000_000},
		{name: "a large answer, too slowly", rate: 20_000, whole: 1_000_000, slow: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			sweepBubble(t, func(t *testing.T, h *hub.Hub) {
				sink := &slowSink{rate: test.rate}
				s, err := h.Open(t.Context(), "a", "", trustedViewer{}, sink)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if test.whole > 0 {
					s.Send(hub.Message{Event: sizedEvent(test.whole)})
				}
				for range 600 {
					if test.frame > 0 {
						s.Send(hub.Message{Event: sizedEvent(test.frame)})
					}
					time.Sleep(100 * time.Millisecond)
					if s.Ended() {
						break
					}
				}
				_, ended, why := sink.state()
				if ended != test.slow || ended && why != hub.CloseSlow {
					t.Errorf("ended %v (%v) after %v and %d bytes, want %v", ended, why, time.Since(began), sink.bytes, test.slow)
				}
				if took := time.Since(began); ended && (took < hub.SlowAfter || took > hub.SlowAfter+time.Second) {
					t.Errorf("it was given up after %v", took)
				}
				s.End(hub.CloseGone, 0)
				time.Sleep(2 * hub.SlowAfter) // the sink does not end what it writes
			})
		})
	}
}

// A heldSink takes nothing until it is released, and keeps how much it was given at
// once.
type gatedSink struct {
	countingSink
	released chan struct{}
	largest  int
}

func (h *gatedSink) Append(b []byte, d hub.Delivery) []byte {
	return append(b, make([]byte, d.Event.Size())...)
}

func (*gatedSink) TryWrite([]byte) (int, error) { return 0, nil }

func (h *gatedSink) Write(b []byte, _ *hub.Pace) error {
	<-h.released
	h.mu.Lock()
	defer h.mu.Unlock()
	h.largest = max(h.largest, len(b))
	h.bytes += len(b)
	return nil
}

// TestTheQueueIsBounded: a client that asks and does not read is not answered more
// than a little ahead, and what waits is encoded a part at a time.
func TestTheQueueIsBounded(t *testing.T) {
	const each, most = 10 << 10, 74 << 10 // 64 KiB and one frame
	sweepBubble(t, func(t *testing.T, h *hub.Hub) {
		sink := &gatedSink{released: make(chan struct{})}
		s, err := h.Open(t.Context(), "a", "", trustedViewer{}, sink)
		if err != nil {
			t.Fatal(err)
		}
		var answers atomic.Int64
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			for range 100 {
				if !s.AwaitCapacity() {
					t.Error("the stream has ended")
				}
				s.Send(hub.Message{Event: sizedEvent(each)})
				answers.Add(1)
			}
		}()
		synctest.Wait()
		if n := answers.Load(); n < 20 || n > 30 {
			t.Errorf("%d answers wait", n)
		}
		close(sink.released)
		<-asked
		synctest.Wait()
		if sink.bytes != 100*each || sink.largest > most {
			t.Errorf("%d bytes came, at most %d at once", sink.bytes, sink.largest)
		}
		s.End(hub.CloseGone, 0)
	})
}

// TestAwaitCapacityEnds: with the stream.
func TestAwaitCapacityEnds(t *testing.T) {
	sweepBubble(t, func(t *testing.T, h *hub.Hub) {
		sink := &gatedSink{released: make(chan struct{})}
		s, err := h.Open(t.Context(), "a", "", trustedViewer{}, sink)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // one is being written
			s.Send(hub.Message{Event: sizedEvent(300 << 10)})
		}
		ended := make(chan bool)
		go func() { ended <- s.AwaitCapacity() }()
		synctest.Wait()
		s.End(hub.CloseGone, 0)
		if <-ended {
			t.Error("there is room in a stream that has ended")
		}
		close(sink.released)
	})
}
