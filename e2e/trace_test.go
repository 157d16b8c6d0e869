package e2e_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
)

// transfer counts what a tab loads: responses with their headers, as they are transferred,
// and the messages of its WebSockets. What the browser has in its cache is not transferred.
type transfer struct {
	mu                        sync.Mutex
	bytes, requests, messages int
}

func watchTransfer(t *testing.T, tab context.Context) *transfer {
	t.Helper()
	seen := new(transfer)
	err := chromedp.Listen(tab, func(event any) {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		switch e := event.(type) {
		case *network.EventLoadingFinished:
			if e.EncodedDataLength > 0 {
				seen.requests++
			}
			seen.bytes += int(e.EncodedDataLength)
		case *network.EventWebSocketFrameReceived:
			seen.messages++
			seen.bytes += len(e.Response.PayloadData)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(tab, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	return seen
}

func (seen *transfer) totals() (bytes, requests, messages int) {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	return seen.bytes, seen.requests, seen.messages
}

// A traceEvent is an event of the browser's trace. Times are in µs.
type traceEvent struct {
	Name     string
	Pid, Tid int
	Start    float64 `json:"ts"`
	Tdur     float64 // of the processor
}

// frames runs a step and returns the times between the frames that the tab drew meanwhile,
// and the processor times of the tasks of the page, both in order of length.
func frames(t *testing.T, tab context.Context, step func()) (between, tasks []time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var events []traceEvent
	complete := make(chan struct{})
	listening, stop := context.WithCancel(tab)
	defer stop()
	err := chromedp.Listen(listening, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *tracing.EventDataCollected:
			for _, value := range e.Value {
				var found traceEvent
				if json.Unmarshal(value, &found) == nil {
					events = append(events, found)
				}
			}
		case *tracing.EventTracingComplete:
			close(complete)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	config := &tracing.TraceConfig{IncludedCategories: []string{"devtools.timeline", "disabled-by-default-devtools.timeline", "disabled-by-default-devtools.timeline.frame"}}
	if _, err := chromedp.Call(tab, tracing.Start, tracing.StartParams{TraceConfig: config}); err != nil {
		t.Fatal(err)
	}
	step()
	if _, err := chromedp.Call(tab, tracing.End, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	<-complete
	return analyse(events)
}

// analyse finds the page's thread by its animation frames.
func analyse(events []traceEvent) (between, tasks []time.Duration) {
	var drawn []float64
	page := make(map[[2]int]bool)
	for _, e := range events {
		switch e.Name {
		case "DrawFrame":
			drawn = append(drawn, e.Start)
		case "FireAnimationFrame":
			page[[2]int{e.Pid, e.Tid}] = true
		}
	}
	for _, e := range events {
		if e.Name == "RunTask" && page[[2]int{e.Pid, e.Tid}] {
			tasks = append(tasks, time.Duration(e.Tdur*1_000))
		}
	}
	slices.Sort(drawn)
	for i := 1; i < len(drawn); i++ {
		between = append(between, time.Duration((drawn[i]-drawn[i-1])*1_000))
	}
	slices.Sort(between)
	slices.Sort(tasks)
	return between, tasks
}

// logTimes logs how long most, nearly all and the worst were. They depend on the machine, so
// nothing fails because of them.
func logTimes(t *testing.T, what string, sorted []time.Duration) {
	t.Helper()
	if len(sorted) == 0 {
		t.Fatalf("%s: none", what)
	}
	at := func(part float64) time.Duration {
		return sorted[int(part*float64(len(sorted)-1))].Round(10 * time.Microsecond)
	}
	t.Logf("%s: %d, p50 %v, p99 %v, worst %v", what, len(sorted), at(.5), at(.99), at(1))
}
