package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"porchlight.dev/porchlight/internal/leveltest"
)

// TestPageTransfer logs how much each page transfers on the first and on the second visit:
// bytes and requests. TestBoardWeighsLittle has the bound of the board.
func TestPageTransfer(t *testing.T) {
	d := startDemo(t)
	tab := d.browseAsAdministrator(t)
	counted := watchTransfer(t, tab)
	load := func(f face) (bytes, requests int) {
		t.Helper()
		bytesBefore, requestsBefore, _ := counted.totals()
		visit(t, tab, f, "light", 1280)
		bytes, requests, _ = counted.totals()
		return bytes - bytesBefore, requests - requestsBefore
	}
	for _, f := range d.faces(t) {
		do(t, tab, chromedp.Navigate("about:blank"))
		if _, err := chromedp.Call(tab, network.ClearBrowserCache, cdp.Empty{}); err != nil {
			t.Fatal(err)
		}
		first, requests := load(f)
		second, again := load(f)
		t.Logf("| %s | %.1f | %d | %.1f | %d |", f.name, float64(first)/1024, requests, float64(second)/1024, again)
		if first == 0 || second >= first {
			t.Errorf("%s: %d bytes, and %d with a cache", f.name, first, second)
		}
	}
}

// paint is the time at which the browser has drawn a user of the board with a status, as
// milliseconds since 1970.
const paint = `window.painted = new Promise((done) => {
	const shown = () => %s?.dataset.status === %q;
	const observer = new MutationObserver(() => {
		if (!shown()) return;
		observer.disconnect();
		requestAnimationFrame(() => { // a task that starts after the frame
			const { port1, port2 } = new MessageChannel();
			port1.onmessage = () => done(performance.timeOrigin + performance.now());
			port2.postMessage(0);
		});
	});
	observer.observe(document.body, {subtree: true, childList: true, attributes: true});
}), true`

// TestTimeToPaint logs how long it takes from the request of a change until another browser
// has drawn it. The time includes the request and the commit.
func TestTimeToPaint(t *testing.T) {
	d := startDemo(t)
	board := browse(t)
	openBoard(t, board, d, "", d.AccessToken)
	statuses := []string{"busy", "away", "do_not_disturb", "out_of_office"}
	var took []time.Duration
	for i := range leveltest.Count(t, "changes that another browser draws", 20, 100, 100) {
		u, status := d.signedIn(t, i%3), statuses[i/3%len(statuses)]
		evaluate(t, board, fmt.Sprintf(paint, person(u), status))
		began := time.Now()
		d.claim(t, u, status)
		painted, err := chromedp.Run(board, chromedp.Evaluate[float64]("window.painted", chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.UnixMicro(int64(painted*1000)).Sub(began))
	}
	slices.Sort(took)
	logTimes(t, "from the request to the paint", took)
}

func (d *demo) claim(t *testing.T, u user, status string) {
	t.Helper()
	d.ask(t, http.MethodPut, "/v1/users/"+u.ID+"/claims/manual", `{"source":"manual","status":"`+status+`"}`)
}

// TestMemoryOfBoard logs what a tab with the board holds before and after a load of 50
// changes a second, after a collection of garbage: it does not grow with what has passed.
func TestMemoryOfBoard(t *testing.T) {
	const people = 10     // who are signed in, so that each change is shown
	const most = 24 << 20 // bytes more: a collection leaves up to 8 MiB that the next one finds
	d := startDemo(t)
	board := browse(t)
	openBoard(t, board, d, "", d.AccessToken)
	change := time.NewTicker(20 * time.Millisecond)
	defer change.Stop()
	statuses := []string{"busy", "away", "do_not_disturb", "out_of_office"}
	load := func(changes int) (heap, nodes float64) {
		var u user
		for i := range changes {
			<-change.C
			u = d.signedIn(t, i%people)
			d.claim(t, u, statuses[i/people%len(statuses)])
		}
		waitForLine(t, board, u, statuses[(changes-1)/people%len(statuses)])
		return memory(t, board)
	}
	heap, nodes := load(500)
	seconds := leveltest.Count(t, "seconds of 50 changes a second on a board", 5, 180, 600)
	after, nodesAfter := load(seconds * 50)
	t.Logf("%d changes: heap %.2f MiB before, %.2f MiB after; %.0f and %.0f nodes", seconds*50, heap/(1<<20), after/(1<<20), nodes, nodesAfter)
	if after-heap > most {
		t.Errorf("the heap has grown by %.0f bytes", after-heap)
	}
}

// memory collects garbage, and returns the size of the heap of scripts and the number of nodes.
func memory(t *testing.T, tab context.Context) (heap, nodes float64) {
	t.Helper()
	_, err := chromedp.Call(tab, heapprofiler.CollectGarbage, cdp.Empty{})
	if err == nil {
		_, err = chromedp.Call(tab, performance.Enable, performance.EnableParams{})
	}
	if err != nil {
		t.Fatal(err)
	}
	result, err := chromedp.Call(tab, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	for _, metric := range result.Metrics {
		switch metric.Name {
		case "JSHeapUsedSize":
			heap = metric.Value
		case "Nodes":
			nodes = metric.Value
		}
	}
	return heap, nodes
}
