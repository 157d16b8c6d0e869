package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPagesNoticeADeadServer: /me and the EventSource of docs/streaming.md see that
// their server is alive for as long as it is, and come back otherwise, each time with
// a ticket of its own.
func TestPagesNoticeADeadServer(t *testing.T) {
	stream := filepath.Join(t.TempDir(), "stream.mjs") // node takes .js for something else
	if err := os.WriteFile(stream, []byte(read(t, "internal/ui/stream.js")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(read(t, "docs/streaming.md"), "```js\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/streaming.md has no example")
	}
	output, err := run(t, []string{"STREAM=" + stream, "EXAMPLE=" + example}, "node", "--no-warnings", "page.mjs")
	if err != nil {
		t.Fatalf("page.mjs: %v\n%s", err, output)
	}
	var saw struct {
		Me struct {
			Idle    string
			Seconds int
		}
		Example struct {
			AfterLoss, AfterSilence, AfterClose string
			WhilePinged, Early, Opened          int
			Applied                             []string
		}
	}
	if err := json.Unmarshal([]byte(output), &saw); err != nil {
		t.Fatalf("page.mjs printed %q: %v", output, err)
	}
	if saw.Me.Idle != "connected" || saw.Me.Seconds > 35 {
		t.Errorf("/me is %s after ten quiet minutes, and notices after %d seconds", saw.Me.Idle, saw.Me.Seconds)
	}
	e := saw.Example
	for i, asked := range []string{e.AfterLoss, e.AfterSilence, e.AfterClose} {
		if !strings.Contains(asked, "cursor=c1") || strings.Count(strings.Join([]string{e.AfterLoss, e.AfterSilence, e.AfterClose}, " "), asked) != 1 {
			t.Errorf("connection %d asks for %s, which has no cursor or a used ticket", i+1, asked)
		}
	}
	if e.WhilePinged != 2 || e.Early != 3 || e.Opened != 4 {
		t.Errorf("streams were opened at the wrong times: %+v", e)
	}
	if !slices.Contains(e.Applied, "snapshot") {
		t.Errorf("applied %v", e.Applied)
	}
}
