package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestMePage opens the page that is a session as somebody who is signed out. To
// have it open is to be signed in; what is chosen there is what the API says, and
// the other way round. Then the server is killed under it and comes back: the
// page goes on without anybody's help. When the tab is closed, the user is
// offline once the time for coming back is over.
func TestMePage(t *testing.T) {
	d := startStand(t)
	u := d.signedOut(t)
	if got := d.status(t, u); got != "Offline" {
		t.Fatalf("before: %s, want Offline", got)
	}
	tab, closeTab := chromedp.NewContext(browse(t))
	t.Cleanup(closeTab)
	complaints := listen(t, tab)

	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+u.AccessToken))
	shows(t, tab, "Available")
	d.says(t, u, "Available")
	wait(t, tab, `!location.href.includes("#") && localStorage.length === 0`)
	screenshot(t, tab, "me-available.png")

	retype(t, tab, "#text", "Writing <b>tests</b>")
	click(t, tab, "button[data-status=busy]")
	shows(t, tab, "Busy")
	d.says(t, u, "Busy")
	wait(t, tab, `document.querySelector("#note").textContent === "Writing <b>tests</b>"`)
	wait(t, tab, `document.querySelector("button[data-status=busy]").getAttribute("aria-pressed") === "true"`)
	screenshot(t, tab, "me-busy.png")

	claim := "/v1/users/" + u.ID + "/claims/meeting-42"
	d.ask(t, http.MethodPut, claim, `{"source":"meeting","status":"in_meeting","note":"Design review"}`)
	shows(t, tab, "In a meeting")
	click(t, tab, "button[data-status=busy]")
	wait(t, tab, `document.querySelector("#hint").textContent.includes("takes precedence until it ends")`)
	narrow(t, tab)
	if said := complaints(); said != "" {
		t.Errorf("the browser complains:\n%s", said)
	}

	d.kill()
	wait(t, tab, `document.querySelector("#connection").textContent === "Reconnecting …"`)
	screenshot(t, tab, "me-reconnecting.png")
	d.start(t)
	wait(t, tab, `document.querySelector("#connection").textContent === "Connected"`)
	shows(t, tab, "In a meeting")
	d.says(t, u, "In_A_Meeting")
	d.ask(t, http.MethodDelete, claim, "")
	shows(t, tab, "Busy")
	d.says(t, u, "Busy")
	for line := range strings.Lines(complaints()) {
		if !strings.Contains(line, "net::ERR_") { // the server that was not there
			t.Errorf("the browser complains: %s", line)
		}
	}

	closeTab()
	d.comesTo(t, u, "Offline")
}

// TestMePageIdle signs in by the form, leaves the keyboard until the page shows it,
// returns, and signs out.
func TestMePageIdle(t *testing.T) {
	d := startDemo(t)
	u := d.signedOut(t)
	tab := browse(t)
	complaints := listen(t, tab)

	do(t, tab, chromedp.Navigate(d.URL+"/me?idle_seconds=5"))
	retype(t, tab, "#token", u.AccessToken)
	screenshot(t, tab, "me-entry.png")
	click(t, tab, "#entry button")
	shows(t, tab, "Away")
	d.says(t, u, "Away")
	do(t, tab, chromedp.KeyEvent("x"))
	shows(t, tab, "Available")
	click(t, tab, "#sign-out")
	wait(t, tab, `!document.querySelector("#entry").hidden && document.querySelector("#self").hidden && sessionStorage.length === 0`)
	d.comesTo(t, u, "Offline")
	if said := complaints(); said != "" {
		t.Errorf("the browser complains:\n%s", said)
	}
}

// TestMePageReplaced signs the person in so often elsewhere that the page's session
// is replaced. The page says so, keeps showing the status, and does not sign in
// again before it is asked to.
func TestMePageReplaced(t *testing.T) {
	d := startDemo(t)
	u := d.signedOut(t)
	tab := browse(t)
	complaints := listen(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+u.AccessToken))
	shows(t, tab, "Available")

	person := *d
	person.AccessToken = u.AccessToken
	for range 32 {
		person.ask(t, http.MethodPost, "/v1/sessions", `{"client_type":"mobile","lease_seconds":3600}`)
	}
	wait(t, tab, `!document.querySelector("#replaced").hidden && document.querySelector("#problem").textContent.includes("newer session")`)
	screenshot(t, tab, "me-replaced.png")
	d.ask(t, http.MethodPut, "/v1/users/"+u.ID+"/claims/manual", `{"source":"manual","status":"busy"}`)
	shows(t, tab, "Busy")
	wait(t, tab, `!document.querySelector("#replaced").hidden`)
	click(t, tab, "#sign-in-again")
	wait(t, tab, `document.querySelector("#replaced").hidden && document.querySelector("#problem").hidden`)
	if said := complaints(); said != "" {
		t.Errorf("the browser complains:\n%s", said)
	}
}

// shows waits until the page shows a status, and says so by its title too.
func shows(t *testing.T, tab context.Context, word string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf(`document.querySelector("#word").textContent === %q && document.title.startsWith(%[1]q)`, word))
}

// narrow checks that the page fits the smallest screens.
func narrow(t *testing.T, tab context.Context) {
	t.Helper()
	do(t, tab, chromedp.EmulateViewport(320, 800))
	wait(t, tab, "innerWidth === 320 && document.documentElement.scrollWidth <= 320")
	screenshot(t, tab, "me-narrow.png")
	do(t, tab, chromedp.ResetViewport())
}

// says asks the API, which must say what the page shows already.
func (d *demo) says(t *testing.T, u user, want string) {
	t.Helper()
	if got := d.status(t, u); got != want {
		t.Errorf("the API says %s, want %s", got, want)
	}
}

// comesTo asks until the API says it: a session that was lost ends after 30
// seconds of the server's clock.
func (d *demo) comesTo(t *testing.T, u user, want string) {
	t.Helper()
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	giveUp := time.After(45 * time.Second)
	for {
		got := d.status(t, u)
		if got == want {
			return
		}
		select {
		case <-again.C:
		case <-giveUp:
			t.Fatalf("the API says %s, want %s", got, want)
		}
	}
}

// ask sends a request of the app's, which must succeed.
func (d *demo) ask(t *testing.T, method, path, body string) {
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
	if response.StatusCode/100 != 2 {
		answer, _ := io.ReadAll(response.Body) // it is only shown
		t.Fatalf("%s %s: %s\n%s", method, path, response.Status, answer)
	}
}

// A stand is a demo that can be killed, and started again with the same data at
// the same address.
type stand struct {
	demo
	env, args []string
	kill      func()
}

func startStand(t *testing.T) *stand {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close() // the port stays free unless another process gets it by chance
	s := &stand{
		env:  storeEnv(t),
		args: []string{"demo", "--json", "--quiet-users", "--listen", address, "--data-dir", filepath.Join(t.TempDir(), "data")},
	}
	s.start(t)
	return s
}

// start runs the demo until kill, which leaves it no time to put anything in
// order.
func (s *stand) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
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
		_ = command.Wait() // it says that it was killed
	})
	t.Cleanup(s.kill)
	line, _ := bufio.NewReader(stdout).ReadBytes('\n') // a short line shows in what was printed
	if err := json.Unmarshal(line, &s.demo); err != nil {
		t.Fatalf("the demo printed %q: %v\n%s", line, err, stderr)
	}
}
