package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestMeComputes runs what /me computes without a browser: the ends that a user can choose,
// also in a night in which the clocks change; the places of spans in the picture of a day; an
// explanation in words; and the frames of a session that is resumed, and replaced.
func TestMeComputes(t *testing.T) {
	dir := pageModules(t)
	output, err := run(t, []string{"TZ=Europe/Berlin", "ASSETS=" + dir}, "node", "--no-warnings", "me.mjs")
	if err != nil {
		t.Fatalf("me.mjs: %v\n%s", err, output)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal([]byte(output), &got); err != nil {
		t.Fatalf("me.mjs printed %q: %v", output, err)
	}
	for name, want := range map[string]string{
		"ends": `{"20":{"until":"2026-03-28T22:50:00.000Z"},"":{},"today":{"until":"2026-03-28T22:59:59.000Z"},"tomorrow":{"until":"2026-03-29T07:00:00.000Z"},` +
			`"at":{"until":"2026-03-29T01:30:00.000Z"},"at past":null,"at nothing":null,"custom":{"until":"2026-03-30T22:30:00.000Z"},"custom none":null}`,
		"ranges":     `[{"until":"2026-03-29T22:00:00.000Z"},{"since":"2026-03-31T22:00:00.000Z","until":"2026-04-02T22:00:00.000Z"},null,null,null]`,
		"hoursOfDay": `23`,
		"bar":        `0.9782608695652174`, // until half an hour before the end of 23 hours
		"marks":      `[0,11,23]`,
		"because":    `["call says in_meeting","rule 2"]`,
		"alone":      `["nowhere","idle","active"]`,
		"others":     `["after call","set aside","begins t5"]`,
		"next":       `["t1 busy call ends","t2 busy note","t3 away idle","t5 out_of_office later begins","t6 away later ends"]`,
		"session": `{"signIns":[{"id":"kept"},{"id":"S1","active":false}],"activities":[true,false],"whileLost":false,"stale":"available",` +
			`"afterReplaced":["follow"],"again":"sign_in","watches":["w"],"unauthorized":"revoked"}`,
	} {
		if string(got[name]) != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got[name], want)
		}
	}
}

// TestMeChoices sets a status with each kind of end, a note with its own end, and an absence
// in the future, and reads why the user is shown in this way.
func TestMeChoices(t *testing.T) {
	d := startDemo(t)
	u := d.signedOut(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+u.AccessToken))
	waitForShown(t, tab, "Available")

	const today = "today"
	for _, c := range []struct {
		lasts, button, status string
		prepare               func()
		least, most           time.Duration
	}{
		{"60", `button[data-status=busy]`, "Busy", nil, 59 * time.Minute, time.Hour},
		{"custom", `button[data-status=away]`, "Away", func() {
			retype(t, tab, "#count", "3")
			choose(t, tab, "#unit", "days")
		}, 71 * time.Hour, 72 * time.Hour},
		{"tomorrow", `button[data-status=busy]`, "Busy", nil, time.Hour, 33*time.Hour + time.Minute},
		{today, `button[data-status=out_of_office]`, "Out of office", nil, 0, 24 * time.Hour},
		{"", `#quiet button[data-lasts="120"]`, "Do not disturb", nil, 119 * time.Minute, 2 * time.Hour},
	} {
		if c.lasts == today && time.Now().Add(time.Minute).Day() != time.Now().Day() {
			t.Log("the day is over: its end is left to TestMeComputes")
			continue
		}
		choose(t, tab, "#lasts", c.lasts)
		if c.prepare != nil {
			c.prepare()
		}
		click(t, tab, c.button)
		waitForShown(t, tab, c.status)
		if left := time.Until(d.shown(t, u).Until); left < c.least || left > c.most {
			t.Errorf("%s of %q lasts for another %v, want %v to %v", c.status, c.lasts, left, c.least, c.most)
		}
	}
	// What the user chooses while a request is under way stays, and a status is set after it.
	evaluate(t, tab, `(() => {
		const send = window.fetch;
		window.fetch = async (...call) => {
			const response = await send(...call);
			if (call[1]?.method === "PUT") await new Promise((resolve) => { window.respond = resolve; });
			return response;
		};
		window.restore = () => { window.fetch = send; window.respond(); };
		return true;
	})()`)
	click(t, tab, "button[data-status=busy]")
	wait(t, tab, `window.respond`)
	click(t, tab, "button[data-status=away]")
	choose(t, tab, "#lasts", "60")
	evaluate(t, tab, `(window.restore(), true)`)
	waitForShown(t, tab, "Away") // so the first request is done with
	if got, err := chromedp.Run(tab, chromedp.Evaluate[string](`document.querySelector("#lasts").value`)); err != nil || got != "60" {
		t.Errorf("what was chosen during a request became %q, %v", got, err)
	}

	choose(t, tab, "#lasts", "at")
	click(t, tab, "button[data-status=busy]")
	wait(t, tab, `document.querySelector("#choice-problem")?.textContent.includes("in the future")`)

	choose(t, tab, "#lasts", "240")
	retype(t, tab, "#text", "In the workshop")
	do(t, tab, chromedp.KeyEvent("\r"))
	wait(t, tab, `document.querySelector("#note").textContent === "In the workshop" && document.querySelector("#own-note")?.textContent.includes("until")`)
	click(t, tab, "button[data-status=available]") // which leaves the note
	waitForShown(t, tab, "Available")
	if p := d.shown(t, u); p.Note != "In the workshop" {
		t.Errorf("the note is %q after another status", p.Note)
	}
	click(t, tab, "#remove-note")
	wait(t, tab, `!document.querySelector("#own-note") && document.querySelector("#note").textContent === ""`)

	d.ask(t, http.MethodPut, "/v1/users/"+u.ID+"/claims/review", `{"source":"meeting","status":"in_meeting","note":"Review"}`)
	waitForShown(t, tab, "In a meeting")
	click(t, tab, "button[data-status=busy]")
	click(t, tab, "#why summary")
	wait(t, tab, `document.querySelector("#because")?.textContent.startsWith("A meeting says “In a meeting”") && document.querySelector("#others")?.textContent.includes("Busy") && document.querySelector("#next")?.textContent.includes("“Review” ends")`)
	screenshot(t, tab, "me-why.png")

	click(t, tab, "#absence summary")
	first := time.Now().AddDate(0, 0, 40).Format(time.DateOnly)
	fill(t, tab, "#first", first)
	fill(t, tab, "#last", time.Now().AddDate(0, 0, 42).Format(time.DateOnly))
	retype(t, tab, "#absence-note", "On holiday")
	click(t, tab, "#plan button")
	wait(t, tab, `document.querySelectorAll("#absences li").length === 1 && document.querySelector("#absences")?.textContent.includes("On holiday")`)
	if claims := string(d.ask(t, http.MethodGet, "/v1/users/"+u.ID+"/claims", "")); !strings.Contains(claims, `"id":"absence-`+first+`"`) {
		t.Errorf("the claims are %s", claims)
	}
	waitForShown(t, tab, "In a meeting")
	click(t, tab, "#absences button")
	wait(t, tab, `!document.querySelector("#absences")`)
	fill(t, tab, "#last", "2020-01-01")
	evaluate(t, tab, `document.querySelector("#plan").noValidate = true`)
	click(t, tab, "#plan button")
	wait(t, tab, `document.querySelector("#plan-problem")?.textContent.includes("last day")`)
	noErrors(t, browserErrors())
}

// TestMeStaysInPlace: what arrives after the controls of /me does not move them, so that
// nobody chooses a status beside the one that they meant.
func TestMeStaysInPlace(t *testing.T) {
	d := startDemo(t)
	u := d.signedOut(t)
	d.ask(t, http.MethodPut, "/v1/users/"+u.ID+"/claims/review", `{"source":"meeting","status":"in_meeting"}`)
	d.ask(t, http.MethodPut, "/v1/users/"+u.ID+"/note", `{"text":"In the workshop"}`)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	beforeScripts(t, tab, `(() => {
		const send = window.fetch;
		const allowed = new Promise((resolve) => { window.explain = resolve; });
		window.fetch = async (address, ...given) => {
			if (String(address).includes("/presence/explain")) await allowed;
			return send(address, ...given);
		};
	})()`)
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+u.AccessToken))
	waitForShown(t, tab, "In a meeting")
	const places = `[...document.querySelectorAll("#statuses button, #choice :is(select, input), #note-only")].map((control) => control.getBoundingClientRect().top).join()`
	wait(t, tab, `(window.placesBefore = `+places+`).length > 0`)
	evaluate(t, tab, `window.explain() || true`)
	wait(t, tab, `document.querySelector("#because p") && document.querySelector("#own-note")`)
	if moved, err := chromedp.Run(tab, chromedp.Evaluate[bool](`window.placesBefore !== `+places)); err != nil || moved {
		t.Errorf("the controls moved: %t, %v", moved, err)
	}
	noErrors(t, browserErrors())
}

// beforeScripts runs a script in every page that the tab opens, before those of the page.
func beforeScripts(t *testing.T, tab context.Context, script string) {
	t.Helper()
	do(t, tab, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	}))
}

// TestMePeople finds people, adds and removes contacts, is told when one is available, and
// changes who sees the user.
func TestMePeople(t *testing.T) {
	d := startDemo(t)
	u, grace := d.signedOut(t), d.signedIn(t, 2)
	d.ask(t, http.MethodPut, "/v1/users/"+grace.ID+"/claims/manual", `{"source":"manual","status":"busy","note":"<img src=x onerror=alert(1)>"}`)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	permit(t, tab, "notifications")
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+u.AccessToken))
	waitForShown(t, tab, "Available")
	evaluate(t, tab, `(() => {
		window.notified = [];
		window.Notification = class extends Notification {
			constructor(title, options) { super(title, options); window.notified.push(title); }
		};
		return true;
	})()`)

	local, _, _ := strings.Cut(grace.Email, "@")
	contact := fmt.Sprintf(`#people li[data-user="%s"]`, grace.ID)
	retype(t, tab, "#find", local)
	wait(t, tab, `document.querySelectorAll("#found li").length === 1`) // not still those of the first letters
	click(t, tab, fmt.Sprintf(`#found li[data-user="%s"] button`, grace.ID))
	wait(t, tab, fmt.Sprintf(`document.querySelector('%s')?.dataset.status === "busy"`, contact))
	retype(t, tab, "#find", "nobody at all")
	wait(t, tab, `!document.querySelector("#people")`)
	evaluate(t, tab, `document.querySelector("#find").select() || true`)
	do(t, tab, chromedp.KeyEvent("\b"))
	wait(t, tab, fmt.Sprintf(`document.querySelector('%s')?.innerText.includes("<img src=x")`, contact))

	click(t, tab, contact+" summary")
	click(t, tab, contact+" .items button")
	wait(t, tab, `document.querySelectorAll("#watches li").length === 1`)
	screenshot(t, tab, "me-waiting.png")
	d.ask(t, http.MethodDelete, "/v1/users/"+grace.ID+"/claims/manual", "")
	wait(t, tab, `document.querySelector("#fired p")?.textContent.includes("Available") && window.notified.length === 1 && window.notified[0].endsWith(": Available")`)
	wait(t, tab, `!document.querySelector("#watches")`)
	click(t, tab, "#fired button")
	wait(t, tab, `!document.querySelector("#fired p")`)

	click(t, tab, "#visibility summary")
	click(t, tab, "#everyone input[value=status]")
	wait(t, tab, `document.querySelector("#everyone input[value=status]").checked && !document.querySelector("#everyone input").disabled`)
	retype(t, tab, "#exception-who", grace.Email)
	choose(t, tab, "#exception-level", "offline")
	click(t, tab, "#exception button")
	wait(t, tab, `document.querySelectorAll("#exceptions li").length === 1 && document.querySelector("#exceptions")?.textContent.includes("sees you as offline")`)
	rules := "/v1/users/" + u.ID + "/visibility"
	if got := string(d.ask(t, http.MethodGet, rules, "")); strings.TrimSpace(got) != `{"everyone":"status","groups":{},"watchers":{"`+grace.ID+`":"offline"}}` {
		t.Errorf("the rules are %s", got)
	}
	d.ask(t, http.MethodPut, rules, `{"everyone":"offline"}`) // meanwhile, elsewhere
	click(t, tab, "#exceptions button")
	wait(t, tab, `document.querySelector("#visibility-problem")?.textContent.includes("changed elsewhere") && document.querySelector("#everyone input[value=offline]").checked`)

	click(t, tab, contact+" summary")
	click(t, tab, contact+" .items button.danger")
	wait(t, tab, fmt.Sprintf(`!document.querySelector('%s')`, contact))

	d.ask(t, http.MethodPut, "/v1/users/"+u.ID+"/contacts/"+grace.ID, "{}")
	wait(t, tab, fmt.Sprintf(`!!document.querySelector('%s summary')`, contact))
	evaluate(t, tab, fmt.Sprintf(`(() => { const menu = document.querySelector('%s summary'); menu.focus(); return document.activeElement === menu })()`, contact))
	d.ask(t, http.MethodDelete, "/v1/users/"+u.ID+"/contacts/"+grace.ID, "") // with the focus in it
	wait(t, tab, fmt.Sprintf(`!document.querySelector('%s')`, contact))
	noErrors(t, browserErrors(), "status of 412") // the rules that were changed elsewhere
}

// TestMeDevices signs another device out, reloads the page, which continues its session, and
// reads the history as a picture and as a table.
func TestMeDevices(t *testing.T) {
	d := startDemo(t)
	u := d.signedOut(t)
	person := *d
	person.AccessToken = u.AccessToken
	person.ask(t, http.MethodPost, "/v1/sessions", `{"client_type":"mobile","client_version":"6.1","lease_seconds":3600}`)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/me#token="+u.AccessToken))
	waitForShown(t, tab, "Available")
	click(t, tab, "#devices summary")
	wait(t, tab, `document.querySelectorAll("#sessions li").length === 2 && document.querySelectorAll("#sessions .tag").length === 1`)
	wait(t, tab, `document.querySelector("#sessions")?.innerText.includes("Phone 6.1")`)
	click(t, tab, "#sessions button") // the page has none for its own session
	wait(t, tab, `document.querySelectorAll("#sessions li").length === 1 && document.querySelector("#sessions .tag")`)
	session := `document.querySelector("#sessions li").dataset.id`
	before, err := chromedp.Run(tab, chromedp.Evaluate[string](session))
	if err != nil {
		t.Fatal(err)
	}
	do(t, tab, chromedp.Reload())
	waitForShown(t, tab, "Available")
	click(t, tab, "#devices summary")
	wait(t, tab, fmt.Sprintf(`document.querySelectorAll("#sessions li").length === 1 && %s === %q && document.querySelector("#sessions .tag")`, session, before))

	click(t, tab, "button[data-status=busy]")
	waitForShown(t, tab, "Busy")
	wait(t, tab, `document.querySelectorAll("#timeline svg").length === 7 && document.querySelector("#timeline rect[data-status=busy]") && document.querySelector("#legend")?.textContent.includes("Busy")`)
	wait(t, tab, `document.querySelector("#totals thead")?.textContent.includes("Busy") && document.querySelectorAll("#totals tbody tr").length === 7`)
	screenshot(t, tab, "me-week.png")
	click(t, tab, "#timeline .day:nth-last-child(2) button") // today
	wait(t, tab, `document.querySelectorAll("#timeline svg").length === 1 && [...document.querySelectorAll("#changes tbody tr")].some((row) => row.innerText.includes("Busy") && row.innerText.includes("you chose it"))`)
	screenshot(t, tab, "me-day.png")
	click(t, tab, "#earlier")
	wait(t, tab, `!document.querySelector("#timeline rect[data-status=busy]") && !document.querySelector("#later").disabled`)

	// What shows the current day goes on to the next one at midnight; another day stays.
	earlier := text(t, tab, "#period")
	passMidnight(t, tab)
	d.ask(t, http.MethodPut, "/v1/users/"+u.ID+"/claims/review", `{"source":"meeting","status":"in_meeting"}`)
	waitForShown(t, tab, "In a meeting")
	if now := text(t, tab, "#period"); now != earlier {
		t.Errorf("%s became %s at midnight", earlier, now)
	}
	const untilToday = `document.querySelector("#period").textContent.endsWith(new Intl.DateTimeFormat(undefined, {weekday: "short", day: "numeric", month: "short"}).format(new Date()))`
	click(t, tab, "#history [role=group] button:last-child")
	wait(t, tab, untilToday)
	passMidnight(t, tab)
	d.ask(t, http.MethodDelete, "/v1/users/"+u.ID+"/claims/review", "")
	wait(t, tab, untilToday)
	noErrors(t, browserErrors())
}

// passMidnight sets the clock of the page a day ahead.
func passMidnight(t *testing.T, tab context.Context) {
	t.Helper()
	evaluate(t, tab, `(() => {
		const Before = Date;
		globalThis.Date = class extends Before {
			constructor(...given) { super(...(given.length ? given : [Date.now()])); }
			static now() { return Before.now() + 86_400_000; }
		};
		return true;
	})()`)
}

// TestMeDetection: where the browser notices activity on the whole computer, that decides.
func TestMeDetection(t *testing.T) {
	d := startDemo(t)
	u := d.signedOut(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	permit(t, tab, "idle-detection")
	computer(t, tab, true)
	do(t, tab, chromedp.Navigate(d.URL+"/me?idle_seconds=5#token="+u.AccessToken))
	wait(t, tab, `document.querySelector("#detect")?.checked`) // because the user allowed it before
	waitForShown(t, tab, "Available")
	computer(t, tab, false)
	waitForShown(t, tab, "Away")
	d.expectStatus(t, u, "Away")
	computer(t, tab, true)
	waitForShown(t, tab, "Available")
	click(t, tab, "#detect")
	wait(t, tab, `!document.querySelector("#detect").checked`)
	waitForShown(t, tab, "Away") // after five seconds without input on the page
	click(t, tab, "#detect")
	wait(t, tab, `document.querySelector("#detect").checked`)
	waitForShown(t, tab, "Available")
	noErrors(t, browserErrors())
}

// permit has the browser grant a permission to all pages.
func permit(t *testing.T, tab context.Context, permission string) {
	t.Helper()
	do(t, tab, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, browser.SetPermission, browser.SetPermissionParams{Permission: &browser.PermissionDescriptor{Name: permission}, Setting: browser.PermissionSettingGranted})
		return err
	}))
}

// computer has the browser believe that somebody uses the computer, or nobody.
func computer(t *testing.T, tab context.Context, used bool) {
	t.Helper()
	do(t, tab, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetIdleOverride, emulation.SetIdleOverrideParams{IsUserActive: used, IsScreenUnlocked: true})
		return err
	}))
}

// fill sets an input whose text depends on the language of the browser, such as a date.
func fill(t *testing.T, tab context.Context, selector, value string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf("document.querySelector(%q)", selector))
	do(t, tab, chromedp.SetValue(chromedp.CSS(selector), value))
	evaluate(t, tab, fmt.Sprintf(`document.querySelector(%q).dispatchEvent(new Event("input", {bubbles: true}))`, selector))
}

// shown is what is shown of a user.
func (d *demo) shown(t *testing.T, u user) (presence struct {
	Status, Note string
	Until        time.Time
},
) {
	t.Helper()
	if err := json.Unmarshal(d.ask(t, http.MethodGet, "/v1/users/"+u.ID+"/presence", ""), &presence); err != nil {
		t.Fatal(err)
	}
	return presence
}
