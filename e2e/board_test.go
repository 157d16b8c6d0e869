package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// person is the card of a user on the board.
func person(u user) string {
	return fmt.Sprintf(`document.querySelector("#people li[data-user='%s']")`, u.ID)
}

// waitForLine waits until the board shows a user with a status.
func waitForLine(t *testing.T, tab context.Context, u user, status string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf(`%s?.dataset.status === %q`, person(u), status))
}

// openBoard waits until the board is live and has names.
func openBoard(t *testing.T, tab context.Context, d *demo, query, token string) {
	t.Helper()
	do(t, tab, chromedp.Navigate(d.URL+"/"+query+"#token="+token))
	wait(t, tab, `document.querySelector("#connection")?.textContent === "Live" && document.querySelector("#who").textContent`)
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
	hostile := `Writing <b>tests</b><img src=x onerror=alert(1)> ` + strings.Repeat("x", 100)
	changed := `{"source":"manual","status":"busy","note":` + quote(t, hostile) + `,"until":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`
	began := time.Now()
	d.ask(t, http.MethodPut, "/v1/users/"+other.ID+"/claims/manual", changed)
	waitForLine(t, board, other, "busy")
	t.Logf("from the request to the other browser's board: %v", time.Since(began))
	wait(t, board, person(other)+`.querySelector(".note").textContent === `+quote(t, hostile)+` && `+person(other)+`.innerText.includes("until")`)
	wait(t, board, `!document.querySelector("#people b, #people img") && document.documentElement.scrollWidth <= innerWidth`)
	screenshot(t, board, "board.png")

	click(t, board, `#states button[data-state=offline]`)
	wait(t, board, `!`+person(other))
	click(t, board, `#states button[data-state=busy]`)
	wait(t, board, person(other))
	wait(t, board, `location.search === "?status=busy"`)
	click(t, board, `#states button[data-state=""]`)
	noErrors(t, browserErrors())

	d.kill()
	wait(t, board, `document.querySelector("#connection").textContent.startsWith("Reconnecting …") && document.querySelector("#people.stale")`)
	screenshot(t, board, "board-stale.png")
	d.start(t)
	wait(t, board, `document.querySelector("#connection").textContent === "Live" && !document.querySelector("#people.stale")`)
	d.ask(t, http.MethodPut, "/v1/users/"+ada.ID+"/claims/manual", `{"source":"manual","status":"out_of_office"}`)
	waitForLine(t, board, ada, "out_of_office")
	noErrors(t, browserErrors(), "net::ERR_") // of the server that was killed
}

// quote is a text as a literal of JSON, and of JavaScript.
func quote(t *testing.T, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}

// TestBoardFilters: what is searched for, filtered and sorted stands in the address, from
// which the page can be opened again; "back" undoes it; the keyboard does all of it.
func TestBoardFilters(t *testing.T) {
	d := startDemo(t)
	ada := d.signedIn(t, 0)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	openBoard(t, tab, d, "", ada.AccessToken)
	wait(t, tab, `document.querySelectorAll("#people .groups").length > 10`)

	// A key that is sent to the browser would also be typed, although the page prevents that.
	evaluate(t, tab, `document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true, cancelable: true})) || true`)
	wait(t, tab, `document.activeElement.id === "search"`)
	do(t, tab, chromedp.KeyEvent("ADA"))
	wait(t, tab, `document.querySelectorAll("#people li").length === 1 && `+person(ada)+` && location.search === "?q=ADA"`)
	wait(t, tab, `document.querySelector("#states button .count").textContent === "1"`)
	do(t, tab, chromedp.KeyEvent("zzz"))
	wait(t, tab, `!document.querySelector("#none").hidden`)
	do(t, tab, chromedp.KeyEvent(kb.Escape))
	wait(t, tab, `document.querySelectorAll("#people li").length > 10 && location.search === "" && document.querySelector("#search").value === ""`)
	evaluate(t, tab, `history.back(); true`)
	wait(t, tab, `document.querySelector("#search").value === "ADAzzz" && !document.querySelector("#none").hidden`)
	do(t, tab, chromedp.KeyEvent(kb.Escape))

	choose(t, tab, "#by", "group")
	choose(t, tab, "#group", "Engineering")
	choose(t, tab, "#sort", "name")
	wait(t, tab, `new URLSearchParams(location.search).get("in") === "Engineering" && document.querySelector("#people h2").textContent.startsWith("Engineering")`)
	do(t, tab, chromedp.Reload())
	wait(t, tab, `document.querySelector("#people h2")?.textContent.startsWith("Engineering") && document.querySelector("#sort").value === "name"`)
	const names = `[...document.querySelectorAll("#people .name")].map((name) => name.textContent)`
	wait(t, tab, names+`.length > 1 && String(`+names+`) === String(`+names+`.sort())`)
	click(t, tab, "#search")
	do(t, tab, chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowRight))
	wait(t, tab, `document.activeElement.dataset.index === "1"`)
	do(t, tab, chromedp.KeyEvent(kb.Escape))
	wait(t, tab, `location.search === "?by=group&sort=name"`)
	noErrors(t, browserErrors())
}

// TestBoardDetails: a person is added to the contacts and removed, and the user is told once
// when the person becomes available.
func TestBoardDetails(t *testing.T) {
	d := startDemo(t)
	ada, other := d.signedIn(t, 0), d.signedOut(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	openBoard(t, tab, d, "", ada.AccessToken)
	wait(t, tab, person(other)+`?.querySelector(".groups")`)
	// A browser without a display would ask nobody whether notices are allowed.
	evaluate(t, tab, `globalThis.Notification = class {
		static permission = "granted";
		static shown = [];
		constructor(title, { body }) { Notification.shown.push(title + ": " + body); }
	};
	true`)
	evaluate(t, tab, person(other)+`.querySelector("button").focus() || true`)
	do(t, tab, chromedp.KeyEvent(kb.Enter))
	wait(t, tab, `document.querySelector("dialog[open] #details[data-user='`+other.ID+`']")?.innerText.includes("@example.com")`)
	click(t, tab, "#contact")
	wait(t, tab, `document.querySelector("#contact").textContent === "Remove from my contacts"`)
	click(t, tab, "#watch")
	wait(t, tab, `document.querySelector("#watching")`)
	screenshot(t, tab, "board-details.png")
	click(t, tab, "dialog header button")
	wait(t, tab, `!document.querySelector("dialog")`)
	if focus, err := chromedp.Run(tab, chromedp.Evaluate[string](`document.activeElement.outerHTML.slice(0, 300)`)); err != nil || !strings.Contains(focus, "person") {
		t.Errorf("the focus is on %s: %v", focus, err)
	}
	click(t, tab, "#contacts-only")
	wait(t, tab, `document.querySelectorAll("#people li").length === 1 && `+person(other))

	recordText(t, tab, ".toasts") // each is shown for five seconds only
	d.ask(t, http.MethodPost, "/v1/users/"+other.ID+"/sessions", `{"client_type":"desktop","lease_seconds":3600}`)
	waitForLine(t, tab, other, "available")
	wait(t, tab, `window.recorded.some((text) => text.includes(": Available")) && Notification.shown.length === 1 && Notification.shown[0].endsWith(": Available")`)
	click(t, tab, "#people button")
	wait(t, tab, `document.querySelector("dialog[open]") && !document.querySelector("#watch, #unwatch")`)
	click(t, tab, "#contact")
	wait(t, tab, `document.querySelector("#contact").textContent === "Add to my contacts"`)
	click(t, tab, "dialog header button")
	wait(t, tab, `!document.querySelector("#people li") && !document.querySelector("#none").hidden`)
	noErrors(t, browserErrors())
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
	d.create(t, `{"email":"zoe@example.com","display_name":"Zoe <i>Zimmer</i>","groups":["Night Shift"]}`, &zoe)
	wait(t, everyone, person(zoe)+`?.innerText.includes("Zoe <i>Zimmer</i>")`)
	wait(t, team, person(zoe)+`?.innerText.includes("Zoe <i>Zimmer</i>")`)
	d.ask(t, http.MethodPatch, "/v1/users/"+zoe.ID, `{"groups":[]}`)
	wait(t, team, `!`+person(zoe))
	d.ask(t, http.MethodDelete, "/v1/users/"+zoe.ID, "")
	wait(t, everyone, `!`+person(zoe))
}

// startChanges sends a visible change of one user after another at each interval, until the
// function that it returns is called, which returns how many.
func (d *demo) startChanges(t *testing.T, interval time.Duration) (stop func() int) {
	t.Helper()
	c, err := client.New(d.URL, client.StaticToken(d.AccessToken), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan int)
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		n := 0
		for u, err := range c.Users(ctx) {
			if err == nil {
				_, err = c.SetClaim(ctx, u.ID, "holiday", api.SetClaim{Source: "app", Status: "out_of_office"})
			}
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				break
			}
			n++
			<-tick.C
		}
		sent <- n
	}()
	return func() int {
		cancel()
		return <-sent
	}
}

// TestBoardOfManyUsers: a board of 5,000 users has only those in view in the document. It is
// scrolled, searched and changed.
func TestBoardOfManyUsers(t *testing.T) {
	d := startDemo(t)
	const users, mostRows = 5_000, 120
	var list strings.Builder
	list.WriteString("email,display_name\n")
	for n := len(d.Users) + 2; n <= users; n++ { // the demo has an owner too
		fmt.Fprintf(&list, "user%d@example.com,User %[1]d\n", n)
	}
	d.importUsers(t, list.String())
	board := browse(t)
	browserErrors := collectErrors(t, board)
	began := time.Now()
	openBoard(t, board, d, "", d.AccessToken)
	wait(t, board, fmt.Sprintf(`document.querySelector("#states .count").textContent === "%d" && document.querySelector("#people").innerText.includes("User ")`, users))
	t.Logf("%d users are shown after %v", users, time.Since(began))

	few := fmt.Sprintf(`document.querySelectorAll("#people li").length < %d`, mostRows)
	wait(t, board, few)
	kept, err := chromedp.Run(board, chromedp.Evaluate[bool](`(async () => {
		const scroll = async (by) => {
			scrollBy(0, by);
			for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);
		};
		await scroll(3000);
		const row = [...document.querySelectorAll("#people li")].at(-1);
		await scroll(300);
		return row === document.querySelector("#people li[data-user='" + row.dataset.user + "']");
	})()`, chromedp.EvalAwaitPromise))
	if err != nil || !kept {
		t.Errorf("a row that stays in view is drawn anew while scrolling: %v", err)
	}
	var most int
	scroll := func() {
		script := `(async () => {
			let most = 0;
			for (let step = 0; step < 160; step++) {
				scrollBy(0, 120);
				await new Promise(requestAnimationFrame);
				most = Math.max(most, document.querySelectorAll("#people li").length);
			}
			return most;
		})()`
		if most, err = chromedp.Run(board, chromedp.Evaluate[int](script, chromedp.EvalAwaitPromise)); err != nil {
			t.Fatal(err)
		}
	}
	between, tasks := frames(t, board, scroll)
	logTimes(t, "times between frames while scrolling", between)
	logTimes(t, "processor times of tasks while scrolling", tasks)
	if most > mostRows {
		t.Errorf("%d rows are in the document while scrolling, want at most %d", most, mostRows)
	}

	evaluate(t, board, `scrollTo(0, document.documentElement.scrollHeight); true`)
	wait(t, board, `document.querySelector("#people").innerText.includes("User 5000") && `+few)
	between, tasks = frames(t, board, func() {
		retype(t, board, "#search", "user 4999")
		wait(t, board, `document.querySelectorAll("#people li").length === 1`)
	})
	logTimes(t, "times between frames while searching", between)
	logTimes(t, "processor times of tasks while searching", tasks)

	found, err := chromedp.Run(board, chromedp.Evaluate[string](`document.querySelector("#people li").dataset.user`))
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	d.ask(t, http.MethodPut, "/v1/users/"+found+"/claims/away", `{"source":"app","status":"out_of_office","note":"Back on Monday"}`)
	waitForLine(t, board, user{ID: found}, "out_of_office")
	t.Logf("a change among %d is shown after %v", users, time.Since(began))

	openBoard(t, board, d, "", d.AccessToken)
	wait(t, board, `document.querySelector("#people").innerText.includes("User ")`)
	changes := d.startChanges(t, 10*time.Millisecond)
	between, tasks = frames(t, board, scroll)
	t.Logf("%d changes while scrolling", changes())
	logTimes(t, "times between frames while scrolling and changing", between)
	logTimes(t, "processor times of tasks while scrolling and changing", tasks)
	noErrors(t, browserErrors())
}

// TestBoardWall: a display shows people in pages, large and without controls.
func TestBoardWall(t *testing.T) {
	d := startDemo(t)
	ada := d.signedIn(t, 0)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.EmulateViewport(1024, 400))
	openBoard(t, tab, d, "?wall&sort=name", ada.AccessToken)
	wait(t, tab, `document.querySelectorAll("#people .name").length > 3 && /^\d+:\d+/.test(document.querySelector("#clock").textContent)`)
	wait(t, tab, `![...document.querySelectorAll("main :is(button, input, select, a)")].some((control) => control.offsetParent)`)
	wait(t, tab, `document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth`)
	screenshot(t, tab, "board-wall.png")
	for _, page := range []string{"1 / ", "2 / "} {
		wait(t, tab, `document.querySelector("#page").textContent.startsWith("`+page+`")`)
	}
	wait(t, tab, `document.querySelectorAll("#people .name").length > 0`)
	do(t, tab, chromedp.EmulateViewport(1920, 1080))
	wait(t, tab, `!document.querySelector("#page") && document.querySelectorAll("#people .name").length === 21`)
	noErrors(t, browserErrors())
}

// TestBoardWeighsLittle: the first load of the board of the demo transfers at most 100 KiB.
func TestBoardWeighsLittle(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	seen := watchTransfer(t, tab)
	openBoard(t, tab, d, "", d.signedIn(t, 0).AccessToken)
	wait(t, tab, `document.querySelectorAll("#people .groups").length > 10`)
	bytes, requests, messages := seen.totals()
	t.Logf("%d bytes in %d requests and %d messages", bytes, requests, messages)
	if bytes > 100<<10 || bytes < 10<<10 {
		t.Errorf("the board transfers %d bytes, want at most %d", bytes, 100<<10)
	}
}

// TestBoardModel checks the scripts of the board that know no document, with Node.
func TestBoardModel(t *testing.T) {
	dir := pageModules(t)
	if output, err := run(t, []string{"ASSETS=" + dir}, "node", "--test", "board.mjs"); err != nil {
		t.Errorf("board.mjs: %v\n%s", err, output)
	}
}

// create adds a user.
func (d *demo) create(t *testing.T, body string, made *user) {
	t.Helper()
	if err := json.Unmarshal(d.ask(t, http.MethodPost, "/v1/users", body), made); err != nil {
		t.Fatal(err)
	}
}

// importUsers adds the users of a list in CSV.
func (d *demo) importUsers(t *testing.T, list string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.csv")
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := run(t, []string{"PORCHLIGHT_URL=" + d.URL, "PORCHLIGHT_TOKEN=" + d.AccessToken}, binary, "user", "import", file); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}
