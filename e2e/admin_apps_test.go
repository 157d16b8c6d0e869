package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestAdminApps: an administrator adds an app with a hostile name. Its secret gets a token,
// and the token does what the chosen scope allows. A new secret replaces the old one, and
// the deleted app gets nothing.
func TestAdminApps(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/admin/apps#token="+d.AccessToken))
	wait(t, tab, `document.querySelectorAll("tbody tr").length === 1 && document.querySelector("#count").textContent === "1 app"`)

	click(t, tab, "#add-app")
	retype(t, tab, "#name", hostile)
	click(t, tab, "#app-form [type=submit]")
	wait(t, tab, `document.querySelector("#form-problem:not([hidden])")?.textContent === "Choose at least one scope."`)
	choose(t, tab, "#preset", "sign")
	wait(t, tab, `document.querySelector("[aria-label='presence:read:admin, for everyone']").checked && document.querySelector("#wide-scopes").textContent.includes("presence:read:admin reaches every user")`)
	screenshot(t, tab, "admin-app-add.png")
	click(t, tab, "#app-form [type=submit]")
	id, secret := revealed(t, tab, "Client id"), revealed(t, tab, "Client secret")
	if !strings.HasPrefix(revealed(t, tab, "Webhook secret"), "whsec_") {
		t.Error("the webhook secret is not shown")
	}
	token, code := d.appToken(t, id, secret)
	if code != http.StatusOK {
		t.Fatalf("the secret that is shown gets %d", code)
	}
	if got := d.statusOf(t, token, http.MethodGet, "/v1/presence"); got != http.StatusOK {
		t.Errorf("the app reads presence: %d", got)
	}
	if got := d.statusOf(t, token, http.MethodGet, "/v1/users"); got != http.StatusForbidden {
		t.Errorf("the app reads users: %d", got)
	}

	click(t, tab, "dialog footer .main")
	wait(t, tab, `document.querySelector("h1").textContent === `+quoted(hostile)+` && document.querySelector("[aria-labelledby=opens-title]").textContent.includes("status and history of everyone") && !document.querySelector("#main img") && !document.body.dataset.owned`)
	screenshot(t, tab, "admin-app.png")
	click(t, tab, "#rotate")
	click(t, tab, "dialog .danger")
	wait(t, tab, `document.querySelector("dialog .secrets")`)
	rotated := revealed(t, tab, "Client secret")
	if _, code := d.appToken(t, id, secret); code == http.StatusOK || rotated == secret {
		t.Errorf("the old secret still works: %d", code)
	}
	if _, code := d.appToken(t, id, rotated); code != http.StatusOK {
		t.Errorf("the new secret gets %d", code)
	}
	click(t, tab, "dialog footer .main")

	click(t, tab, "#edit")
	retype(t, tab, "#name", "Door signs")
	click(t, tab, "[aria-label='claim:write, for one user']")
	click(t, tab, "#app-form [type=submit]")
	wait(t, tab, `!document.querySelector("dialog") && document.querySelector("h1").textContent === "Door signs" && document.querySelectorAll(".scopes li").length === 2`)

	chooseFromMenu(t, tab, "Delete")
	confirm(t, tab)
	wait(t, tab, `location.pathname === "/admin/apps" && document.querySelectorAll("tbody tr").length === 1`)
	if _, code := d.appToken(t, id, rotated); code == http.StatusOK {
		t.Error("the deleted app gets a token")
	}
	noErrors(t, browserErrors())
}

// revealed is a value that a dialog shows once.
func revealed(t *testing.T, tab context.Context, label string) string {
	t.Helper()
	value := fmt.Sprintf(`[...document.querySelectorAll("dialog .secret")].find((s) => s.querySelector("span").textContent === %q)?.querySelector("code").textContent`, label)
	wait(t, tab, value)
	found, err := chromedp.Run(tab, chromedp.Evaluate[string](value))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// appToken signs an app in, and returns the status of the response.
func (d *demo) appToken(t *testing.T, id, secret string) (token string, status int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	w, err := new(http.Client).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.NewDecoder(w.Body).Decode(&answer) // a refusal has none
	return answer.AccessToken, w.StatusCode
}

// statusOf is the status of the response to a request with a token.
func (d *demo) statusOf(t *testing.T, token, method, path string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, d.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	w, err := new(http.Client).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	return w.StatusCode
}

// TestAdminTokens: an administrator creates a token for a user, which works, and revokes it.
// Then all tokens of the user are revoked.
func TestAdminTokens(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/admin/tokens#token="+d.AccessToken))
	wait(t, tab, `document.querySelectorAll("tbody tr").length > 2`)
	screenshot(t, tab, "admin-tokens.png")

	click(t, tab, "#create-token")
	retype(t, tab, "#name", hostile)
	choose(t, tab, "#kind", "user")
	retype(t, tab, "#for", "grace.mensah@example.com")
	choose(t, tab, "#preset", "person")
	choose(t, tab, "#lifetime", "1")
	wait(t, tab, `document.querySelectorAll("#scopes :checked").length === 8 && !document.querySelector("#wide-scopes")`)
	click(t, tab, "#token-form [type=submit]")
	secret := revealed(t, tab, "Token")
	if got := d.statusOf(t, secret, http.MethodGet, "/v1/users/me/claims"); got != http.StatusOK {
		t.Errorf("the token gets %d", got)
	}
	click(t, tab, "dialog footer .main")

	retype(t, tab, "#user", "grace.mensah@example.com")
	const row = `[...document.querySelectorAll("tbody tr")].find((r) => r.querySelector(".name").textContent.trim() === `
	wait(t, tab, row+quoted(hostile)+`)?.querySelector(".user").textContent === "Grace Mensah" && location.search.includes("user=grace") && !document.querySelector("#main img")`)
	wait(t, tab, row+quoted(hostile)+`).querySelector(".expires .bad").textContent.includes("soon")`)
	evaluate(t, tab, row+quoted(hostile)+`).querySelector(".actions button").click() || true`)
	confirm(t, tab)
	wait(t, tab, `!(`+row+quoted(hostile)+`))`)
	if got := d.statusOf(t, secret, http.MethodGet, "/v1/users/me/claims"); got != http.StatusUnauthorized {
		t.Errorf("the revoked token gets %d", got)
	}
	click(t, tab, "#revoke-all")
	confirm(t, tab)
	wait(t, tab, `document.querySelector(".empty")?.textContent === "No token matches."`)
	click(t, tab, "#no-filter")
	wait(t, tab, `document.querySelectorAll("tbody tr").length > 1 && location.search === ""`)
	noErrors(t, browserErrors())
}

// TestAdminSubscriptions: an administrator adds a subscription to an endpoint on this
// machine, sends it a test event, sees a failure in words and how it is retried, and replays
// the event once the endpoint works again. The list of attempts refreshes itself.
func TestAdminSubscriptions(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	endpoint := newEndpoint(t)
	do(t, tab, chromedp.Navigate(d.URL+"/admin/subscriptions#token="+d.AccessToken))
	wait(t, tab, `document.querySelector(".empty")`)

	click(t, tab, "#add-subscription")
	retype(t, tab, "#name", hostile)
	retype(t, tab, "#url", endpoint.URL+"/hook")
	click(t, tab, "#events [value='presence.changed']")
	screenshot(t, tab, "admin-subscription-add.png")
	click(t, tab, "#subscription-form [type=submit]")
	if !strings.HasPrefix(revealed(t, tab, "Secret"), "whsec_") {
		t.Error("the secret is not shown")
	}
	click(t, tab, "dialog footer .main")
	wait(t, tab, `document.querySelector("h1").textContent === `+quoted(hostile)+` && document.querySelector("#state [data-state=active]") && !document.querySelector("#main img")`)

	click(t, tab, "#test")
	click(t, tab, "#send-test")
	wait(t, tab, `document.querySelector("#test-result[data-accepted=true]")?.textContent.includes("status 204")`)
	screenshot(t, tab, "admin-subscription-test.png")
	click(t, tab, "dialog footer button")
	wait(t, tab, `document.querySelector("#deliveries tr[data-type='presence.changed'][data-failure='']")`)

	endpoint.answer.Store(http.StatusInternalServerError)
	d.ask(t, http.MethodPut, "/v2/users/"+d.signedIn(t, 0).ID+"/presence_status", `{"status":"Do_Not_Disturb"}`)
	wait(t, tab, `document.querySelector("#deliveries tr[data-failure=status] .bad")?.textContent.includes("Refused (500)")`)
	wait(t, tab, `document.querySelector("#state [data-state=retrying]")`)
	press(t, tab, "#deliveries tr[data-failure=status] button")
	wait(t, tab, `(text => text.includes("did not answer with 2xx") && text.includes("ried again") && text.includes("not today <b>"))(document.querySelector("tr.more-of-row").textContent)`)
	screenshot(t, tab, "admin-subscription.png")

	endpoint.answer.Store(http.StatusNoContent)
	press(t, tab, ".replay-here")
	wait(t, tab, `document.querySelector("dialog").textContent.includes("all events after it are sent again")`)
	confirm(t, tab)
	wait(t, tab, `[...document.querySelectorAll("#deliveries tr[data-failure='']")].some((r) => r.textContent.includes("replay"))`)
	click(t, tab, "#failed")
	wait(t, tab, `document.querySelectorAll("#deliveries tr[data-failure='']").length === 0 && document.querySelector("#deliveries tr[data-failure=status]")`)

	click(t, tab, "#edit")
	retype(t, tab, "#name", "Desk lamps")
	click(t, tab, "#events [value='presence.changed']")
	click(t, tab, "#subscription-form [type=submit]")
	wait(t, tab, `!document.querySelector("dialog") && document.querySelector("h1").textContent === "Desk lamps" && document.querySelector(".facts").textContent.includes("All events")`)
	chooseFromMenu(t, tab, "Pause")
	wait(t, tab, `document.querySelector("#state [data-state=paused]") && !document.querySelector("#replay, .replay-here")`)
	screenshot(t, tab, "admin-subscription-paused.png")
	do(t, tab, chromedp.Navigate(d.URL+"/admin/subscriptions"))
	wait(t, tab, `document.querySelector("tbody [data-state=paused]")`)
	screenshot(t, tab, "admin-subscriptions-paused.png")
	click(t, tab, "tbody a.name")
	click(t, tab, "#resume")
	wait(t, tab, `document.querySelector("#state") && !document.querySelector("#state [data-state=paused]") && document.querySelector("#replay")`)
	chooseFromMenu(t, tab, "Replace the secret")
	click(t, tab, "dialog .danger")
	if !strings.HasPrefix(revealed(t, tab, "Secret"), "whsec_") {
		t.Error("the new secret is not shown")
	}
	click(t, tab, "dialog footer .main")
	chooseFromMenu(t, tab, "Delete")
	confirm(t, tab)
	wait(t, tab, `location.pathname === "/admin/subscriptions" && document.querySelector(".empty")`)
	noErrors(t, browserErrors())
}

// An endpoint receives events on this machine, and answers with a status that can change.
type endpoint struct {
	*httptest.Server
	answer atomic.Int64
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.answer.Store(http.StatusNoContent)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		status := int(e.answer.Load())
		w.WriteHeader(status)
		if status >= http.StatusBadRequest {
			_, _ = io.WriteString(w, "not today <b>")
		}
	}))
	t.Cleanup(e.Close)
	return e
}

// TestAdminAudit: an administrator finds what was done to an app and who was refused, with
// the values before and after, and exports the log.
func TestAdminAudit(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	var app struct{ ID string }
	if err := json.Unmarshal(d.ask(t, http.MethodPost, "/v1/apps", `{"name":`+quoted(hostile)+`,"scopes":["presence:read"]}`), &app); err != nil {
		t.Fatal(err)
	}
	d.ask(t, http.MethodPatch, "/v1/apps/"+app.ID, `{"scopes":["presence:read","claim:write"]}`)

	do(t, tab, chromedp.Navigate(d.URL+"/admin/audit#token="+d.AccessToken))
	wait(t, tab, `document.querySelector("#events tr[data-action='app.update']")`)
	wait(t, tab, `!document.querySelector("#main img") && !document.body.dataset.owned && document.querySelector("#checkpoints").textContent.includes("porchlight audit verify live")`)
	choose(t, tab, "#action", "app.update")
	wait(t, tab, `document.querySelectorAll("#events tbody tr").length === 1 && location.search === "?action=app.update"`)
	click(t, tab, "#events button")
	wait(t, tab, `[...document.querySelectorAll(".change tbody tr")].some((r) => r.querySelector("th").textContent === "scopes" && r.cells[1].textContent === "presence:read" && r.cells[2].textContent.includes("claim:write"))`)
	screenshot(t, tab, "admin-audit.png")
	click(t, tab, "#no-filter")
	retype(t, tab, "#target", "app/"+app.ID)
	wait(t, tab, `[...document.querySelectorAll("#events tr[data-action]")].map((r) => r.dataset.action).join() === "app.update,app.create"`)
	keepDownloads(t, tab)
	click(t, tab, "#export-table")
	wait(t, tab, `window.saved.startsWith("sequence,time,action,") && window.saved.trim().split("\r\n").length === 3`)
	click(t, tab, "#export")
	wait(t, tab, `window.saved.startsWith('{"v":1,') && window.saved.trim().split("\n").at(-1).includes('"reason":"export"')`)
	do(t, tab, chromedp.Reload())
	wait(t, tab, `document.querySelectorAll("#events tbody tr").length === 2 && document.querySelector("#target").value.startsWith("app/") && document.querySelector("#checkpoints").textContent.includes("covers all events up to number")`)
	noErrors(t, browserErrors())
}

// TestAdminOverview shows the numbers of the account, and what needs attention.
func TestAdminOverview(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	d.ask(t, http.MethodPost, "/v1/tokens", `{"name":`+quoted(hostile)+`,"user":"me","scopes":["presence:read"],"expires_in_seconds":90000}`)
	do(t, tab, chromedp.Navigate(d.URL+"/admin#token="+d.AccessToken))
	number := func(href string) string {
		return fmt.Sprintf(`document.querySelector(".numbers [href='%s'] strong")?.textContent`, href)
	}
	wait(t, tab, fmt.Sprintf(`%s === "%d"`, number("/admin/users"), len(d.Users)+1))
	wait(t, tab, number("/admin/apps")+` === "1" && `+number("/admin/subscriptions")+` === "0"`)
	wait(t, tab, fmt.Sprintf(`[...document.querySelectorAll("#now .number")].reduce((sum, n) => sum + Number(n.textContent), 0) === %d`, len(d.Users)+1))
	wait(t, tab, `document.querySelector("#attention")?.textContent.includes(`+quoted(hostile)+`) && !document.querySelector("#main img")`)
	screenshot(t, tab, "admin-overview.png")
	noErrors(t, browserErrors())
}

// TestAdminHealth: the charts of the server's work move, the lists have their figures, and
// the limits say what is used.
func TestAdminHealth(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/admin/health#token="+d.AccessToken))
	wait(t, tab, `document.querySelector("#health[data-state=ready]") && document.querySelectorAll("[data-consumer]").length === 2`)
	const points = `Number(document.querySelector("[data-chart=%s] .sparkline")?.dataset.points)`
	wait(t, tab, fmt.Sprintf(points, "changes")+` >= 2`)
	d.ask(t, http.MethodPut, "/v2/users/"+d.signedIn(t, 0).ID+"/presence_status", `{"status":"Do_Not_Disturb"}`)
	const heights = `new Set([...document.querySelector("[data-chart=changes] polyline").points].map((p) => p.y)).size`
	wait(t, tab, heights+` > 1 && `+fmt.Sprintf(points, "p99")+` >= 3`)
	wait(t, tab, `document.querySelector("[data-chart=changes] svg").getAttribute("aria-label").startsWith("Changes per second: now ")`)
	wait(t, tab, `document.querySelector("#backup").textContent.includes("knows of no backup")`)
	screenshot(t, tab, "admin-health.png")
	click(t, tab, `.sidebar [href="/admin/limits"]`)
	wait(t, tab, fmt.Sprintf(`document.querySelector("tbody tr[data-id=users] .used")?.textContent === "%d"`, len(d.Users)+1))
	wait(t, tab, `document.querySelector("#rates").textContent.includes("does not limit")`)
	noErrors(t, browserErrors())
}
