package e2e_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestSetupPage: the first start of a server leads to a page that makes the account, shows a
// line for curl that works, and lets the owner choose a password and see the board.
func TestSetupPage(t *testing.T) {
	address, code := startSetup(t)
	tab := browse(t)
	do(t, tab, chromedp.Navigate(address))
	retype(t, tab, "#code", "AAAA-AAAA-AAAA")
	retype(t, tab, "#account", "Example Ltd")
	retype(t, tab, "#name", "Ada Okafor")
	retype(t, tab, "#email", "ada@example.com")
	click(t, tab, "#setup button")
	wait(t, tab, `document.querySelector("#problem").textContent.includes("code")`)
	retype(t, tab, "#code", strings.ToLower(code))
	screenshot(t, tab, "setup.png")
	click(t, tab, "#setup button")
	wait(t, tab, `document.querySelector("#choose-password")?.href`)
	screenshot(t, tab, "setup-done.png")
	curl := text(t, tab, "#curl")
	if output, err := exec.CommandContext(t.Context(), "bash", "-c", curl).CombinedOutput(); err != nil || !strings.Contains(string(output), `"status":"Offline"`) {
		t.Errorf("%s: %v\n%s", curl, err, output)
	}

	click(t, tab, "#choose-password")
	wait(t, tab, `document.querySelector("#choose")`)
	retype(t, tab, "#password", "correct horse battery")
	retype(t, tab, "#again", "correct horse battery")
	click(t, tab, "#choose button")
	wait(t, tab, `location.pathname === "/" && document.querySelector("#who")?.textContent === "Ada Okafor"`)
}

// startSetup runs a server without an account until the test ends, and returns what it
// prints: the address of the page for the set-up, and the code that the page asks for.
func startSetup(t *testing.T) (address, code string) {
	t.Helper()
	var told struct {
		URL  string `json:"setup_url"`
		Code string `json:"setup_code"`
	}
	start(t, &told, nil, "serve", "--data-dir", t.TempDir()+"/data", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--json")
	return told.URL, told.Code
}
