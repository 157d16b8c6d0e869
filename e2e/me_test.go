package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"porchlight.dev/porchlight/internal/porttest"
)

// TestMePage opens the status page as a user who is signed out. The user is signed in
// while the page is open, and the page and the API show the same status. The server is
// killed and restarted, and the page reconnects by itself. After the tab is closed, the
// user is offline when the grace period is over.
func TestMePage(t *testing.T) {
	d := startRestartableDemo(t)
	u := d.signedOut(t)
	if got := d.status(t, u); got != "Offline" {
		t.Fatalf("before: %s, want Offline", got)
	}
	tab, closeTab := chromedp.NewContext(browse(t))
	t.Cleanup(closeTab)
	browserErrors := collectErrors(t, tab)

	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+u.AccessToken))
	waitForShown(t, tab, "Available")
	d.expectStatus(t, u, "Available")
	wait(t, tab, `!location.href.includes("#") && localStorage.length === 0`)
	screenshot(t, tab, "me-available.png")

	retype(t, tab, "#text", "Writing <b>tests</b>")
	click(t, tab, "button[data-status=busy]")
	waitForShown(t, tab, "Busy")
	d.expectStatus(t, u, "Busy")
	wait(t, tab, `document.querySelector("#note").textContent === "Writing <b>tests</b>"`)
	wait(t, tab, `document.querySelector("button[data-status=busy]").getAttribute("aria-pressed") === "true" && document.querySelector("link[rel=icon]").href.endsWith("/busy.svg")`)
	screenshot(t, tab, "me-busy.png")

	claim := "/v1/users/" + u.ID + "/claims/meeting-42"
	d.ask(t, http.MethodPut, claim, `{"source":"meeting","status":"in_meeting","note":"Design review"}`)
	waitForShown(t, tab, "In a meeting")
	click(t, tab, "button[data-status=busy]")
	wait(t, tab, `document.querySelector("#hint").textContent.includes("takes precedence until it ends")`)
	checkNarrowScreen(t, tab)
	noErrors(t, browserErrors())

	d.kill()
	wait(t, tab, `document.querySelector("#connection").textContent.startsWith("Reconnecting … Last update") && document.querySelector("#shown.stale")`)
	screenshot(t, tab, "me-reconnecting.png")
	d.start(t)
	wait(t, tab, `document.querySelector("#connection").textContent === "Live"`)
	waitForShown(t, tab, "In a meeting")
	d.expectStatus(t, u, "In_A_Meeting")
	d.ask(t, http.MethodDelete, claim, "")
	waitForShown(t, tab, "Busy")
	d.expectStatus(t, u, "Busy")
	noErrors(t, browserErrors(), "net::ERR_") // from requests while the server was down

	closeTab()
	d.waitForStatus(t, u, "Offline")
}

// TestMePageIdle signs in by the form, waits until the page shows the user as idle,
// returns, and signs out.
func TestMePageIdle(t *testing.T) {
	d := startDemo(t)
	u := d.signedOut(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)

	do(t, tab, chromedp.Navigate(d.URL+"/me?idle_seconds=5"))
	retype(t, tab, "#token", u.AccessToken)
	screenshot(t, tab, "me-entry.png")
	click(t, tab, "#entry button")
	waitForShown(t, tab, "Away")
	d.expectStatus(t, u, "Away")
	recordText(t, tab, "#word") // the page shows the user as available for five seconds only
	do(t, tab, chromedp.KeyEvent("x"))
	wait(t, tab, `window.recorded.includes("Available")`)
	click(t, tab, "#sign-out")
	wait(t, tab, `document.querySelector("#entry") && !document.querySelector("#self") && document.title.startsWith("My status") && sessionStorage.length === 0`)
	d.waitForStatus(t, u, "Offline")
	noErrors(t, browserErrors(), "status of 401") // the page asks whether the browser is signed in
}

// TestMePageReplaced signs the user in elsewhere until the page's session is replaced.
// The page reports it, keeps showing the status, and does not sign in again until the
// user asks for it.
func TestMePageReplaced(t *testing.T) {
	d := startDemo(t)
	u := d.signedOut(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+u.AccessToken))
	waitForShown(t, tab, "Available")

	person := *d
	person.AccessToken = u.AccessToken
	for range 32 {
		person.ask(t, http.MethodPost, "/v1/sessions", `{"client_type":"mobile","lease_seconds":3600}`)
	}
	wait(t, tab, `document.querySelector("#replaced") && document.querySelector("#problem").textContent.includes("newer session")`)
	screenshot(t, tab, "me-replaced.png")
	d.ask(t, http.MethodPut, "/v1/users/"+u.ID+"/claims/manual", `{"source":"manual","status":"busy"}`)
	waitForShown(t, tab, "Busy")
	wait(t, tab, `document.querySelector("#replaced")`)
	click(t, tab, "#sign-in-again")
	wait(t, tab, `!document.querySelector("#replaced") && document.querySelector("#problem").hidden`)
	noErrors(t, browserErrors())
}

// waitForShown waits until the page shows a status, also in its title.
func waitForShown(t *testing.T, tab context.Context, word string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf(`document.querySelector("#word")?.textContent === %q && document.title.startsWith(%[1]q)`, word))
}

// recordText records every text that an element shows from now on, in window.recorded.
func recordText(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	evaluate(t, tab, fmt.Sprintf(`(() => {
		const shown = document.querySelector(%q);
		window.recorded = [];
		new MutationObserver(() => window.recorded.push(shown.textContent)).observe(shown, {childList: true, characterData: true, subtree: true});
		return true;
	})()`, selector))
}

// checkNarrowScreen checks that the page fits the smallest screens.
func checkNarrowScreen(t *testing.T, tab context.Context) {
	t.Helper()
	do(t, tab, chromedp.EmulateViewport(320, 800))
	wait(t, tab, "innerWidth === 320 && document.documentElement.scrollWidth <= 320")
	screenshot(t, tab, "me-narrow.png")
	do(t, tab, chromedp.ResetViewport())
}

// expectStatus checks that the API returns the status that the page shows.
func (d *demo) expectStatus(t *testing.T, u user, want string) {
	t.Helper()
	if got := d.status(t, u); got != want {
		t.Errorf("the API returns %s, want %s", got, want)
	}
}

// waitForStatus polls the API until it returns a status: a lost session expires after
// 30 seconds of the server's clock.
func (d *demo) waitForStatus(t *testing.T, u user, want string) {
	t.Helper()
	retry := time.NewTicker(250 * time.Millisecond)
	defer retry.Stop()
	timeout := time.After(2 * time.Minute)
	for {
		got := d.status(t, u)
		if got == want {
			return
		}
		select {
		case <-retry.C:
		case <-timeout:
			t.Fatalf("the API returns %s, want %s", got, want)
		}
	}
}

// ask sends an API request of the app, which must succeed, and returns the body of the
// response.
func (d *demo) ask(t *testing.T, method, path, body string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, d.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+d.AccessToken)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s, %v\n%s", method, path, response.Status, err, answer)
	}
	return answer
}

// A restartableDemo is a demo that can be killed and started again with the same data
// and address.
type restartableDemo struct {
	demo
	env, args []string
	kill      func()
}

func startRestartableDemo(t *testing.T) *restartableDemo {
	t.Helper()
	s := &restartableDemo{
		env:  storeEnv(t),
		args: []string{"demo", "--json", "--quiet-users", "--listen", porttest.Address(t), "--data-dir", filepath.Join(t.TempDir(), "data")},
	}
	s.start(t)
	return s
}

// start runs the demo until kill, which does not let it shut down.
func (s *restartableDemo) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	command := exec.CommandContext(ctx, binary, s.args...)
	command.Env = append(os.Environ(), append(s.env, "TMPDIR="+t.TempDir())...)
	stderr := new(buffer)
	command.Stderr = stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s.kill = sync.OnceFunc(func() {
		cancel()
		_ = command.Wait() // the error is that it was killed
	})
	t.Cleanup(s.kill)
	line, _ := bufio.NewReader(stdout).ReadBytes('\n') // an incomplete line appears in the message
	if err := json.Unmarshal(line, &s.demo); err != nil {
		t.Fatalf("the demo printed %q: %v\n%s", line, err, stderr)
	}
}
