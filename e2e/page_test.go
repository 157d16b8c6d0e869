package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPagesDetectDeadServer: /me and the EventSource example of docs/streaming.md stay
// connected while their server is alive, and otherwise reconnect, each time with a new
// ticket. An answer that is cut short is an error.
func TestPagesDetectDeadServer(t *testing.T) {
	stream := filepath.Join(t.TempDir(), "stream.mjs") // node treats .js as CommonJS
	if err := os.WriteFile(stream, []byte(read(t, "sdk/javascript/client.js")), 0o600); err != nil {
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
	var result struct {
		Me struct {
			Idle    string
			Seconds int
		}
		Answers struct{ Cut, Empty, List string }
		Example struct {
			AfterLoss, AfterSilence, AfterClose string
			WhilePinged, Early, Opened          int
			Applied                             []string
		}
	}
	if err := json.Unmarshal([]byte(output), &result); err != nil {
		t.Fatalf("page.mjs printed %q: %v", output, err)
	}
	if result.Me.Idle != "connected" || result.Me.Seconds > 35 {
		t.Errorf("/me is %s after ten minutes without events, and detects the dead server after %d seconds", result.Me.Idle, result.Me.Seconds)
	}
	if a := result.Answers; a.Cut != "SyntaxError" || a.Empty != "{}" || a.List != "SyntaxError" {
		t.Errorf("answers that are cut short are taken for %+v", a)
	}
	e := result.Example
	for i, asked := range []string{e.AfterLoss, e.AfterSilence, e.AfterClose} {
		if !strings.Contains(asked, "cursor=c1") || strings.Count(strings.Join([]string{e.AfterLoss, e.AfterSilence, e.AfterClose}, " "), asked) != 1 {
			t.Errorf("connection %d requests %s, without a cursor or with a used ticket", i+1, asked)
		}
	}
	if e.WhilePinged != 2 || e.Early != 3 || e.Opened != 4 {
		t.Errorf("streams were opened at the wrong times: %+v", e)
	}
	if !slices.Contains(e.Applied, "snapshot") {
		t.Errorf("applied %v", e.Applied)
	}
}

// TestSavedTables: no cell of a table that a page saves is a formula, by the rule of the
// server's exports.
func TestSavedTables(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"package.json": `{"type":"module"}`}
	for _, file := range []string{"internal/ui/assets/download.js", "internal/ui/assets/session.js", "sdk/javascript/client.js"} {
		files[filepath.Base(file)] = read(t, file)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	output, err := run(t, []string{"DOWNLOAD=" + filepath.Join(dir, "download.js")}, "node", "--no-warnings", "tables.mjs")
	if err != nil {
		t.Fatalf("tables.mjs: %v\n%s", err, output)
	}
	if want := "'=1,'+1,'-1,'@1,'＝1,' =1,''=1,'plain,1\r\n"; strings.TrimSpace(output) != strings.TrimSpace(want) {
		t.Errorf("saved %q, want %q", output, want)
	}
}
