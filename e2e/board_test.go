package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// person is the line of a user on the board.
func person(u user) string {
	return fmt.Sprintf(`document.querySelector("#people li[data-user='%s']")`, u.ID)
}

// waitForLine waits until the board shows a user with a status.
func waitForLine(t *testing.T, tab context.Context, u user, status string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf(`%s?.dataset.status === %q`, person(u), status))
}

// openBoard waits until everybody of the demo is on the board, with a name.
func openBoard(t *testing.T, tab context.Context, d *demo, query, token string) {
	t.Helper()
	do(t, tab, chromedp.Navigate(d.URL+"/"+query+"#token="+token))
	wait(t, tab, `document.querySelector("#connection").textContent === "Live" && document.querySelector("#who").textContent`)
}

// TestBoard opens the board as one user and the status page as another, in two
// browsers. Each change is on the board at once. The server is killed and restarted:
// the board is greyed meanwhile, and live again by itself.
func TestBoard(t *testing.T) {
	d := startRestartableDemo(t)
	ada, other := d.signedIn(t, 0), d.signedOut(t)
	board, me := browse(t), browse(t)
	browserErrors := collectErrors(t, board)

	openBoard(t, board, &d.demo, "", ada.AccessToken)
	waitForLine(t, board, other, "offline")
	wait(t, board, `!location.href.includes("#") && localStorage.length === 0`)
	do(t, me, chromedp.Navigate(d.URL+"/me#token="+other.AccessToken))
	waitForLine(t, board, other, "available")
	retype(t, me, "#text", "Writing <b>tests</b>")
	choose(t, me, "#lasts", "60")
	began := time.Now()
	click(t, me, "button[data-status=busy]")
	waitForLine(t, board, other, "busy")
	t.Logf("from the click to the other browser's board: %v", time.Since(began))
	wait(t, board, person(other)+`.innerText.includes("Writing <b>tests</b>") && `+person(other)+`.innerText.includes("until")`)
	screenshot(t, board, "board.png")

	click(t, board, `#states button[data-state=offline]`)
	wait(t, board, person(other)+`.hidden`)
	click(t, board, `#states button[data-state=busy]`)
	wait(t, board, `!`+person(other)+`.hidden`)
	click(t, board, `#states button[data-state=""]`)
	if errors := browserErrors(); errors != "" {
		t.Errorf("the browser reports errors:\n%s", errors)
	}

	d.kill()
	wait(t, board, `document.querySelector("#connection").textContent.startsWith("Reconnecting …") && document.querySelector("#people.stale")`)
	screenshot(t, board, "board-stale.png")
	d.start(t)
	wait(t, board, `document.querySelector("#connection").textContent === "Live" && !document.querySelector("#people.stale")`)
	d.ask(t, http.MethodPut, "/v1/users/"+ada.ID+"/claims/manual", `{"source":"manual","status":"out_of_office"}`)
	waitForLine(t, board, ada, "out_of_office")
	for line := range strings.Lines(browserErrors()) {
		if !strings.Contains(line, "net::ERR_") { // of the server that was killed
			t.Errorf("the browser reports an error: %s", line)
		}
	}
}

// TestBoardFollowsTheDirectory: users who join the account, or a group, appear on open
// boards with their names; those who leave it disappear.
func TestBoardFollowsTheDirectory(t *testing.T) {
	d := startDemo(t)
	everyone, team := browse(t), browse(t)
	openBoard(t, everyone, d, "", d.AccessToken)
	openBoard(t, team, d, "?group=Night%20Shift", d.AccessToken)
	wait(t, team, `document.querySelector("h1").textContent === "Night Shift" && !document.querySelector("#none").hidden`)

	var zoe user
	d.create(t, `{"email":"zoe@example.com","display_name":"Zoe Zimmer","groups":["Night Shift"]}`, &zoe)
	wait(t, everyone, person(zoe)+`?.innerText.includes("Zoe Zimmer")`)
	wait(t, team, person(zoe)+`?.innerText.includes("Zoe Zimmer")`)
	d.ask(t, http.MethodPatch, "/v1/users/"+zoe.ID, `{"groups":[]}`)
	wait(t, team, `!`+person(zoe))
	d.ask(t, http.MethodDelete, "/v1/users/"+zoe.ID, "")
	wait(t, everyone, `!`+person(zoe))
}

// TestBoardOfManyUsers: the board shows 2,000 users, and a change among them.
func TestBoardOfManyUsers(t *testing.T) {
	d := startDemo(t)
	const users = 2_000
	var last user
	for n := len(d.Users) + 1; n < users; n++ {
		d.create(t, fmt.Sprintf(`{"email":"user%d@example.com","display_name":"User %[1]d"}`, n), &last)
	}
	board := browse(t)
	browserErrors := collectErrors(t, board)
	began := time.Now()
	openBoard(t, board, d, "", d.AccessToken)
	wait(t, board, fmt.Sprintf(`document.querySelectorAll("#people li .word").length === %d`, users))
	t.Logf("%d users are shown after %v", users, time.Since(began))
	began = time.Now()
	d.ask(t, http.MethodPut, "/v1/users/"+last.ID+"/claims/away", `{"source":"app","status":"out_of_office","note":"Back on Monday"}`)
	waitForLine(t, board, last, "out_of_office")
	t.Logf("a change among %d is shown after %v", users, time.Since(began))
	retype(t, board, "#search", "user 1999")
	wait(t, board, `[...document.querySelectorAll("#people li")].filter((line) => !line.hidden).length === 1`)
	if errors := browserErrors(); errors != "" {
		t.Errorf("the browser reports errors:\n%s", errors)
	}
}

// create adds a user.
func (d *demo) create(t *testing.T, body string, made *user) {
	t.Helper()
	if err := json.Unmarshal(d.ask(t, http.MethodPost, "/v1/users", body), made); err != nil {
		t.Fatal(err)
	}
}
