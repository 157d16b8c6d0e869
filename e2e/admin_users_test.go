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

	"github.com/chromedp/chromedp"
)

// hostile is a name that would run a script if a page took it for markup.
const hostile = `<img src=x onerror="document.body.dataset.owned=1">`

// TestAdminUsers: an administrator finds users, adds one, whose name is hostile, and gives
// the person the link of the invitation. The person signs in with another browser, and is no
// administrator. Then the administrator sets the person's status, changes, deactivates,
// activates and erases the user.
func TestAdminUsers(t *testing.T) {
	d := startDemo(t)
	admin, person := browse(t), browse(t)
	browserErrors := collectErrors(t, admin)
	do(t, admin, chromedp.Navigate(d.URL+"/admin/users#token="+d.AccessToken))
	findUsers(t, admin, len(d.Users))

	link := addHostileUser(t, admin)
	acceptInvitation(t, person, link)
	do(t, person, chromedp.Navigate(d.URL+"/admin/users"))
	wait(t, person, `document.querySelector("[role=alert]:not([hidden])")?.textContent === "Only administrators can see this page."`)
	wait(t, person, `document.querySelector("[data-for=administrators]").hidden && !document.querySelector("#main a[href^='/admin']")`)

	openUser(t, admin, "new@example.com")
	wait(t, admin, `document.querySelector("h1").textContent === `+quoted(hostile)+` && !document.querySelector("#main img") && !document.body.dataset.owned`)
	wait(t, admin, `document.querySelectorAll("#user-sign-ins li").length === 1`)
	screenshot(t, admin, "admin-user.png")
	setStatusOnBehalf(t, admin)
	editUser(t, admin)
	deactivateAndActivate(t, admin, person, d.URL)
	eraseUser(t, admin)
	noErrors(t, browserErrors(), "status of 409", "status of 404") // an address that is taken; the user who was erased
}

// TestAdminUserAnswers: an answer of before a change that arrives after a newer one does not
// bring back what was withdrawn.
func TestAdminUserAnswers(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	u := d.signedIn(t, 0)
	claim := "/v1/users/" + u.ID + "/claims/review"
	do(t, tab, chromedp.Navigate(d.URL+"/admin/users/"+u.ID+"#token="+d.AccessToken))
	wait(t, tab, `document.querySelector("#because") && document.querySelector("#presence .now").textContent.includes("Available")`)
	evaluate(t, tab, `(() => {
		const send = window.fetch;
		window.fetch = async (address, ...given) => {
			const response = await send(address, ...given);
			if (!String(address).includes("/presence/explain") || window.respond) return response;
			const held = new Promise((resolve) => { window.respond = resolve; });
			const explanation = await response.json();
			await held;
			response.json = async () => {
				setTimeout(() => { window.answered = true; }); // after the page has taken it
				return explanation;
			};
			return response;
		};
		return true;
	})()`)
	d.ask(t, http.MethodPut, claim, `{"source":"meeting","status":"in_meeting"}`)
	wait(t, tab, `window.respond`)
	d.ask(t, http.MethodPut, claim, `{"source":"meeting","status":"presenting"}`)
	wait(t, tab, `document.querySelector("[data-claim=review]")?.textContent.includes("Presenting")`)
	evaluate(t, tab, `window.respond() || true`)
	wait(t, tab, `window.answered`)
	if shown := text(t, tab, "[data-claim=review]"); !strings.Contains(shown, "Presenting") {
		t.Errorf("the older answer is shown: %s", shown)
	}
}

// findUsers filters the list. The filters are in the address.
func findUsers(t *testing.T, tab context.Context, users int) {
	t.Helper()
	rows := func(n int) string { return fmt.Sprintf(`document.querySelectorAll("tbody tr").length === %d`, n) }
	wait(t, tab, rows(users+1)) // and the owner
	wait(t, tab, `[...document.querySelectorAll("tbody tr")].every((r) => r.querySelector("[data-role]").dataset.role === (r.textContent.includes("owner@example.com") ? "owner" : "member"))`)
	wait(t, tab, `[...document.querySelectorAll("tbody .name")].every((a, i, all) => !i || all[i - 1].textContent.localeCompare(a.textContent) <= 0)`)
	screenshot(t, tab, "admin-users.png")
	retype(t, tab, "#query", "GRACE")
	wait(t, tab, rows(1)+` && location.search === "?query=GRACE" && document.querySelector("tbody .name").textContent === "Grace Mensah"`)
	choose(t, tab, "#role", "admin")
	wait(t, tab, `document.querySelector(".empty")?.textContent === "No user matches." && location.search === "?query=GRACE&role=admin"`)
	do(t, tab, chromedp.Reload())
	wait(t, tab, `document.querySelector(".empty") && document.querySelector("#query").value === "GRACE" && document.querySelector("#role").value === "admin"`)
	click(t, tab, "#no-filter")
	wait(t, tab, rows(users+1)+` && location.search === ""`)
	wait(t, tab, `[...document.querySelector("#group").options].some((o) => o.value === "Support")`)
	choose(t, tab, "#group", "Support")
	wait(t, tab, `document.querySelectorAll("tbody tr").length > 0 && [...document.querySelectorAll("tbody tr")].every((r) => r.querySelector(".groups").textContent.includes("Support"))`)
	keepDownloads(t, tab)
	click(t, tab, "#export")
	wait(t, tab, `window.saved.trim().split("\n").length === document.querySelectorAll("tbody tr").length + 1 && window.saved.startsWith("email,")`)
	click(t, tab, "#export-all")
	wait(t, tab, fmt.Sprintf(`window.saved.trim().split("\n").length === %d`, users+2))
	click(t, tab, "#no-filter")
}

// addHostileUser adds a user, and returns the link of the invitation.
func addHostileUser(t *testing.T, tab context.Context) string {
	t.Helper()
	click(t, tab, "#add-user")
	retype(t, tab, "#email", "ada.okafor@example.com")
	click(t, tab, "#user-form [type=submit]")
	wait(t, tab, `document.querySelector("#form-problem:not([hidden])")?.textContent.includes("address")`) // it is taken
	retype(t, tab, "#email", "new@example.com")
	retype(t, tab, "#display_name", hostile)
	retype(t, tab, "#group-name", "Night shift")
	click(t, tab, ".joined button")
	wait(t, tab, `document.querySelector("#user-form .tag")`)
	screenshot(t, tab, "admin-add-user.png")
	click(t, tab, "#user-form [type=submit]")
	wait(t, tab, `document.querySelector("dialog .link code")`)
	link := text(t, tab, "dialog .link code")
	click(t, tab, "dialog footer button")
	wait(t, tab, `!document.querySelector("dialog") && !document.querySelector("#main img") && !document.body.dataset.owned`)
	return link
}

// keepDownloads has the page keep the text of the file that it saves last in window.saved.
func keepDownloads(t *testing.T, tab context.Context) {
	t.Helper()
	evaluate(t, tab, `((make) => {
		window.saved = "";
		URL.createObjectURL = (blob) => {
			blob.text().then((text) => { window.saved = text; });
			return make.call(URL, blob);
		};
		return true;
	})(URL.createObjectURL)`)
}

func acceptInvitation(t *testing.T, tab context.Context, link string) {
	t.Helper()
	do(t, tab, chromedp.Navigate(link))
	wait(t, tab, `location.hash === ""`)
	retype(t, tab, "#password", "correct horse battery")
	retype(t, tab, "#again", "correct horse battery")
	click(t, tab, "#choose button")
	wait(t, tab, `location.pathname === "/" && document.querySelector("#who")?.textContent`)
}

// openUser finds a user in the list, and follows the link.
func openUser(t *testing.T, tab context.Context, email string) {
	t.Helper()
	retype(t, tab, "#query", email)
	wait(t, tab, `document.querySelectorAll("tbody tr").length === 1`)
	click(t, tab, "tbody a.name")
	wait(t, tab, `location.pathname.startsWith("/admin/users/") && document.querySelector("#because")`)
}

// setStatusOnBehalf sets the user's status, and withdraws it.
func setStatusOnBehalf(t *testing.T, tab context.Context) {
	t.Helper()
	click(t, tab, "#set-status")
	choose(t, tab, "#status", "out_of_office")
	retype(t, tab, "#note", hostile)
	click(t, tab, "#status-form [type=submit]")
	wait(t, tab, `document.querySelector("[data-claim=manual] .good") && document.querySelector("#presence .now").textContent.includes("Out of office")`)
	wait(t, tab, `document.querySelector("#presence q").textContent === `+quoted(hostile)+` && !document.querySelector("#main img")`)
	wait(t, tab, `[...document.querySelectorAll("#history tbody tr")].some((r) => r.textContent.includes("Claim made"))`)
	click(t, tab, "[data-claim=manual] button")
	wait(t, tab, `!document.querySelector("[data-claim]") && document.querySelector("#presence .now").textContent.includes("Offline")`)
}

func editUser(t *testing.T, tab context.Context) {
	t.Helper()
	click(t, tab, "#edit")
	retype(t, tab, "#display_name", "Newton Example")
	retype(t, tab, "#email", "newton@example.com")
	click(t, tab, ".tags button")
	choose(t, tab, "#new-role", "admin")
	click(t, tab, "#user-form [type=submit]")
	wait(t, tab, `!document.querySelector("dialog") && document.querySelector("h1").textContent === "Newton Example"`)
	wait(t, tab, `(facts => facts.includes("Administrator") && !facts.includes("Night shift"))(document.querySelector(".facts").textContent)`)
	wait(t, tab, `document.querySelector("h1 + p").textContent === "newton@example.com"`)
}

// deactivateAndActivate checks that the person's browser is signed out.
func deactivateAndActivate(t *testing.T, admin, person context.Context, url string) {
	t.Helper()
	chooseFromMenu(t, admin, "Deactivate")
	confirm(t, admin)
	wait(t, admin, `document.querySelector(".facts [data-state=deactivated]")?.textContent.includes("Deactivated")`)
	wait(t, admin, `document.querySelectorAll("#user-sign-ins li").length === 0`)
	screenshot(t, admin, "admin-user-deactivated.png")
	do(t, person, chromedp.Navigate(url+"/account"))
	wait(t, person, `document.querySelector("#entry")`)
	chooseFromMenu(t, admin, "Activate")
	confirm(t, admin)
	wait(t, admin, `document.querySelector(".facts [data-state=active]")`)
}

func eraseUser(t *testing.T, tab context.Context) {
	t.Helper()
	chooseFromMenu(t, tab, "Delete and erase")
	wait(t, tab, `document.querySelector("dialog").textContent.includes("newton@example.com can be used again")`)
	confirm(t, tab)
	wait(t, tab, `document.querySelector("h1").textContent === "Deleted"`)
	wait(t, tab, `document.querySelector("#erasure[data-state=done]")?.textContent.includes("The history was erased on")`)
	screenshot(t, tab, "admin-user-erased.png")
	click(t, tab, `#main a[href="/admin/users"]`)
	wait(t, tab, `document.querySelector("tbody") && !document.querySelector("#main").textContent.includes("newton@example.com")`)
}

func chooseFromMenu(t *testing.T, tab context.Context, label string) {
	t.Helper()
	click(t, tab, "#actions summary")
	evaluate(t, tab, `[...document.querySelectorAll("#actions .items button")].find((b) => b.textContent === `+quoted(label)+`).click() || true`)
}

// confirm presses the last button of a dialog, and waits until the dialog is closed.
func confirm(t *testing.T, tab context.Context) {
	t.Helper()
	click(t, tab, "dialog footer button:last-child")
	wait(t, tab, `!document.querySelector("dialog")`)
}

// quoted is text as a string of JavaScript.
func quoted(text string) string {
	literal, _ := json.Marshal(text) // a string
	return string(literal)
}

// TestAdminImport checks a file with errors, which changes nothing, imports the other lines,
// and then the corrected file. The same file again changes nothing.
func TestAdminImport(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/admin/users/import#token="+d.AccessToken))
	wait(t, tab, `document.querySelector("#choose")`)

	const head = "email,first_name,role\n"
	wrong := head + "one@example.com,One,member\nno address," + strings.ReplaceAll(hostile, `"`, "") + ",member\ntwo@example.com,Two,emperor\nthree@example.com,Three,\n"
	upload(t, tab, wrong)
	outcome(t, tab, true, 2, 0, 0, 2)
	wait(t, tab, `document.querySelector("[data-line='3']").textContent.includes("no address") && !document.querySelector("#main img")`)
	wait(t, tab, `document.querySelector("[data-line='4']").textContent.includes("must be member or admin")`)
	screenshot(t, tab, "admin-import-errors.png")
	if list := string(d.ask(t, http.MethodGet, "/v1/users?query=one@example.com", "")); strings.Contains(list, "one@example.com") {
		t.Errorf("the check added users: %s", list)
	}
	click(t, tab, "#start")
	outcome(t, tab, false, 2, 0, 0, 2)
	keepDownloads(t, tab)
	click(t, tab, "#save-refused")
	wait(t, tab, `window.saved.startsWith("line,column,reason,text\r\n3,email,") && window.saved.trim().split("\r\n").length === 3`)

	right := head + "one@example.com,One,member\nfour@example.com,Four,member\ntwo@example.com,Two,member\nthree@example.com,Tree,\n"
	upload(t, tab, right)
	outcome(t, tab, true, 2, 1, 1, 0)
	click(t, tab, "#start")
	outcome(t, tab, false, 2, 1, 1, 0)
	screenshot(t, tab, "admin-import.png")
	upload(t, tab, right)
	outcome(t, tab, true, 0, 0, 4, 0)
	wait(t, tab, `!document.querySelector("#start") && document.querySelector("#outcome").textContent.includes("This file changes nothing.")`)

	var long strings.Builder
	long.WriteString(head)
	for n := range 3000 {
		fmt.Fprintf(&long, "person%d@example.com,Person,%s\n", n, []string{"member", "emperor"}[n%2])
	}
	upload(t, tab, long.String())
	outcome(t, tab, true, 1500, 0, 0, 1500)
	wait(t, tab, `document.querySelectorAll("#refused tbody tr").length === 200 && document.querySelector("#refused .notice").textContent.startsWith("1,000 of 1,500 refused lines are listed.")`)
	click(t, tab, "#save-refused")
	wait(t, tab, `window.saved.trim().split("\r\n").length === 1501 && window.saved.includes("\r\n3001,role,must be member or admin,\"person2999@example.com,Person,emperor\"\r\n")`)
	upload(t, tab, "name\nx\n")
	wait(t, tab, `document.querySelector("#import-problem:not([hidden])")?.textContent.includes("email")`)
	noErrors(t, browserErrors(), "status of 400") // the last file
}

// upload chooses a file with a text.
func upload(t *testing.T, tab context.Context, content string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "staff.csv")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, tab, `!document.querySelector("#choose").disabled`)
	do(t, tab, chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}, chromedp.NodeReady))
}

// outcome waits for the counts of a check or an import.
func outcome(t *testing.T, tab context.Context, dry bool, created, updated, unchanged, failed int) {
	t.Helper()
	wait(t, tab, fmt.Sprintf(`document.querySelector("#outcome[data-dry='%t'][data-complete='true']")`, dry))
	wait(t, tab, fmt.Sprintf(`[...document.querySelectorAll("#outcome [data-count]")].map((c) => c.querySelector("dd").textContent.replace(/\D/g, "")).join() === "%d,%d,%d,%d"`, created, updated, unchanged, failed))
}

// TestAdminGroups adds a group with a hostile name, adds and removes members, renames and
// deletes it.
func TestAdminGroups(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/admin/groups#token="+d.AccessToken))
	wait(t, tab, `document.querySelectorAll("tbody tr").length >= 5`)
	retype(t, tab, "#query", "sup")
	wait(t, tab, `document.querySelectorAll("tbody tr").length === 1 && location.search === "?query=sup" && document.querySelector("#count").textContent === "1 group"`)

	click(t, tab, "#add-group")
	retype(t, tab, "#name", "support")
	click(t, tab, "#group-form [type=submit]")
	wait(t, tab, `document.querySelector("#form-problem:not([hidden])")?.textContent`) // the name is taken
	retype(t, tab, "#name", hostile)
	click(t, tab, "#group-form [type=submit]")
	wait(t, tab, `document.querySelector("h1").textContent === `+quoted(hostile)+` && document.querySelector("#members .empty")`)

	click(t, tab, "#add-members")
	for _, found := range []struct{ typed, name string }{{"grace", "Grace Mensah"}, {"ada ok", "Ada Okafor"}} {
		retype(t, tab, "#find", found.typed)
		wait(t, tab, `document.querySelectorAll("#found li").length === 1 && document.querySelector("#found").textContent.includes(`+quoted(found.name)+`)`)
		click(t, tab, "#found li button")
		wait(t, tab, `document.querySelector("#found li .good")`)
	}
	screenshot(t, tab, "admin-group-add.png")
	confirm(t, tab)
	wait(t, tab, `document.querySelectorAll("#members tbody tr").length === 2`)
	click(t, tab, `#members button[aria-label^="Remove Ada"]`)
	wait(t, tab, `document.querySelectorAll("#members tbody tr").length === 1`)

	click(t, tab, "#rename")
	retype(t, tab, "#name", "Night shift")
	click(t, tab, "#group-form [type=submit]")
	wait(t, tab, `!document.querySelector("dialog") && document.querySelector("h1").textContent === "Night shift" && document.querySelectorAll("#members tbody tr").length === 1`)
	screenshot(t, tab, "admin-group.png")
	if list := string(d.ask(t, http.MethodGet, "/v1/users?group=night+shift", "")); !strings.Contains(list, "grace.mensah@example.com") || strings.Contains(list, "ada.okafor") {
		t.Errorf("members: %s", list)
	}
	click(t, tab, "#delete")
	confirm(t, tab)
	wait(t, tab, `location.pathname === "/admin/groups" && document.querySelectorAll("tbody tr").length >= 5 && !document.querySelector("tbody").textContent.includes("Night shift")`)
	noErrors(t, browserErrors(), "status of 409") // the name that was taken
}
