package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestSetupPage: the first start of a server leads to a page that makes the account, shows a
// line for curl that works, and lets the owner choose a password and see the board.
func TestSetupPage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	serve := exec.CommandContext(ctx, binary, "serve", "--data-dir", t.TempDir()+"/data", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--json")
	serve.Cancel = func() error { return serve.Process.Signal(syscall.SIGINT) }
	serve.WaitDelay = time.Minute
	output, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = serve.Wait() // it was interrupted
	}()
	var told struct {
		URL  string `json:"setup_url"`
		Code string `json:"setup_code"`
	}
	lines := bufio.NewReader(output)
	line, err := lines.ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &told)
	}
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()

	tab := browse(t)
	do(t, tab, chromedp.Navigate(told.URL))
	retype(t, tab, "#code", "AAAA-AAAA-AAAA")
	retype(t, tab, "#account", "Example Ltd")
	retype(t, tab, "#name", "Ada Okafor")
	retype(t, tab, "#email", "ada@example.com")
	click(t, tab, "#setup button")
	wait(t, tab, `document.querySelector("#problem").textContent.includes("code")`)
	retype(t, tab, "#code", strings.ToLower(told.Code))
	screenshot(t, tab, "setup.png")
	click(t, tab, "#setup button")
	wait(t, tab, `document.querySelector("#choose-password")?.href`)
	screenshot(t, tab, "setup-done.png")
	curl := text(t, tab, "#curl")
	if output, err := exec.CommandContext(ctx, "bash", "-c", curl).CombinedOutput(); err != nil || !strings.Contains(string(output), `"status":"Offline"`) {
		t.Errorf("%s: %v\n%s", curl, err, output)
	}

	click(t, tab, "#choose-password")
	arrive(t, tab, `document.querySelector("#choose")`)
	retype(t, tab, "#password", "correct horse battery")
	retype(t, tab, "#again", "correct horse battery")
	click(t, tab, "#choose button")
	arrive(t, tab, `location.pathname === "/" && document.querySelector("#who")?.textContent === "Ada Okafor"`)
}
