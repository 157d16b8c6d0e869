package hub_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
)

// A slowSink is an unbuffered connection whose reader accepts a fixed number of bytes a
// second.
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
		pace.NoteAccepted(n)
		b = b[n:]
		s.mu.Lock()
		s.bytes += n
		s.mu.Unlock()
	}
	return nil
}

// TestSlowConsumersAreDisconnected: from the first refused write on, a reader has ten
// seconds to accept everything queued, or 256 KiB of it. Accepting less does not extend
// the deadline.
func TestSlowConsumersAreDisconnected(t *testing.T) {
	for _, test := range []struct {
		name  string
		rate  int // bytes that the reader accepts a second
		frame int // bytes sent ten times a second
		whole int // bytes sent at first
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
					t.Errorf("it was disconnected after %v", took)
				}
				s.End(hub.CloseGone, 0)
				time.Sleep(2 * hub.SlowAfter) // the sink does not interrupt its writes
			})
		})
	}
}

// A gatedSink accepts nothing until it is released, and records its largest write.
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

// TestQueueIsBounded: a client that sends requests and does not read gets few answers
// ahead, and its queue is encoded in parts.
func TestQueueIsBounded(t *testing.T) {
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
			t.Errorf("%d answers are queued", n)
		}
		close(sink.released)
		<-asked
		synctest.Wait()
		if sink.bytes != 100*each || sink.largest > most {
			t.Errorf("%d bytes written, at most %d at once", sink.bytes, sink.largest)
		}
		s.End(hub.CloseGone, 0)
	})
}

// TestAwaitCapacityEnds: AwaitCapacity returns false when the stream ends.
func TestAwaitCapacityEnds(t *testing.T) {
	sweepBubble(t, func(t *testing.T, h *hub.Hub) {
		sink := &gatedSink{released: make(chan struct{})}
		s, err := h.Open(t.Context(), "a", "", trustedViewer{}, sink)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the first is being written
			s.Send(hub.Message{Event: sizedEvent(300 << 10)})
		}
		ended := make(chan bool)
		go func() { ended <- s.AwaitCapacity() }()
		synctest.Wait()
		s.End(hub.CloseGone, 0)
		if <-ended {
			t.Error("AwaitCapacity is true for a stream that has ended")
		}
		close(sink.released)
	})
}
